"""How a table is written as text: encoding, delimiter, header and decimal mark, given or found from its first rows."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

import numpy as np

from pushforward.data import cells
from pushforward.data.table import TableError, bare_name, line_of, short

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "blank": " "}
SAMPLE = 1000
SAMPLED, FIRST = 20_000, 20
"""Rows, and cells of wide tables, from which delimiter, header and decimal mark are found; and the fewest rows."""
_LETTERS = 1 << 22  # of a text, in which these rows are looked for
_PIECE = 1 << 20
_PIECES = 64  # of a file, from which its encoding is found
_CONTROL = re.compile("[\x00-\x08\x0e-\x19\x1b-\x1f\x7f-\x9f]")
"""Control characters but ends of lines, tabs and the mark for the end of a file."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_MARKS_16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Format:
    """What the reader of a text table is told of it; None is found.

    Attributes:
        delimiter: One character, or its name: comma, semicolon, tab, pipe, blank (any number of blanks).
        decimal: ``"."`` or ``","``.
        encoding: As Python calls it, such as ``"utf-8"``, ``"cp1252"``, ``"utf-16"``.
        header: Whether the first row has the columns' names.
        missing: More marks for missing values.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            found = DELIMITERS.get(self.delimiter, "\t" if self.delimiter == "\\t" else self.delimiter)
            if len(found) != 1 or found in "\r\n\"'" or found.isalnum():
                raise ValueError(f"expected one character as the delimiter, or one of {', '.join(DELIMITERS)}, got {self.delimiter!r}")
            object.__setattr__(self, "delimiter", found)
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"expected . or , as the decimal mark, got {self.decimal!r}")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ValueError(f"expected an encoding such as utf-8, cp1252 or utf-16, got {self.encoding!r}") from error


@dataclass(frozen=True)
class Dialect:
    """How one text table is written.

    Attributes:
        encoding: As Python calls it.
        delimiter: One character; a blank means any number of blanks and tabs.
        decimal: The decimal mark.
        names: The columns' names, of those without one the empty text.
        header: Whether they are in the first row.
        comments: Lines before the first row that begin with ``#``.
        notes: What was found, where it is not what most tables have.
    """

    encoding: str
    delimiter: str
    decimal: str
    names: tuple[str, ...]
    header: bool
    comments: int
    notes: tuple[str, ...]

    def body(self, text: Iterator[str]) -> Iterator[str]:
        """Return the lines of a text below its comments and its header."""
        lines = islice(text, self.comments, None)
        if self.header:
            next((row for row in split_rows(lines, self.delimiter) if row), None)
        return lines

    def rows(self, text: Iterator[str]) -> Iterator[list[str]]:
        """Iterate over the rows of a text that are not blank, without comments and the header."""
        return (row for row in split_rows(self.body(text), self.delimiter) if row)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, or what is packed in it, for reading."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def open_text(path: Path, encoding: str) -> IO[str]:
    """Open a text that may be packed, with its ends of lines as they are."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")


def split_rows(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """Iterate over all rows of lines, no more of which are taken than make the row; a blank one has no values."""
    if delimiter == " ":
        lines = (line.replace("\t", " ").strip() for line in lines)
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)


def find_dialect(path: Path, given: Format, preferred: str) -> Dialect:
    """Find how a file is written.

    Args:
        path: A text, perhaps packed.
        given: What is known.
        preferred: The delimiter that the ending of the file's name says.

    Raises:
        TableError: It is no text, or has no row.
    """
    encoding = given.encoding or _encoding(path)
    lines = _first_lines(path, encoding)
    comments = next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))
    delimiter = given.delimiter or _delimiter(lines[comments:], preferred)
    head = _head(lines[comments:], delimiter)
    if head is None:
        head = list(split_rows(iter(lines[comments:]), delimiter))  # which says what is wrong
    if not head:
        raise TableError(f"{path}: not a table: it has no row")
    decimal = given.decimal or cells.decimal_of(zip(*_even(head[1:]), strict=True), delimiter)
    header = _is_header(head, decimal) if given.header is None else given.header
    notes = []
    names = _names(head) if header else [str(place) for place in range(max(_width(head), len(head[0])))]
    if not header and given.header is None:
        said = lines[comments - 1].lstrip("#").replace(delimiter, " ").split() if comments else []
        if len(said) == len(names):
            names = said
        else:
            notes.append(f"no header found, so columns are called {' to '.join(dict.fromkeys((names[0], names[-1])))}")
    if encoding not in ("utf-8-sig", given.encoding):
        notes.append(f"read as {encoding}, since it is not UTF-8")
    if delimiter not in (preferred, given.delimiter):
        notes.append(f"values are separated by {next((n for n, d in DELIMITERS.items() if d == delimiter), repr(delimiter))}s")
    if decimal == "," and given.decimal is None:
        notes.append("decimal mark ','")
    return Dialect(encoding, delimiter, decimal, tuple(names), header, comments, tuple(notes))


def _first_lines(path: Path, encoding: str) -> list[str]:
    """Return whole lines from the beginning of a text, or raise TableError if it is none."""
    try:
        with open_text(path, encoding) as text:
            content = text.read(_LETTERS)
    except UnicodeError as error:
        raise TableError(f"{path}: not a table in {encoding}: {line_of(error)}; give another encoding (--encoding)") from error
    if odd := min(_CONTROL.findall(content), default=None):
        raise TableError(f"{path}: not a table: it has the control character {odd!r}")
    lines = list(io.StringIO(content, newline=""))
    return lines if len(content) < _LETTERS or len(lines) < 2 else lines[:-1]


def _names(head: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of a header; R writes none for the column of the names of rows."""
    names, width = [bare_name(name) for name in head[0]], _width(head)
    rows = [row for row in head[1:] if len(row) == width]
    return ["", *names] if len(names) + 1 == width and all(row[-1].strip() for row in rows) else names


def _width(head: Sequence[Sequence[str]]) -> int:
    """Return how many values most rows have."""
    return Counter(map(len, head[1:] or head)).most_common(1)[0][0]


def _encoding(path: Path) -> str:
    with open_bytes(path) as raw:
        piece = raw.read(_PIECE)
        if marked := next((name for mark, name in (*_MARKS, *_MARKS_16) if piece.startswith(mark)), None):
            return marked
        some = piece[:4096]
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            # Latin letters, digits and commas have an empty byte beside them.
            if len(some) > 3 and some[first::2].count(0) > 0.4 * len(some) > 0.4 and not some[1 - first :: 2].count(0):
                return name
        reader, count = codecs.getincrementaldecoder("utf-8")(), 0
        try:
            while piece:
                reader.decode(piece)
                count += 1
                piece = raw.read(_PIECE) if count < _PIECES else b""
            return "utf-8-sig"
        except UnicodeDecodeError:
            pass
    try:
        piece.decode("cp1252")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a table in UTF-8, UTF-16 or Windows-1252: {line_of(error)}; say which it is (--encoding)") from error
    return "cp1252"


def _head(lines: Sequence[str], delimiter: str) -> list[list[str]] | None:
    """Return the first rows, without blank ones; None where this is no delimiter for them."""
    found: list[list[str]] = []
    try:
        for row in split_rows(iter(lines), delimiter):
            found += [row] * bool(row)
            if len(found) >= max(FIRST, min(SAMPLE, SAMPLED // max(1, len(found[0]) if found else 1))):
                break
    except csv.Error:
        # The lines may end within quotation marks.
        return found if len(found) >= FIRST else None
    return found


def _delimiter(lines: Sequence[str], preferred: str) -> str:
    """Return the delimiter that makes the most even rows, and of several such the most numbers.

    Where the preferred one makes as many values of the header as of the other rows, another that does not, or that leaves it in texts
    such as `a,b 1`, stands within a value.
    """
    best, found, fits = (0.0, 0.0), preferred, False
    for delimiter in dict.fromkeys((preferred, *DELIMITERS.values())):
        rows = _head(lines, delimiter)
        if not rows:
            continue
        width = Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]
        short_header = len(rows) > 1 and len(rows[0]) == width - 1 > 0 and delimiter in (preferred, " ")
        even = (short_header + sum(len(row) == width or not any(row[width:]) for row in rows if len(row) >= width)) / len(rows)
        body = [cell for row in rows[1 : SAMPLED // (10 * width) + 2] or rows for cell in row]
        known = [cell for cell in body if not cells.is_missing(cell)]
        numbers = [cells.is_number(cell) for cell in known]
        share = sum(numbers) / max(1, len(known))
        if delimiter == preferred:
            fits = width > 1 and len(rows[0]) == width and even >= 0.9
        elif fits:
            left = sum(preferred in cell and not number for cell, number in zip(known, numbers, strict=True))
            if 2 * left > len(body) // width or len(rows[0]) not in (width, width - short_header):
                continue
        if width < 2 or (delimiter != preferred and even < 0.9) or (delimiter == " " and share < 0.5):
            continue
        if (round(even, 2), round(share, 2)) > best:
            best, found = (round(even, 2), round(share, 2)), delimiter
    return found


def _even(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return rows of one length, the most frequent one."""
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    return [list(row) for row in rows if len(row) == width]


def _is_header(rows: Sequence[Sequence[str]], decimal: str) -> bool:
    """Tell whether the first row has names: it has none only where numbers stand over numbers, and no text does."""
    first, below = rows[0], _even(rows[1:])
    firsts = [cells.number(cell, decimal) for cell in first]
    if not below or len(below[0]) != len(first):
        return not all(firsts) or [cell.strip() for cell in first] == [str(place) for place in range(len(first))]
    columns = [cells.numbers(column, decimal) for column in zip(*below, strict=True)]
    numeric = [column.wrong is None and column.missing < len(column.values) for column in columns]
    over = [value[0] for value, is_number in zip(firsts, numeric, strict=True) if value and is_number]
    texts = [cell for cell, value, n in zip(first, firsts, numeric, strict=True) if n and not value and not cells.is_missing(cell)]
    if texts or not over or (not first[0].strip() and not columns[0].missing):
        return True  # a name over numbers, or the place over the names of rows
    if [cell.strip() for cell in first] == [str(place) for place in range(len(first))]:
        return True  # as arrays are written
    steps = np.diff(over)
    if len(over) > 2 and steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6):
        return True  # years, or ends of classes, as names of columns
    if len(set(over)) < len(over) or any(not value.is_integer() for value in over):
        return False
    pairs = [(column.values, value[0]) for column, value, n in zip(columns, firsts, numeric, strict=True) if n and value]
    return all(not np.nanmin(values) <= value <= np.nanmax(values) for values, value in pairs)


def ragged(row: Sequence[str], width: int, number: int, line: int, delimiter: str) -> str:
    """Say that a row has another number of values than there are columns."""
    return f"row {number}: expected {width} values, got {len(row)}: {short(delimiter.join(row))} (line {line} of the file)"
