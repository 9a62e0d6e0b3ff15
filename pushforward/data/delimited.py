"""Tables as text: CSV, and what goes by that name."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from pushforward.data import cells
from pushforward.data.dialect import Format, find_dialect, open_text, ragged
from pushforward.data.pieces import Piece, RaggedError, pieces
from pushforward.data.ranges import hint
from pushforward.data.table import ROWS, Array, Table, TableError, line_of, short
from pushforward.data.values import Values, is_mixed, zone_of_all

HEAD, CELLS = 65536, 1 << 22
"""Rows, and values, from which it is found which columns hold numbers, at most."""
LEAST = 64
"""Rows that are read together, however many columns there are: else as many as are `CELLS` values, or `ROWS`."""

CODES = 1000
"""Rows in which zeros before a number are looked for."""
CODE = re.compile("[0-9]{4,}")
NAMELESS = "it has no name"


class Delimited(Table):
    """A text with a row of values a line."""

    def __init__(self, path: Path, given: Format, preferred: str) -> None:
        self.path = path
        with self._named():
            self.dialect = find_dialect(path, given, preferred)
        self._width = len(self.dialect.names)
        marks = frozenset(given.missing)
        head = list(self._head(marks))
        if not head:
            raise TableError(f"{path}: expected rows, got none")
        # Spreadsheets write empty columns to the right of a table.
        kept = [place for place, name in enumerate(self.dialect.names) if name or any(_has_value(p.texts(place), marks) for p in head)]
        names = [self.dialect.names[place] or (f"column {place + 1}" if place else "") for place in kept]
        found = [self._found(head, place, marks) for place in kept]
        numeric = [n for n, f in zip(names, found, strict=True) if n and f.wrong is None and f.missing < len(f.values)]
        super().__init__(path, names, numeric, given.missing)
        self._place = dict(zip(names, kept, strict=True))
        self._unit = {name: each.unit for name, each in zip(names, found, strict=True)}
        self.notes = (*self.dialect.notes, *self._padded(head[0].first(CODES), numeric))
        for name, place, each in zip(names, kept, found, strict=True):
            if name not in numeric:
                self.left_out[name] = self._reason(name, _texts(head, place), each)

    def _head(self, marks: frozenset[str]) -> Iterator[Piece]:
        """Iterate over the rows from which it is found which columns hold numbers."""
        most, before = min(HEAD, max(ROWS, CELLS // max(1, self._width))), 0
        for piece in self._pieces(marks):
            yield piece.first(most - before)
            before += piece.rows
            if before >= most:
                break

    def _padded(self, piece: Piece, numeric: Sequence[str]) -> Iterator[str]:
        """Iterate over words on columns of codes such as 01234, whose zeros no number has."""
        for name in numeric:
            codes = [cell.strip() for cell in piece.texts(self._place[name])]
            if all(map(CODE.fullmatch, codes)) and len({len(code) for code in codes}) == 1 and any(code[0] == "0" for code in codes):
                first = next(code for code in codes if code[0] == "0")
                yield (
                    f"column {name!r}: {first!r} is read as the number {int(first)}, without its zeros; if it is a code, write it with a "
                    "letter before, or as a text into a .parquet"
                )

    def _found(self, head: Sequence[Piece], place: int, marks: frozenset[str]) -> cells.Numbers:
        """Return the first cells of a column as numbers, as far as they are."""
        parts = [piece.plain(place, self.dialect.decimal) for piece in head]
        plain = [part for part in parts if part is not None]
        if len(plain) < len(parts):
            return cells.numbers(_texts(head, place), self.dialect.decimal, marks)
        together = cells.Plain(np.concatenate([part.values for part in plain]), all(part.whole for part in plain))
        return cells.of_plain(together, self.dialect.decimal, marks)

    def _reason(self, name: str, column: Sequence[str], found: cells.Numbers) -> str:
        """Say why a column is none of numbers, and which value decided it."""
        if found.wrong is None:
            return NAMELESS if found.missing < len(column) else f"no value in {len(column):,} rows"
        value = f"{short(column[found.wrong].strip())} in row {found.wrong + 1}"
        if cells.truths(column, self.marks) is not None:
            return f"true or false: {value}"
        if (dates := cells.dates(column, self.marks)) is not None:
            return f"{'times of which some have a zone and others none' if is_mixed(dates[0]) else 'dates'}: {value}"
        present = [cell for cell in column if not cells.is_missing(cell, self.marks)]
        good = sum(cells.number(cell, self.dialect.decimal) is not None for cell in present)
        if cells.number(column[found.wrong], self.dialect.decimal) is not None:
            self.doubtful += (name,)
            return f"numbers of more than one unit: {value}"
        if 2 * good > len(present):
            self.doubtful += (name,)
            between = hint(name, column[found.wrong], self.dialect.decimal)
            return f"{value} is no number, as {good:,} other values are; if it means a missing one, say so (--missing){between}"
        return f"text: {value}"

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn whatever goes wrong while the file is read into a TableError."""
        try:
            yield
        except UnicodeError as error:
            raise TableError(f"{self.path}: not a table in {self.dialect.encoding}: {line_of(error)}; give another (--encoding)") from error
        except csv.Error as error:
            raise TableError(f"{self.path}: not a table: {line_of(error)}; is a quotation mark left open?") from error
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(f"{self.path}: not a table: {line_of(error)}") from error

    def _pieces(self, marks: frozenset[str], places: Sequence[int] | None = None) -> Iterator[Piece]:
        """Iterate over pieces of the table, with these columns of it."""
        before = 0
        with self._named(), open_text(self.path, self.dialect.encoding) as text:
            try:
                for piece in pieces(text, self.dialect, min(ROWS, max(LEAST, CELLS // max(1, self._width))), places, marks):
                    yield piece
                    before += piece.rows
            except RaggedError as error:
                number = before + error.place + 1
                told = ragged(error.row, self._width, number, self._line(number), self.dialect.delimiter)
                raise TableError(f"{self.path}: {told}") from error

    def _line(self, number: int) -> int:
        """Return the line of the file in which a row ends."""
        with open_text(self.path, self.dialect.encoding) as text:
            count = 0

            def lines() -> Iterator[str]:
                nonlocal count
                for line in text:
                    count += 1
                    yield line

            next(islice(self.dialect.rows(lines()), number - 1, None), None)
            return count

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        before = 0
        places = [self._place[name] for name in columns]
        for piece in self._pieces(self.marks, places):
            values = np.empty((piece.rows, len(columns)))
            for index, (name, place) in enumerate(zip(columns, places, strict=True)):
                values[:, index] = self._numbers(name, piece, place, before).values
            before += piece.rows
            yield values

    def _numbers(self, name: str, piece: Piece, place: int, before: int) -> cells.Numbers:
        if not self._unit[name] and (plain := piece.plain(place, self.dialect.decimal)) is not None:
            return cells.of_plain(plain, self.dialect.decimal, self.marks)
        column = piece.texts(place)
        found = cells.numbers(column, self.dialect.decimal, self.marks, self._unit[name])
        if found.wrong is not None:
            number = before + found.wrong + 1
            raise TableError(
                f"{self.path}: column {name!r}: expected numbers, got {short(column[found.wrong].strip())} in row {number} "
                f"(line {self._line(number)} of the file); if it means a missing value, say so (--missing), else leave the column out"
                f"{hint(name, column[found.wrong], self.dialect.decimal)}"
            )
        return found

    def typed(self, columns: Sequence[str] | None = None, rows: int | None = None, texts: Collection[str] = ()) -> Iterator[Values]:
        wanted, as_they_are = self.columns if columns is None else self.known(columns), set(self.known(list(texts)))
        numeric = [name for name in wanted if name in self.numeric or self.left_out[name] == NAMELESS]
        numbers: dict[str, list[Array]] = {name: [] for name in numeric if name not in as_they_are}
        written: dict[str, list[str]] = {name: [] for name in wanted if name not in numbers}
        whole = dict.fromkeys(numbers, True)
        before = 0
        for piece in self._pieces(self.marks, [self._place[name] for name in wanted]):
            for name in wanted:
                place = self._place[name]
                if name in numbers:
                    found = self._numbers(name, piece, place, before)
                    numbers[name].append(found.values)
                    whole[name] = whole[name] and found.whole
                else:
                    written[name].extend(piece.texts(place))
            before += piece.rows
            if rows is not None and before >= rows:
                break
        for name in wanted:
            note = self.left_out.get(name, "")
            if name in numbers:
                values = np.concatenate(numbers.pop(name) or [np.empty(0)])[:rows]
                storage = "integer" if whole[name] and bool((np.isnan(values) | (values == np.rint(values))).all()) else "float"
                yield Values(name, storage, values, unit=self._unit[name], note=note)
            elif name in as_they_are:
                yield self._as_written(name, written.pop(name)[:rows], note)
            else:
                yield self._of_text(name, written.pop(name)[:rows], note)

    def _of_text(self, name: str, column: Sequence[str], note: str) -> Values:
        if (truths := cells.truths(column, self.marks)) is not None:
            return Values(name, "boolean", _objects(truths), note=note)
        if (found := cells.dates(column, self.marks)) is not None and not is_mixed(found[0]):
            moments, order = found
            day = all(moment is None or moment.timetz().isoformat() == "00:00:00" for moment in moments)
            return Values(name, "date" if day else "datetime", _objects(moments), zone=zone_of_all(moments), note=f"{order}; {note}")
        return self._as_written(name, column, note)

    def _as_written(self, name: str, column: Sequence[str], note: str) -> Values:
        # Of many cells that are alike one text is held.
        known = {cell: None if cells.is_missing(cell, self.marks) else cell.strip() for cell in dict.fromkeys(column)}
        return Values(name, "string", _objects([known[cell] for cell in column]), note=note, decimal=self.dialect.decimal)


def _texts(head: Sequence[Piece], place: int) -> list[str]:
    return [cell for piece in head for cell in piece.texts(place)]


def _has_value(column: Sequence[str], marks: frozenset[str]) -> bool:
    return not all(cells.is_missing(cell, marks) for cell in dict.fromkeys(column))


def _objects(values: Sequence[object]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array
