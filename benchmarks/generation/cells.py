"""Cells: rows of a table as densities of any make take them, all in one measure, that of the page on tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import pushforward as pf
from pushforward.tables.variable import VALUE

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Space:
    """Where rows lie.

    Attributes:
        cases: How many cases each column has: categories; or a value and each atom; and a missing cell where there may be one.
        numbers: The columns that have values.
        steps: Of each number the width of a cell, 0 of those without a grid.
        model: A model that was measured on the rows to fit to, which says all this, and makes tables of rows.
    """

    cases: tuple[int, ...]
    numbers: tuple[int, ...]
    steps: Array
    model: pf.TableFlow


@dataclass(frozen=True)
class Cells:
    """Rows.

    Attributes:
        case: Of each column the case, ``(n, columns)``; -1 is none that there is.
        value: Of each number the value, ``(n, numbers)``; NaN where it is an atom or missing.
    """

    case: Array
    value: Array

    def take(self, index: Any) -> Cells:
        return Cells(self.case[index], self.value[index])

    def __len__(self) -> int:
        return len(self.case)


def space_of(model: pf.TableFlow) -> Space:
    """Return the space of a model that has been measured."""
    inner = model.model
    numbers = tuple(variable.index for variable in inner.numbers)
    return Space(tuple(variable.cases for variable in inner.variables), numbers, np.array([grid.step for grid in inner.grids]), model)


def cells_of(space: Space, table: pd.DataFrame) -> Cells:
    """Return the rows of a table."""
    coded = space.model.encode(table)
    case = space.model.model.events(coded).cases.numpy()
    places = list(space.numbers)
    return Cells(case, np.where(case[:, places] == VALUE, coded[:, places].numpy(), np.nan))


def frame_of(space: Space, cells: Cells) -> pd.DataFrame:
    """Return rows as a table; values become the nearest that there are."""
    coded = cells.case.astype(float)
    for variable in space.model.model.variables:
        column, case = coded[:, variable.index], cells.case[:, variable.index]
        if variable.number is not None:
            grid = space.model.model.grid_of(variable)
            assert grid is not None
            own = case == VALUE
            column[own] = grid.settle(cells.value[own, variable.number])
            for at, atom in enumerate(variable.atoms, 1):
                column[case == at] = atom
        if variable.may_be_missing:
            column[case == variable.missing] = np.nan
    found: pd.DataFrame = space.model.decode(torch.from_numpy(coded))
    return found


def indicators(space: Space, cells: Cells) -> Array:
    """Return a column for each case of each column, ``(n, all cases)``."""
    parts = [np.eye(count)[np.maximum(cells.case[:, at], 0)] for at, count in enumerate(space.cases)]
    return np.concatenate(parts, 1)
