"""Between: cells of which only two values are known between which they lie, as censored times and answers in brackets are."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pushforward.data.values import Values, is_nothing, numbers_of, seconds_of, storage_of

Array = np.ndarray[Any, np.dtype[Any]]
Plain = int | float | dt.date | dt.datetime
_BESIDE = 1e-12
"""How far, of its size, an end that is left out is from what is not."""
CLOSED = ("both", "left", "right", "neither")


@dataclass(frozen=True)
class Between:
    """A cell that lies between two values: at least the one, at most the other.

    Args:
        low: A number or a date; ``-inf`` or None for no lower end.
        high: The same; ``inf`` or None for no upper end.
        closed: Which ends it may be itself: ``"both"``, ``"left"``, ``"right"`` or ``"neither"``. It matters where values have a
            probability: on a grid, and of atoms.

    Raises:
        ValueError: The ends are none, or leave no value between them.

    >>> Between(5, None)
    Between(low=5, high=None, closed='both')
    """

    low: Plain | None
    high: Plain | None
    closed: str = "both"

    def __post_init__(self) -> None:
        if self.closed not in CLOSED:
            raise ValueError(f"Between: expected closed to be one of {', '.join(CLOSED)}, got {self.closed!r}")
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not (value is None or isinstance(value, int | float | np.number | dt.date)) or value != value:
                raise ValueError(f"Between: expected a number, a date or None as its {name}, got {value!r}")
        ends = [end for end in (self.low, self.high) if end is not None and not (isinstance(end, int | float) and math.isinf(end))]
        if len(ends) == 2 and storage_kind(ends[0]) != storage_kind(ends[1]):
            raise ValueError(f"Between: expected both ends to be numbers or both dates, got {self.low!r} and {self.high!r}")
        low, high = bounds_of(self)
        if not low < high and not (low == high and self.closed == "both" and math.isfinite(low)):
            raise ValueError(f"Between: expected a lower end below the upper one, got {self.low!r} and {self.high!r}, {self.closed} closed")


def storage_kind(value: Any) -> str:
    """Return ``"date"`` for dates and moments, ``"number"`` for numbers."""
    return "date" if isinstance(value, dt.date) else "number"


def between(low: Any, high: Any) -> Array:
    """Return cells known to lie between two values, a column of a table, from two columns of lower and upper ends.

    Where both ends are the same, the value is known; where both are missing, it is missing; where one is missing or infinite, there is no
    such end. So a time that is censored where nothing was seen until then is ``between(time, np.where(seen, time, np.inf))``.

    Args:
        low: ``(n)`` numbers or dates.
        high: ``(n)``.

    Raises:
        ValueError: Other lengths, or a lower end above the upper one; the row is named.

    >>> between([1.0, 2.0, None], [1.0, 3.5, None]).tolist()
    [1.0, Between(low=2.0, high=3.5, closed='both'), None]
    """
    lows, highs = (list(np.asarray(ends, object).reshape(-1)) for ends in (low, high))
    if len(lows) != len(highs):
        raise ValueError(f"between: expected as many lower as upper ends, got {len(lows)} and {len(highs)}")
    made = np.empty(len(lows), object)
    for row, ends in enumerate(zip(lows, highs, strict=True)):
        first, last = (None if is_nothing(end) else end.item() if isinstance(end, np.generic) else end for end in ends)
        try:
            made[row] = None if first is None and last is None else first if first == last else Between(first, last)
        except ValueError as error:
            raise ValueError(f"between: row {row}: {str(error).removeprefix('Between: ')}") from error
    return made


def bounds_of(cell: Any) -> tuple[float, float]:
    """Return the least and the largest value that a cell can be, coded: of dates their seconds since 1970.

    >>> bounds_of(Between(2, 3)), bounds_of(Between(None, 0))
    ((2.0, 3.0), (-inf, 0.0))
    """
    low = -math.inf if cell.low is None else _coded(cell.low)
    high = math.inf if cell.high is None else _coded(cell.high)
    # An open end is next to what is left out, and further from it than roundings of values on a grid are.
    if cell.closed in ("right", "neither") and math.isfinite(low):
        low = max(math.nextafter(low, math.inf), low + _BESIDE * abs(low))
    if cell.closed in ("left", "neither") and math.isfinite(high):
        high = min(math.nextafter(high, -math.inf), high - _BESIDE * abs(high))
    return low, high


def is_between(value: Any) -> bool:
    """Tell whether an object is a `Between`, or an interval of pandas, which is not imported to find out."""
    return isinstance(value, Between) or (type(value).__name__ == "Interval" and type(value).__module__.split(".")[0] == "pandas")


def of_cells(name: str, cells: Array, note: str = "") -> Values | None:
    """Return objects, some of which are known between two values alone, as a column; None if none is.

    Raises:
        ValueError: The others are neither numbers nor dates, or an interval leaves no value.
    """
    which = np.array([is_between(cell) for cell in cells], bool)
    if not which.any():
        return None
    bounds = np.full((len(cells), 2), np.nan)
    for row in np.flatnonzero(which).tolist():
        # pandas' own has ends and says which are closed, as this one does.
        cell = cells[row] if isinstance(cells[row], Between) else Between(_end(cells[row].left), _end(cells[row].right), cells[row].closed)
        bounds[row] = bounds_of(cell)
        cells = cells if isinstance(cells[row], Between) else _with(cells, row, cell)
    kinds = {
        storage_kind(end) for cell in cells[which] for end in (cell.low, cell.high) if end is not None and end not in (-math.inf, math.inf)
    }
    others = cells.copy()
    others[which] = None
    present = [one for one in others if one is not None]
    numbers = numbers_of(others)
    storage = "float" if numbers is not None else storage_of(present) if present else "datetime" if kinds == {"date"} else "float"
    if storage not in ("float", "date", "datetime") or len(kinds | {"date" if storage in ("date", "datetime") else "number"}) > 1:
        raise ValueError(f"column {name!r}: expected numbers or dates beside values known between two others, got {storage} values")
    if storage == "float":
        numbers = np.full(len(cells), np.nan) if numbers is None else numbers
        ends = bounds[np.isfinite(bounds)]
        whole = all(isinstance(one, int | np.integer) for one in present) and bool(
            (np.abs(ends - np.rint(ends)) < 1e-9 + 2 * _BESIDE * np.abs(ends)).all()
        )
        return Values(name, "integer" if whole else "float", numbers, note=note, bounds=bounds)
    return replace(Values(name, storage, others, note=note), bounds=bounds)


def _with(cells: Array, row: int, cell: Between) -> Array:
    changed = cells.copy()
    changed[row] = cell
    return changed


def _end(value: Any) -> Any:
    return None if is_nothing(value) else value.item() if isinstance(value, np.generic) else value


def _coded(value: Any) -> float:
    return seconds_of(value) if isinstance(value, dt.date) else float(value)
