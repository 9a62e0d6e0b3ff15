"""A latent class model: of each class independent probabilities of cases and normals of numbers, by expectation maximisation.

Source: Finite Mixture Models (McLachlan, Peel, 2000), for mixed data.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, logsumexp

from benchmarks.generation.cells import Array, Cells, Space, indicators

COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Of classes that are tried."""
ROUNDS = 200
PRIOR = 0.5
"""Rows of all classes together that are added to those of a class."""
ALONE = 0.01
"""Share of independent columns beside any of the densities here, without which rows that are far off have none."""


@dataclass
class Mixture:
    """Log-weights ``(K)``, log-probabilities ``(K, all cases)``, centers and widths ``(K, numbers)`` on a scale of each number."""

    space: Space
    shifts: Array
    weights: Array
    cases: Array
    means: Array
    widths: Array

    def log_prob(self, cells: Cells) -> Array:
        """Return the log-density of rows, ``(n)``."""
        parts = self.weights + indicators(self.space, cells) @ self.cases.T
        for at, step in enumerate(self.space.steps):
            known = ~np.isnan(cells.value[:, at])
            x = cells.value[known, at, None]
            mean, width = self.means[:, at], self.widths[:, at]
            if step:
                low, high = ((scaled(x + side * step / 2, self.shifts[at]) - mean) / width for side in (-1, 1))
                parts[known, :] += log_between(low, high) - np.log(step)
            else:
                parts[known, :] += normal(scaled(x, self.shifts[at]), mean, width) + log_slope(x, self.shifts[at])
        return np.asarray(logsumexp(parts, axis=1))


def scaled(x: Array, shift: float) -> Array:
    """Return numbers on a scale that is logarithmic from a shift on, or theirs where that is NaN."""
    return x if np.isnan(shift) else np.log(np.maximum(x + shift, 1e-12))


def log_slope(x: Array, shift: float) -> Array:
    return np.zeros_like(x) if np.isnan(shift) else -np.log(np.maximum(x + shift, 1e-12))


def normal(x: Array, mean: Array, width: Array) -> Array:
    return -0.5 * ((x - mean) / width) ** 2 - np.log(width) - 0.5 * np.log(2 * np.pi)


def log_between(low: Array, high: Array) -> Array:
    """Return the log of a standard normal's probability between two places, from the nearer tail."""
    swap = low > 0
    low, high = np.where(swap, -high, low), np.where(swap, -low, high)
    top, bottom = log_ndtr(high), log_ndtr(low)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log1p(-np.exp(np.minimum(bottom - top, 0))))


def shift_of(x: Array, step: float) -> float:
    """Return from where on a scale is logarithmic, or NaN where numbers are nearer to a normal as they are."""
    least, size = x.min(), x.std()
    shift = float(max(step, 0.05 * size) - least if least - step / 2 <= 0 else 0.0)
    found = [(normal(y := scaled(x, at), y.mean(), max(y.std(), 1e-12)) + log_slope(x, at)).mean() for at in (np.nan, shift)]
    return shift if found[1] > found[0] else np.nan


def fit(space: Space, train: Cells, seconds: float, seed: int) -> Mixture:
    """Return the mixture that is best on a tenth of the rows, which is not fitted to; none is begun after so many seconds of CPU time."""
    began = time.process_time()
    random = np.random.default_rng(seed)
    order = random.permutation(len(train))
    held, kept = train.take(order[: len(order) // 10]), train.take(order[len(order) // 10 :])
    best, score = None, -np.inf
    for count in COUNTS:
        if count > len(kept) // 10 or (best is not None and time.process_time() - began > seconds):
            break
        made = maximised(space, kept, count, random)
        found = np.mean(np.maximum(made.log_prob(held), -1e3))
        if found > score:
            best, score = made, found
    assert best is not None
    return maximised(space, train, len(best.weights), random)


def maximised(space: Space, train: Cells, count: int, random: np.random.Generator) -> Mixture:
    """Return a mixture of so many classes."""
    known = ~np.isnan(train.value)
    values = [train.value[known[:, at], at] for at in range(len(space.steps))]
    shifts = np.array([shift_of(x, step) if len(x) > 2 else np.nan for x, step in zip(values, space.steps, strict=True)])
    x = np.zeros_like(train.value)
    floor = np.ones(len(shifts))
    for at, step in enumerate(space.steps):
        own = scaled(train.value[known[:, at], at], shifts[at])
        x[known[:, at], at] = own
        slope = np.exp(log_slope(values[at], shifts[at])).mean() if len(own) else 1.0
        floor[at] = max(1e-3 * own.std() if len(own) > 1 else 1.0, step * slope / np.sqrt(12), 1e-9)
    total = np.maximum(known.sum(0), 1)
    middle = x.sum(0) / total
    spread = np.maximum(np.sqrt((known * (x - middle) ** 2).sum(0) / total), floor)
    z = known * (x - middle) / spread
    least = floor / spread
    one = indicators(space, train)
    shares = (one.sum(0) + 0.5) / (len(one) + 0.5)
    starts = random.choice(len(train), count, replace=False)
    # Classes begin as the rows that are nearest to one that is drawn.
    points = np.concatenate([z, one], 1)
    apart = (points**2).sum(1)[:, None] - 2 * points @ points[starts].T + (points[starts] ** 2).sum(1)
    own = np.eye(count)[apart.argmin(1)]
    last = -np.inf
    for _ in range(ROUNDS):
        number = own.sum(0)
        weights = np.log((number + PRIOR) / (number + PRIOR).sum())
        cases = np.log((own.T @ one + PRIOR * shares) / (number + PRIOR)[:, None])
        there = own.T @ known + PRIOR
        means = own.T @ z / there
        widths = np.sqrt(np.maximum((own.T @ z**2 + PRIOR) / there - means**2, least**2))
        parts = weights + one @ cases.T
        parts += z**2 @ (-0.5 / widths**2).T + z @ (means / widths**2).T - known @ (0.5 * (means / widths) ** 2 + np.log(widths)).T
        sums = logsumexp(parts, axis=1)
        own = np.exp(parts - sums[:, None])
        if sums.mean() - last < 1e-5:
            break
        last = sums.mean()
    # Cases are normalised a column, since all of their counts have the same rows.
    at = 0
    for size in space.cases:
        cases[:, at : at + size] -= logsumexp(cases[:, at : at + size], axis=1, keepdims=True)
        at += size
    return Mixture(space, shifts, weights, cases, middle + spread * means, spread * widths)
