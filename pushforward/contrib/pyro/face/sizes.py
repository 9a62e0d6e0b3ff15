"""Sizes as Pyro's arguments give them, checked in Pyro's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.core.fields import MOST
from pushforward.core.spec import PlanError, plain
from pushforward.nets.mlp import MLP


def size(owner: str, what: str, value: Any, least: int = 1) -> int:
    """Return an argument that is a size, or raise `PlanError`.

    >>> size("Planar", "input_dim", 3)
    3
    """
    number = plain(value)
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= MOST:
        raise PlanError(f"{owner}: expected {what} to be a whole number of at least {least}, got {value!r}")
    return number


def perceptron(owner: str, hidden_dims: Sequence[int] | None, default: Sequence[int]) -> MLP:
    """Return a perceptron of these hidden layers, or of the default ones."""
    if hidden_dims is None:
        return MLP(default)
    if not isinstance(hidden_dims, Sequence) or isinstance(hidden_dims, str) or not len(hidden_dims):
        raise PlanError(f"{owner}: expected hidden_dims to be a list of at least one width, got {hidden_dims!r}")
    return MLP([size(owner, f"hidden_dims[{place}]", width) for place, width in enumerate(hidden_dims)])


def shape(owner: str, what: str, value: Any, axes: int) -> tuple[int, ...]:
    """Return an argument that is a size, or the shape of an event of so many axes, as a shape."""
    given = plain(value)
    sizes = given if isinstance(given, tuple) else (given,)
    if len(sizes) != axes:
        raise PlanError(f"{owner}: expected {what} to be the shape of an event of {axes} axes, got {value!r}")
    return tuple(size(owner, what, each) for each in sizes)


def negative(owner: str, dim: Any) -> int:
    """Return an axis that is counted from the end, or raise `PlanError`."""
    if not isinstance(dim, int) or isinstance(dim, bool) or dim >= 0:
        raise PlanError(f"{owner}: expected dim to be a negative whole number, got {dim!r}")
    return dim


def split_of(owner: str, split_dim: int | None, length: int | None = None) -> tuple[int, ...]:
    """Return the entries that pass through, or raise `PlanError`.

    Args:
        owner: What errors begin with.
        split_dim: How many (None: half of them).
        length: Of how many (None: that is not known yet). With a network of the user's, which sees what passes, it is at least one.
    """
    least, most = (1, None) if length is None else (0, length - 1)
    count = length // 2 if split_dim is None and length is not None else split_dim
    if not isinstance(count, int) or isinstance(count, bool) or count < least or (most is not None and count > most):
        limit = "of at least 1, since the network sees what passes through" if most is None else f"between 0 and {most}"
        raise PlanError(f"{owner}: expected split_dim to be a whole number {limit}, got {split_dim!r}")
    return tuple(range(count))
