"""Facts: what a built layer or base declares of itself, once, and what follows for layers that are made of layers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core.promise import NONE, Accuracy, Effort, Tolerance, most, total


@dataclass(frozen=True)
class Facts:
    """What a built layer declares of itself. Pairs are (to sample, to score)."""

    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    depends_on: str = "nothing"
    """What the parameters are made from, in words."""
    uses_context: bool = False
    accuracy: tuple[Accuracy, Accuracy] = (Accuracy(), Accuracy())
    """How exact it promises to be, by which the laws measure it."""
    effort: tuple[Effort, Effort] = (Effort(), Effort())
    """What it takes."""
    volume_preserving: bool = False
    """Whether ladj is always zero."""
    is_affine: bool = False
    """Whether its values are an affine function of what comes in."""
    has_statistics: bool = False
    """Whether `update` moves something."""

    def __post_init__(self) -> None:
        for name, kind in (("accuracy", Accuracy), ("effort", Effort)):
            pair = getattr(self, name)
            if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(each, kind) for each in pair):
                raise TypeError(f"Facts: expected {name} to be a pair of {kind.__name__}, to sample and to score, got {pair!r}")

    @property
    def evaluations(self) -> tuple[int, int]:
        """How often the network is evaluated over all rows."""
        return self.effort[0].evaluations, self.effort[1].evaluations

    @property
    def depth(self) -> tuple[int, int]:
        """How many parts of the work have to wait for one another."""
        return self.effort[0].depth, self.effort[1].depth

    @property
    def roots(self) -> tuple[int, int]:
        """How often each number is sought as a root."""
        return self.effort[0].roots, self.effort[1].roots

    @property
    def adaptive(self) -> tuple[bool, bool]:
        """Whether it ends as soon as it is done."""
        return self.effort[0].adaptive, self.effort[1].adaptive

    def inverted(self) -> Facts:
        """Return the facts of the inverse map."""
        pairs = {name: getattr(self, name)[::-1] for name in PAIRS}
        return dataclasses.replace(self, domain=self.codomain, codomain=self.domain, **pairs)

    def onto(self, domain: Constraint, codomain: Constraint, volume_preserving: bool | None = None) -> Facts:
        """Return the same facts of a map between other sets."""
        kept = self.volume_preserving if volume_preserving is None else volume_preserving
        return dataclasses.replace(self, domain=domain, codomain=codomain, volume_preserving=kept)


PAIRS = ("accuracy", "effort")


def chained(parts: Sequence[Facts]) -> Facts:
    """Return the facts of layers one after the other; their sets are the caller's to say."""
    return _together(parts, Accuracy.followed_by, total)


def abreast(parts: Sequence[Facts]) -> Facts:
    """Return the facts of layers side by side; their sets are the caller's to say."""
    return _together(parts, Accuracy.beside, most)


def _together(parts: Sequence[Facts], join: Callable[[Accuracy, Accuracy], Accuracy], count: Callable[[Sequence[Effort]], Effort]) -> Facts:
    if not parts:
        return Facts(accuracy=(Accuracy(0),) * 2, effort=(Effort(0, 0),) * 2, volume_preserving=True, is_affine=True)

    def both(made: Callable[[int], Any]) -> tuple[Any, Any]:
        return made(0), made(1)

    return Facts(
        depends_on="; ".join(dict.fromkeys(part.depends_on for part in parts)),
        uses_context=any(part.uses_context for part in parts),
        accuracy=both(lambda way: functools.reduce(join, [part.accuracy[way] for part in parts])),
        effort=both(lambda way: count([part.effort[way] for part in parts])),
        volume_preserving=all(part.volume_preserving for part in parts),
        is_affine=all(part.is_affine for part in parts),
        has_statistics=any(part.has_statistics for part in parts),
    )


@dataclass(frozen=True)
class BaseFacts:
    """What a built base declares of itself."""

    support: Constraint = constraints.real
    """The set of values that it gives."""
    batch_shape: torch.Size = field(default_factory=torch.Size)
    """The shape of distributions side by side that it is."""
    has_rsample: bool = True
    """Whether samples have gradients to the parameters."""
    has_tails: bool = False
    """Whether its elements are independent of one another and their distribution functions are known: `log_tails` and `quantile`."""
    gaussian: bool = False
    """Whether it is a normal distribution, of whatever covariance."""
    uses_context: bool = False
    has_statistics: bool = False
    """Whether `update` moves something."""
    accuracy: Tolerance = NONE
    """How far log-densities may be off, beside their roundings."""

    def __post_init__(self) -> None:
        if not isinstance(self.accuracy, Tolerance):
            raise TypeError(f"BaseFacts: expected accuracy to be a Tolerance, got {self.accuracy!r}")


def parts_of(parts: Sequence[BaseFacts]) -> BaseFacts:
    """Return the facts of a base that is made of several, all of which it draws and scores; its support is the caller's to say."""
    return BaseFacts(
        has_rsample=all(part.has_rsample for part in parts),
        uses_context=any(part.uses_context for part in parts),
        has_statistics=any(part.has_statistics for part in parts),
        gaussian=all(part.gaussian for part in parts),
        accuracy=sum((part.accuracy for part in parts), NONE),
    )
