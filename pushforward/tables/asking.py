"""What a table flow is asked: columns by name, whole numbers and widths, or an error that says what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pushforward.core.fields import MOST
from pushforward.data.between import Between
from pushforward.data.from_frames import is_table


def place_of(columns: Sequence[str], method: str, name: Any) -> int:
    """Return the place of a column, or raise ValueError."""
    # Columns of frames may be named by numbers; a schema has texts.
    if str(name) not in columns:
        raise ValueError(f"TableFlow.{method}: no column {name!r}; there are {', '.join(map(repr, columns[:30]))}")
    return columns.index(str(name))


def places_of(columns: Sequence[str], method: str, names: Any) -> list[int]:
    """Return the places of columns, in the order of the schema, or raise ValueError; of None those of all."""
    if names is None:
        return list(range(len(columns)))
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ValueError(f"TableFlow.{method}: expected columns to be a list of names or None, got {names!r}")
    places = [place_of(columns, method, name) for name in names]
    if len(set(places)) < len(places):
        raise ValueError(f"TableFlow.{method}: expected each column once, got {[columns[place] for place in places]!r}")
    return sorted(places)


def places_asked(columns: Sequence[str], method: str, names: Any, given: Any) -> tuple[list[int], list[int]]:
    """Return the places of columns that are asked about, None for all others, and of those that are given, or raise ValueError."""
    if isinstance(given, str):
        raise ValueError(f"TableFlow.{method}: expected given to be a list of names, got {given!r}")
    known = places_of(columns, method, list(given)) if len(given) else []
    asked = [at for at in range(len(columns)) if at not in known] if names is None else places_of(columns, method, names)
    if both := [columns[at] for at in asked if at in known]:
        raise ValueError(f"TableFlow.{method}: expected columns that are not given, got {both[0]!r}")
    if not asked:
        raise ValueError(f"TableFlow.{method}: expected a column that is not given, got all of them as given")
    return asked, known


def whole(name: str, value: Any, least: int = 0) -> int:
    """Return a whole number, or raise ValueError."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= int(value) <= MOST:
        raise ValueError(f"TableFlow: expected {name} to be a whole number of at least {least}, got {value!r}")
    return int(value)


def widths_of(widths: Any) -> tuple[int, ...]:
    """Return the widths of hidden layers, or raise ValueError."""
    if isinstance(widths, int) and not isinstance(widths, bool):
        widths = (widths,)
    if not isinstance(widths, Sequence) or isinstance(widths, str | Mapping) or not widths:
        raise ValueError(f"TableFlow: expected widths to be a list such as (256, 256), got {widths!r}")
    return tuple(whole("widths", width, 1) for width in widths)


def given_table(given: Any) -> Any:
    """Return a mapping from names to values as a table of one row, and a table as it is, or raise ValueError."""
    if not isinstance(given, Mapping) and (not is_table(given) or len(np.shape(given)) == 1):
        raise ValueError(
            f"TableFlow.condition: expected a mapping from names to values, or a table of one row, got {type(given).__name__}; of a "
            "row of pandas dict(row)"
        )
    if isinstance(given, Mapping) and not given:
        raise ValueError("TableFlow.condition: expected values of some columns, got none; sample and log_prob ask for no more")
    return {str(name): _cell(str(name), value) for name, value in given.items()} if isinstance(given, Mapping) else given


def _cell(name: str, value: Any) -> Any:
    """Return what is given of a column as a column of one cell; a pair is a lower and an upper end."""
    if not isinstance(value, tuple):
        return [value]
    if len(value) != 2:
        raise ValueError(f"TableFlow.condition: column {name!r}: expected a value, or two between which it lies, got {value!r}")
    try:
        cell = Between(*value)
    except ValueError as error:
        raise ValueError(f"TableFlow.condition: column {name!r}: {str(error).removeprefix('Between: ')}") from error
    return [value[0] if value[0] == value[1] else cell]
