"""Bins: what splines have in common, knots that fill a box, the search for the bin of a value and the way through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import MOST, Within
from pushforward.core.numerics import clamp, finer

# From the place in a bin, in [0, 1], and what the bin has to (the place in its image, log-slope of the forward map).
Piece = Callable[..., tuple[Tensor, Tensor]]
Bins = Annotated[int, Within(least=2, most=MOST)]
"""A number of bins: one alone would leave a spline nothing to bend."""


def fill(share: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Return left knots and bin sizes ``(*batch, K, elements)`` in float64 that fill the box exactly, from shares that sum to 1."""
    # A bin is a difference of sums: in float32 one of 300 would be left with four digits, and the last with all roundings of the others.
    share = finer(share)
    share = share / share.sum(-2, keepdim=True)
    inner = bound * (2 * torch.cumsum(share[..., :-1, :], -2) - 1)
    knots = F.pad(F.pad(inner, (0, 0, 1, 0), value=-bound), (0, 0, 0, 1), value=bound)
    return knots[..., :-1, :], knots[..., 1:, :] - knots[..., :-1, :]


def through(table: Tensor, value: Tensor, piece: Piece, inverse: bool) -> tuple[Tensor, Tensor]:
    """Map values of the box, each by the piece of its bin; return the image and the log-slope of the forward map, in float64.

    Args:
        table: ``(*batch, rows, K, elements)``, the rows x0, width, y0, height and what else the piece takes for each bin.
        value: ``(*batch, elements)``, in the box, its ends included.
        piece: ``(place, slope of the bin, ...) -> (place, log-slope)``, either way.
        inverse: Whether the values are images.
    """
    value, x0, w, y0, h, *rest = _bin(table, value, 2 if inverse else 0)
    start, size, out, reach = (y0, h, x0, w) if inverse else (x0, w, y0, h)
    place, log_slope = piece(clamp((value - start) / size, 0, 1), h / w, *rest)
    return out + reach * place, log_slope


def boxed(table: Tensor, value: Tensor, bound: float, piece: Piece, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Map values by `through` inside the box and leave them as they are outside; return ``(y, ladj)`` of the map that is applied."""
    outside = torch.abs(value) >= bound  # NaN is not, so that all that comes of it is NaN
    mapped, log_slope = through(table, torch.where(outside, 0.0, value), piece, inverse)
    ladj = (-log_slope if inverse else log_slope).to(value.dtype)
    return torch.where(outside, value, mapped.to(value.dtype)), torch.where(outside, 0.0, ladj)


def _bin(table: Tensor, value: Tensor, row: int) -> tuple[Tensor, ...]:
    """Return each value with the columns of its bin, in float64; ``row`` says which row of the table the knots are."""
    # A comparison-sum instead of searchsorted: it vmaps, compiles and exports.
    knots = table[..., row, 1:, :]
    index = (value.unsqueeze(-2) >= knots).sum(-2, keepdim=True).unsqueeze(-3)
    batch = torch.broadcast_shapes(table.shape[:-3], index.shape[:-3])
    rows = table.shape[-3]
    chosen = torch.gather(table.expand(*batch, -1, -1, -1), -2, index.expand(*batch, rows, -1, -1))
    return finer(value), *finer(chosen.squeeze(-2)).unbind(-2)
