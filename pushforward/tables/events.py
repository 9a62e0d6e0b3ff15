"""Events: coded rows as a model takes them, the case of each cell and, of numbers, where they stand in their marginal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pushforward.data.schema.grid import Grid
from pushforward.tables.chart import Chart, Place
from pushforward.tables.variable import HELD, OUTSIDE, VALUE, Variable

FEATURES = 4
"""Numbers by which a network sees a value."""
PLACES = 5
"""Of a number: the marginal's shares below and above where its cell or interval begins, where it ends, and the log of its measure."""
_FAR = 4.0
_ROUNDING = 1e-13


class Events(NamedTuple):
    """Rows as a model takes them.

    Args:
        cases: ``(n, columns)`` of int64; below 0 what tells nothing of other columns: `OUTSIDE`, and from `HELD` down an interval.
        places: ``(n, numbers, 5)`` of float64.
        features: ``(n, numbers, 4)``, zero for what is no value.
    """

    cases: Tensor
    places: Tensor
    features: Tensor

    def take(self, index: Any) -> Events:
        """Return some of the rows."""
        return Events(*(part[index] for part in self))

    @property
    def met(self) -> tuple[Tensor, Tensor]:
        """What a network meets of them: cases and features."""
        return self.cases, self.features

    def seen(self, variable: Variable) -> Tensor | None:
        """Return the features of a number, None for what has none."""
        return None if variable.number is None else self.features[:, variable.number]

    def packed(self) -> Tensor:
        """Return all in one tensor ``(n, width)`` of float64."""
        return torch.cat([self.cases.double(), self.places.flatten(1).double(), self.features.flatten(1).double()], 1)


def unpacked(rows: Tensor, columns: int, numbers: int, dtype: torch.dtype) -> Events:
    """Return what `Events.packed` made one tensor of, features in the precision of a network."""
    cases, places, features = rows.split([columns, PLACES * numbers, FEATURES * numbers], 1)
    return Events(cases.long(), places.reshape(len(rows), numbers, PLACES), features.reshape(len(rows), numbers, FEATURES).to(dtype))


def events_of(
    variables: Sequence[Variable],
    charts: Sequence[Chart],
    grids: Sequence[Grid],
    coded: Tensor,
    dtype: torch.dtype,
    bounds: Tensor | None = None,
) -> Events:
    """Return coded rows ``(n, columns)`` as events; ``bounds (n, columns, 2)`` are those of cells that are known between them alone."""
    cases, places, features = [], [], []
    for variable, values in zip(variables, coded.T, strict=True):
        if variable.number is None:
            cases.append(category_events(variable, values))
            continue
        chart, grid = charts[variable.number], grids[variable.number]
        case, place, seen = number_events(variable, chart, grid, values)
        if bounds is not None and bool((wide := ~torch.isnan(bounds[:, variable.index, 0])).any()):
            case, place, seen = case.clone(), place.clone(), torch.where(wide.unsqueeze(-1), 0.0, seen)
            case[wide], place[wide] = interval_events(variable, chart, grid, bounds[wide, variable.index])
        cases.append(case)
        places.append(place)
        features.append(seen)
    if not places:
        return Events(torch.stack(cases, 1), coded.new_empty(len(coded), 0, PLACES), coded.new_empty(len(coded), 0, FEATURES).to(dtype))
    return Events(torch.stack(cases, 1), torch.stack(places, 1), torch.stack(features, 1).to(dtype))


def category_events(variable: Variable, values: Tensor) -> Tensor:
    """Return the cases of the coded values ``(n)`` of a column that has cases alone."""
    return torch.where(torch.isnan(values), variable.missing, values.nan_to_num(0.0, OUTSIDE, OUTSIDE)).long()


def number_events(variable: Variable, chart: Chart, grid: Grid, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return cases ``(n)``, places ``(n, 5)`` and features ``(n, 4)`` of the values of one column of numbers."""
    finite = torch.isfinite(values)
    x = torch.from_numpy(grid.wrapped(torch.where(finite, values, chart.knots[0]).cpu().numpy())).to(values.device)
    case = torch.full_like(values, VALUE).long()
    if grid.step:
        x = grid.origin + grid.step * torch.round((x - grid.origin) / grid.step)
    among = grid.holds(np.array(variable.atoms))
    for at, (atom, near, inside) in enumerate(zip(variable.atoms, grid.wrapped(np.array(variable.atoms)), among, strict=True), 1):
        same = values == atom if not inside else torch.abs(x - near) < grid.step / 2 if grid.step else x == near
        case = torch.where(same & finite, at, case)
    case = torch.where(torch.isnan(values), variable.missing, torch.where(torch.isinf(values), OUTSIDE, case))
    if grid.step:
        begin, middle, end = chart.cell(x, grid.step / 2)
        # An atom has a probability, other values one for each unit of their cell.
        base = middle.log_density - torch.where(case == VALUE, math.log(grid.step), 0.0)
        # One that is none of the grid's values has no cell.
        alone = torch.tensor([False, *(~among).tolist()], device=values.device)
        base = torch.where(alone[case.clamp(0, len(variable.atoms))] & (case <= len(variable.atoms)), -torch.inf, base)
    else:
        begin = middle = end = chart(x)
        base = middle.log_density
    place = torch.stack([begin.below, begin.above, end.below, end.above, base], -1)
    seen = _features(variable, chart, grid, x, middle)
    return case, place, torch.where((case == VALUE).unsqueeze(-1), seen, 0.0)


def interval_events(variable: Variable, chart: Chart, grid: Grid, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return cases ``(n)`` and places ``(n, 5)`` of cells of a column of numbers between two values ``(n, 2)``, both closed."""
    low, high = bounds.unbind(-1)
    start, stop = (torch.tensor(math.inf if end is None else end, dtype=torch.float64, device=bounds.device) for end in grid.ends)
    a, b = low, high
    if grid.step:
        a = grid.origin + grid.step * (first_in(grid, low) - 0.5)
        b = grid.origin - grid.step * (first_in(replace(grid, origin=-grid.origin), -high) - 0.5)
    a = a if grid.ends[0] is None else torch.maximum(a, start)
    b = torch.minimum(b, stop)
    some = b > a
    begin, end, log_mass = chart.between(a, torch.where(some, b, a + 1))
    base = torch.where(some, log_mass, -torch.inf)
    atoms = torch.tensor(sorted(variable.atoms), dtype=torch.float64, device=bounds.device)
    first, last = torch.searchsorted(atoms, low.contiguous()), torch.searchsorted(atoms, high.contiguous(), right=True)
    case = torch.where(some | (last > first), HELD - (first * (len(atoms) + 1) + last), OUTSIDE)
    return case, torch.stack([begin.below, begin.above, end.below, end.above, base], -1)


def first_in(grid: Grid, low: Tensor) -> Tensor:
    """Return how many steps from the origin the first value of a grid is that is not below another, but for roundings."""
    index = (low - grid.origin) / grid.step
    near = torch.round(index)
    value = grid.origin + grid.step * near
    return torch.where((index - near).abs() < 1e-6, near + (low > value + _ROUNDING * value.abs()), torch.ceil(index))


def _features(variable: Variable, chart: Chart, grid: Grid, x: Tensor, place: Place) -> Tensor:
    """Return values as a network sees them, each number of them about as large as 1."""
    if grid.circular:
        assert variable.column.period is not None
        turn = 2 * math.pi * (x - grid.origin) / variable.column.period
        return math.sqrt(2) * torch.stack([torch.sin(turn), torch.cos(turn), torch.sin(2 * turn), torch.cos(2 * turn)], -1)
    score = torch.special.ndtri(place.below).clamp(-_FAR, _FAR)
    shares = torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64, device=x.device)
    low, middle, high = chart.inverse(shares, 1 - shares)
    linear = (2 * (x - middle) / (high - low)).clamp(-_FAR, _FAR)
    turn = 2 * math.pi * place.below
    return torch.stack([score, math.sqrt(3) * (2 * place.below - 1), linear, math.sqrt(2) * torch.sin(turn)], -1)
