"""Ranges: texts such as >5, <=0.1, 3..7, 30-39, 65+ and (3, 7] as cells of which two values are known between which they lie."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pushforward.data import cells
from pushforward.data.between import Between, of_cells
from pushforward.data.table import short
from pushforward.data.values import Values, is_mixed, numbers_of, of_objects, zone_of_all

WRITTEN = "a value, >5, >=5, <5, <=5, 3..7, 3.., ..7, 3-7, 65+, or (3, 7] with the bracket of an end that counts"
"""How a cell may be written."""
_SIGNS = {">=": "both", "=>": "both", "≥": "both", ">": "right", "<=": "both", "=<": "both", "≤": "both", "<": "left"}
_BRACKETS = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}
_SPANS = re.compile(r"\.\.|…|-|–|—|−")

_DATED = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}(?:[T ]+[0-9:.,]+\s*(?:Z|UTC|[+-]\d\d:?\d\d)?)?")

Reader = Callable[[str], Any]


def parts_of(text: str) -> list[tuple[str, str, str]]:
    """Return what a text may mean: its lower and its upper end as texts, nothing for none, and which of them are closed.

    >>> parts_of("> 5"), parts_of("3..7"), parts_of("(3, 7]"), parts_of("65+")
    ([('5', '', 'right')], [('3', '7', 'both')], [('3', '7', 'right')], [('65', '', 'both')])
    """
    text = text.strip()
    for sign, closed in _SIGNS.items():
        if text.startswith(sign):
            end = text[len(sign) :].strip()
            return [(end, "", closed) if sign[0] in ">≥" or sign == "=>" else ("", end, closed)] if end else []
    if len(text) > 2 and (closed := _BRACKETS.get(text[0] + text[-1], "")):
        inner = text[1:-1]
        # A comma may be a decimal mark as well: what stands between the ends is the plainest mark that comes once.
        apart = next((mark for mark in (";", ", ", ",") if inner.count(mark) == 1), "")
        ends = inner.split(apart) if apart else []
        return [(ends[0].strip(), ends[1].strip(), closed)] if ends else []
    if text.endswith("+"):
        return [(text[:-1].strip(), "", "both")]
    found = []
    for mark in _SPANS.finditer(text):
        low, high = text[: mark.start()].strip(), text[mark.end() :].strip()
        # What has an end alone is told by two points: a dash before a number is its sign.
        if (low and high) or (mark[0] in ("..", "…") and (low or high)):
            found.append((low, high, "both"))
    return found


def cell_of(text: str, read: Reader) -> Any | None:
    """Return the value that a text is, or a `Between`; None if it is neither.

    Args:
        text: Of one cell.
        read: Returns the value of a text, None of one that is none.

    Raises:
        ValueError: It leaves no value between its ends.

    >>> cell_of("3..7", float)
    Between(low=3.0, high=7.0, closed='both')
    """
    if (value := _read(text, read)) is not None:
        return value
    for low, high, closed in parts_of(text):
        ends = [_read(end, read) if end else None for end in (low, high)]
        if all(end is not None or not part for end, part in zip(ends, (low, high), strict=True)):
            return ends[0] if ends[0] == ends[1] and closed == "both" else Between(ends[0], ends[1], closed)
    return None


def hint(name: str, text: str, decimal: str = ".") -> str:
    """Return what to do about a column of numbers with a text that tells two values, nothing about other texts."""
    try:
        found = cell_of(text, lambda end: one[0] if (one := cells.number(end, decimal)) else None)
    except ValueError:
        found = None
    return f"; if it means what lies between two values: --kind '{name}=between'" if isinstance(found, Between) else ""


def _read(text: str, read: Reader) -> Any | None:
    try:
        return read(text.strip())
    except ValueError:
        return None


def of_texts(values: Values, first: int = 0) -> Values:
    """Return a column of texts of which some tell two values as numbers or dates, with the bounds of these; other columns as they are.

    Args:
        values: The column.
        first: The number of the first row, for messages.

    Raises:
        ValueError: A text is neither; the message names the row.
    """
    if values.storage == "other":
        return _of_mixed(values, first)
    if values.storage != "string":
        return values
    known = {text: None for text in values.values if text is not None and text.strip().casefold() not in cells.BARE}
    moments = _moments(list(known))

    def read(text: str) -> Any:
        found = cells.number(text, values.decimal)
        if found is not None:
            units.add(found[1])
            whole.append(found[0].is_integer() and cells.is_whole(text, values.decimal))
            return int(found[0]) if whole[-1] and abs(found[0]) < 2**53 else found[0]
        return moments.get(text)

    units: set[str] = set()
    whole: list[bool] = []
    cell: dict[str | None, Any] = {}
    for text in known:
        try:
            cell[text] = cell_of(text, read)
        except ValueError as error:
            raise _wrong(values, text, first, str(error).removeprefix("Between: ")) from error
        if cell[text] is None:
            raise _wrong(values, text, first, f"expected {WRITTEN}")
    if "%" in units and len(units) > 1:
        raise ValueError(f"column {values.name!r}: expected all cells with a percent sign, or none, got some of each")
    held = np.empty(len(values.values), object)
    held[:] = [cell.get(text) for text in values.values]
    note = "texts that are values, or two between which one lies"
    found = of_cells(values.name, held, note)
    if found is None:
        numbers = numbers_of(held)
        if numbers is None:
            return of_objects(values.name, held, note)
        found = Values(values.name, "integer" if all(whole) else "float", numbers, note=note)
    if found.storage in ("date", "datetime"):
        return _dated(found)
    return Values(found.name, found.storage, found.values, unit="%" if units == {"%"} else "", note=note, bounds=found.bounds)


def _of_mixed(values: Values, first: int) -> Values:
    """Return a column of numbers and texts: each number as Python writes it, then all as texts."""
    if not all(one is None or (isinstance(one, str | int | float | np.number) and not isinstance(one, bool)) for one in values.values):
        return values
    held = np.empty(len(values.values), object)
    held[:] = [one if one is None or isinstance(one, str) else str(one) for one in values.values]
    return of_texts(Values(values.name, "string", held, note=values.note), first)


def _moments(texts: Sequence[str]) -> dict[str, Any]:
    """Return the dates among texts and their ends, all in one order of day and month; nothing if they are none."""
    ends = dict.fromkeys(end for text in texts for parts in [(text, "", ""), *parts_of(text)] for end in parts[:2] if end)
    dated = [end for end in ends if _DATED.fullmatch(end)]
    found = cells.dates(dated) if dated else None
    if found is None or is_mixed(found[0]):
        return {}
    moments = found[0]
    days = all(moment is None or moment.timetz().isoformat() == "00:00:00" for moment in moments)
    return {end: moment.date() if days and moment else moment for end, moment in zip(dated, moments, strict=True)}


def _dated(found: Values) -> Values:
    zone = zone_of_all([one for one in found.values if isinstance(one, dt.datetime)]) if found.storage == "datetime" else ""
    return Values(found.name, found.storage, found.values, zone=zone, note=found.note, bounds=found.bounds)


def _wrong(values: Values, text: str, first: int, what: str) -> ValueError:
    row = next(place for place, one in enumerate(values.values) if one == text) + first
    return ValueError(f"column {values.name!r}: {what}, got {short(text)} in row {row}; if it means a missing one, mark it as that")
