"""Fixed maps between sets of vectors and matrices, such as simplices and Cholesky factors; they may change the shape."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import numerics, sets
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError


class Constrained(Bijector):
    """A fixed map of vectors or matrices, on the last event axes, to others: pure maths, no parameters.

    A subclass states ``domain`` and ``codomain``, writes ``forward`` and ``inverse`` on values that are in them (ladj one for each vector
    or matrix, of the free coordinates), and ``after`` and ``before``, which change the shape.
    """

    axis = -1
    domain: ClassVar[Constraint]
    codomain: ClassVar[Constraint]

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.domain.event_dim

    @property
    def out_dim(self) -> int:
        return self.codomain.event_dim

    def after(self, shape: Shape) -> Shape:
        """Return the shape onto which vectors or matrices are mapped."""
        return shape

    def before(self, shape: Shape) -> Shape:
        """Return the shape of what is mapped onto vectors or matrices of a shape."""
        return shape

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        """Map vectors or matrices to those of a shape; return them with ladj."""
        raise NotImplementedError

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        """Map vectors or matrices back to those of a shape; return them with ladj of the inverse."""
        raise NotImplementedError

    def shape_after(self, shape: Shape) -> Shape:
        return self._changed(shape, self.event_dim, self.out_dim, self.after)

    def shape_before(self, shape: Shape) -> Shape:
        return self._changed(shape, self.out_dim, self.event_dim, self.before)

    def _changed(self, shape: Shape, taken: int, given: int, change: object) -> Shape:
        if len(shape) < taken:
            raise PlanError(f"{self!r}: expected an event of at least {taken} axes, got shape {shape}")
        if taken == 2 and shape[-1] != shape[-2]:
            raise PlanError(f"{self!r}: expected square matrices, got shape {shape}")
        split = len(shape) - taken
        tail: Shape = change(shape[split:])  # type: ignore[operator]
        if len(tail) != given or min(tail) < 1:
            raise PlanError(f"{self!r}: expected longer vectors, got shape {shape}")
        return shape[:split] + tail

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ConstrainedModule(self, event_shape, context_shape)


class ConstrainedModule(Layer):
    """A built map between sets; it tells itself which values are in them."""

    anchor: Tensor

    def __init__(self, plan: Constrained, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.out_shape = plan.shape_after(event_shape)
        self.kernel = plan
        self.facts = Facts(plan.domain, plan.codomain)
        # Says how precise the values are that come in: between layers half formats are float32.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._mapped(x, False)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._mapped(y, True)

    def _mapped(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        plan = self.kernel
        function, source, target = (plan.inverse, plan.codomain, plan.domain) if inverse else (plan.forward, plan.domain, plan.codomain)
        taken, given = source.event_dim, target.event_dim
        shape = (self.event_shape if inverse else self.out_shape)[-given:]
        value, limits = numerics.working(x), sets.limits(source)
        if isinstance(limits, sets.Structured):
            inside = limits.matches(value.detach(), max(sets.tolerance(x.dtype), sets.tolerance(self.anchor.dtype)))
            unknown = torch.isnan(value).flatten(value.dim() - taken).any(-1)
            # No formula and no gradient meets what is outside.
            value = torch.where(_wide(inside, taken), value, limits.member(torch.zeros_like(value)))
            y, ladj = function(value, shape)
            y = torch.where(_wide(unknown, given), math.nan, y)
            ladj = torch.where(unknown, math.nan, torch.where(inside, ladj, -math.inf))
        else:
            y, ladj = function(value, shape)
        lead = len(self.event_shape) - plan.event_dim
        return sets.leave(y.to(x.dtype), sets.limits(target)), ladj.flatten(ladj.dim() - lead).sum(-1) if lead else ladj


def _wide(mask: Tensor, axes: int) -> Tensor:
    """Return a mask with axes of size 1 at its end."""
    return mask.reshape(mask.shape + (1,) * axes)
