"""Promises: how exact a direction of a layer is, and what it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class _Brief:
    """Prints the fields that are not the defaults, as plans do."""

    def __repr__(self) -> str:
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        own = [(field.name, getattr(self, field.name)) for field in fields if getattr(self, field.name) != field.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in own)})"


@dataclass(frozen=True, repr=False)
class Tolerance(_Brief):
    """How far a number may be off, beside its roundings: ``absolute + relative |number|``.

    >>> Tolerance(1e-5), Tolerance(1e-5) + Tolerance(relative=1e-3)
    (Tolerance(absolute=1e-05), Tolerance(absolute=1e-05, relative=0.001))
    """

    absolute: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Tolerance: expected {name} to be a number of at least 0, got {getattr(self, name)!r}")

    def __bool__(self) -> bool:
        return bool(self.absolute or self.relative)

    def __add__(self, other: Tolerance) -> Tolerance:
        return Tolerance(self.absolute + other.absolute, self.relative + other.relative)

    def worse(self, other: Tolerance) -> Tolerance:
        """Return the worse of two, part by part."""
        return Tolerance(max(self.absolute, other.absolute), max(self.relative, other.relative))

    def of(self, numbers: Tensor) -> Tensor:
        """Return how far each of some numbers may be off."""
        return self.absolute + self.relative * numbers.detach().abs()

    def words(self, of: str) -> str:
        """Return it in words; ``of`` says what the number is."""
        parts = [f"{self.absolute:g}"] * bool(self.absolute or not self.relative) + [f"{self.relative:g} |{of}|"] * bool(self.relative)
        return " + ".join(parts)


NONE = Tolerance()


@dataclass(frozen=True, repr=False)
class Accuracy(_Brief):
    """How exact one direction of a layer promises to be: to some roundings, and to a tolerance where a solver ends before it is exact.

    A rounding is one of what goes in and of what comes out: the condition of the map, which stretches it, is counted beside it. Tolerances
    are of each number of an event. That of the value is against the exact map, so against the other direction; that of the log-determinant
    is against the map that is computed, since this is what makes a density of samples' own; that of gradients is against how the
    results really change.

    >>> Accuracy(), Accuracy.within(1e-6)
    (Accuracy(), Accuracy(value=Tolerance(absolute=1e-06, relative=1e-06), ladj=Tolerance(absolute=1e-06, relative=1e-06)))
    """

    roundings: int = 1
    """How often values are rounded one after another: 0 where they are only moved."""
    value: Tolerance = NONE
    ladj: Tolerance = NONE
    gradients: Tolerance = NONE
    """0 where gradients are those of the steps that are made; a solver that has its own, such as an adjoint one, says here how good."""
    estimated: bool = False
    """Whether the log-determinant is an estimate by random probes, right on average alone."""

    def __post_init__(self) -> None:
        if not isinstance(self.roundings, int) or isinstance(self.roundings, bool) or self.roundings < 0:
            raise ValueError(f"Accuracy: expected roundings to be a whole number of at least 0, got {self.roundings!r}")
        for name in ("value", "ladj", "gradients"):
            if not isinstance(getattr(self, name), Tolerance):
                raise TypeError(f"Accuracy: expected {name} to be a Tolerance, got {getattr(self, name)!r}")

    @classmethod
    def within(cls, tolerance: float, gradients: float = 0.0) -> Accuracy:
        """Return the accuracy of a solver whose value and log-determinant are within ``tolerance (1 + |number|)``."""
        both = Tolerance(tolerance, tolerance)
        return cls(value=both, ladj=both, gradients=Tolerance(gradients, gradients))

    @property
    def exact(self) -> bool:
        """Whether there is nothing but roundings."""
        return not (self.value or self.ladj or self.gradients or self.estimated)

    def followed_by(self, other: Accuracy) -> Accuracy:
        """Return what is promised of a layer after this one: roundings and tolerances add up.

        Each is of the values of its own layer: how far the layers after it stretch it is theirs, as it is with values.
        """
        added = {name: getattr(self, name) + getattr(other, name) for name in ("roundings", "value", "ladj", "gradients")}
        return Accuracy(**added, estimated=self.estimated or other.estimated)

    def beside(self, other: Accuracy) -> Accuracy:
        """Return what is promised of layers side by side: of each number the worse, of the log-determinants, which add up, the sum."""
        return Accuracy(
            max(self.roundings, other.roundings), self.value.worse(other.value), self.ladj + other.ladj,
            self.gradients.worse(other.gradients), self.estimated or other.estimated,
        )  # fmt: skip

    def words(self) -> str:
        """Return it in words.

        >>> Accuracy().words(), Accuracy(8).words(), Accuracy.within(1e-5).words()
        ('exact to rounding', 'exact to 8 roundings', '1e-05 + 1e-05 |y| of a solver')
        """
        if self.exact:
            return {0: "exact", 1: "exact to rounding"}.get(self.roundings, f"exact to {self.roundings} roundings")
        said = f"{self.value.words('y')} of a solver" if self.value else "exact to rounding"
        # What is as good as the value is not said again.
        if self.ladj != self.value:
            said += f", log-determinant {self.ladj.words('ladj')}"
        said += ", log-determinant estimated by random probes" * self.estimated
        return said + (f", gradients {self.gradients.words('gradient')}" if self.gradients else "")


def both_ways(sample: Accuracy, score: Accuracy) -> str:
    """Return the words for both directions.

    >>> both_ways(Accuracy(), Accuracy()), both_ways(Accuracy(8), Accuracy())
    ('exact to rounding', 'exact to 8 roundings to sample, exact to rounding to score')
    """
    if sample.words() != score.words():
        return f"{sample.words()} to sample, {score.words()} to score"
    return sample.words() + ("" if sample.exact else ", both ways")


@dataclass(frozen=True, repr=False)
class Effort(_Brief):
    """What one direction of a layer takes: a number of evaluations, or at most so many where it is ``adaptive``.

    >>> Effort(evaluations=12, depth=12, adaptive=True).words()
    'at most 12'
    """

    evaluations: int = 1
    """How often the network is evaluated over all rows: its work."""
    depth: int = 1
    """How many parts of the work have to wait for one another. An autoregressive layer has, one way, as many as its graph is deep."""
    roots: int = 0
    """How often each number is sought as a root of an equation, with some ten evaluations of the kernel."""
    adaptive: bool = False
    """Whether it ends as soon as it is done, so that evaluations and depth are the most."""

    def __post_init__(self) -> None:
        for name in ("evaluations", "depth", "roots"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ValueError(f"Effort: expected {name} to be a whole number of at least 0, got {count!r}")

    def words(self, noun: str = "") -> str:
        """Return it in words, with a noun for the evaluations."""
        noun += "s" * bool(noun and self.evaluations != 1)
        depth = f" of depth {self.depth}" * (self.depth != self.evaluations)
        words = f"{'at most ' * self.adaptive}{self.evaluations}{noun}{depth}"
        return words + (f" and {'a root' if self.roots == 1 else f'{self.roots} roots'} for each number" if self.roots else "")


def total(efforts: Iterable[Effort]) -> Effort:
    """Return what all of them take, one after the other."""
    evaluations = depth = roots = 0
    adaptive = False
    for each in efforts:
        evaluations, depth, roots = evaluations + each.evaluations, depth + each.depth, roots + each.roots
        adaptive = adaptive or each.adaptive
    return Effort(evaluations, depth, roots, adaptive)


def most(efforts: Iterable[Effort]) -> Effort:
    """Return what they take side by side: the most of each."""
    given = list(efforts)
    return Effort(*(max(getattr(each, name) for each in given) for name in ("evaluations", "depth", "roots", "adaptive")))
