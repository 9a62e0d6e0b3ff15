"""Schema: what all columns of a table are."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from pushforward.data.between import of_cells
from pushforward.data.from_frames import columns_of_frame, frame_of, is_table
from pushforward.data.ranges import of_texts
from pushforward.data.schema.checking import Problem, problems, say
from pushforward.data.schema.column import Column, percent
from pushforward.data.schema.finding import find_column, is_between
from pushforward.data.schema.settling import settled
from pushforward.data.table import Table, bare_name
from pushforward.data.values import Values, is_nothing, numbers_of, of_objects

VERSION = 1


@dataclass(frozen=True)
class Schema:
    """What the columns of a table are, in order: the kind of each, its bounds, grid, categories, atoms, and whether it may be missing.

    Args:
        columns: A `Column` each.

    Raises:
        ValueError: A name comes twice.

    >>> schema = Schema.find({"age": [31, 44, 27, 31], "wind": [10.0, 200.0, 355.0, 90.0]}, {"wind": "circular:360"})
    >>> schema["age"].told(), schema["wind"].told()
    ('count', 'circular 0 to 360')
    >>> Schema.from_dict(schema.to_dict()) == schema
    True
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if odd := [one for one in self.columns if not isinstance(one, Column)]:
            raise ValueError(f"Schema: expected columns of class Column, got {odd[0]!r}")
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise ValueError(f"Schema: expected each name once, got {twice[0]!r} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        found = next((column for column in self.columns if column.name == str(name)), None)
        if found is None:
            raise KeyError(f"no column {name!r}; there are {', '.join(map(repr, self.names))}")
        return found

    @classmethod
    def find(
        cls, data: Any, kinds: Mapping[str, str] | None = None, columns: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> Schema:
        """Find out what the columns of a table are.

        Args:
            data: A frame of any library (pandas, polars, Arrow, ...), a table in a file or its name, a mapping of names to values, or an
                array ``(n, columns)`` of numbers, whose columns are called ``"0"``, ``"1"``, ...
            kinds: What some columns are, by name: ``"count"``, ``"interval:0:100"``, ``"circular:360"``, ``"ordered:low:medium:high"``,
                ...; and ``"between"`` of one with cells such as ``">5"``, ``"<0.1"`` and ``"3..7"``.
            columns: Those wanted, in this order; None for all.
            exclude: Those to leave out.

        Raises:
            ValueError: There is no such column or kind, or values are none of the kind that is said.
        """
        kinds, names = dict(kinds or {}), _names(data)
        left_out = set(_known(names, exclude))
        wanted = [name for name in (names if columns is None else _known(names, columns)) if name not in left_out]
        told = dict(zip(_known(names, list(kinds)), kinds.values(), strict=True))
        if unused := [name for name in told if name not in wanted]:
            raise ValueError(f"schema: expected kinds of columns that are in it, got one of {unused[0]!r}")
        texts = [name for name, kind in told.items() if is_between(kind)]
        return cls(tuple(find_column(values, told.get(values.name), _first_row(data)) for values in _columns(data, wanted, texts)))

    def check(self, data: Any) -> None:
        """Raise ValueError unless new data has all the columns, and in them only what the schema allows.

        Columns that the schema does not know are not looked at. Rows count from 0, and those of a file from 1, after its header.

        Args:
            data: As for `find`.

        Raises:
            ValueError: Columns are missing, or values are of another type, unseen or out of range; columns and rows are named.
        """
        if found := self.problems(data):
            raise ValueError(f"schema: {say(found)}")

    def problems(self, data: Any) -> list[Problem]:
        """Return what in new data the schema does not allow, as `check` says it."""
        return self.absent(data) or [problem for _, _, found in self.compared(data) for problem in found]

    def absent(self, data: Any) -> list[Problem]:
        """Return a problem for each column that data does not have."""
        names = _names(data)
        known = {bare_name(name) for name in names}
        return [_absent(name, names) for name in self.names if bare_name(name) not in known]

    def compared(self, data: Any) -> Iterator[tuple[Column, Values, list[Problem]]]:
        """Iterate over the columns with what data has there, and what of it the schema does not allow; all of them have to be there."""
        first = self.first_row(data)
        for column, values in zip(self.columns, self.values(data), strict=True):
            yield column, values, problems(column, values, first)

    def values(self, data: Any) -> Iterator[Values]:
        """Iterate over the columns as what data has there; texts such as ``">5"`` where cells may be known between two values alone."""
        names, first = _names(data), self.first_row(data)
        by_name = {bare_name(name): name for name in names} | {name: name for name in names}
        wanted = [by_name.get(name, by_name[bare_name(name)]) for name in self.names]
        texts = [name for name, column in zip(wanted, self.columns, strict=True) if column.between]
        for column, values in zip(self.columns, _columns(data, wanted, texts), strict=True):
            yield of_texts(values, first) if column.between else values

    @staticmethod
    def first_row(data: Any) -> int:
        """Return the number of the first row: those of files count from 1, as people see them, those in memory from 0."""
        return _first_row(data)

    def part(self, names: Sequence[str]) -> Schema:
        """Return the schema of some columns, in this order."""
        return Schema(tuple(self[name] for name in names))

    def outside(self, rows: Any, first: int = 0) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], list[Problem]]:
        """Tell which rows have numbers that the schema does not allow, and what they are; a missing one is no such number.

        Args:
            rows: ``(n, columns)``, NaN for a missing value.
            first: The number of the first row, for messages.

        >>> Schema.find({"rain": [0.5, 0.0, 2.3, 7.1]}).outside([[1.0], [-2.0]])[0]
        array([False,  True])
        """
        numbers = self._rows(rows)
        found = [
            problem for column, values in zip(self, numbers.T, strict=True) for problem in problems(column, _plain(values), first, True)
        ]
        wrong = np.zeros(len(numbers), bool)
        for problem in found:
            wrong[np.asarray(problem.rows, int) - first] = True
        return wrong, found

    def in_kind(self, rows: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return numbers that a density gave as values that the columns can have: whole, on the grid, within the bounds, on the circle.

        Each is moved to the nearest such value, and an angle by whole turns. So a value on a grid stands for the cell around it, and an
        end of a bounded column for all that the density has beyond it.

        Args:
            rows: ``(n, columns)``.

        Raises:
            ValueError: Another number of columns, or one that is none of numbers.

        >>> schema = Schema.find({"age": [31, 44, 27, 31], "wind": [10.0, 200.0, 355.0, 90.0]}, {"wind": "circular:360"})
        >>> schema.in_kind([[30.7, 361.5], [-0.2, -10.0]])
        array([[ 31. ,   1.5],
               [  0. , 350. ]])
        """
        return np.stack([settled(column, values) for column, values in zip(self, self._rows(rows).T, strict=True)], 1)

    def _rows(self, rows: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        numbers = np.asarray(rows, np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != len(self):
            raise ValueError(f"schema: expected rows of shape (n, {len(self)}), a number for each column, got {numbers.shape}")
        return numbers

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as texts, numbers, lists and mappings, which JSON can hold."""
        return {"version": VERSION, "columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Make a schema of what `to_dict` returned, or raise ValueError."""
        if not isinstance(data, Mapping) or data.get("version") != VERSION or not isinstance(data.get("columns"), list | tuple):
            raise ValueError(f"Schema: expected a mapping with version {VERSION} and a list of columns, got {data!r}")
        return cls(tuple(Column.from_dict(column) for column in data["columns"]))

    def __str__(self) -> str:
        """Return a table of the columns: name, kind, share of missing values, and why."""
        rows = [["column", "kind", "missing", "why"]]
        for column in self.columns:
            missing = percent(column.missing) if column.missing else ""
            rows.append([column.name or "(no name)", column.told(), missing, column.why])
        rows = [[textwrap.shorten(_shown(cell), 60, placeholder=" ...") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _plain(values: np.ndarray[Any, np.dtype[np.float64]]) -> Values:
    return Values("", "float", values)


def _absent(name: str, names: Sequence[str]) -> Problem:
    near = get_close_matches(name, names, 1)
    hint = f" (there is {near[0]!r})" if near else ""
    return Problem(name, f"expected in the data, which does not have it{hint}", (), "add it, or rename a column")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _known(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return columns by their names in the data, which are texts, or raise ValueError."""
    wanted = [str(name) for name in wanted]
    by_name = {bare_name(name): name for name in names} | {name: name for name in names}
    if absent := [name for name in wanted if bare_name(name) not in by_name]:
        raise ValueError(f"schema: no column {absent[0]!r}; there are {', '.join(map(repr, names[:30]))}")
    return [by_name.get(name, by_name[bare_name(name)]) for name in wanted]


def _first_row(data: Any) -> int:
    """Return the number of the first row: those of files count from 1, as people see them, those in memory from 0."""
    return 1 if isinstance(data, Table | str | os.PathLike) else 0


def _opened(data: Any) -> Any:
    if isinstance(data, str | os.PathLike):
        from pushforward.data.reading import open_table

        return open_table(data)
    return data


def _names(data: Any) -> list[str]:
    data = _opened(data)
    if isinstance(data, Table):
        return list(data.columns)
    if isinstance(data, Mapping):
        return [str(name) for name in data]
    if is_table(data):
        return list(frame_of(data).columns)
    array = np.asarray(data)
    return [str(place) for place in range(1 if array.ndim < 2 else array.shape[1])]


def _columns(data: Any, wanted: Sequence[str], texts: Sequence[str] = ()) -> Iterator[Values]:
    """Iterate over columns of a table; of a text in a file those among ``texts`` as they are written."""
    data = _opened(data)
    if isinstance(data, Table):
        yield from data.typed(wanted, texts=texts)
    elif is_table(data) and not isinstance(data, Mapping):
        yield from columns_of_frame(data, wanted)
    else:
        if not isinstance(data, Mapping):
            array = np.asarray(data)
            if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
                raise ValueError(f"schema: expected an array (n, columns) of numbers, got shape {array.shape} of {array.dtype}")
            array = array.reshape(len(array), -1)
            data = {str(place): column for place, column in enumerate(array.T)}
        by_name = {str(name): column for name, column in data.items()}
        for name in wanted:
            yield _of_array(name, by_name[name])


def _of_array(name: str, column: Any) -> Values:
    """Return one array or list as a column."""
    if isinstance(column, Values):
        return column
    array = np.asarray(column)
    if array.ndim != 1:
        raise ValueError(f"schema: expected one value a row in column {name!r}, got shape {array.shape}")
    if array.dtype.kind in "iuf":
        return Values(name, "float" if array.dtype.kind == "f" else "integer", array.astype(np.float64))
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    held = np.empty(len(array), object)
    held[:] = [None if is_nothing(one) else one for one in array.tolist()]
    if (between := of_cells(name, held)) is not None:
        return between
    if (numbers := numbers_of(held)) is not None:
        return Values(name, "float", numbers)
    return of_objects(name, held)
