"""Regions that hold a given share of the mass, from rows or from a density on a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pushforward.plots.rows import Array

SHARES = (0.9, 0.7, 0.5, 0.25)
"""Shares of the rows inside the regions of a pair plot, from the outermost inwards."""


def heights(mass: Array, shares: Sequence[float], total: float = 1.0) -> list[float]:
    """Return the heights at which to cut cells so that those above hold each share of ``total``; increasing, without repeats.

    A share that the cells together do not hold has no height.
    """
    ordered = np.sort(mass, axis=None)[::-1]
    held = np.cumsum(ordered)
    found = {float(ordered[np.searchsorted(held, share * total)]) for share in shares if share * total < held[-1]}
    return sorted(height for height in found if 0 < height < ordered[0])


def smooth(rows: Array, edges: Sequence[Array], widths: Sequence[float]) -> Array:
    """Return the rows' share in each cell of a grid ``(len(x) - 1, len(y) - 1)``, smoothed by a normal of given widths (in cells)."""
    counts = np.histogram2d(rows[:, 0], rows[:, 1], bins=[np.asarray(e) for e in edges])[0] / len(rows)
    for axis, width in enumerate(widths):
        reach = max(int(np.ceil(4 * width)), 1)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        kernel /= kernel.sum()
        counts = np.apply_along_axis(lambda line, k: np.convolve(line, k)[reach:-reach], axis, counts, kernel)  # noqa: B023
    return np.asarray(counts, dtype=np.float64)


def bandwidth(values: Array, cell: float, rows: int) -> float:
    """Return the width, in cells, of the smoothing for one column of which there are so many rows."""
    # Less than Scott's rule, since his is for a normal and blurs rings and sharp edges; the spread is that of the middle half.
    low, high = np.quantile(values, [0.25, 0.75])
    return float(np.clip(0.65 * (high - low) / 1.35 * rows ** (-1 / 6) / cell, 0.6, 4.0))
