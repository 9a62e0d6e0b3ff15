"""Spreading: rows of which a value is known between two others alone count where values are, as these themselves say how often."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.schema.column import Column
from pushforward.data.schema.grid import find_grid

Array = np.ndarray[Any, np.dtype[np.float64]]
ROUNDS = 100
"""Steps of expectation maximisation."""


def spread(column: Column, values: Tensor, weights: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and weights of a column in which the weight of each interval stands at the values that lie in it.

    An interval's weight is shared out in proportion to the weights that these values have then, until both agree: the nonparametric
    maximum likelihood of the values seen. An interval in which there is none has one of its own: its middle, or beyond its one end the
    standard deviation of the column.
    Source: The Empirical Distribution Function with Arbitrarily Grouped, Censored and Truncated Data (Turnbull, 1976).

    Args:
        column: What the column is.
        values: ``(n)``, coded, NaN for an interval.
        weights: ``(n)``.
        bounds: ``(n, 2)``, NaN but for intervals.

    >>> nothing = [torch.nan, torch.nan]
    >>> x, bounds = torch.tensor([1.0, 3, torch.nan]), torch.tensor([nothing, nothing, [2, 9]])
    >>> x, w = spread(Column("t", "positive", low=0), x, torch.ones(3), bounds)
    >>> x.tolist(), w.tolist()
    ([1.0, 3.0], [1.0, 2.0])
    """
    wide = ~torch.isnan(bounds[:, 0])
    if not bool(wide.any()):
        return values, weights
    x, w = values[~wide].cpu().numpy(), weights[~wide].double().cpu().numpy()
    ends, mass = bounds[wide].cpu().numpy(), weights[wide].double().cpu().numpy()
    finite = np.isfinite(x)
    points = np.unique(x[finite])
    points = np.unique(np.append(points, _own(column, points, ends)))
    seen = np.bincount(np.searchsorted(points, x[finite]), w[finite], len(points))
    first, last = np.searchsorted(points, ends[:, 0]), np.searchsorted(points, ends[:, 1], side="right")
    total = seen + mass.sum() / len(points)
    for _ in range(ROUNDS):
        sums = np.append(0.0, np.cumsum(total))
        share = mass / np.maximum(sums[last] - sums[first], 1e-300)
        change = np.bincount(first, share, len(points) + 1) - np.bincount(last, share, len(points) + 1)
        total = seen + total * np.maximum(np.cumsum(change)[:-1], 0.0)
    kept = total > 1e-9 * total.sum()
    made = np.concatenate([x[~finite], points[kept]]), np.concatenate([w[~finite], total[kept]])
    return torch.from_numpy(made[0]).to(values.device), torch.from_numpy(made[1]).to(values.device)


def _own(column: Column, points: Array, ends: Array) -> Array:
    """Return a value for each interval in which there is no point."""
    empty = ends[np.searchsorted(points, ends[:, 0]) == np.searchsorted(points, ends[:, 1], side="right")]
    some = points if len(points) > 1 else np.append(points, ends[np.isfinite(ends)])
    scale = float(np.std(some)) or 1.0
    low, high = (
        np.where(np.isfinite(side), side, other)
        for side, other in ((empty[:, 0], empty[:, 1] - 2 * scale), (empty[:, 1], empty[:, 0] + 2 * scale))
    )
    middle = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, 0.0)
    grid = find_grid(column, some)
    settled = grid.settle(middle)
    return np.asarray(np.where((settled >= empty[:, 0]) & (settled <= empty[:, 1]), settled, middle), np.float64)
