"""Noise: rows whose numbers were measured with errors of their own, scored by the density of what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from pushforward.data.schema.coding import OUTSIDE
from pushforward.tables.asking import place_of
from pushforward.tables.chain import score_rows
from pushforward.tables.integral import BLOCK, REPEATS, log_mean

if TYPE_CHECKING:
    from pushforward.tables.model import Model

_SEED = 77_003
_END = 2.0**-40


def score_noisy(
    model: Model, coded: Tensor, order: Sequence[int], given: Sequence[int], noise: Tensor, draws: int
) -> tuple[Tensor, Tensor]:
    r"""Return the log-densities ``(n)`` of measured rows, and their standard errors.

    A value that was measured with a normal error :math:`\epsilon` has the density

    .. math:: \tilde p(y) = \int p(x)\, N(y; x, \sigma^2)\, dx = E_\epsilon\, p(y - \epsilon),

    of which the mean over draws is an estimate without bias. The draws are scrambled Sobol points, the same for all rows.
    Source: pzflow (Crenshaw et al., 2024, Probabilistic Forward Modeling of Galaxy Catalogs with Normalizing Flows).

    Args:
        model: The model.
        coded: ``(n, columns)``.
        order: The columns that are asked about.
        given: Columns that are given.
        noise: Standard deviations ``(n, columns)``, 0 for what is exact.
        draws: How many.
    """
    noisy = [index for index in order if bool((noise[:, index] > 0).any())]
    count = max(1, -(-draws // REPEATS))
    sets = [SobolEngine(max(1, len(noisy)), scramble=True, seed=_SEED + at).draw(count, dtype=torch.float64) for at in range(REPEATS)]
    z = torch.special.ndtri(torch.cat(sets).clamp(_END, 1 - _END)).to(coded.device)[:, : len(noisy)]
    found, errors = [], []
    for rows, wide in zip(coded.split(max(1, BLOCK // len(z))), noise.split(max(1, BLOCK // len(z))), strict=True):
        many = rows.repeat_interleave(len(z), 0)
        for at, index in enumerate(noisy):
            moved = rows[:, index, None] + wide[:, index, None] * z[:, at]
            many[:, index] = _inside(model, index, moved.flatten())
        logs = score_rows(model, many, order, given).logs.sum(1).reshape(len(rows), len(z))
        mean, error = log_mean(logs)
        found.append(mean)
        errors.append(error)
    return torch.cat(found), torch.cat(errors)


def _inside(model: Model, index: int, x: Tensor) -> Tensor:
    """Return values of a column on its circle; those beyond its bounds cannot be."""
    column = model.variables[index].column
    if column.period is not None and column.low is not None:
        return column.low + torch.remainder(x - column.low, column.period)
    low, high = (math.inf * side if end is None else end for side, end in ((-1, column.low), (1, column.high)))
    return torch.where((x < low) | (x > high), OUTSIDE, x)


def deviations_of(model: Model, noise: Mapping[str, Any], coded: Tensor, asked: Sequence[int]) -> Tensor:
    """Return the standard deviations of measured columns ``(n, columns)``, 0 for what is exact."""
    found = torch.zeros_like(coded)
    for name, told in noise.items():
        place = place_of([one.column.name for one in model.variables], "log_prob_and_error", name)
        variable, grid = model.variables[place], model.grid_of(model.variables[place])
        if place not in asked or grid is None or grid.step or variable.atoms or variable.column.kind == "datetime":
            raise ValueError(
                f"TableFlow.log_prob_and_error: expected noise of columns that are asked about and have a density, without a step and "
                f"atoms, got {name!r}, which is {variable.column.told()}"
            )
        size = torch.as_tensor(np.array(told, np.float64), device=coded.device)
        if size.shape not in ((), (len(coded),)):
            raise ValueError(
                f"TableFlow.log_prob_and_error: expected noise of {name!r} as a number or ({len(coded)},), got {tuple(size.shape)}"
            )
        size = torch.where(torch.isnan(coded[:, place]), 0.0, size)
        if not bool((torch.isfinite(size) & (size >= 0)).all()):
            row = int((~(torch.isfinite(size) & (size >= 0))).nonzero()[0])
            raise ValueError(
                f"TableFlow.log_prob_and_error: expected noise of at least 0, got {float(size[row]):g} of {name!r} in row {row}"
            )
        found[:, place] = size
    return found
