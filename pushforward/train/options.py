"""Checks of options: each says whose option it is, what was expected, and what came."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

SEEDS = (-(2**63), 2**63 - 1)
"""The seeds that a generator of torch takes, below those that stand for negative ones."""


def whole(owner: str, name: str, value: Any, least: int, most: int | None = None, optional: bool = False) -> Any:
    """Return a whole number of any kind as an int, or None where that is an option; raise ValueError for anything else."""
    good = _is_whole(value) and least <= int(value) and (most is None or int(value) <= most)
    if not good and not (optional and value is None):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{owner}: expected {name} to be a whole number {wanted}{_or(optional)}, got {_shown(value)}")
    return None if value is None else int(value)


def real(owner: str, name: str, value: Any, zero: bool = False, optional: bool = False) -> None:
    """Raise ValueError unless ``value`` is a finite number above 0, or 0 too where that is an option."""
    good = is_number(value) and math.isfinite(value) and (float(value) > 0 or (zero and float(value) == 0))
    if not good and not (optional and value is None):
        wanted = "of at least 0" if zero else "above 0"
        raise ValueError(f"{owner}: expected {name} to be a finite number {wanted}{_or(optional)}, got {_shown(value)}")


def choice(owner: str, name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise ValueError unless ``value`` is one of the words, or None or a bool where these are among them."""
    if not any(value is one or (isinstance(value, str) and value == one) for one in choices):
        *rest, last = map(repr, choices)
        raise ValueError(f"{owner}: expected {name} to be {', '.join(rest)} or {last}, got {_shown(value)}")


def function(owner: str, name: str, value: Any) -> None:
    """Raise TypeError unless ``value`` can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{owner}: expected {name} to be a function or None, got {_shown(value)}")


def seed(owner: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a seed that torch takes."""
    if not _is_whole(value) or not SEEDS[0] <= int(value) <= SEEDS[1]:
        raise ValueError(f"{owner}: expected seed to be a whole number from -2**63 to 2**63 - 1, got {_shown(value)}")


def names(owner: str, name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a list of different names, or None; a string is a list of letters, which nobody means."""
    if value is None:
        return
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(part, str) for part in value) or not value:
        raise ValueError(f"{owner}: expected {name} to be a list of column names or None, got {_shown(value)}")
    if twice := [part for part in value if list(value).count(part) > 1]:
        raise ValueError(f"{owner}: expected each column of {name} once, got {twice[0]!r} twice")


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number of any kind, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _or(optional: bool) -> str:
    return " or None" if optional else ""


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
