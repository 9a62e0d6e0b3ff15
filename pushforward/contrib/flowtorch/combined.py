"""FlowTorch's bijectors that are made of others: `Compose` and `Invert`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.contrib.flowtorch.lazy import Made, Sizes, common, made, opened
from pushforward.core import Bijector, Inverse
from pushforward.core import Compose as ComposePlan
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import InverseAutoregressive
from pushforward.structures.rearrange import OnAxis, Shuffle


def Compose(bijectors: Sequence[Any], *, shape: Sizes = None, context_shape: Sizes = None) -> Made:
    """Bijectors one after the other, from base to data.

    Autoregressive layers and permutations whose order is left open get one of their own each, by their place in the list, so that what is
    last in one layer is not last in all.

    Args:
        bijectors: Plans, with or without brackets.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context, for all of them.
    """
    parts = [opened("Compose", part) for part in bijectors]
    if not parts:
        raise PlanError("Compose: expected at least one bijector, got none")
    plans = [_ordered(part.plan, place) for place, part in enumerate(parts)]
    return made(ComposePlan(plans), shape, common("Compose", parts, context_shape))


def _ordered(plan: Bijector, place: int) -> Bijector:
    """Return a plan with its order settled by the place that it has."""
    if isinstance(plan, Inverse):
        return Inverse(_ordered(plan.bijector, place))
    if plan == OnAxis(Shuffle(), -1):
        return OnAxis(Shuffle(place), -1)
    if isinstance(plan, InverseAutoregressive) and plan.order is None and place:
        return ComposePlan([Shuffle(place), plan, Inverse(Shuffle(place))])
    return plan


def Invert(bijector: Any, *, shape: Sizes = None, context_shape: Sizes = None) -> Made:
    """The inverse of a bijector, right in value and log-determinant: ``Invert(AffineAutoregressive())`` is scored in one pass.

    Args:
        bijector: A plan, with or without brackets.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
    """
    lazy = opened("Invert", bijector)
    return made(Inverse(lazy.plan), shape, common("Invert", [lazy], context_shape))
