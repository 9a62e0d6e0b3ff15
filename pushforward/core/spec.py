"""Specs: frozen dataclasses that are their own configuration, with JSON both ways."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from pushforward.core.fields import check_field, hints, shown

S = TypeVar("S", bound="Spec")
Defined = dict[str, list[type["Spec"]]]

DEPTH = 64
"""How deep plans may stand in plans, or lists in lists: more than any flow needs, and what they build can still be copied, which takes
Python a dozen calls a level of the thousand that it allows."""
PARTS = 2**20
"""How many plans a plan may consist of, itself and one that stands in several places included."""
NESTED = 2 * DEPTH + 20
"""How deep brackets may stand in JSON: for each level of a plan those of an object and of a list."""
DIGITS = 20
"""How many digits a whole number in JSON may have."""


class PlanError(ValueError):
    """A plan that cannot be built: wrong argument, wrong shape, wrong domain, unknown name."""


def plain(value: Any, depth: int = 0) -> Any:
    """Give arrays, lists and numpy scalars the plain, hashable form in which a spec keeps them; raise `PlanError` where there is none."""
    if isinstance(value, torch.Tensor | np.ndarray):
        try:
            value = value.tolist()
        except (RuntimeError, NotImplementedError) as error:  # on the meta device, or sparse
            raise PlanError(f"expected a tensor whose numbers can be read, got one of {value.dtype} on {value.device}: {error}") from error
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        if depth > DEPTH:
            raise PlanError(f"expected lists at most {DEPTH} deep in one another, got deeper ones")
        return tuple(plain(item, depth + 1) for item in value)
    return value


class Spec:
    """Base of everything that is a plan: arguments kept verbatim, compared, printed and written as JSON.

    A subclass is decorated with ``@dataclass(frozen=True, repr=False)``. Its fields hold numbers, strings, tuples and
    other specs; lists and arrays become tuples. What each may hold, its annotation says, and that is checked when the plan is made.
    So is what it consists of: plans stand in plans at most 64 deep.

    >>> from pushforward.bijectors import Spline
    >>> Spline(bins=16) == Spec.from_json(Spline(bins=16).to_json())
    True
    """

    # Not public, so that a plan may have fields of these names.
    _called: ClassVar[tuple[str, str]] = ("a plan", "plans")
    """What errors call one such plan, and several."""
    _levels: ClassVar[int] = 1
    """How much the plan adds to the depth of what it holds; more than 1 where it asks what it holds several times."""
    _hints: ClassVar[dict[str, Any]]
    """What each field may hold."""
    _depth: int
    """How deep plans stand in this one, itself included."""
    _count: int
    """How many plans it consists of, itself included."""

    def __post_init__(self) -> None:
        cls, name = type(self), type(self).__name__
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            try:
                object.__setattr__(self, field.name, plain(getattr(self, field.name)))
            except PlanError as error:
                raise PlanError(f"{name}: {field.name}: {error}") from error
        inside = [plan for field in dataclasses.fields(self) for plan in _plans_in(getattr(self, field.name))]  # type: ignore[arg-type]
        # Facts of a plan are known once, when it is made, from those of the plans in it: to ask costs nothing, however deep they are.
        object.__setattr__(self, "_depth", self._levels + max((plan._depth for plan in inside), default=0))
        object.__setattr__(self, "_count", 1 + sum(plan._count for plan in inside))
        if self._depth > DEPTH:
            raise PlanError(f"{name}: expected plans at most {DEPTH} deep in one another, got {self._depth}; write layers as one list")
        if self._count > PARTS:
            raise PlanError(f"{name}: expected at most {PARTS} plans in one, got {self._count}")
        if "_hints" not in vars(cls):  # not before its first plan is made: what an annotation names may stand below the class
            cls._hints = hints(cls)
        for key, hint in cls._hints.items():
            if wrong := check_field(name, key, hint, getattr(self, key)):
                raise PlanError(wrong)
        self.check()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a copy or a pickle holds; it is checked like any other plan."""
        self.__dict__.update(state)
        self.__post_init__()

    def check(self) -> None:
        """Raise `PlanError` when arguments do not fit one another; called once, when the spec is made and each fits its annotation."""

    def __repr__(self) -> str:
        arguments = []
        required = True
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            required = required and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required:
                arguments.append(repr(value))
            elif field.default is dataclasses.MISSING or value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    def itself(self) -> Spec:
        """Return the plan that files and states name: this one, or the one for which a name of another library stands."""
        return self

    def replace(self: S, **changes: Any) -> S:
        """Return the same spec with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as nested dicts, lists, numbers and strings; raise `PlanError` for what JSON cannot hold."""
        content = {field.name: _encode(getattr(self, field.name), self) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"type": type(self).__name__, **content}

    def to_json(self) -> str:
        """Return the spec as one line of JSON."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(content: dict[str, Any]) -> Spec:
        """Make the spec that `to_dict` described. Names are looked up among the specs defined so far; nothing is imported."""
        return _spec_of(content, 0, _defined())

    @staticmethod
    def from_json(text: str) -> Spec:
        """Make the spec that `to_json` wrote; raise ValueError for what is no JSON, and `PlanError` for what is no plan."""
        return Spec.from_dict(parse_json(text))


def parse_json(text: str) -> Any:
    """Read JSON of which nothing is trusted: its depth is looked at before it is read, and what has two meanings is refused.

    Raises:
        PlanError: Brackets stand more than `NESTED` deep.
        ValueError: It is no JSON, a name stands twice in an object, or a number is NaN or too large for the machine's.

    >>> parse_json('{"a": 1, "b": [1.5, Infinity]}')
    {'a': 1, 'b': [1.5, inf]}
    """
    depth = 0
    # What stands between quotes is left out: escaped characters first, among which there are quotes.
    outside = "".join(re.sub(r"\\.", "", text, flags=re.DOTALL).split('"')[::2])
    for mark in re.findall(r"[][{}]", outside):
        depth += 1 if mark in "[{" else -1
        if depth > NESTED:
            raise PlanError(f"expected JSON whose brackets stand at most {NESTED} deep, got deeper ones")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_whole, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = collections.Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"expected each name once in an object, got {shown(twice)} several times")
    return content


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("expected numbers, got NaN")
    return float(name)


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"expected whole numbers of at most {DIGITS} digits, got one of {len(digits)}")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"expected numbers of at most 1.8e308, got {shown(digits)}")
    return value


def _plans_in(value: Any) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _plans_in(item)


def _encode(value: Any, owner: Spec) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_encode(item, owner) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise PlanError(
        f"{type(owner).__name__}: expected numbers, strings, tuples or plans in order to write it as JSON, got a "
        f"{type(value).__name__}; make it a plan of its own (see docs/add-a-bijection.md), or keep its state_dict"
    )


def _spec_of(content: Any, depth: int, defined: Defined) -> Spec:
    if not isinstance(content, dict):
        raise PlanError(f"expected a plan as an object with its type, got {shown(content)}")
    if depth > NESTED:
        raise PlanError(f"expected plans at most {DEPTH} deep in one another, got deeper ones")
    content = dict(content)
    name = content.pop("type", None)
    cls = _find(name, defined)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = {field.name for field in fields}
    if unknown := sorted(map(str, set(content) - known)):
        raise PlanError(f"{name}: expected the fields {sorted(known)}, got also {shown(unknown)}; was it written by a newer version?")
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - set(content)):
        raise PlanError(f"{name}: expected the fields {sorted(known)}, got none named {' or '.join(missing)}")
    return cls(**{key: _decode(value, depth + 1, defined) for key, value in content.items()})


def _decode(value: Any, depth: int, defined: Defined) -> Any:
    if isinstance(value, dict):
        return _spec_of(value, depth, defined)
    if isinstance(value, list | tuple):
        if depth > NESTED:
            raise PlanError(f"expected lists at most {DEPTH} deep in one another, got deeper ones")
        return tuple(_decode(item, depth + 1, defined) for item in value)
    return value


def _descendants(cls: type[Spec]) -> Iterator[type[Spec]]:
    for sub in cls.__subclasses__():
        if dataclasses.is_dataclass(sub) and not sub.__name__.startswith("_"):
            yield sub
        yield from _descendants(sub)


def registry() -> dict[str, type[Spec]]:
    """Return every spec class that is defined so far, by name; Python's own list of subclasses is the registry.

    >>> "Spline" in registry()
    True
    """
    return {cls.__name__: cls for cls in _descendants(Spec)}


def _defined() -> Defined:
    found: Defined = {}
    for cls in _descendants(Spec):
        found.setdefault(cls.__name__, []).append(cls)
    return found


def _find(name: Any, defined: Defined) -> type[Spec]:
    classes = defined.get(name, []) if isinstance(name, str) else []
    if not classes:
        raise PlanError(f"{shown(name)} is not a known plan; import the module that defines it first")
    if len({(cls.__module__, cls.__qualname__) for cls in classes}) > 1:
        raise PlanError(f"{name!r} is defined in several modules: {sorted({cls.__module__ for cls in classes})}; rename all but one")
    return classes[-1]  # the newest, where one was defined again
