"""Fields: what a plan's arguments may be, as its annotations say, and the check of a value against them."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import sys
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Union

LARGEST = 2**63
"""What whole numbers stay below in absolute value, so that they fit into the machine's."""
MOST = 2**20
"""The most that anything is counted to: units, bins, layers. Tensors of a greater size would not fit into memory anyhow."""


@dataclass(frozen=True)
class Within:
    """A range of numbers, which are finite.

    >>> check_field("Power", "exponent", Annotated[float, Within(above=0.0)], 2.0)
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a number lies in the range."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def words(self, whole: bool, value: object) -> str:
        """Return what is expected, as it reads after the field's name."""
        if whole:
            large = isinstance(value, int) and self.most is not None and value > self.most
            limit = f" of at most {self.most}" if large else "" if self.least is None else f" of at least {self.least}"
            return f"to be a whole number{limit}"
        low, high = self.least if self.above is None else self.above, self.most if self.below is None else self.below
        if low is None and high is None:
            return "to be a finite number"
        if high is None:
            return f"{'>=' if self.above is None else '>'} {low:g}"
        if low is None:
            return f"{'<=' if self.below is None else '<'} {high:g}"
        return f"in {'[' if self.above is None else '('}{low:g}, {high:g}{']' if self.below is None else ')'}"


@dataclass(frozen=True)
class OneOf:
    """A choice of words."""

    choices: tuple[str, ...]

    def __init__(self, *choices: str) -> None:
        object.__setattr__(self, "choices", choices)

    def words(self) -> str:
        """Return what is expected, as it reads after the field's name."""
        if len(self.choices) > 3:
            return f"to be one of {', '.join(self.choices)}"
        *most, last = map(repr, self.choices)
        return f"to be {', '.join(most)} or {last}" if most else f"to be {last}"


@dataclass(frozen=True)
class Length:
    """The least length of a list."""

    least: int = 1


@dataclass(frozen=True)
class Named:
    """What a type is called in errors, as it reads after the field's name."""

    words: str


Count = Annotated[int, Within(least=1, most=MOST)]
"""How many there are of something."""
Place = Annotated[int, Within(least=0, most=LARGEST)]
"""A place in a list, counted from 0."""
Positive = Annotated[float, Within(above=0.0)]
"""A positive finite number."""
Numbers = Annotated[Any, Named("to be a number, or nested lists of numbers")]
"""A number or nested tuples of numbers that make up a table; their ranges the plan checks."""


class Mismatch(NamedTuple):
    """What does not fit: where in the field, what was expected there, and what came."""

    place: str
    words: str
    value: object


def check_field(plan: str, field: str, hint: Any, value: object) -> str | None:
    """Return in words how a value does not fit its annotation, or None.

    >>> check_field("Spline", "bins", Count, True)
    'Spline: expected bins to be a whole number of at least 1, got True'
    """
    found = _mismatch(hint, value)
    if found is None:
        return None
    call = "; write it with brackets, as a plan" if isinstance(found.value, type) else ""
    return f"{plan}: expected {field}{found.place} {found.words}, got {shown(found.value)}{call}"


def shown(value: object) -> str:
    """Return a value as text that is not too long for an error."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 500 else f"{text[:480]}... ({len(text)} characters)"


def hints(cls: type) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass; Any where a name in it cannot be found, as in a class made in a function."""
    found = {}
    for field in dataclasses.fields(cls):
        found[field.name] = _resolve(field.type, cls, field.name)
    return found


def _resolve(annotation: Any, cls: type, field: str) -> Any:
    if not isinstance(annotation, str):
        return annotation
    owner = next((part for part in cls.__mro__ if field in vars(part).get("__annotations__", {})), cls)
    try:
        return eval(annotation, vars(sys.modules[owner.__module__]))
    except (NameError, KeyError):
        return Any


def _mismatch(hint: Any, value: object) -> Mismatch | None:
    """Return what of a value does not fit an annotation."""
    rules: tuple[Any, ...] = ()
    while typing.get_origin(hint) is Annotated:
        hint, *more = typing.get_args(hint)
        rules = (*more, *rules)
    if hint is Any:
        words = next((rule.words for rule in rules if isinstance(rule, Named)), "")
        return Mismatch("", words, value) if words and not _numeric(value) else None
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _of_union(typing.get_args(hint), rules, value)
    if origin in (tuple, list, collections.abc.Sequence):
        return _of_list(typing.get_args(hint), origin, rules, value)
    if hint is None or hint is type(None):
        return None if value is None else Mismatch("", "to be None", value)
    if hint in (int, float):
        return _of_number(hint, next((rule for rule in rules if isinstance(rule, Within)), Within()), value)
    if hint is bool:
        return None if isinstance(value, bool) else Mismatch("", "to be True or False", value)
    if hint is str:
        choice = next((rule for rule in rules if isinstance(rule, OneOf)), None)
        if isinstance(value, str) and (choice is None or value in choice.choices):
            return None
        return Mismatch("", "to be a word" if choice is None else choice.words(), value)
    if origin is collections.abc.Callable:
        words = next((rule.words for rule in rules if isinstance(rule, Named)), "to be a function")
        return None if callable(value) else Mismatch("", words, value)
    if isinstance(hint, type):
        return None if isinstance(value, hint) else Mismatch("", _called(hint, rules), value)
    return None


def _called(hint: Any, rules: tuple[Any, ...] = ()) -> str:
    words = next((rule.words for rule in rules if isinstance(rule, Named)), None)
    return words or f"to be {getattr(hint, '_called', (f'a {hint.__name__}',))[0]}"


def _of_number(hint: type, limits: Within, value: object) -> Mismatch | None:
    whole = hint is int
    if isinstance(value, int if whole else int | float) and not isinstance(value, bool):
        fits = -LARGEST < value < LARGEST if isinstance(value, int) else math.isfinite(value)
        if fits and limits.holds(value):
            return None
    return Mismatch("", limits.words(whole, value), value)


def _of_union(options: tuple[Any, ...], rules: tuple[Any, ...], value: object) -> Mismatch | None:
    found = [_mismatch(option, value) for option in options]
    if None in found:
        return None
    named = [rule.words for rule in rules if isinstance(rule, Named)]
    if named:
        return Mismatch("", named[0], value)
    # A list that fits no option is told of the option that is a list, anything else of the others.
    lists = [i for i, option in enumerate(options) if _is_list(option)]
    others = [i for i in range(len(options)) if i not in lists and options[i] not in (None, type(None))]
    chosen = lists if isinstance(value, tuple) and lists else [*others, *lists]
    first, *rest = [found[i] for i in chosen]
    assert first is not None
    if type(None) in options and first.words.startswith("to be '"):
        rest = [*rest, Mismatch("", "None", None)]
    words = [first.words, *(other.words.removeprefix("to be ") for other in rest if other is not None and first.words.startswith("to be "))]
    return first._replace(words=" or ".join(words))


def _is_list(hint: Any) -> bool:
    while typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    return typing.get_origin(hint) in (tuple, list, collections.abc.Sequence)


def _of_list(items: tuple[Any, ...], origin: Any, rules: tuple[Any, ...], value: object) -> Mismatch | None:
    fixed = origin is tuple and not (len(items) == 2 and items[1] is ...)
    least = next((rule.least for rule in rules if isinstance(rule, Length)), 0)
    if fixed:
        words = f"to be a list of {len(items)} entries"
    else:
        words = f"to be a list of {_plural(items[0])}{', not an empty one' if value == () else ''}"
    words = next((rule.words for rule in rules if isinstance(rule, Named)), words)
    if not isinstance(value, tuple) or len(value) < least or (fixed and len(value) != len(items)):
        return Mismatch("", words, value)
    for index, item in enumerate(value):
        found = _mismatch(items[index] if fixed else items[0], item)
        if found is None:
            continue
        if _is_plan(items[index] if fixed else items[0]):
            return found._replace(place=f"[{index}]{found.place}")
        # Of a list of numbers all is shown, and of numbers in a range the range alone says what is wrong.
        return Mismatch("", words if found.words.startswith("to be") else found.words, value)
    return None


def _is_plan(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "_called")


def _plural(hint: Any) -> str:
    base, rules = hint, list[Any]()
    while typing.get_origin(base) is Annotated:
        base, *rules = typing.get_args(base)
    limits = next((rule for rule in rules if isinstance(rule, Within)), Within())
    if base is int:
        if limits.least is None:
            return "whole numbers"
        return "positive whole numbers" if limits.least == 1 else f"whole numbers of at least {limits.least}"
    if base is float:
        return "finite numbers"
    if base is bool:
        return "booleans"
    if base is str:
        return "words"
    if _is_list(base):
        return f"lists of {_plural(typing.get_args(base)[0])}"
    return str(getattr(base, "_called", ("", "entries"))[1])


def _numeric(value: object) -> bool:
    """Tell whether a value is a number, or nested tuples of numbers alone that make up a table, none of them NaN."""
    return _shape(value) is not None


def _shape(value: object) -> tuple[int, ...] | None:
    """Return the shape of a table of numbers, () for one number, or None for what is none."""
    if isinstance(value, tuple):
        inner = {_shape(item) for item in value}
        one = inner.pop() if len(inner) == 1 else () if not inner else None
        return None if one is None else (len(value), *one)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    fits = -LARGEST < value < LARGEST if isinstance(value, int) else not math.isnan(value)
    return () if fits else None
