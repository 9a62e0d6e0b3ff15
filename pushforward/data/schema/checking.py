"""New data held against a schema: which rows of which column it does not allow, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.data.schema.column import DISCRETE, Column
from pushforward.data.table import short
from pushforward.data.values import NUMBERS, Values

_STEPS = 1e-6
"""How far from a whole number of steps a value on a grid may lie, in steps."""


@dataclass(frozen=True)
class Problem:
    """What is wrong in some rows of a column."""

    column: str
    what: str
    rows: tuple[int, ...]
    advice: str

    def __str__(self) -> str:
        return f"column {self.column!r}: {self.what}" + (f" in row{'s' * (len(self.rows) > 1)} {few(self.rows)}" if self.rows else "")


def problems(column: Column, values: Values, first: int, told: bool = False) -> list[Problem]:
    """Return what a column of data has that its schema does not allow; rows count from ``first``."""
    found: list[Problem] = []
    missing = values.missing
    present = np.flatnonzero(~(missing | values.open))

    def note(bad: np.ndarray[Any, np.dtype[Any]], what: str, advice: str) -> None:
        rows = present[bad]
        if len(rows):
            found.append(
                Problem(
                    column.name, f"{what}, got {short(_plain(values.values[rows[0]]))}", tuple(int(row) + first for row in rows), advice
                )
            )

    if missing.any() and not told and not column.missing:
        rows = tuple(int(row) + first for row in np.flatnonzero(missing))
        found.append(Problem(column.name, "expected no missing value, as before, got one", rows, "drop these rows, or fill them in"))
    if values.bounds is not None:
        found += _of_intervals(column, values, values.bounds, first)
    wanted = "number" if column.storage in NUMBERS else "date" if column.kind == "datetime" else column.storage
    have = "number" if values.storage in NUMBERS else "date" if values.storage in ("date", "datetime") else values.storage
    same = wanted == have or column.kind in ("text", "empty") or (column.kind in DISCRETE and have in ("string", "boolean", "number"))
    if len(present) and not same:
        unlike = _PLURAL.get(have, have)
        note_of = f" ({values.note})" if values.note else ""
        found.append(Problem(column.name, f"expected {_PLURAL[wanted]}, got {unlike}{note_of}", (), "give it as the schema has it"))
        return found
    some = values.values[present]
    if column.kind == "datetime" and column.storage == values.storage == "datetime":
        bare = np.array([one.tzinfo is None for one in some], bool)
        what = "expected times with a zone, as before" if column.zone else "expected times without a zone, as before"
        note(bare if column.zone else ~bare, what, "give them a zone" if column.zone else "take the zone away")
    if column.kind in DISCRETE:
        known = set(column.categories)
        new = np.array([one not in known for one in some], bool)
        note(new, f"expected one of {_categories(column)}", "correct these values, leave these rows out, or fit anew with them")
    elif column.numeric and have == "number":
        note(~np.isfinite(some), "expected finite numbers", "correct them, or mark them as missing")
        # A value with a probability of its own may be beyond the bounds of the others, as -999 is.
        within = np.isfinite(some) & ~np.isin(some, [value for value, _ in column.atoms])
        some = np.where(within, some, 0.0)
        low, high = column.low, column.high
        if low is not None:
            note(within & (some < low), f"expected at least {low:g}", "correct these values, or give the column another kind")
        if high is not None:
            note(within & (some > high), f"expected at most {high:g}", "correct these values, or give the column another kind")
        if column.kind == "count":
            note(within & (np.abs(some - np.rint(some)) > _STEPS), "expected whole numbers", "round them, or give the column another kind")
    return found


def _of_intervals(column: Column, values: Values, bounds: np.ndarray[Any, np.dtype[np.float64]], first: int) -> list[Problem]:
    """Return what is wrong with cells that are known between two values alone."""
    rows = np.flatnonzero(values.open)
    if column.kind in DISCRETE or column.kind == "circular":
        what = f"expected values, since it is {column.kind}, got cells that are known between two alone"
        return [Problem(column.name, what, (), "give values, or missing ones")]
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    # Values with a probability of their own may be beyond the bounds of the others.
    spans = [(low, high), *((value, value) for value, _ in column.atoms)]
    holds = np.any([(bounds[rows, 0] <= last) & (bounds[rows, 1] >= start) for start, last in spans], 0)
    bad = rows[~holds]
    if not len(bad):
        return []
    got = f"{bounds[bad[0], 0]:g} to {bounds[bad[0], 1]:g}"
    what = f"expected cells between two values to hold one that there can be, {low:g} to {high:g}, got {got}"
    return [Problem(column.name, what, tuple(int(row) + first for row in bad), "correct their ends, or give the column another kind")]


def say(found: Sequence[Problem]) -> str:
    """Return problems in one line, with what to do about the first of each advice."""
    told = "; ".join(map(str, found[:5])) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return f"{told}; {' / '.join(dict.fromkeys(problem.advice for problem in found[:5]))}"


def few(rows: Sequence[int]) -> str:
    """Return the first few row numbers in words."""
    return ", ".join(map(str, rows[:5])) + (f", ... ({len(rows):,} in all)" if len(rows) > 5 else "")


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _categories(column: Column) -> str:
    shown = ", ".join(map(repr, column.categories[:10]))
    return shown + (f", ... ({len(column.categories)} in all)" if len(column.categories) > 10 else "")


_PLURAL = {
    "number": "numbers",
    "date": "dates",
    "string": "texts",
    "boolean": "truth values",
    "other": "values of other types",
}
