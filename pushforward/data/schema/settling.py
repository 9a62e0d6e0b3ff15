"""Settling: numbers that a density gave become values that a column can have."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushforward.data.schema.column import DISCRETE, Column
from pushforward.data.schema.grid import Grid

Array = np.ndarray[Any, np.dtype[np.float64]]


def settled(column: Column, values: Array) -> Array:
    """Return for each number the nearest value that a column can have; of an angle the same one within the circle.

    Raises:
        ValueError: The column is none of numbers.

    >>> settled(Column("humidity", "interval", low=0, high=100, step=0.5, origin=0), np.array([-3.0, 40.3, 107.0]))
    array([  0. ,  40.5, 100. ])
    """
    if column.kind in DISCRETE and all(isinstance(one, int | float) for one in column.categories):
        known = np.sort(np.asarray(column.categories, np.float64))
        middles = (known[1:] + known[:-1]) / 2
        return np.where(np.isnan(values), values, known[np.searchsorted(middles, values)])
    if not column.numeric:
        raise ValueError(f"column {column.name!r}: expected numbers, since a density gives no others, got a column that is {column.kind}")
    grid = grid_of(column)
    start, stop = grid.ends
    if grid.circular and start is not None and stop is not None:
        values = start + np.mod(values - start, stop - start)
    return grid.settle(values)


def grid_of(column: Column) -> Grid:
    """Return the values that a column of numbers can have, by what its schema says."""
    step, origin = (column.step, column.origin) if column.origin is not None else (float(column.whole), 0.0)
    return Grid(step, origin, column.low, column.high, column.kind == "circular")
