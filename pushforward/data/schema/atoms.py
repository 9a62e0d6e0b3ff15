"""Atoms: values of a column of numbers that have a probability of their own, by counts; the others are what the density is of."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
import torch

from pushforward.data.grids import ATOM, ATOMS, LEAST, SPIKE, repeats
from pushforward.data.schema.column import Column
from pushforward.data.schema.grid import find_grid

Array = np.ndarray[Any, np.dtype[Any]]
Atoms = tuple[tuple[float, float], ...]
MANY = 64
"""Values that differ, up to which all of a column may be atoms."""
AGAIN = 3
"""How often a value comes at least of which nothing beside it on its grid is no chance: once in 400 times of a smooth column."""
OFTEN, ONCE = 3, 0.1
"""Rows for each value that differs, at least, and share of the rows whose value comes once, at most, where values are all there are."""
SOME, FILLED = 10, 0.25
"""Values that differ, at most, all of which are atoms where each comes again and they fill so little of the grid between them."""
TIMES = 5
"""How many times as often as the values beside it on a grid lead to expect an atom comes."""
SPARE = 2
"""Rows that are added to those beside a value, of which there may be few by chance."""
BESIDE = 3
"""Steps to each side, within which the values beside it are."""
GROUP, ROUNDS = 3, 3
"""Marks for missing values that stand together, at most, and how often what is left is looked at again."""
_CODE = re.compile(r"-1|-[789]+|9{2,}")
"""Numbers that people write for a missing value."""


class Found(NamedTuple):
    """What there is in a column.

    Attributes:
        rest: Its values but for those of `far`.
        step: Of the grid on which they seem to lie, 0 for none.
        atoms: Values with a probability of their own, with their shares, in their order.
        far: Those of them that are far from all others, as those are that mean a missing one.
    """

    rest: Array
    step: float
    atoms: Atoms
    far: tuple[float, ...]


def find_atoms(values: Array) -> Found:
    """Return what values of a column have a probability of their own.

    - Those that come several times and are further from all others than these from one another, or are a code for a missing value, such as
      -1 or 999, beyond a gap where as many rows would have to be: the density ends without them.
    - All, where few values differ and most of them are alone on their grid although they come again, or fill little of it, or are on none.
    - On a grid those that come several times as often as the values on either side lead to expect.
    - On no grid those that come far more often than others.

    Args:
        values: ``(n)`` finite numbers, at least one.

    >>> find_atoms(np.array([0.05, 0.1, 0.5, 2.0] * 10)).atoms
    ((0.05, 0.25), (0.1, 0.25), (0.5, 0.25), (2.0, 0.25))
    >>> find_atoms(np.array([*range(20, 90), -999, -999, -999])).far
    (-999.0,)
    """
    x = np.asarray(values, np.float64)
    distinct, counts = np.unique(x, return_counts=True)
    far = _far(distinct, counts)
    # Where all are atoms, how far they are from one another says nothing, but codes are codes.
    codes = tuple(value for value in far if _CODE.fullmatch(f"{value:g}"))
    others = ~np.isin(distinct, codes)
    places = _places(x[~np.isin(x, codes)], distinct[others], counts[others])
    if _all_atoms(places.places, counts[others]):
        far, chosen, step = codes, counts >= min(AGAIN - 1, int(counts.max())), 0.0
    else:
        others = ~np.isin(distinct, far)
        places = _places(x[~np.isin(x, far)], distinct[others], counts[others]) if far != codes else places
        chosen, step = ~others, places.step
        chosen[others] = _standing_out(places.places, counts[others]) if places.places is not None else places.frequent
    shares = zip(distinct[chosen].tolist(), (counts[chosen] / len(x)).tolist(), strict=True)
    return Found(x[~np.isin(x, far)], step, tuple(shares), far)


class _Places(NamedTuple):
    """Where values that differ are on a grid, None for no grid, the step there seems to be, and which are frequent where there is none."""

    places: Array | None
    step: float
    frequent: Array


def _places(values: Array, distinct: Array, counts: Array) -> _Places:
    found = repeats(torch.from_numpy(values))
    frequent = np.isin(distinct, [value for value, _ in found.atoms])
    # However far the largest of a heavy tail are: where most rows share their value and all are on steps, these are a grid.
    step = found.step or (float(np.diff(distinct).min()) if len(distinct) > 1 and 2 * int((counts == 1).sum()) <= len(values) else 0.0)
    grid = find_grid(Column("", "real", step=step), distinct) if step else None
    if grid is None or not grid.step:
        return _Places(None, found.step, frequent)
    return _Places(np.rint((distinct - grid.origin) / grid.step), step, frequent)


def _all_atoms(index: Array | None, counts: Array) -> bool:
    """Tell whether the values that are there are all that there are, by their places on a grid, None for no grid, and their counts."""
    rows = int(counts.sum())
    if not 1 < len(counts) <= MANY:
        return False
    if index is None:
        return rows >= OFTEN * len(counts) and int((counts == 1).sum()) <= ONCE * rows
    # Doses of .05, .1, .5 and 2 are all on one grid, and two of them beside one another.
    if len(counts) <= SOME and int(counts.min()) >= AGAIN and len(counts) <= FILLED * (index[-1] - index[0] + 1):
        return True
    apart = np.diff(index) > 1
    alone = np.append(True, apart) & np.append(apart, True) & (counts >= AGAIN)
    # One that half of the rows have is an atom, and says nothing of the others.
    return 2 * int(counts[alone].sum()) >= rows and 2 * int(alone.sum()) >= len(counts)


def _standing_out(index: Array, counts: Array) -> Array:
    """Tell which values on a grid stand out from those beside them.

    What the values on a side lead to expect is what goes on as the two next to it do, :math:`n_1^2 / n_2`, of two sides the geometric
    mean, so that a peak, the first value of a falling column and what rounding has left of a narrow one are none; and not less than the
    mean of those near by.
    """
    rows, chosen = int(counts.sum()), np.zeros(len(counts), bool)
    if len(counts) <= ATOMS:
        return chosen
    least = max(min(LEAST, ATOM * rows), SPIKE * rows)
    place = {int(at): int(count) for at, count in zip(index, counts, strict=True)}
    for at in np.argsort(-counts, kind="stable")[:ATOMS]:
        here = int(index[at])
        near = [place.get(here + side * apart, 0) for side in (-1, 1) for apart in range(1, BESIDE + 1)]
        left, right = ((near[first] + SPARE) ** 2 / (near[first + 1] + 1) for first in (0, BESIDE))
        sides = math.sqrt(left * right) if near[0] and near[BESIDE] else max(left, right)
        chosen[at] = counts[at] >= max(least, TIMES * max(sides, sum(near) / len(near)))
    return chosen


def _far(distinct: Array, counts: Array) -> tuple[float, ...]:
    """Return the values at both ends that are far from all others, or codes beyond a gap; most rows have others."""
    rows = int(counts.sum())
    found: list[tuple[float, int]] = []
    for _ in range(ROUNDS):
        low, high = next(
            ((low, high) for size in range(1, 2 * GROUP) for low in range(size + 1) if _apart(distinct, counts, low, high := size - low)),
            (0, 0),
        )
        ends = np.r_[0:low, len(distinct) - high : len(distinct)].astype(int)
        if not len(ends) or 2 * (sum(count for _, count in found) + int(counts[ends].sum())) > rows:
            break
        found += zip(distinct[ends].tolist(), counts[ends].tolist(), strict=True)
        distinct, counts = np.delete(distinct, ends), np.delete(counts, ends)
    return tuple(sorted(value for value, _ in found))


def _apart(distinct: Array, counts: Array, low: int, high: int) -> bool:
    """Tell whether so many values at the low and at the high end stand apart from all others."""
    if max(low, high) > GROUP or len(distinct) < low + high + GROUP:
        return False
    last = len(distinct) - high
    rest, width = distinct[low:last], distinct[last - 1] - distinct[low]
    if low and not _end(distinct[:low], counts[:low], rest, counts[low:last], width):
        return False
    # The other end is the same in a mirror.
    ends = distinct[last:], counts[last:], rest[::-1], counts[low:last][::-1]
    return not high or _end(*ends, width)


def _end(marks: Array, often: Array, rest: Array, counts: Array, width: float) -> bool:
    gap = min(abs(rest[0] - mark) for mark in marks)
    if int(often.min()) < AGAIN:
        return False
    if gap > width:
        return True
    if len(marks) > 1 or not _CODE.fullmatch(f"{marks[0]:g}") or (marks[0] < 0 and rest[0] < 0):
        return False
    # As many rows as the mark has, beside the gap, lie nearer together than it is wide, and one step is no gap.
    nearest = rest[min(int(np.searchsorted(np.cumsum(counts), often[0])), len(rest) - 1)]
    return bool(gap > AGAIN * abs(nearest - rest[0]) and gap > 1.5 * np.abs(np.diff(rest)).min())
