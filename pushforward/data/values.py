"""Values: a column as it was found in a frame or a file, before anybody says what kind of quantity it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STORAGES = ("float", "integer", "boolean", "string", "date", "datetime", "other")
NUMBERS = ("float", "integer")
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
    """

    name: str
    storage: str
    values: np.ndarray[Any, np.dtype[Any]]
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    zone: str = ""
    unit: str = ""
    note: str = ""

    @property
    def missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell for each value whether it is missing."""
        if self.values.dtype == object:
            return np.array([value is None for value in self.values], bool)
        found: np.ndarray[Any, np.dtype[np.bool_]] = np.isnan(self.values)
        return found
