"""What the cells of a text table say: marks for missing values, and numbers, truth values and dates as people write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

_WORDS = "NA N/A #N/A #NA <NA> NaN -NaN nan -nan NULL null None n/a n.a. (null) \\N ? - -- --- – — . .. ..."
_SPREADSHEETS = "-1.#IND -1.#QNAN 1.#IND 1.#QNAN #VALUE! #DIV/0! #REF! #NAME? #NUM! #NULL!"
MARKS = frozenset(("", "#N/A N/A", *_WORDS.split(), *_SPREADSHEETS.split()))
"""What stands for a missing value in any column, in this spelling: pandas' marks, those of spreadsheets, databases and old data sets."""
BARE = frozenset(mark.casefold() for mark in (*MARKS, "none", "missing", "unknown", "nil"))
"""What stands for one in a column of numbers, in any spelling: nothing there could be a value."""
TRUTH = dict.fromkeys(("true", "yes", "t", "y", "ja", "oui", "vrai", "wahr", "sí", "si"), True) | dict.fromkeys(
    ("false", "no", "f", "n", "nein", "non", "faux", "falsch"), False
)
"""Words for yes and no, in small letters."""

_SPACES = " \u00a0\u202f\u2009"
_MINUS = str.maketrans("−–﹣－", "----")
_SIGN = re.compile(r"[+-]?")
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_PLAIN = {mark: re.compile(rf"(?:[0-9]+{re.escape(mark)}?[0-9]*|{re.escape(mark)}[0-9]+){_EXPONENT}") for mark in ".,"}
_GROUPS = {
    mark: re.compile(rf"[0-9]{{1,3}}(?:([{_SPACES}'’{other}])[0-9]{{3}})(?:\1[0-9]{{3}})*(?:{re.escape(mark)}[0-9]*)?")
    for mark, other in ((".", ","), (",", "."))
}
_ONE_GROUP = {mark: re.compile(rf"[1-9][0-9]{{0,2}}{re.escape(mark)}[0-9]{{3}}") for mark in ".,"}
_CLEAR = re.compile(rf"-?(?:[0-9]+\.(?:[0-9]{{1,2}}|[0-9]{{4,}})|\.[0-9]+){_EXPONENT}")
"""Numbers that have a decimal point whatever the mark of the table, as most have: a point before three digits may part groups."""
_DATES = (
    ("year, month, day", re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"), (0, 1, 2)),
    ("day, month, year", re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"), (2, 1, 0)),
    ("month, day, year", re.compile(r"\d{1,2}/\d{1,2}/\d{4}"), (2, 0, 1)),
)
_CLOCK = re.compile(r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?")


@dataclass(frozen=True)
class Numbers:
    """Cells read as numbers: the values, NaN where one is missing, where the first is that is no number, and the unit of all.

    Attributes:
        values: Float64, one for each cell.
        wrong: The place of the first cell that is no number, or whose unit is another one; None if all are.
        unit: ``"%"``, a sign of a currency, or nothing.
        missing: How many are missing.
        whole: Whether all that are there are written without a decimal mark and an exponent.
    """

    values: np.ndarray[Any, np.dtype[np.float64]]
    wrong: int | None
    unit: str
    missing: int
    whole: bool


class Plain(NamedTuple):
    """Cells read as plain numbers: float64, NaN where one is empty; and whether all are written without decimal mark and exponent."""

    values: np.ndarray[Any, np.dtype[np.float64]]
    whole: bool


def is_missing(cell: str, marks: frozenset[str] = frozenset()) -> bool:
    """Tell whether a cell stands for a missing value in any column."""
    cell = cell.strip()
    return cell in MARKS or cell in marks


def numbers(cells: Sequence[str], decimal: str = ".", marks: frozenset[str] = frozenset(), unit: str = "") -> Numbers:
    """Read cells as numbers.

    Args:
        cells: As they stand in the file.
        decimal: The decimal mark, ``"."`` or ``","``.
        marks: More marks for missing values; one that is a number means this number however it is written.
        unit: That of the cells before.

    >>> numbers(["1,234.5", "−2", "?", "(3)"]).values
    array([1234.5,   -2. ,    nan,   -3. ])
    >>> numbers(["1.234,5 €"], ",")
    Numbers(values=array([1234.5]), wrong=None, unit='€', missing=0, whole=False)
    """
    found = None if unit else plain(cells, decimal)
    return _one_by_one(cells, decimal, marks, unit) if found is None else of_plain(found, decimal, marks)


def of_plain(found: Plain, decimal: str = ".", marks: frozenset[str] = frozenset()) -> Numbers:
    """Return plain numbers as `numbers` does, with those that mean a missing value taken away."""
    values = found.values
    if meant := [value for value in (number(mark, decimal) for mark in marks) if value is not None]:
        values = np.where(np.isin(values, [value for value, _ in meant]), np.nan, values)
    return Numbers(values, None, "", int(np.isnan(values).sum()), found.whole)


def number(cell: str, decimal: str = ".") -> tuple[float, str] | None:
    """Return the number that a cell is and its unit, or None.

    Digits may stand in groups of three, after a currency's sign or before it or a percent sign, in parentheses where they mean a loss.

    >>> number("$1,234.50"), number("12 %"), number("1,23", ","), number("1,23")
    ((1234.5, '$'), (12.0, '%'), (1.23, ''), None)
    """
    bare = _bare(cell)
    if bare is None:
        return None
    sign, digits, unit = bare
    if not unit and digits.lower() in ("inf", "infinity"):
        return sign * float("inf"), ""
    if not _PLAIN[decimal].fullmatch(digits):
        if not _GROUPS[decimal].fullmatch(digits):
            return None
        for between in (*_SPACES, "'", "’", "," if decimal == "." else "."):
            digits = digits.replace(between, "")
    return sign * float(digits.replace(",", ".")), unit


def is_number(cell: str) -> bool:
    """Tell whether a cell is a number, with one decimal mark or the other."""
    return bool(_PLAIN["."].fullmatch(cell)) or any(number(cell, mark) for mark in ".,")


def decimal_of(columns: Iterable[Sequence[str]], delimiter: str) -> str:
    """Return the decimal mark of a table: the one that more columns speak for, each by the share of its cells that do.

    A number of a single group of three digits, such as 1,234, may be either; where nothing else is known it is a whole number, but in
    a table with semicolons, which are there since commas are not free.
    """
    votes = {".": 0.0, ",": 0.0}
    doubtful = 0
    for cells in columns:
        clear, unclear = {".": 0, ",": 0}, 0
        for cell in cells:
            if _CLEAR.fullmatch(cell):
                clear["."] += 1
                continue
            if ("," not in cell and "." not in cell) or (bare := _bare(cell)) is None:
                continue
            if bare[1][-1] in ".,":
                continue  # a mark that ends a number may end a sentence
            fits = [mark for mark in ".," if _PLAIN[mark].fullmatch(bare[1]) or _GROUPS[mark].fullmatch(bare[1])]
            if len(fits) == 1:
                clear[fits[0]] += 1
            elif fits and _ONE_GROUP[","].fullmatch(bare[1]):
                unclear += 1
        if clear["."] != clear[","]:
            mark = max(clear, key=lambda one: clear[one])
            votes[mark] += clear[mark] / sum(map(bool, cells))
        elif unclear:
            doubtful += 1
    if votes["."] == votes[","]:
        return "," if delimiter == ";" and doubtful else "."
    return "." if votes["."] > votes[","] else ","


def truths(cells: Sequence[str], marks: frozenset[str] = frozenset()) -> list[bool | None] | None:
    """Read cells as truth values, None where one is missing; None if they are others.

    >>> truths(["true", "False", ""])
    [True, False, None]
    """
    return _read(cells, marks, lambda cell: {"true": True, "false": False}.get(cell.lower()))


def dates(cells: Sequence[str], marks: frozenset[str] = frozenset()) -> tuple[list[datetime | None], str] | None:
    """Read cells as dates, with or without a time of day, and say in which order; None if they are others, or if two orders fit.

    >>> dates(["31.12.2020", "?"])
    ([datetime.datetime(2020, 12, 31, 0, 0), None], 'day, month, year')
    """
    fits = []
    for name, shape, places in _DATES:

        def read(cell: str, shape: re.Pattern[str] = shape, places: tuple[int, ...] = places) -> datetime | None:
            return _date(cell, shape, places)

        if (found := _read(cells, marks, read)) is not None:
            fits.append((found, name))
    return fits[0] if len(fits) == 1 or (fits and all(fit[0] == fits[0][0] for fit in fits)) else None


def _read(cells: Sequence[str], marks: frozenset[str], reader: Callable[[str], Any]) -> list[Any] | None:
    known: dict[str, Any] = {}
    found = False
    for cell in dict.fromkeys(cells):
        if is_missing(cell, marks):
            known[cell] = None
            continue
        known[cell] = reader(cell.strip())
        if known[cell] is None:
            return None
        found = True
    return [known[cell] for cell in cells] if found else None


def _date(cell: str, shape: re.Pattern[str], places: tuple[int, ...]) -> datetime | None:
    day = shape.match(cell)
    clock = day and _CLOCK.fullmatch(cell, day.end())
    if not day or not clock:
        return None
    parts = [int(part) for part in re.split(r"[-/.]", day[0])]
    hour, minute, second, fraction, zone = clock.groups()
    year, month, day_of_month = (parts[place] for place in places)
    micro = int((fraction or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(year, month, day_of_month, int(hour or 0), int(minute or 0), int(second or 0), micro)
        # The zone by Python, which knows which offsets there are.
        offset = {None: "", "Z": "+00:00", "UTC": "+00:00"}.get(zone, zone)
        return datetime.fromisoformat(moment.isoformat() + (offset if ":" in offset or not offset else f"{offset[:3]}:{offset[3:]}"))
    except ValueError:
        return None


def plain(cells: Sequence[str], decimal: str = ".") -> Plain | None:
    """Read plain numbers, at the speed of Python's own reader; None if a cell is anything else.

    >>> plain(["1", "", "-2e3"]).values.tolist(), plain(["1", "$2"])
    ([1.0, nan, -2000.0], None)
    """
    text = "".join(cells)
    if "_" in text or ("." in text and decimal == ","):  # 1_000 is a number to Python alone
        return None
    if decimal == ",":
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        values = np.array([float(cell) if cell else np.nan for cell in cells], np.float64)
    except ValueError:
        return None
    return Plain(values, is_whole(text, decimal))


def is_whole(text: str, decimal: str) -> bool:
    """Tell whether a number is written without a decimal mark and an exponent."""
    return decimal not in text and "e" not in text and "E" not in text


def _one_by_one(cells: Sequence[str], decimal: str, marks: frozenset[str], unit: str) -> Numbers:
    loose = BARE | {mark.casefold() for mark in marks}
    meant = {found[0] for found in (number(mark, decimal) for mark in marks) if found is not None}
    known: dict[str, float | None] = {}
    values = np.full(len(cells), np.nan)
    bare, wrong, missing, whole = False, None, 0, True
    for place, cell in enumerate(cells):
        if cell not in known:
            known[cell] = np.nan
            if cell.strip().casefold() not in loose:
                found = number(cell, decimal)
                value, own = found or (None, "")
                if value not in meant:
                    # A share and a percentage are told apart by the sign alone; only nothing is the same in both.
                    bare = bare or (not own and bool(value))
                    mixed = (own != unit and bool(own and unit)) or ((unit or own) == "%" and bare)
                    known[cell] = None if mixed else value
                    unit = unit or own
                    whole = whole and is_whole(cell, decimal)
        value = known[cell]
        if value is None:
            wrong = place
            break
        values[place] = value
        missing += value != value  # NaN alone is not itself
    return Numbers(values, wrong, unit, missing, whole)


def _bare(cell: str) -> tuple[float, str, str] | None:
    """Return the sign of a number, its digits and its unit, as far as they can be told without knowing the decimal mark."""
    text = cell.strip().translate(_MINUS)
    loss = text.startswith("(") and text.endswith(")")
    text = text[1:-1].strip() if loss else text
    sign, unit = "", ""
    for _ in range(2):  # a sign before or after that of the currency
        if text[:1] in ("+", "-"):
            if sign or loss:
                return None
            sign, text = text[0], text[1:].lstrip()
        if not unit and text and unicodedata.category(text[0]) == "Sc":
            unit, text = text[0], text[1:].lstrip()
    if not unit and text and (text[-1] == "%" or unicodedata.category(text[-1]) == "Sc"):
        unit, text = text[-1], text[:-1].rstrip()
    return (-1.0 if loss or sign == "-" else 1.0, text, unit) if text else None
