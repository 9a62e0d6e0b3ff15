"""Grid: the values that a column of numbers can have, where they are whole steps apart, and the bounds of what lies around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pushforward.data.grids import repeats
from pushforward.data.schema.column import Column

Array = np.ndarray[Any, np.dtype[np.float64]]
FINEST = 1e-6
"""Share of a column's range that a cell of a grid has at least; of a finer one cells are not told apart, and samples rounded alone."""
SEEN = 20
"""Values that differ, from which on that all lie equally far beside a round one is no chance."""
DIGITS = 2.0**43
"""Units of the last decimal that a value may be, at most: of more digits a number of float64 is near one of them by chance."""
_MOMENTS = (86400.0, 43200.0, 21600.0, 3600.0, 1800.0, 900.0, 600.0, 300.0, 60.0, 30.0, 10.0, 1.0)
"""Steps that moments may have, in seconds."""


@dataclass(frozen=True)
class Grid:
    """Where values lie.

    Attributes:
        step: The distance of neighbours, 0 where any number may come.
        origin: One of the values.
        low: The least value, None for no bound.
        high: The largest; of a circle, where it begins again.
        circular: Whether it is a circle.
        rounding: Where there is no step, the distance of the values to which samples are rounded, 0 for none: whole numbers, or prices
            in cents, that hardly ever come again have a density, and yet no halves.
        exact: Whether values are no other format's, as moments are; others may be the numbers of float32 next to those of the grid.
    """

    step: float
    origin: float
    low: float | None
    high: float | None
    circular: bool
    rounding: float = 0.0
    exact: bool = False

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The bounds of the density: those of the outermost cells where there is a grid."""
        if not self.step:
            return self.low, self.high
        first, last = self._outermost(self.step)
        low = None if first is None else self.origin + self.step * (first - 0.5)
        return low, None if last is None else self.origin + self.step * (last + 0.5)

    def _outermost(self, step: float) -> tuple[int | None, int | None]:
        """Return the steps from the origin to the least and to the largest value of a grid."""
        first, last = (None if end is None else (end - self.origin) / step for end in (self.low, self.high))
        # Where a circle begins again there is no value more.
        whole = None if last is None else math.floor(last + 1e-6) - (self.circular and abs(last - round(last)) < 1e-6)
        return None if first is None else math.ceil(first - 1e-6), whole

    def settle(self, values: Array) -> Array:
        """Return values of the density as those that there can be: on the grid, within the bounds, on a circle in its first turn."""
        x = np.asarray(values, np.float64)
        if step := self.step or self.rounding:
            first, last = self._outermost(step)
            index = np.rint((x - self.origin) / step)
            # What lies at the very end of the outermost cell is still in it.
            index = index if first is None else np.maximum(index, first)
            index = index if last is None else np.minimum(index, last)
            x = _decimal(self.origin, index, step)
        if self.circular and self.low is not None and self.high is not None:
            return np.where(x >= self.high, x - (self.high - self.low), np.where(x < self.low, x + (self.high - self.low), x))
        x = x if self.low is None else np.maximum(x, self.low)
        return x if self.high is None else np.minimum(x, self.high)

    def wrapped(self, values: Array) -> Array:
        """Return values of a circle in the turn where the density begins; others as they are."""
        start, stop = self.ends
        if not self.circular or start is None or stop is None:
            return values
        return np.where(values >= stop, values - (stop - start), np.where(values < start, values + (stop - start), values))

    def holds(self, values: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which values are among those of the grid, and within its bounds; of a circle in any turn next to its own."""
        (low, high), x = self.ends, self.wrapped(values)
        within = (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
        return np.asarray(within & ~self.off(x), bool)

    def off(self, values: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which values lie between those of the grid; NaN and infinities do not count."""
        finite = np.isfinite(values)
        if not self.step:
            return np.zeros(len(values), bool)
        x = np.where(finite, values, self.origin)
        apart = np.abs(x - (self.origin + self.step * np.rint((x - self.origin) / self.step)))
        allowed = np.maximum(1e-6 * self.step, np.minimum(_slack(x, self.exact), self.step / 4))
        return np.asarray(finite & (apart > allowed), bool)


def find_grid(column: Column, values: Array) -> Grid:
    """Return where the values of a column lie, by its schema and the values: a step counts where all of them keep to it.

    Args:
        column: Its schema.
        values: Finite values, in seconds for moments; may be none.
    """
    low, high, circular, exact = column.low, column.high, column.kind == "circular", column.kind == "datetime"
    # Values with a probability of their own may be anywhere; of a column that has no others they are the grid's.
    apart = ~np.isin(values, [value for value, _ in column.atoms])
    values = values[apart] if apart.any() else values
    if not len(values):
        return Grid(1.0, 0.0, low, high, circular) if column.kind == "count" else Grid(0.0, 0.0, low, high, circular)
    reach = float(values.max() - values.min())
    for step, origin in _steps(column, values):
        grid = Grid(step, origin, low, high, circular, exact=exact)
        cells = (reach if high is None or low is None else high - low) / step
        whole = not circular or abs(cells - round(cells)) < 1e-6
        if whole and not grid.off(values).any():
            return grid if cells * FINEST <= 1 else Grid(0.0, origin, low, high, circular, step, exact)
    return Grid(0.0, 0.0, low, high, circular, _decimals(values, exact), exact)


def _steps(column: Column, values: Array) -> list[tuple[float, float]]:
    """Return steps that a column may have, each with a value of its grid."""
    if column.kind == "count":
        return [(1.0, 0.0)]
    if column.kind != "datetime":
        # A step is the smallest difference of two values, with their roundings; where the decimal next to it does, that is meant.
        some = dict.fromkeys([float(f"{column.step:.{digits}g}") for digits in (3, 6, 9)] + [column.step])
        return [(step, _origin(values.min(), step)) for step in some] if column.step else []
    if column.step:
        return [(column.step, 0.0)]
    found = repeats(torch.from_numpy(values))
    # Moments come again at some distance, or keep to whole days, hours, minutes or seconds: the largest that all keep to is the grid.
    least, many = float(values.min()), len(np.unique(values)) >= SEEN
    seen = [(found.step, _origin(least, found.step, exact=True))] if found.step >= _MOMENTS[-1] else []
    # Of many, each may be five minutes past the hour.
    return seen + [(step, _origin(least, step, exact=True) if many else 0.0) for step in _MOMENTS]


def _origin(least: float, step: float, exact: bool = False) -> float:
    """Return 0 where that is on the grid, else the least value."""
    apart = abs(least - step * round(least / step))
    return 0.0 if apart <= max(1e-6 * step, min(float(_slack(np.array(least), exact)), step / 4)) else float(least)


def _slack(values: Array, exact: bool) -> Array:
    """Return how far values may be from what was meant: a number of float32 is its nearest decimal to 24 bits."""
    with np.errstate(over="ignore"):
        single = np.float32(values).astype(np.float64) == values
    return np.abs(values) * np.where(single & (not exact), 2.0**-22, 2.0**-50)


def _decimals(values: Array, exact: bool) -> float:
    """Return the unit of the last decimal of numbers that are written with few, such as 0.01 of prices; 0 for others."""
    largest = max(1.0, float(np.abs(values).max()))
    for places in range(13):
        unit = 10.0**-places
        if largest > DIGITS * unit:
            break
        if bool((np.abs(values - np.rint(values * 10.0**places) / 10.0**places) <= np.minimum(_slack(values, exact), unit / 64)).all()):
            return unit
    return 1.0 if not exact and bool((values == np.rint(values)).all()) else 0.0


def _decimal(origin: float, index: Array, step: float) -> Array:
    """Return values on a grid as decimals: 3 steps of 0.1 are 0.3, and not 0.30000000000000004."""
    # What a step is off as a decimal counts as often as there are steps: a twelfth is none.
    least = 1e-7 / max(1.0, float(np.abs(index).max(initial=0.0)))
    places = next((p for p in range(13) if abs(step * 10**p - round(step * 10**p)) < min(1e-9, least) * step * 10**p), None)
    if places is None or abs(origin * 10**places - round(origin * 10**places)) > 1e-6:
        return origin + step * index
    return np.asarray(np.round(origin + round(step * 10**places) * index / 10.0**places, places), np.float64)
