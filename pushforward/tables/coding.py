"""Tables as the coded rows that a model of them takes, held against its schema and the grids on which it was measured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.schema.checking import Problem, say
from pushforward.data.schema.coding import encode_all
from pushforward.data.schema.schema import Schema
from pushforward.data.to_frames import moment_of
from pushforward.tables.events import interval_events
from pushforward.tables.variable import OUTSIDE

if TYPE_CHECKING:
    from pushforward.tables.model import Model


def encoded(
    model: Model, whole: Schema, data: Any, unseen: str, asked: Sequence[int] | None, fitted: bool, missing: bool
) -> tuple[Tensor, Tensor | None]:
    """Return a table as coded rows ``(n, columns)`` of float64, what is not asked about as NaN, and bounds of cells known between them.

    Args:
        model: The model.
        whole: Its schema.
        data: The table.
        unseen: ``"raise"`` or ``"outside"``.
        asked: Places of the columns that are looked at; None for all.
        fitted: Whether values have to lie on the grids on which the model was measured.
        missing: Whether any cell may be missing, whatever the schema says.
    """
    device = model.network.bias.device
    places = list(range(len(whole))) if asked is None else list(asked)
    schema = whole if asked is None else Schema(tuple(whole.columns[at] for at in places))
    if missing:
        schema = Schema(tuple(replace(column, missing=max(column.missing, 1e-9)) for column in schema))
    try:
        some, ends = encode_all(schema, data, unseen)
    except ValueError as error:
        raise ValueError(f"TableFlow: {str(error).removeprefix('encode: ')}") from error
    if fitted:
        expect_on_grid(model, some, places, unseen, whole.first_row(data))
        expect_held(model, ends, places, unseen, whole.first_row(data))
    coded = np.full((len(some), len(whole)), np.nan)
    coded[:, places] = some
    bounds = None if ends is None else np.full((*coded.shape, 2), np.nan)
    if bounds is not None:
        bounds[:, places] = ends
    return torch.from_numpy(coded).to(device), None if bounds is None else torch.from_numpy(bounds).to(device)


def expect_on_grid(model: Model, coded: Any, places: Sequence[int], unseen: str, first: int) -> None:
    """Refuse values off the grids on which a model was measured; those that are to be scored all the same become infinite."""
    found = []
    for at, place in enumerate(places):
        grid = model.grid_of(model.variables[place])
        atoms = model.variables[place].atoms
        off = grid.off(coded[:, at]) & ~np.isin(coded[:, at], atoms) if grid is not None else np.zeros(0, bool)
        if not off.any():
            continue
        if unseen == "outside":
            coded[off, at] = np.inf
            continue
        assert grid is not None
        rows = tuple(int(row) + first for row in np.flatnonzero(off))
        column, value = model.variables[place].column, float(coded[off, at][0])
        dates = column.kind == "datetime"
        apart, got = (dt.timedelta(seconds=grid.step), moment_of(replace(column, storage="datetime"), value)) if dates else ("", "")
        what = f"expected values {apart or f'{grid.step:g}'} apart, as in the data it was measured on, got {got or f'{value:g}'}"
        found.append(Problem(model.variables[place].column.name, what, rows, "round these values, or fit anew with them"))
    if found:
        raise ValueError(f"TableFlow: {say(found)}")


def expect_held(model: Model, ends: Any, places: Sequence[int], unseen: str, first: int) -> None:
    """Refuse cells that are known between two values with none of the grid between them."""
    found = []
    for at, place in enumerate(places if ends is not None and unseen == "raise" else ()):
        wide = ~np.isnan(ends[:, at, 0])
        variable = model.variables[place]
        grid = model.grid_of(variable)
        if grid is None or not wide.any():
            continue
        case, _ = interval_events(variable, model.chart_of(variable), grid, torch.from_numpy(ends[wide, at]).to(model.network.bias.device))
        if (bad := np.flatnonzero(wide)[(case == OUTSIDE).cpu().numpy()]).size:
            what = f"expected cells between two values to hold one of the grid, {grid.step:g} apart"
            found.append(Problem(model.variables[place].column.name, what, tuple(int(row) + first for row in bad), "correct their ends"))
    if found:
        raise ValueError(f"TableFlow: {say(found)}")
