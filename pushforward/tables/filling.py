"""Filling: cells that are missing, or known between two values alone, drawn from what they can be given the others of their row."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.tables.chain import check_generator, draw_chain
from pushforward.tables.integral import BLOCK
from pushforward.tables.restricted import draw_between

if TYPE_CHECKING:
    from pushforward.tables.model import Model

AMONG = 64
"""Draws of which one is chosen for a row with several cells between two values that is filled."""


def filled(model: Model, coded: Tensor, bounds: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Return coded rows ``(n, columns)`` with a value in each cell; those between ``bounds (n, columns, 2)`` come before missing ones."""
    check_generator(generator)
    known = ~torch.isnan(coded)
    rows = coded
    if bounds is not None:
        rows, sizes = _between(model, coded, bounds, known, generator)
        _warn_of(sizes)
        known = known | ~torch.isnan(bounds[:, :, 0])
    return draw_chain(model, rows, known, range(coded.shape[1]), generator, missing=False)


def _between(model: Model, coded: Tensor, bounds: Tensor, known: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return coded rows in which each cell between two values is drawn given those known ``(n, columns)``, and effective sample sizes.

    Of a row with several one of `AMONG` draws is chosen by its weight; the size is that of these draws, and `AMONG` for other rows.
    """
    where = generator.device if generator is not None else coded.device
    rows, wide = coded.clone(), ~torch.isnan(bounds[:, :, 0])
    sizes = torch.full((len(coded),), float(AMONG), dtype=torch.float64, device=coded.device)
    both = torch.cat([wide, known], 1)
    for pattern in both[wide.any(1)].unique(dim=0):
        between, given = (part.nonzero().squeeze(-1).tolist() for part in pattern.chunk(2))
        count = 1 if len(between) == 1 else AMONG
        for part in (both == pattern).all(1).nonzero().squeeze(-1).split(max(1, BLOCK // count)):
            points = torch.rand(len(part), count, 2 * len(between), dtype=torch.float64, generator=generator, device=where)
            drawn = draw_between(model, coded[part], bounds[part], given, between, points)
            chosen = torch.multinomial(drawn.weights.to(where), 1, generator=generator).to(coded.device)
            rows[part] = drawn.rows.unflatten(0, (len(part), count)).gather(1, chosen.unsqueeze(2).expand(-1, -1, rows.shape[1])).squeeze(1)
            if count > 1:
                sizes[part] = drawn.effective
    return rows, sizes


def _warn_of(sizes: Tensor) -> None:
    """Warn of rows in which few draws have most of the weight."""
    if len(few := (sizes < AMONG / 8).nonzero().squeeze(-1)):
        warnings.warn(
            f"TableFlow.impute: in {len(few)} rows with several cells between two values the draws count for fewer than {AMONG // 8} of "
            f"{AMONG} with equal weights, at least {float(sizes.min()):.1f}: what is drawn there is further from exact",
            stacklevel=4,
        )
