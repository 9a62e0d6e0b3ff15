"""Specs: frozen dataclasses that are their own configuration, with JSON both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch

S = TypeVar("S", bound="Spec")


class PlanError(ValueError):
    """A plan that cannot be built: wrong argument, wrong shape, wrong domain, unknown name."""


def plain(value: Any) -> Any:
    """Give arrays, lists and numpy scalars the plain, hashable form in which a spec keeps them."""
    if isinstance(value, torch.Tensor | np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


class Spec:
    """Base of everything that is a plan: arguments kept verbatim, compared, printed and written as JSON.

    A subclass is decorated with ``@dataclass(frozen=True, repr=False)``. Its fields hold numbers, strings, tuples and
    other specs; lists and arrays become tuples.

    >>> from pushforward.bijectors import Spline
    >>> Spline(bins=16) == Spec.from_json(Spline(bins=16).to_json())
    True
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        try:
            self.check()
        except TypeError as error:
            given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
            raise PlanError(f"{type(self).__name__}: expected arguments of the documented types, got {given}: {error}") from error

    def check(self) -> None:
        """Raise `PlanError` when an argument is wrong; called once, when the spec is made."""

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
        if not isinstance(content, dict):
            raise PlanError(f"expected a plan as an object with its type, got {content!r}")
        content = dict(content)
        name = content.pop("type", None)
        cls = _find(name)
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(content) - known):
            raise PlanError(f"{name}: expected the fields {sorted(known)}, got also {unknown}; was it written by a newer version?")
        try:
            return cls(**{key: _decode(value) for key, value in content.items()})
        except TypeError as error:
            raise PlanError(f"{name}: {error}") from error

    @staticmethod
    def from_json(text: str) -> Spec:
        """Make the spec that `to_json` wrote."""
        return Spec.from_dict(json.loads(text))


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


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return Spec.from_dict(value)
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
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


def _find(name: Any) -> type[Spec]:
    places = {(cls.__module__, cls.__qualname__) for cls in _descendants(Spec) if cls.__name__ == name}
    if not places:
        raise PlanError(f"{name!r} is not a known plan; import the module that defines it first")
    if len(places) > 1:
        raise PlanError(f"{name!r} is defined in several modules: {sorted(module for module, _ in places)}; rename all but one")
    return registry()[name]
