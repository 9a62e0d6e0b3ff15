"""Layer: a bijection with its shapes fixed, and how layers are asked for what they declare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.built import BuiltModule
from pushforward.core.facts import Facts
from pushforward.core.spec import PlanError, plain

if TYPE_CHECKING:
    from pushforward.core.bijector import Bijector

Shape = tuple[int, ...]
Action = Literal["measure", "follow"]


def as_shape(value: int | Sequence[int] | None, what: str) -> Shape:
    """Return a shape as a tuple of positive ints, or raise `PlanError`."""
    given = plain(value)
    shape = given if isinstance(given, tuple) else () if given is None else (given,)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise PlanError(f"{what}: expected positive whole numbers, got {value!r}")
    return shape


class Layer(BuiltModule):
    r"""A bijection with shapes fixed: ``forward`` is base to data and samples, ``inverse`` is data to base and scores.

    Both take ``x`` of shape ``(*batch, *event)`` and, where it was built with one, a context ``(*batch, *context)`` whose batch
    broadcasts, and return ``(y, ladj)`` with ``ladj`` of shape ``(*batch)``, at least float32: the log of the absolute Jacobian
    determinant of the map that was applied. Outside the map's domain ``ladj`` is -inf and the value is some point of the range.

    They check what they are given. A subclass writes `push` and `pull`, which do the work, and which modules that hold others call.
    """

    noun = "layer"
    plan: Bijector
    facts: Facts = Facts()

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.out_shape = event_shape

    @property
    def domain(self) -> Constraint:
        """The set of values that it takes."""
        return self.facts.domain

    @property
    def codomain(self) -> Constraint:
        """The set of values that it gives."""
        return self.facts.codomain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map base to data; return the value and the log-determinant.

        Args:
            x: ``(*batch, *event_shape)``, of the parameters' precision.
            context: ``(*batch, *context_shape)``, whose batch broadcasts; None where it was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        return self.push(x, self.admit("x", x, self.event_shape, context))

    @final
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to base; return the value and the log-determinant of the inverse map. Takes and raises what `forward` does."""
        return self.pull(y, self.admit("y", y, self.out_shape, context))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `forward`, on what has been checked."""
        raise NotImplementedError

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `inverse`, on what has been checked."""
        raise NotImplementedError

    def image(self, support: Constraint, inverse: bool = False) -> Constraint:
        """Return the set onto which one is mapped (back, if ``inverse``); raise `PlanError` when it does not fit or is not known."""
        domain, codomain = (self.codomain, self.domain) if inverse else (self.domain, self.codomain)
        if not sets.contains(domain, support):
            raise PlanError(f"expected values in {sets.name(domain)}, got values in {sets.name(support)}")
        if sets.same(domain, support):
            return codomain
        ends = sets.elements(support, self.out_shape if inverse else self.event_shape)
        mapped = None if ends is None else self.map_ends(ends, inverse)
        if mapped is None or bool(torch.isnan(mapped).any()):
            apart = ", or let Concatenate give each block layers of its own" if sets.bounds(support) is None else ""
            raise PlanError(
                f"expected all values in {sets.name(domain)}, got only those in {sets.name(support)}, whose image "
                "is not known; put learnable layers before what bounds the values, or take one that fixes the ends, such as a spline "
                f"whose bound is theirs{apart}"
            )
        return sets.of_elements(mapped)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        """Map the ends ``(2, *event)`` of the interval at each element; NaN where they move with parameters, or elements mix."""
        return ends.new_full((2, *(self.event_shape if inverse else self.out_shape)), math.nan)

    @final
    def calibrate(self, y: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data (standardisation) from values on the data side; most layers have nothing to set."""
        self.measure(y, self.admit("y", y, self.out_shape, context))

    @final
    def update(self, y: Tensor, context: Tensor | None = None) -> None:
        """Move what follows the data of a training step (`BatchNorm`) by values on the data side; most layers have nothing to move."""
        self.follow(y, self.admit("y", y, self.out_shape, context))

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Do the work of `calibrate`; ``inverse`` where the layer is inverted, and the values are those of its base side."""

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Do the work of `update`; ``inverse`` as in `measure`."""

    def observe(self, action: Action, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> Tensor:
        """Let it ``measure`` or ``follow`` values, and then return them as they are on its other side."""
        getattr(self, action)(values, context, inverse)
        return (self.push if inverse else self.pull)(values, context)[0]

    @property
    def standard(self) -> bool:
        """Whether rows have a known spread before they are standardised, as unit vectors have; most do not."""
        return False

    def begin(self) -> None:
        """Put what has learnt nothing yet to where it learns best from standardised rows; most layers are there. The map stays as it is."""

    def refine(self) -> None:
        """Let a solver take steps that are finer than it promises, so that a copy tells how far off the layer is; most have none."""

    @property
    def probes(self) -> int:
        """Random probes that its log-determinant is the mean of; 0, as of most, where it is no estimate."""
        return 0

    def probe(self, part: int, parts: int) -> None:
        """Let the log-determinant be the mean of one of as many parts of the probes, so that a copy tells how far parts are apart."""

    def leaves(self) -> Iterator[Layer]:
        """Give the layers that it is a chain of, in order from base to data; itself, where it is none."""
        yield self


def expect_bijections(owner: str, transform: Layer) -> None:
    """Raise `PlanError` unless all layers are bijections."""
    for part in transform.modules():
        if isinstance(part, Layer) and not part.plan.bijective:
            raise PlanError(
                f"{owner}: expected bijections, got {part.plan!r}, which has no way back, so no density can be scored through it"
            )
