"""Tabled: a table with a schema, read once, to which models of several kinds are fitted."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.from_frames import is_table
from pushforward.data.schema import Schema
from pushforward.data.schema.coding import encode, encode_all
from pushforward.data.schema.column import NUMERIC, REFUSED, Column
from pushforward.data.schema.grid import find_grid
from pushforward.data.table import Table


@dataclass(frozen=True)
class Tabled:
    """A table.

    Attributes:
        data: The table as it came; a file is opened.
        schema: What its columns are.
        coded: Its rows ``(n, columns)`` in float64, as `encode` writes them.
        bounds: Of cells that are known between two values alone these, ``(n, columns, 2)``; None where there are none.
        steps: The distance of neighbours of each column, whose density is that of cells so wide; 0 for none.
        beyond: Why a density of numbers does not do, in words by column: kinds, missing values, values with a probability of their own.
    """

    data: Any
    schema: Schema
    coded: Tensor
    bounds: Tensor | None
    steps: Tensor
    beyond: Mapping[str, str]

    @property
    def numbers(self) -> bool:
        """Whether all cells are numbers, and none has a probability of its own."""
        return not self.beyond

    @property
    def plain(self) -> bool:
        """Whether they have a density in the units of the table as well, so that flows of numbers score what a `TableFlow` does."""
        return self.numbers and not bool(self.steps.any())

    def rows_of(self, owner: str, data: Any) -> Tensor:
        """Return another table with these columns as coded rows, all cells of which have to be values, or raise ValueError."""
        return self.cells_of(owner, data, encode)[0]

    def cells_of(self, owner: str, data: Any, coding: Callable[[Schema, Any], Any] = encode_all) -> tuple[Tensor, Tensor | None]:
        """Return what `rows_of` does, and the bounds of cells that are known between two values alone."""
        return _tensors(_encoded(owner, self.schema, data, coding))


def has_names(data: Any) -> bool:
    """Tell whether data is a table whose columns have names: a frame, a mapping, or a file."""
    return isinstance(data, Mapping | Table | str | os.PathLike) or is_table(data)


def tabled(owner: str, data: Any, columns: Sequence[str] | None = None, schema: Schema | Mapping[str, str] | None = None) -> Tabled:
    """Return a table of any kind that `Schema.find` takes.

    Args:
        owner: Whose data it is, for messages.
        data: The table.
        columns: The columns; None for all.
        schema: What they are, or what some are; None to find out.

    Raises:
        ValueError: No rows, a column without a density or a probability, or what the schema does not allow.
        FileNotFoundError: There is no such file.
    """
    if isinstance(data, str | os.PathLike):
        from pushforward.data.reading import open_table

        data = open_table(data)
    found = schema if isinstance(schema, Schema) else Schema.find(data, schema, columns)
    found = found.part(columns) if columns is not None else found
    if not len(found):
        raise ValueError(f"{owner}: expected a table with columns, got none")
    if refused := [column for column in found if column.kind in REFUSED]:
        told = ", ".join(f"{column.name!r} ({column.kind}: {column.why or 'as told'})" for column in refused[:5])
        raise ValueError(
            f"{owner}: expected columns with a density or a probability, got {told}; leave them out with columns=[...], or say what they "
            "are with schema={...}"
        )
    coded, bounds = _encoded(owner, found, data, encode_all)
    if not len(coded):
        raise ValueError(f"{owner}: expected rows of data, got none")
    open_ = np.zeros(len(found), bool) if bounds is None else (~np.isnan(bounds[:, :, 0])).any(0)
    beyond = {column.name: ", ".join(parts) for column, some in zip(found, open_, strict=True) if (parts := _beyond(column, bool(some)))}
    steps = [
        find_grid(column, values[np.isfinite(values)]).step if column.kind in NUMERIC else 0.0
        for column, values in zip(found, coded.T, strict=True)
    ]
    return Tabled(data, found, *_tensors((coded, bounds)), torch.tensor(steps, dtype=torch.float64), beyond)


def _encoded(owner: str, schema: Schema, data: Any, coding: Callable[[Schema, Any], Any]) -> Any:
    try:
        return coding(schema, data)
    except ValueError as error:
        raise ValueError(f"{owner}: {str(error).removeprefix('encode: ')}") from error


def _tensors(coded: Any) -> tuple[Tensor, Tensor | None]:
    """Return coded rows, alone or with bounds, as tensors."""
    rows, bounds = coded if isinstance(coded, tuple) else (coded, None)
    return torch.from_numpy(rows), None if bounds is None else torch.from_numpy(bounds)


def _beyond(column: Column, between: bool) -> list[str]:
    parts = [column.kind] if column.kind not in NUMERIC else []
    parts += ["missing values"] if column.missing else []
    parts += ["values known between two others"] if between else []
    return parts + (["values with a probability of their own"] if column.atoms else [])


def least_share(validation: Any, rows: int, most: int) -> Any:
    """Return a share of rows that holds out no more than so many; anything else as it is."""
    share = isinstance(validation, float) and math.isfinite(validation) and 0 < validation < 1
    return min(validation, most / rows) if share and rows * validation > most else validation
