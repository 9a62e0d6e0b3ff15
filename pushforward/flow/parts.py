"""What a flow is made of: the plan and the base that a user hands to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from pushforward.bases import Wrapped, wrap
from pushforward.core.base import Base, BaseModule
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.layer import Layer, Shape, as_shape
from pushforward.core.spec import PlanError


def as_plan(bijector: Any) -> Bijector:
    """Return the plan that a user gave, or the chain of a list of plans; raise `PlanError` for anything else."""
    if isinstance(bijector, Bijector):
        return bijector
    if isinstance(bijector, Sequence) and not isinstance(bijector, str):
        return Compose(bijector)
    if isinstance(bijector, Layer):
        raise PlanError(f"Flow: expected a plan, got the module that {bijector.plan!r} built; give the plan itself")
    hint = f"; write {bijector.__name__}()" if isinstance(bijector, type) else ""
    raise PlanError(f"Flow: expected a bijector or a list of bijectors, got {bijector!r}{hint}")


def build_base(base: Any, plan: Bijector, event_shape: Any, context_shape: Shape | None) -> BaseModule:
    """Return what a base plan, or a distribution of torch, builds for what the bijection needs; raise `PlanError` for others."""
    event = None if event_shape is None else as_shape(event_shape, "event_shape")
    if isinstance(base, Distribution):
        if event is None:
            own = (*base.batch_shape, *base.event_shape)
            needed = max(plan.event_dim, len(base.event_shape))
            if needed > len(own):
                raise PlanError(f"Flow: expected a base with at least {needed} axes for {plan!r}, got {type(base).__name__} of shape {own}")
            event = own[len(own) - needed :]
        base = wrap(base)
    elif not isinstance(base, Base):
        raise PlanError(f"Flow: expected base to be a torch distribution or a plan such as StandardNormal(), got {base!r}")
    if event is None and not isinstance(base, Wrapped):
        raise PlanError(f"Flow: expected event_shape, the shape of one event, since {base!r} has none of its own")
    built: BaseModule = base.build(event, context_shape)
    return built


def tensors_of(distribution: Distribution) -> list[Tensor]:
    """Return the tensors that a distribution of torch holds, those of distributions in it included."""
    found: list[Tensor] = []
    for value in vars(distribution).values():
        found += [value] if isinstance(value, Tensor) else tensors_of(value) if isinstance(value, Distribution) else []
    return found
