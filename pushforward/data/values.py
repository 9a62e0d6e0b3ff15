"""Values: a column as it was found in a frame or a file, before anybody says what kind of quantity it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

STORAGES = ("float", "integer", "boolean", "string", "date", "datetime", "other")
NUMBERS = ("float", "integer")
DAY = 86400.0
_EPOCH = dt.datetime(1970, 1, 1)
_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_OBJECTS = (("string", str), ("boolean", bool | np.bool_), ("datetime", dt.datetime), ("date", dt.date))  # a moment is a date, too


def storage_of(present: Sequence[Any]) -> str:
    """Return how objects are stored that are all of one type, ``"other"`` where they are of several.

    >>> storage_of(["a", "b"]), storage_of([dt.date(2020, 1, 1)]), storage_of([1, "a"])
    ('string', 'date', 'other')
    """
    return next((storage for storage, kind in _OBJECTS if all(isinstance(one, kind) for one in present)), "other")


def is_nothing(value: Any) -> bool:
    """Tell whether an object stands for a missing value: None, NaN, NaT, or pandas' NA, which is neither itself nor another.

    >>> is_nothing(None), is_nothing(float("nan")), is_nothing("")
    (True, True, False)
    """
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # of pandas' NA nobody knows, of an array there are many answers
        return type(value).__name__ == "NAType"


def seconds_of(moment: Any) -> float:
    """Return the seconds from 1970 to a date or a moment.

    >>> seconds_of(dt.date(1970, 1, 2)), seconds_of(dt.datetime(1970, 1, 1, 0, 0, 0, 500000))
    (86400.0, 0.5)
    """
    if not isinstance(moment, dt.datetime):
        return float(DAY * (moment - _EPOCH.date()).days)
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    return float(since.total_seconds())


def is_mixed(moments: Sequence[Any]) -> bool:
    """Tell whether some moments have a zone and others none, so that nobody knows how far they are apart."""
    return len({moment.tzinfo is None for moment in moments if moment is not None}) > 1


def zone_of_all(moments: Sequence[Any]) -> str:
    """Return the zone of moments, where all have the same; UTC where they have several, and nothing where they have none."""
    zones = {str(moment.tzinfo) if moment.tzinfo else "" for moment in moments if moment is not None}
    return zones.pop() if len(zones) == 1 else "UTC" if zones else ""


def numbers_of(held: Any) -> Any | None:
    """Return objects that are all plain numbers, or None for a missing one, as float64; None for others, or if none is there.

    >>> numbers_of([3, None]), numbers_of([3, "a"])
    (array([ 3., nan]), None)
    """
    present = [one for one in held if one is not None]
    if not present or any(isinstance(one, bool | np.bool_) or not isinstance(one, int | float | np.number) for one in present):
        return None
    if any(isinstance(one, complex | np.complexfloating) for one in present):
        return None
    return np.array([np.nan if one is None else one for one in held], np.float64)


@dataclass(frozen=True, eq=False)
class Values:
    """One column.

    Attributes:
        name: The column's name.
        storage: How each value is stored, one of `STORAGES`.
        values: ``(n,)``: float64 for numbers, else objects (bool, str, datetime); a missing one is NaN, or None.
        categories: Those that the source declares, in its order; None where it declares none.
        ordered: Whether the source says that their order means something.
        zone: The time zone of moments, ``""`` for none.
        unit: What stands beside each number in a file, such as ``"%"``.
        note: What the source has to say of the column.
        bounds: Of cells that are known between two values alone the least and the largest that they can be, coded, ``(n, 2)``; NaN
            elsewhere. None where there are none; ``values`` has nothing there.
        decimal: The decimal mark of numbers among texts.
    """

    name: str
    storage: str
    values: np.ndarray[Any, np.dtype[Any]]
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    zone: str = ""
    unit: str = ""
    note: str = ""
    bounds: np.ndarray[Any, np.dtype[np.float64]] | None = None
    decimal: str = "."

    def __len__(self) -> int:
        return len(self.values)

    def part(self, rows: slice) -> Values:
        """Return some of the rows."""
        return replace(self, values=self.values[rows], bounds=None if self.bounds is None else self.bounds[rows])

    @property
    def open(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell for each cell whether it is known between two values alone."""
        return np.zeros(len(self.values), bool) if self.bounds is None else np.asarray(~np.isnan(self.bounds[:, 0]), bool)

    @property
    def missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell for each value whether it is missing."""
        nothing = [value is None for value in self.values] if self.values.dtype == object else np.isnan(self.values)
        found: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(nothing, bool) & ~self.open
        return found


def of_objects(name: str, held: np.ndarray[Any, np.dtype[Any]], note: str = "") -> Values:
    """Return objects that are no numbers, None where one is missing, as a column; moments some of which have a zone are no dates."""
    present = [one for one in held if one is not None]
    storage = storage_of(present)
    if storage != "datetime":
        return Values(name, storage, held, note=note)
    return Values(name, "other" if is_mixed(present) else storage, held, zone="" if is_mixed(present) else zone_of_all(present), note=note)
