"""Compose: bijections one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward.core import numerics, sets
from pushforward.core.bijector import Bijector
from pushforward.core.composite import Composite, Through, Values
from pushforward.core.facts import chained
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class Compose(Bijector):
    """Bijections one after the other, in list order from base to data.

    Args:
        bijectors: The layers; an empty list is the identity.

    >>> from pushforward.bijectors import Affine, Exp
    >>> Compose([Affine(), Exp()])
    Compose((Affine(), Exp()))
    """

    bijectors: Sequence[Bijector]

    def check(self) -> None:
        needed, gained = 0, 0
        for part in self.bijectors:
            needed = max(needed, part.event_dim - gained)
            gained += part.out_dim - part.event_dim
        object.__setattr__(self, "_dims", (needed, needed + gained))

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self._dims[0]

    @property
    def out_dim(self) -> int:
        return self._dims[1]

    def shape_after(self, shape: Shape) -> Shape:
        for part in self.bijectors:
            shape = part.shape_after(shape)
        return shape

    def shape_before(self, shape: Shape) -> Shape:
        for part in reversed(self.bijectors):
            shape = part.shape_before(shape)
        return shape

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ComposeModule(self, event_shape, context_shape)


class ComposeModule(Composite):
    """Built layers one after the other."""

    def __init__(self, plan: Compose, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        layers: list[Layer] = []
        shape = event_shape
        for index, part in enumerate(plan.bijectors):
            try:
                layers.append(part.build(shape, context_shape))
            except PlanError as error:
                raise PlanError(f"layer {index}: {error}") from error
            shape = layers[-1].out_shape
        self.layers = nn.ModuleList(layers)
        self.out_shape = shape
        facts = chained([layer.facts for layer in layers])
        # Between layers values may reach only a part of what the next layer takes; there the ends are kept here.
        held = [_domain(layers)] if layers else [facts.domain]

        def through(index: int, layer: Layer, own: Constraint, inverted: bool) -> Constraint:
            held.append(self._image_in(index, layer, own, inverted))
            return held[-1]

        self.route(held[0], False, through)
        self.between = [sets.limits(support) for support in held]
        self.settles = any(limits != sets.REAL for limits in self.between)
        self.facts = facts.onto(held[0], held[-1], facts.volume_preserving and not self.settles)

    def place(self, index: int, layer: Layer) -> str:
        return f"layer {index}: {layer.plan!r}: "

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        # A ModuleList is slow to give its items one by one from its end.
        layers: list[Layer] = [*self.layers]
        for index in range(len(layers) - 1, -1, -1) if inverse else range(len(layers)):
            values = through(index, layers[index], values, inverse)
        return values

    def settle(self, index: int, values: Tensor, inverse: bool) -> Tensor:
        return sets.leave(values, self.between[index if inverse else index + 1])

    def run(self, values: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        rank = len(self.out_shape if inverse else self.event_shape)
        # Between layers values stay in the working precision, so that half formats round once, at the end. Which are outside is told here:
        # between the layers all are taken for inside, and moved there where rounding has put them beyond an end.
        value, outside = sets.enter_events(numerics.working(values), self.between[-1 if inverse else 0], rank, values.dtype)
        value, total = super().run(value, context, inverse)
        if outside is not None:
            total = torch.where(outside, -math.inf, total)
        return sets.leave(value.to(values.dtype), self.between[0 if inverse else -1]), total

    def leaves(self) -> Iterator[Layer]:
        for layer in self.layers:
            yield from layer.leaves()  # type: ignore[operator]

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"


def _domain(layers: Sequence[Layer]) -> Constraint:
    """Return what a chain takes: of what its first layer takes, the values that the others take from it, as far as that is known."""
    needed = layers[-1].domain
    for layer in layers[-2::-1]:
        try:
            needed = layer.domain if sets.contains(needed, layer.codomain) else layer.image(needed, inverse=True)
        except PlanError:
            needed = layer.domain
    return needed
