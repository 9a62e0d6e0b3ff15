"""Table: what every table in a file is to its reader, and the words of its errors."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.values import Values

Array = np.ndarray[Any, np.dtype[Any]]
ROWS = 8192


class TableError(ValueError):
    """A table that cannot be read or written as asked; the message names the file, the column and the row."""


class Table(ABC):
    """A table in a file. Little but its column names is held; rows are counted from 1, after a header.

    Attributes:
        path: The file.
        columns: Names of all columns, in order; those of a text without blanks around them.
        numeric: Names of those that hold numbers.
        left_out: For each other column, why it is none of numbers, and the value that decided it.
        doubtful: Those of these that hold numbers but for a few values: whatever they are, they are no texts.
        notes: What was found, where it could have been otherwise, such as decimal commas.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str], numeric: Sequence[str], missing: Sequence[str] = ()) -> None:
        self.path, self.columns, self.numeric = Path(path), tuple(columns), tuple(numeric)
        self.marks = frozenset(missing)
        self.left_out: dict[str, str] = {}
        self.doubtful: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        twice = sorted(name for name, count in Counter(columns).items() if count > 1)
        if twice:
            raise TableError(f"{path}: expected different column names, got {quoted(twice)} more than once")

    def chunks(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[Array]:
        """Iterate over the rows, in order, as float64 arrays of shape (at most ``rows``, columns); missing values are NaN.

        Args:
            columns: Names of the columns wanted, in the order wanted; None for all numeric ones.
            rows: The most rows of one chunk.

        Raises:
            TableError: A column is missing or holds text, a row is ragged, or there are no rows.
        """
        if rows < 1:
            raise ValueError(f"chunks: expected at least 1 row a chunk, got {rows}")
        wanted = self.numeric if columns is None else self.known(columns)
        if not wanted:
            why = "".join(f"; {name!r}: {reason}" for name, reason in list(self.left_out.items())[:3])
            raise TableError(f"{self.path}: expected a column of numbers, got {quoted(self.columns)}, none of which is{why}")
        kept, count, empty = [np.empty((0, len(wanted)))], 0, True
        for batch in self._batches(wanted, rows):
            kept.append(batch)
            count += len(batch)
            if count >= rows:
                empty = False
                whole = np.concatenate(kept)
                for start in range(0, count - rows + 1, rows):
                    yield whole[start : start + rows]
                kept, count = [whole[count - count % rows :]], count % rows
        if count:
            yield np.concatenate(kept)
        elif empty:
            raise TableError(f"{self.path}: expected rows, got none")

    def read(self, columns: Sequence[str] | None = None) -> Array:
        """Read all rows at once, as `chunks` would."""
        return np.concatenate(list(self.chunks(columns)))

    def known(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return columns by their names in the table, which have no blanks around them, or raise TableError."""
        found = {bare_name(name): name for name in self.columns} | {name: name for name in self.columns}
        if missing := [name for name in columns if bare_name(name) not in found]:
            raise TableError(f"{self.path}: no column {quoted(missing)}; there are {quoted(self.columns)}")
        return tuple(found.get(name, found[bare_name(name)]) for name in columns)

    @abstractmethod
    def typed(self, columns: Sequence[str] | None = None, rows: int | None = None, texts: Collection[str] = ()) -> Iterator[Values]:
        """Iterate over columns as what they hold, of any kind: all or the first ``rows``; of a text some as they are written."""

    @abstractmethod
    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        """Iterate over arrays of any number of rows."""


def bare_name(name: str) -> str:
    """Return a column's name without blanks around it."""
    return name.strip(" \u00a0\ufeff")


def quoted(names: Sequence[str]) -> str:
    """Return names in quotes, of many the first."""
    return ", ".join(map(repr, names[:30])) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")


def short(value: Any) -> str:
    """Return a value as Python writes it, of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def line_of(error: Exception) -> str:
    """Return an error's message in one line of printable characters, some of which may be the file's own."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
