"""Conditional distribution functions on [0, 1]: a marginal's shares moved and narrowed, then bent by a monotone spline."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.numerics import finer, soft_clamp
from pushforward.kernels.spline import logits, quadratic_forward, quadratic_inverse

MARGIN = 1e-4
"""What is cut off of shares before their logit is taken, so that the ends are finite."""
END = math.log((1 - MARGIN) / MARGIN)
CENTER, SCALE = 8.0, 5.0
"""Of the center, which stays between the ends, and of the log of the scale."""
BOUND = 4.0
"""Of the logits of widths, heights and slopes: wider than a kernel's, since both shares are kept and nothing cancels."""


class Knots(NamedTuple):
    """Bins ``(..., K)``: widths and heights, slopes ``(..., K + 1)``, and the sums of both to the left and to the right of each bin.

    Before them the center and the scale of what shares are moved and narrowed by, ``(..., 1)``.
    """

    widths: Tensor
    heights: Tensor
    slopes: Tensor
    left: Tensor
    right: Tensor
    low: Tensor
    high: Tensor
    center: Tensor
    scale: Tensor


def size(bins: int) -> int:
    """Return how many parameters a spline has."""
    return 3 * bins + 3


def knots_of(parameters: Tensor, bins: int, circular: Tensor | None = None) -> Knots:
    """Return the knots of splines with parameters ``(..., 3 K + 3)``; zero is the identity, the marginal itself.

    Args:
        parameters: Of widths, heights and slopes, then center and scale.
        bins: K.
        circular: Where a spline is periodic, broadcast to ``(...)``: it has one slope at both ends, and is not moved.
    """
    widths, heights, slopes, center, scale = parameters.split([bins, bins, bins + 1, 1, 1], -1)
    across, up = (finer(torch.softmax(logits(part, BOUND), -1)) for part in (widths, heights))
    d = torch.exp(finer(logits(slopes, BOUND)))
    center, scale = finer(soft_clamp(center, CENTER)), finer(soft_clamp(scale, SCALE))
    if circular is not None:
        center, scale = (torch.where(circular.unsqueeze(-1), 0.0, part) for part in (center, scale))
        d = torch.cat([d[..., :-1], torch.where(circular.unsqueeze(-1), d[..., :1], d[..., -1:])], -1)
    return Knots(across, up, d, *_sums(across), *_sums(up), center, torch.exp(scale))


def _sums(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Return what lies to the left and to the right of each part, each summed from its own end."""
    before = F.pad(torch.cumsum(parts[..., :-1], -1), (1, 0))
    after = F.pad(torch.cumsum(parts[..., 1:].flip(-1), -1).flip(-1), (0, 1))
    return before, after


def shares(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the conditional's share on the nearer side of the moved middle, which side that is (True: below), and the log-slope.

    Args:
        knots: ``(..., K)``.
        below: The marginal's share below, ``(...)``.
        above: The share above.
    """
    below, above, log_move = _moved(knots, below, above)
    on_left, w, h, x0, x1, y0, y1, near, far = _bin_at(knots, below, above, knots.left, knots.right)
    theta = (torch.where(on_left, below - x0, above - x1) / w).clamp(0, 1)
    part, log_slope = quadratic_forward(theta, h / w, near, far)
    return torch.where(on_left, y0, y1) + h * part, on_left, log_slope + log_move


def log_mean_slope(knots: Knots, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Return the log of the conditional's share of cells divided by the marginal's.

    Args:
        knots: ``(..., K)``.
        a: The marginal's shares below and above where cells begin, each ``(...)``.
        b: Those where they end; the same for a point, of which this is the log-slope.
    """
    near_a, left_a, _ = shares(knots, *a)
    near_b, left_b, _ = shares(knots, *b)
    low_a, low_b = a[0] <= 0.5, b[0] <= 0.5
    own = torch.where(low_b, b[0] - a[0], torch.where(low_a, 1 - a[0] - b[1], a[1] - b[1]))
    of = torch.where(left_b, near_b - near_a, torch.where(left_a, 1 - near_a - near_b, near_a - near_b))
    size_of = torch.where(low_b, b[0], torch.where(low_a, torch.full_like(b[0], 0.5), a[1]))
    narrow = own <= 1e-7 * size_of + 1e-290
    middle = torch.where(low_b, (a[0] + b[0]) / 2, 1 - (a[1] + b[1]) / 2), torch.where(low_b, 1 - (a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    _, _, log_slope = shares(knots, *middle)
    quotient = torch.where(narrow, 1.0, of) / torch.where(narrow, 1.0, own)
    # Of a cell that is rounded away the slope is all there is.
    return torch.where(narrow | (quotient <= 0), log_slope, torch.log(torch.where(quotient > 0, quotient, 1.0)))


def inverse(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the marginal's shares below and above where the conditional's are these."""
    nearer, w, h, x0, x1, y0, y1, near, far = _bin_at(knots, below, above, knots.low, knots.high)
    part = (torch.where(nearer, below - y0, above - y1) / h).clamp(0, 1)
    theta, _ = quadratic_inverse(part, h / w, near, far)
    # In a bin the place from the one end is 1 less that from the other.
    from_low, from_high = torch.where(nearer, theta, 1 - theta), torch.where(nearer, 1 - theta, theta)
    under, over = x0 + w * from_low, x1 + w * from_high
    return _moved_back(knots, torch.where(under <= over, under, 1 - over), torch.where(under <= over, 1 - under, over))


def _moved(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return shares moved and narrowed, and the log-slope of that.

    With :math:`l` the logit of the share, of which a margin is cut off so that it is finite, the moved share is the distribution function
    of a logistic distribution of :math:`l` that is truncated to where :math:`l` can be. What is nearly a function of what is known takes
    one number to say where, and one to say how nearly; by bins alone it takes all of them. The slope at both ends is finite.
    """
    center, scale = knots.center.squeeze(-1), knots.scale.squeeze(-1)
    rest = 1 - 2 * MARGIN
    # The logit and what lies between it and both ends, each without a difference of what is nearly the same.
    from_low = torch.log1p(rest * below / MARGIN) - torch.log1p(-rest * below / (1 - MARGIN))
    from_high = torch.log1p(rest * above / MARGIN) - torch.log1p(-rest * above / (1 - MARGIN))
    logit = torch.where(below <= 0.5, from_low - END, END - from_high)
    place, low, high = (logit - center) / scale, (-END - center) / scale, (END - center) / scale
    log_whole = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))
    under = torch.exp(F.logsigmoid(place) + F.logsigmoid(-low) - log_whole) * -torch.expm1(-from_low / scale)
    over = torch.exp(F.logsigmoid(high) + F.logsigmoid(-place) - log_whole) * -torch.expm1(-from_high / scale)
    log_slope = F.logsigmoid(place) + F.logsigmoid(-place) - log_whole - torch.log(scale)
    log_slope = log_slope + torch.log(below.new_tensor(rest)) - F.logsigmoid(logit) - F.logsigmoid(-logit)
    nearer = under <= over
    return torch.where(nearer, under, 1 - over).clamp(0, 1), torch.where(nearer, 1 - under, over).clamp(0, 1), log_slope


def _moved_back(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares that are moved to these."""
    center, scale = knots.center.squeeze(-1), knots.scale.squeeze(-1)
    low, high = (-END - center) / scale, (END - center) / scale
    whole = torch.exp(F.logsigmoid(high) + F.logsigmoid(-low)) * -torch.expm1(low - high)
    place = torch.log(torch.sigmoid(low) + below * whole) - torch.log(torch.sigmoid(-high) + above * whole)
    logit = (center + scale * place).clamp(-END, END)
    under, over = ((torch.sigmoid(sign * logit) - MARGIN) / (1 - 2 * MARGIN) for sign in (1, -1))
    return under.clamp(0, 1), over.clamp(0, 1)


def _bin_at(knots: Knots, below: Tensor, above: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, ...]:
    """Return whether shares are nearer to the low end, and what there is of the bin that they are in.

    That is its width and height, what lies to its left and right, across and up, and the slopes at its nearer and at its farther end.

    Args:
        knots: ``(..., K)``.
        below: Shares below, ``(...)``.
        above: Shares above.
        left: What lies to the left of each bin, on the axis of the shares.
        right: What lies to its right.
    """
    nearer = below <= 0.5
    from_left = (below.unsqueeze(-1) >= left[..., 1:]).sum(-1)
    from_right = left.shape[-1] - 1 - (above.unsqueeze(-1) >= right[..., :-1]).sum(-1)
    index = torch.where(nearer, from_left, from_right)
    inside = _bin(index, knots.widths, knots.heights, knots.left, knots.right, knots.low, knots.high)
    first, last = _bin(index, knots.slopes[..., :-1], knots.slopes[..., 1:])
    return nearer, *inside, torch.where(nearer, first, last), torch.where(nearer, last, first)


def _bin(index: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
    """Return each table's entries at the bins ``(...)``."""
    batch = torch.broadcast_shapes(index.shape, tables[0].shape[:-1])
    at = index.expand(batch).unsqueeze(-1)
    return tuple(torch.gather(table.expand(*batch, -1), -1, at).squeeze(-1) for table in tables)
