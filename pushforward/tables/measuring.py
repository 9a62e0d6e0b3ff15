"""Measuring a chart: knots at quantiles or at the edges of a grid's cells, densities between them, and tails from what lies beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pushforward.data.schema.grid import Grid
from pushforward.tables.chart import BINS, Chart

Array = np.ndarray[Any, np.dtype[np.float64]]
LEAST = 4
"""Bins of a chart, at least, where there are values for them."""
HEAVIEST = 0.9
"""The largest shape of a tail: from 1 on it would have no mean."""
THIN = 1e-3
"""The least shape of a tail, which is an exponential for all that can be seen."""
RATIO = 4.0
"""How many times as dense as its bin a chart is at a bound, at most, and how few."""


def measure_chart(chart: Chart, grid: Grid, values: Array, weights: Array | None = None) -> None:
    """Measure a chart from values of the density, each with a weight.

    Args:
        chart: What is measured, in place.
        grid: Where the values lie, and their bounds.
        values: ``(n)``, finite, within the bounds; of none, or of one alone, the chart is wide and vague.
        weights: ``(n)``, positive.
    """
    x = grid.wrapped(np.asarray(values, np.float64))
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    number = float(w.sum() ** 2 / np.square(w).sum()) if len(x) else 0.0
    wanted = int(np.clip(round(2 * number ** (1 / 3)), LEAST, BINS - 5))
    low, high = grid.ends
    if not len(x) or (x[0] == x[-1] and not grid.step):
        knots, shares = _vague(float(x[0]) if len(x) else None, low, high)
    elif grid.step:
        knots, shares = _at_edges(grid, x, w / w.sum(), min(wanted, (BINS - 4) // 2), number)
    else:
        knots, shares = _at_quantiles(x, w, wanted)
        knots, shares = _with_extremes(knots, shares, x, 0.5 / (1 + number), grid)
    inside = (knots > (-np.inf if low is None else low)) & (knots < (np.inf if high is None else high))
    knots, shares = knots[inside], shares[inside]
    if low is not None:
        knots, shares = np.append(low, knots), np.append(0.0, shares)
    if high is not None:
        knots, shares = np.append(knots, high), np.append(shares, 1.0)
    masses = np.diff(shares)
    masses = np.maximum(masses, 0.1 * min(1.0, 1 / (1 + number)) / len(masses))
    ends = np.array([shares[0], 1 - shares[-1]])
    total = masses.sum() + ends.sum()
    masses, ends = masses / total, ends / total
    tails = np.stack([_tail(grid, knots, masses, ends[side], x, w, side) for side in (0, 1)])
    densities = _densities(masses / np.diff(knots), tails, grid.circular)
    chart.set(*(torch.from_numpy(np.ascontiguousarray(part)) for part in (knots, masses, densities, tails)))


def _vague(at: float | None, low: float | None, high: float | None) -> tuple[Array, Array]:
    """Return knots of a wide distribution around a value, or around 0."""
    shares = np.linspace(0, 1, LEAST + 3)[1:-1]
    if low is not None and high is not None:
        return low + (high - low) * shares, shares
    near = low if low is not None else high if high is not None else 0.0
    at = near if at is None else at
    scale = max(1.0, abs(at - near) if low is not None or high is not None else 0.1 * abs(at))
    if low is not None:
        return low - scale * np.log1p(-shares), shares
    if high is not None:
        return high + scale * np.log(shares), shares
    return at + scale * np.log(shares / (1 - shares)), shares


def _at_quantiles(x: Array, w: Array, wanted: int) -> tuple[Array, Array]:
    """Return knots at quantiles, finer by the ends, with the shares below them."""
    # Values that come again are one place with their weights together.
    distinct, first = np.unique(x, return_index=True)
    heavy = np.add.reduceat(w, first)
    middle = (np.cumsum(heavy) - heavy / 2) / heavy.sum()
    inner = np.arange(1, wanted) / wanted
    shares = np.concatenate([inner[:1] / 4, inner, 1 - inner[:1] / 4])
    shares = shares[(shares > middle[0]) & (shares < middle[-1])]
    if not len(shares):
        return np.array([distinct[0], distinct[-1]]), np.array([0.25, 0.75])
    knots = np.interp(shares, middle, distinct)
    least = 1e-9 * (distinct[-1] - distinct[0]) + 8 * np.finfo(np.float64).eps * np.abs(knots)
    kept = np.append(True, np.diff(knots) > least[1:])
    knots, shares = knots[kept], shares[kept]
    return (knots, shares) if len(knots) > 1 else (np.array([distinct[0], distinct[-1]]), np.array([0.25, 0.75]))


def _with_extremes(knots: Array, shares: Array, x: Array, share: float, grid: Grid) -> tuple[Array, Array]:
    """Return the knots with one at the least and the largest value, where a bound is further away: there is less than a row beyond."""
    if grid.circular:
        return knots, shares
    if grid.low is not None and grid.low < x[0] < knots[0] and share < shares[0]:
        knots, shares = np.append(x[0], knots), np.append(share, shares)
    if grid.high is not None and grid.high > x[-1] > knots[-1] and share < 1 - shares[-1]:
        knots, shares = np.append(knots, x[-1]), np.append(shares, 1 - share)
    return knots, shares


def _at_edges(grid: Grid, x: Array, w: Array, wanted: int, number: float) -> tuple[Array, Array]:
    """Return knots at edges of cells with the shares below them: around each heavy value, and else at quantiles."""
    index, place = np.unique(np.rint((x - grid.origin) / grid.step), return_inverse=True)
    heavy = np.bincount(place.reshape(-1), w)
    sums = np.cumsum(heavy)
    few = len(index) <= max(wanted // 2, LEAST)
    edges: dict[float, float] = {}
    for at, mass, total in zip(index, heavy, sums, strict=True):
        crosses = np.floor(total * wanted - 1e-9) > np.floor((total - mass) * wanted - 1e-9)
        if few or mass >= 1 / wanted:
            edges.setdefault(at - 0.5, total - mass)
            edges[at + 0.5] = total
        elif crosses:
            edges[at + 0.5] = total
    edges.setdefault(index[0] - 0.5, 0.0)
    low, high = grid.ends
    least = 0.5 / (1 + number)
    # Beyond the outermost values seen there is as much as half a row.
    found = {at: min(max(share, least if low is None or at > _index(grid, low) else 0.0), 1.0) for at, share in edges.items()}
    found = {at: (min(share, 1 - least) if high is None or at < _index(grid, high) else share) for at, share in found.items()}
    if len(found) == 1:
        only = next(iter(found))
        found = {only: least, only + 1: 1 - least}
    places = np.array(sorted(found))
    return grid.origin + grid.step * places, np.array([found[at] for at in places])


def _index(grid: Grid, x: float) -> float:
    return (x - grid.origin) / grid.step + 1e-6


def _tail(grid: Grid, knots: Array, masses: Array, mass: float, x: Array, w: Array, side: int) -> Array:
    """Return mass, scale and shape of a tail, from the excess of what lies beyond the last knot."""
    if mass <= 0:
        return np.array([0.0, 1.0, THIN])
    excess = knots[0] - x if side == 0 else x - knots[-1]
    # The nearest bin says how far values are apart where none lies beyond.
    density = masses[0 if side == 0 else -1] / np.diff(knots)[0 if side == 0 else -1]
    some, heavy = excess[excess > 0], w[excess > 0]
    if len(some) < 5:
        scale = mass / density if not grid.step else max(grid.step, float(np.average(some, weights=heavy)) if len(some) else 0.0)
        return np.array([mass, scale, THIN])
    # Probability-weighted moments (Hosking, Wallis, 1987), of the shape as far as it is heavy.
    order = np.argsort(some)
    some, heavy = some[order], heavy[order] / heavy.sum()
    above = 1 - (np.cumsum(heavy) - heavy / 2)
    mean, moment = float((heavy * some).sum()), float((heavy * above * some).sum())
    shape = float(np.clip(2 - mean / max(mean - 2 * moment, 1e-12 * mean), THIN, HEAVIEST))
    return np.array([mass, max(mean * (1 - shape), 1e-12 * (knots[-1] - knots[0])), shape])


def _densities(slopes: Array, tails: Array, circular: bool) -> Array:
    """Return densities at the knots: between two bins their geometric mean, at a tail the tail's, at a bound as the bins go on."""
    inner = np.sqrt(slopes[:-1] * slopes[1:])
    if circular:
        seam = [np.sqrt(slopes[0] * slopes[-1])]
        return np.concatenate([seam, inner, seam])
    ends = []
    for side, (own, beside) in enumerate(((slopes[0], slopes[min(1, len(slopes) - 1)]), (slopes[-1], slopes[max(-2, -len(slopes))]))):
        mass, scale, _ = tails[side]
        ends.append(mass / scale if mass > 0 else own * np.clip(np.sqrt(own / beside), 1 / RATIO, RATIO))
    return np.concatenate([ends[:1], inner, ends[1:]])
