"""Finding out what a column is from its values, or making it what its owner says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from pushforward.data.cells import TRUTH, number
from pushforward.data.ranges import hint, of_texts
from pushforward.data.rows import SAMPLE
from pushforward.data.schema.atoms import Found, find_atoms
from pushforward.data.schema.checking import problems, say
from pushforward.data.schema.column import BETWEEN, DISCRETE, KINDS, Column
from pushforward.data.schema.grid import find_grid
from pushforward.data.schema.names import bounds_of, circle_of
from pushforward.data.values import DAY, NUMBERS, Values

Array = np.ndarray[Any, np.dtype[Any]]
SMALL = 1000
"""Whole numbers up to here are counts, whether or not any comes twice."""
FROM = 30
"""Counts begin here at most, or nearer to 0 than they are to one another."""
EXACT = 2.0**53
"""Up to here float64 has all whole numbers."""
SCALES = (
    ("low", "medium", "high"),
    ("low", "middle", "high"),
    ("low", "moderate", "high"),
    ("small", "medium", "large"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("poor", "fair", "good", "very good", "excellent"),
    ("bad", "fair", "good", "very good", "ideal"),
    ("strongly disagree", "disagree", "neutral", "agree", "strongly agree"),
    ("xs", "s", "m", "l", "xl", "xxl"),
    ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    ("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
)
"""Scales whose order is known from their words."""


def find_column(values: Values, told: str | None = None, first: int = 0) -> Column:
    """Return what a column is.

    Args:
        values: The column.
        told: A kind, with bounds, a period or categories after colons: ``"count"``, ``"interval:0:100"``, ``"circular:360"``,
            ``"ordered:low:medium:high"``; None to find out. ``"between"`` where of some cells two values alone are known, in texts such as
            ``">5"`` and ``"3..7"``; a kind may follow: ``"between:count"``.
        first: The number of the first row, for messages.

    Raises:
        ValueError: There is no such kind, or values are none of that kind; the message names the rows.
    """
    if told is not None and is_between(told):
        values, told = of_texts(values, first), told.partition(":")[2].strip() or None
        return _as_between(find_column(values, told, first))
    if values.bounds is not None and told is not None:
        return _as_between(_told(values, values.values[~(values.missing | values.open)], float(values.missing.mean()), told, first))
    missing = values.missing
    present = values.values[~(missing | values.open)]
    if values.bounds is not None:
        return _as_between(_found_between(values, present, float(missing.mean())))
    share = float(missing.mean()) if len(missing) else 0.0
    if told is not None:
        return _told(values, present, share, told, first)
    if not len(present):
        return Column(values.name, "empty", values.storage, missing=share, why="no value in any row")
    if values.categories is not None:
        kind = "ordered" if values.ordered else "categorical"
        return Column(values.name, kind, values.storage, categories=values.categories, missing=share, why=values.note)
    if values.storage in NUMBERS:
        return _on_grid(_number(values, present, share), present)
    if values.storage == "boolean":
        return Column(values.name, "binary", "boolean", categories=(False, True), missing=share, why=values.note or "truth values")
    if values.storage in ("date", "datetime"):
        step = 86400.0 if values.storage == "date" else 0.0
        return Column(values.name, "datetime", values.storage, step=step, missing=share, zone=values.zone, why=values.note)
    return _text(values, present, share)


def is_between(told: str) -> bool:
    """Tell whether a kind says that of some cells two values alone are known."""
    return str(told).partition(":")[0].strip() == "between"


def _as_between(column: Column) -> Column:
    """Return a column of which some cells may be known between two values alone."""
    if column.kind == "empty":
        return column
    if column.kind not in BETWEEN:
        raise ValueError(
            f"column {column.name!r}: expected numbers or dates, since some cells are known between two values alone, got what is "
            f"{column.kind} ({column.why}); say what they are, as in between:real, or give values"
        )
    return replace(column, between=True)


def _found_between(values: Values, present: Array, share: float) -> Column:
    """Return what a column is of which some cells are known between two values alone; where all are, their ends stand for values."""
    assert values.bounds is not None
    rows = int(values.open.sum())
    if values.storage in NUMBERS:
        # An end that is left out stands a little further in.
        ends = np.array([float(f"{end:.11g}") if abs(end) > 1e-300 else 0.0 for end in values.bounds[np.isfinite(values.bounds)]])
        found = find_column(replace(values, values=present if len(present) else ends, bounds=None))
        share_known = len(present) / (len(present) + rows)
        found = replace(found, atoms=tuple((value, part * share_known) for value, part in found.atoms if len(present)))
        limits = values.bounds[np.isneginf(values.bounds[:, 0]), 1]
        # What is below a limit near 0, where all else is above 0, is above 0 too: the limit of a device.
        if found.kind == "real" and len(limits) and len(present) and 0 < limits.min() <= np.median(present) and present.min() >= 0:
            found = replace(found, kind="positive", low=0)
    else:
        found = find_column(replace(values, values=present, bounds=None))
        found = replace(found, kind="datetime", step=DAY if values.storage == "date" else 0.0) if not len(present) else found
    return replace(found, missing=share, why=f"{found.why}; known between two values alone in {rows:,} row{'s' * (rows > 1)}")


def _number(values: Values, present: Array, share: float) -> Column:
    finite = present[np.isfinite(present)]
    infinite = f"; infinite in {len(present) - len(finite):,} rows" if len(finite) < len(present) else ""
    unit = f"in {values.unit}; " if values.unit else ""
    large = values.storage == "integer" and _rounds(finite)
    rounded = "; beyond 2^53 float64 rounds them: are they names, not numbers?" if large else ""
    if not len(finite):
        return Column(values.name, "empty", values.storage, missing=share, why=f"no finite value in any row{infinite}")
    if float(finite.min()) == float(finite.max()):
        (value,) = {float(finite[0])}
        shown = f"{unit}one value, {value:.6g}, in all rows{rounded}{infinite}"
        return Column(values.name, "real", values.storage, missing=share, atoms=((value, 1.0),), why=shown)
    found = find_atoms(finite)
    rest, step = found.rest, found.step
    # Zero is as much a number as others, wherever these are.
    low, high = min(float(rest.min()), *(value for value in found.far if value == 0), np.inf), float(rest.max())
    whole = bool((rest == np.rint(rest)).all())
    why = f"{unit}{'whole numbers' if whole else 'numbers'} from {low:.6g} to {high:.6g}{_far(found)}{rounded}{infinite}"
    grid: dict[str, Any] = {"step": step, "atoms": found.atoms}
    common: dict[str, Any] = {"storage": values.storage, "missing": share}
    if whole and (low, high) == (0.0, 1.0) and not found.far:
        return Column(values.name, "binary", **common, categories=(0, 1), why=f"only 0 and 1{infinite}")
    if circle := circle_of(values.name, low, high):
        return Column(values.name, "circular", **common, **grid, low=circle[0], high=circle[1], why=f"its name, and {why}")
    count = whole and 0 <= low <= max(high - low, FROM) and (bool(step) or high <= SMALL)
    if bounds := bounds_of(values, rest, low, high, count):
        return Column(values.name, "interval", **common, **grid, low=0, high=bounds[0], why=f"{bounds[1]}, and {why}")
    if count:
        return Column(values.name, "count", **common, low=0, step=1, atoms=found.atoms, why=why)
    kind: dict[str, Any] = {"kind": "positive", "low": 0} if low >= 0 and low <= float(np.median(rest)) / 2 else {"kind": "real"}
    return Column(values.name, **kind, **common, **grid, why=why)


def _rounds(finite: Array) -> bool:
    """Tell whether whole numbers are so large that float64 does not have all of them."""
    return len(finite) > 0 and float(np.abs(finite).max()) > EXACT


def _on_grid(column: Column, present: Array) -> Column:
    """Return a column of numbers with the grid on which all its values lie but for atoms, if there is one."""
    finite = present[np.isfinite(present)]
    grid = find_grid(column, finite) if column.step and len(finite) else None
    if grid is not None and grid.step:
        return replace(column, step=grid.step, origin=grid.origin)
    return column if column.kind == "count" else replace(column, step=0.0)


def _far(found: Found) -> str:
    """Ask of values that are far from all others, as those are that mean a missing one, whether they do."""
    odd = [value for value in found.far if value != 0]
    if not odd:
        return ""
    one = len(odd) == 1
    told = " and ".join(f"{value:g}" for value in odd)
    return f"; {told} {'is' if one else 'are'} far from all others: {'does it' if one else 'do they'} mean a missing value?"


def _text(values: Values, present: Array, share: float) -> Column:
    if values.storage == "other":
        kind = type(next(iter(present))).__name__
        return Column(values.name, "text", "other", missing=share, why=f"values that are no texts, such as one of type {kind}")
    counts = Counter(present)
    categories = sorted(counts)
    lower = [one.strip().lower() for one in categories]
    common: dict[str, Any] = {"storage": "string", "missing": share}
    if len(lower) == 2 and all(one in TRUTH for one in lower) and TRUTH[lower[0]] != TRUTH[lower[1]]:
        ordered = tuple(sorted(categories, key=lambda one: TRUTH[one.strip().lower()]))
        return Column(values.name, "binary", categories=ordered, **common, why="yes or no")
    for scale in SCALES:
        if len(lower) > 2 and len(set(lower)) == len(lower) and set(lower) <= set(scale):
            ordered = tuple(sorted(categories, key=lambda one: scale.index(one.strip().lower())))
            return Column(values.name, "ordered", categories=ordered, **common, why="words with an order")
    why = f"{len(categories):,} different texts in {len(present):,} rows"
    parsed = [one for one in categories[:SAMPLE] if number(one) is not None]
    if len(parsed) > 1 and 2 * len(parsed) > len(categories):
        odd = next((one for one in categories if number(one) is None), None)
        why += "; all are numbers, stored as text" if odd is None else f"; most are numbers, but {odd!r} is none{hint(values.name, odd)}"
    if 2 * len(categories) > len(present):
        return Column(values.name, "text", **common, why=why)
    return Column(values.name, "categorical", categories=tuple(categories), **common, why=why)


def _told(values: Values, present: Array, share: float, told: str, first: int) -> Column:
    """Return a column of the kind that is said, or raise ValueError where values are none of it."""
    kind, *given = [part.strip() for part in str(told).split(":")]
    if kind not in KINDS or kind == "empty":
        kinds = ", ".join(k for k in KINDS if k != "empty")
        raise ValueError(f"column {values.name!r}: expected a kind among {kinds}, or between and one of these, got {kind!r}")
    common: dict[str, Any] = {"storage": values.storage, "missing": share, "why": "as told"}
    if kind in DISCRETE:
        column = Column(values.name, kind, categories=_categories(values, present, given), **common)
    elif kind == "datetime":
        if values.storage not in ("date", "datetime"):
            raise ValueError(f"column {values.name!r}: expected dates, since it is told to be datetime, got {values.storage} values")
        column = Column(values.name, kind, zone=values.zone, step=86400.0 if values.storage == "date" else 0.0, **common)
    elif kind == "text":
        column = Column(values.name, kind, **common)
    else:
        if values.storage not in NUMBERS:
            note = f" ({values.note})" if values.note else ""
            raise ValueError(f"column {values.name!r}: expected numbers, since it is told to be {kind}, got {values.storage} values{note}")
        finite = present[np.isfinite(present)]
        low, high = _ends(values.name, kind, given)
        again = find_atoms(finite) if len(finite) else Found(finite, 0.0, (), ())
        step = 1.0 if kind == "count" else again.step
        common["why"] += _far(again)
        column = _on_grid(Column(values.name, kind, low=low, high=high, step=step, atoms=again.atoms, **common), present)
    if wrong := problems(column, values, first, told=True):
        raise ValueError(f"{say(wrong)}; it is told to be {told}")
    return column


def _ends(name: str, kind: str, given: list[str]) -> tuple[float | None, float | None]:
    wanted = {"interval": (2,), "circular": (1, 2)}.get(kind, (0,))
    ends = [number(part) for part in given]
    if len(given) not in wanted or not all(ends):
        example = {"interval": "interval:0:100", "circular": "circular:360 or circular:-180:180"}.get(kind, kind)
        raise ValueError(f"column {name!r}: expected {example}, got {':'.join([kind, *given])}")
    bounds = [end[0] for end in ends if end]
    if kind in ("positive", "count"):
        return 0.0, None
    return (None, None) if not bounds else (0.0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])


def _categories(values: Values, present: Array, given: list[str]) -> tuple[Any, ...]:
    if not given and values.categories is not None:
        return values.categories
    if values.storage == "integer" and _rounds(present):
        raise ValueError(
            f"column {values.name!r}: expected categories that float64 tells apart, got whole numbers beyond 2^53, such as "
            f"{float(np.abs(present).max()):.0f} or one next to it; make texts of them, as with column.astype(str)"
        )
    found = sorted(set(present.tolist()), key=lambda one: (isinstance(one, str), one))
    if values.storage in NUMBERS:
        found = [int(one) if float(one).is_integer() else one for one in found]
    if not given:
        return tuple(found)
    by_text = {str(one): one for one in found}
    return tuple(by_text.get(part, (read[0] if (read := number(part)) else part) if values.storage in NUMBERS else part) for part in given)
