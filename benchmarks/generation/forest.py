"""The density of arfpy's forest: leaves of trees, in each of them independent columns.

Source: Adversarial Random Forests for Density Estimation and Generative Modeling (Watson et al., 2023). The package fits the
forest; the density of a row is the mean over trees of what their leaves say, which it leaves to R. A leaf has the share of the rows that
are in it, a normal cut off at the leaf's bounds for each number, and shares of cases. Cases of a number (a value, each atom, a missing
cell) are a column beside it; where a row has no value, its leaves say nothing of one.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

from benchmarks.generation.cells import Array, Cells, Space, indicators
from benchmarks.generation.mixture import log_between, normal

SMALLEST = 5
"""Rows of a leaf, at least: the package's own."""
SMOOTH = 0.5
"""Rows with the shares of all leaves that are added to a leaf's."""


@dataclass
class Forest:
    """Leaves: log-weights ``(L)``, log-probabilities ``(L, all cases)``, and centers, widths and bounds ``(L, numbers)``."""

    space: Space
    weights: Array
    cases: Array
    means: Array
    widths: Array
    low: Array
    high: Array

    def log_prob(self, cells: Cells) -> Array:
        """Return the log-density of rows, ``(n)``."""
        return np.concatenate([self._scored(cells.take(slice(at, at + 100))) for at in range(0, len(cells), 100)])

    def _scored(self, cells: Cells) -> Array:
        parts = self.weights + indicators(self.space, cells) @ self.cases.T
        for at, step in enumerate(self.space.steps):
            known = ~np.isnan(cells.value[:, at])
            x = cells.value[known, at, None]
            mean, width, low, high = self.means[:, at], self.widths[:, at], self.low[:, at], self.high[:, at]
            whole = log_between((low - mean) / width, (high - mean) / width)
            with np.errstate(invalid="ignore"):
                if step:
                    a, b = (np.clip(x + side * step / 2, low, high) for side in (-1, 1))
                    found = np.where(a < b, log_between((a - mean) / width, (b - mean) / width) - np.log(step), -np.inf)
                else:
                    found = np.where((x >= low) & (x <= high), normal(x, mean, width), -np.inf)
            parts[known] += found - whole
        return np.asarray(logsumexp(np.nan_to_num(parts, nan=-np.inf), axis=1))

    def sample(self, n: int, random: np.random.Generator) -> Cells:
        """Return rows that are drawn."""
        leaf = random.choice(len(self.weights), n, p=np.exp(self.weights) / np.exp(self.weights).sum())
        case = np.zeros((n, len(self.space.cases)), int)
        at = 0
        for column, count in enumerate(self.space.cases):
            sums = np.exp(self.cases[leaf, at : at + count]).cumsum(1)
            case[:, column] = (random.random((n, 1)) * sums[:, -1:] >= sums).sum(1)
            at += count
        mean, width = self.means[leaf], self.widths[leaf]
        value = stats.truncnorm.rvs((self.low[leaf] - mean) / width, (self.high[leaf] - mean) / width, mean, width, random_state=random)
        return Cells(case, np.where(case[:, list(self.space.numbers)] == 0, value, np.nan))


def fit(space: Space, train: Cells, rounds: int, seed: int) -> Forest:
    """Return the forest's leaves, after so many rounds at most of its game."""
    random = np.random.default_rng(seed)
    table = table_of(space, train, random)
    if not hasattr(np, "in1d"):
        setattr(np, "in1d", np.isin)  # noqa: B010, the package calls it by its old name
    from arfpy import arf

    with contextlib.redirect_stdout(io.StringIO()):
        made = arf.arf(table, max_iters=rounds, min_node_size=SMALLEST, random_state=seed)
    leaves = made.clf.apply(made.x_real)
    parts = [of_tree(space, train, made.clf.estimators_[at].tree_, leaves[:, at], list(table.columns)) for at in range(leaves.shape[1])]
    joined = [np.concatenate([part[at] for part in parts]) for at in range(6)]
    return Forest(space, joined[0] - np.log(len(parts)), *joined[1:])


def table_of(space: Space, cells: Cells, random: np.random.Generator) -> pd.DataFrame:
    """Return what the forest is fitted to: cases, and numbers, of which those that are none are drawn from the others."""
    found: dict[str, Any] = {}
    for column, count in enumerate(space.cases):
        if count > 1:
            found[f"case {column}"] = pd.Categorical(cells.case[:, column], categories=range(count))
    for at in range(len(space.numbers)):
        x = cells.value[:, at].copy()
        none = np.isnan(x)
        x[none] = random.choice(x[~none], none.sum()) if not none.all() else 0.0  # of a column of cases alone
        found[f"value {at}"] = x
    return pd.DataFrame(found)


def of_tree(space: Space, train: Cells, tree: Any, leaf: Array, names: list[str]) -> tuple[Array, ...]:
    """Return what the leaves of a tree have."""
    used, own = np.unique(leaf, return_inverse=True)
    member = np.eye(len(used))[own]
    one = indicators(space, train)
    shares = one.mean(0)
    cases = np.log((member.T @ one + SMOOTH * shares + 1e-9) / (member.sum(0)[:, None] + SMOOTH))
    known = ~np.isnan(train.value)
    x = np.where(known, train.value, 0.0)
    count = np.maximum(known.sum(0), 1)
    center = x.sum(0) / count
    x = np.where(known, x - center, 0.0)
    spread = np.sqrt((x**2).sum(0) / count)
    number = member.T @ known
    # Where a leaf has no value of a number, all rows tell of it.
    means = np.where(number > 0, member.T @ x / np.maximum(number, 1), 0.0)
    widths = np.where(number > 1, np.sqrt(np.maximum(member.T @ x**2 / np.maximum(number, 1) - means**2, 0)), spread)
    widths = np.maximum(widths, np.maximum(1e-3 * spread, space.steps / np.sqrt(12)))
    widths = np.where(widths > 0, widths, 1.0)  # of a column of cases alone
    low, high = np.full((len(used), len(space.numbers)), -np.inf), np.full((len(used), len(space.numbers)), np.inf)
    places = {int(node): at for at, node in enumerate(used)}
    bounds(tree, 0, {}, places, [names.index(f"value {at}") for at in range(len(space.numbers))], low, high)
    return np.log(member.mean(0)), cases, means + center, widths, low, high


def bounds(
    tree: Any, node: int, box: dict[int, tuple[float, float]], places: dict[int, int], numbers: list[int], low: Array, high: Array
) -> None:
    """Write the bounds of numbers in each leaf that is used."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0 or node in places:
        if node in places:
            for at, feature in enumerate(numbers):
                low[places[node], at], high[places[node], at] = box.get(feature, (-np.inf, np.inf))
        return
    feature, cut = int(tree.feature[node]), float(tree.threshold[node])
    a, b = box.get(feature, (-np.inf, np.inf))
    if left == right:  # a child that had too few rows was pruned, and its place taken by the other
        bounds(tree, left, box, places, numbers, low, high)
        return
    bounds(tree, left, {**box, feature: (a, min(b, cut))}, places, numbers, low, high)
    bounds(tree, right, {**box, feature: (max(a, cut), b)}, places, numbers, low, high)
