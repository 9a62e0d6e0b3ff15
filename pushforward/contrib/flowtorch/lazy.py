"""Plans that know the shape of their context, and built bijectors that are called as FlowTorch calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward.core import Bijector, Shape, TransformModule, as_shape
from pushforward.spec import PlanError


@dataclass(frozen=True)
class Lazy:
    """A plan whose ``context_shape`` is stated: what a bijector is when it is given one, and no ``shape``."""

    plan: Bijector
    context_shape: Shape | None = None


class Built(nn.Module):
    """A bijector for events of a shape, called as in FlowTorch: values one way and the other, the log-determinant by itself.

    What `Flow` holds as ``flow.bijector``, and what a bijector is when it is given a ``shape``. The log-determinant always has the batch
    shape. A call keeps nothing, so nothing goes stale; `Flow.rsample_and_log_prob` draws and scores in one pass.

    Args:
        module: What a plan built.
    """

    def __init__(self, module: TransformModule) -> None:
        super().__init__()
        self.module = module

    @property
    def domain(self) -> Constraint:
        """The set of values that it takes."""
        return self.module.domain

    @property
    def codomain(self) -> Constraint:
        """The set of values that it gives."""
        return self.module.codomain

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data side ``(*batch, *event)`` of a value of the base side."""
        y: Tensor = self.module(x, context)[0]
        return y

    def inverse(self, y: Tensor, x: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the base side ``(*batch, *event)`` of a value of the data side; ``x`` is not looked at."""
        return self.module.inverse(y, context)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-determinant ``(*batch)`` of the map from ``x`` to ``y``, from the side where it takes fewer steps."""
        if self.module.steps[0] <= self.module.steps[1]:
            ladj: Tensor = self.module(x, context)[1]
            return ladj
        return -self.module.inverse(y, context)[1]

    def forward_shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape onto which events of a shape are mapped."""
        return self.module.plan.shape_after(as_shape(shape, "shape"))

    def inverse_shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape of the events that are mapped onto a shape."""
        return self.module.plan.shape_before(as_shape(shape, "shape"))


Made = Bijector | Lazy | Built
Sizes = Sequence[int] | None


def made(plan: Bijector, shape: Sizes, context_shape: Sizes) -> Made:
    """Return the plan, the plan with the shape of its context, or for events of a ``shape`` what it builds."""
    if shape is not None:
        return Built(plan.build(shape, context_shape))
    return plan if context_shape is None else Lazy(plan, as_shape(context_shape, "context_shape"))


def opened(owner: str, given: Any) -> Lazy:
    """Return the plan in what a user gives, which may be the bijector's name without brackets, as in FlowTorch."""
    if isinstance(given, Lazy):
        return given
    if isinstance(given, Bijector):
        return Lazy(given)
    if isinstance(given, Built):
        raise PlanError(f"{owner}: expected a plan, got one that is built already, of {given.module.plan!r}; leave out shape")
    if callable(given):
        return opened(owner, given())
    raise PlanError(f"{owner}: expected a bijector, got {given!r}")


def common(owner: str, parts: Sequence[Lazy], context_shape: Sizes) -> Sizes:
    """Return the one shape of the context that parts state, or raise `PlanError`."""
    stated = {part.context_shape for part in parts if part.context_shape is not None}
    if context_shape is not None:
        stated.add(as_shape(context_shape, "context_shape"))
    if len(stated) > 1:
        raise PlanError(f"{owner}: expected one context_shape, got {sorted(stated)}")
    return next(iter(stated), None)
