"""A row of the table: what a name of Pyro's is here, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

from pushforward.contrib.pyro.face.arrangements import Arrangement

Hidden = tuple[int, int, int]
"""Hidden layers of a perceptron: a, b and how many, each ``a D + b`` wide."""


@dataclass(frozen=True)
class Row:
    """What a name of Pyro's is here: the classes X and ConditionalX and the functions x and conditional_x are made of it.

    Args:
        arrangement: Where the parameters stand, and Pyro's arguments for that.
        plan: A function named X, with X's docstring: of what errors begin with, and Pyro's options, it makes the kernel, or a plan that is
            all of the layer.
        order: The place of each of the kernel's parameters in what a network of the user's gives (None: as they come).
        plain: Whether what it gives stands as it is, and the kernel's initial values are not added: where they are random.
        free: Whether the kernel's first parameter is free beside it.
        gives: What it gives, in words.
        hidden: The perceptron of x and conditional_x.
        conditional_hidden: That of conditional_x, if it is another one.
        usual: Where x or conditional_x has options with other names or defaults: what makes those of X of what errors begin with, D, and
            them. Its docstring tells of them.
        lower: The name x, if it is not that of X in lower case with underscores.
        facts: What the classes state.
    """

    arrangement: Arrangement
    plan: Callable[..., Any]
    order: Sequence[int] | None = None
    plain: bool = False
    free: bool = False
    gives: str = ""
    hidden: Hidden = (10, 0, 2)
    conditional_hidden: Hidden | None = None
    usual: dict[str, Callable[..., dict[str, Any]]] = field(default_factory=dict)
    lower: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def named(self, kind: str) -> str:
        """Return what X, ConditionalX, x or conditional_x is called."""
        X = self.plan.__name__
        return kind.replace("X", X) if "X" in kind else kind.replace("x", self.lower or re.sub(r"\B([A-Z])", r"_\1", X).lower())

    def words(self, kind: str) -> list[str]:
        """Return the words of the arguments of X, ConditionalX, x or conditional_x."""
        return (getattr(self.arrangement, kind) or "").split()

    def options(self, kind: str = "X") -> list[Parameter]:
        """Return the options of X, ConditionalX, x or conditional_x."""
        usual = self.usual.get(kind)
        return list(signature(usual or self.plan).parameters.values())[2 if usual else 1 :]

    def hidden_of(self, conditional: bool) -> Hidden:
        """Return the perceptron of x, or of conditional_x."""
        return (self.conditional_hidden if conditional else None) or self.hidden
