"""Pieces: a text table some rows at a time, by Arrow where it reads what Python's reader does, else row by row."""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any

import numpy as np

from pushforward.core.extras import require
from pushforward.data import cells
from pushforward.data.dialect import Dialect, split_rows
from pushforward.data.table import Array

SMALL = 1 << 14
"""Cells below which Python is as quick as Arrow is to begin with."""
_LARGE = 1 << 30
"""Letters of which Arrow makes one piece, at most."""
_DIGITS = {mark: f"0123456789+-eE{mark}".encode() for mark in ".,"}


class RaggedError(Exception):
    """A row of another number of values than there are columns: its place in the piece, and the row."""

    def __init__(self, place: int, row: Sequence[str]) -> None:
        super().__init__(place, row)
        self.place, self.row = place, row


class Piece(ABC):
    """Rows of a text table that follow one another; columns are told by their place in the row."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    @abstractmethod
    def texts(self, place: int) -> Sequence[str]:
        """Return a column's cells; one that is missing by its mark may be empty."""

    @abstractmethod
    def first(self, rows: int) -> Piece:
        """Return the first rows."""

    def plain(self, place: int, decimal: str) -> cells.Plain | None:
        """Return a column of plain numbers and missing values, or None if it is anything else."""
        return cells.plain(self.texts(place), decimal)


class _Rows(Piece):
    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        super().__init__(len(rows))
        self._given, self._columns = rows, list(zip(*rows, strict=True))

    def texts(self, place: int) -> Sequence[str]:
        return self._columns[place]

    def first(self, rows: int) -> Piece:
        return self if rows >= self.rows else _Rows(self._given[:rows])


class _Arrow(Piece):
    def __init__(self, table: Any) -> None:
        super().__init__(len(table))
        self._table = table

    def first(self, rows: int) -> Piece:
        return self if rows >= self.rows else _Arrow(self._table.slice(0, rows))

    def texts(self, place: int) -> Sequence[str]:
        # Cells that are alike are one text.
        coded = self._table.column(str(place)).combine_chunks().dictionary_encode()
        different = np.array([*coded.dictionary.to_pylist(), ""], object)
        found: list[str] = different[_values(coded.indices, np.int32, -1)].tolist()
        return found

    def plain(self, place: int, decimal: str) -> cells.Plain | None:
        arrow, compute = require("pyarrow", "table"), require("pyarrow.compute", "table")
        column = self._table.column(str(place)).combine_chunks()
        letters = _letters(column)
        if letters.translate(None, _DIGITS[decimal]):
            if b" " not in letters:
                return None
            column = compute.ascii_trim(column, " ")
            letters = _letters(column)
            if letters.translate(None, _DIGITS[decimal]):
                return None
        if decimal == "," and b"," in letters:
            column = compute.replace_substring(column, ",", ".")
        try:
            values = column.cast(arrow.float64())
        except arrow.ArrowInvalid:
            return None
        whole = not any(mark in letters for mark in (decimal.encode(), b"e", b"E"))
        return cells.Plain(_values(values, np.float64, np.nan), whole)


def _values(column: Any, dtype: Any, missing: float) -> Array:
    """Return an Arrow array as one of NumPy. Arrow's own way, and its scalars, import pandas where it is installed."""
    there, content = column.buffers()
    if content is None or not len(column):
        return np.full(len(column), missing, dtype)
    some = slice(column.offset, column.offset + len(column))
    values = np.frombuffer(content, dtype, some.stop)[some]
    if there is None or not column.null_count:
        return values
    present = np.unpackbits(np.frombuffer(there, np.uint8), bitorder="little")[some]
    return np.where(present, values, np.asarray(missing, dtype))


def _letters(column: Any) -> bytes:
    """Return all texts of a column one after the other."""
    _, offsets, content = column.buffers()
    if content is None or not len(column):
        return b""
    ends = np.frombuffer(offsets, np.int32, len(column) + column.offset + 1)
    return bytes(memoryview(content)[ends[column.offset] : ends[-1]])


def pieces(
    text: IO[str], dialect: Dialect, rows: int, places: Sequence[int] | None = None, marks: frozenset[str] = frozenset()
) -> Iterator[Piece]:
    """Iterate over pieces of at most ``rows`` lines, which make as many rows but for blank lines and cells of several lines.

    What comes is the same whether Arrow or Python read it: the numbers bit by bit, and texts but for those of missing values.

    Args:
        text: From its beginning, with its ends of lines as they are.
        dialect: How it is written.
        rows: The most lines of a piece.
        places: The columns wanted; None for all.
        marks: More marks for missing values.

    Raises:
        RaggedError: A row has too few values, or more than there are columns; those too many may be empty.
        csv.Error: A quotation mark is left open, or follows a text.
    """
    lines = dialect.body(text)
    while some := list(islice(lines, rows)):
        piece = _by_arrow(some, dialect, places, marks) or _by_rows(some, lines, dialect)
        if piece.rows:
            yield piece


def _by_rows(some: Sequence[str], after: Iterator[str], dialect: Dialect) -> Piece:
    """Read rows until some lines are read; a cell may go on in the lines after."""
    taken, width = 0, len(dialect.names)

    def given() -> Iterator[str]:
        nonlocal taken
        for line in chain(some, after):
            taken += 1
            yield line

    found: list[list[str]] = []
    for row in split_rows(given(), dialect.delimiter):
        if row and len(row) != width:
            if len(row) < width or any(cell.strip() for cell in row[width:]):
                raise RaggedError(len(found), row)
            del row[width:]
        if row:
            found.append(row)
        if taken >= len(some):
            break
    return _Rows(found)


def _by_arrow(lines: Sequence[str], dialect: Dialect, places: Sequence[int] | None, marks: frozenset[str]) -> Piece | None:
    """Read lines by Arrow, or return None where it might read anything else than Python does."""
    width, delimiter = len(dialect.names), dialect.delimiter
    longest = max(map(len, lines))
    if width * len(lines) < SMALL or longest > csv.field_size_limit() or not delimiter.isascii():
        return None
    content = "".join(lines)
    if delimiter == " ":
        content = re.sub(" +", " ", "\n".join([line.replace("\t", " ").strip() for line in lines]))
    if len(content) > _LARGE or "\0" in content or (quotes := content.count('"')) != 2 * _quoted(content, delimiter, quotes):
        return None
    try:
        arrow, reader = require("pyarrow", "table"), require("pyarrow.csv", "table")
        names = [str(place) for place in range(width)]
        found = reader.read_csv(
            arrow.BufferReader(content.encode()),
            reader.ReadOptions(use_threads=False, block_size=2 * _LARGE - 1, column_names=names),
            reader.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, double_quote=False, newlines_in_values=False),
            reader.ConvertOptions(
                column_types=dict.fromkeys(names, arrow.string()),
                strings_can_be_null=True,
                null_values=sorted(cells.MARKS | {mark for mark in marks if cells.number(mark, dialect.decimal) is None}),
                include_columns=None if places is None else list(dict.fromkeys(map(str, places))),
            ),
        )
    except (ImportError, UnicodeEncodeError):
        return None
    except arrow.ArrowException:  # what is wrong Python says, with the row
        return None
    return _Arrow(found)


def _quoted(content: str, delimiter: str, quotes: int) -> int:
    """Return how many cells are wholly in quotation marks, without any inside and without ends of lines."""
    if not quotes:
        return 0
    end = re.escape(delimiter)
    return sum(1 for _ in re.finditer(rf'(?:(?<=[{end}\r\n])|\A)"[^"\r\n]*"(?=[{end}\r\n]|\Z)', content))
