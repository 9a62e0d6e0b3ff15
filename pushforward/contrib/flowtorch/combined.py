"""FlowTorch's bijectors that are made of others: `Compose` and `Invert`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushforward.contrib.flowtorch.base import Bijector, Lazy, opened
from pushforward.core import bijector as bijector_plans
from pushforward.core import compose
from pushforward.core.bijector import Bijector as Plan
from pushforward.core.spec import PlanError
from pushforward.layers.autoregressive import InverseAutoregressive
from pushforward.layers.rearrange import OnAxis, Shuffle


class Compose(Bijector):
    """Bijectors one after the other, from base to data.

    Autoregressive layers and permutations whose order is left open get one of their own each, by their place in the list, so that what is
    last in one layer is not last in all.

    Args:
        bijectors: Names, with or without brackets, and plans of this library.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context, for all of them.
    """

    @classmethod
    def plan(cls, bijectors: Sequence[Any]) -> Plan:  # type: ignore[override]
        return compose.Compose([_ordered(part.plan, place) for place, part in enumerate(cls.parts(bijectors))])

    @classmethod
    def parts(cls, bijectors: Sequence[Any]) -> list[Lazy]:  # type: ignore[override]
        if not isinstance(bijectors, Sequence) or isinstance(bijectors, str) or not len(bijectors):
            raise PlanError(f"Compose: expected a list of at least one bijector, got {bijectors!r}")
        return [opened("Compose", part) for part in bijectors]

    @property
    def bijectors(self) -> list[Bijector]:
        """The layers, each as a bijector that shares its parameters."""
        return [Bijector.built(layer) for layer in self.module.layers]  # type: ignore[union-attr]


def _ordered(plan: Plan, place: int) -> Plan:
    """Return a plan with its order settled by the place that it has."""
    if isinstance(plan, bijector_plans.Inverse):
        return bijector_plans.Inverse(_ordered(plan.bijector, place))
    if plan == OnAxis(Shuffle(), -1):
        return OnAxis(Shuffle(place), -1)
    if isinstance(plan, InverseAutoregressive) and plan.order is None and place:
        return compose.Compose([Shuffle(place), plan, bijector_plans.Inverse(Shuffle(place))])
    return plan


class Invert(Bijector):
    """The inverse of a bijector, right in value and log-determinant: ``Invert(AffineAutoregressive())`` is scored in one pass.

    Args:
        bijector: A name, with or without brackets, or a plan of this library.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
    """

    @classmethod
    def plan(cls, bijector: Any) -> Plan:  # type: ignore[override]
        return bijector_plans.Inverse(cls.parts(bijector)[0].plan)

    @classmethod
    def parts(cls, bijector: Any) -> list[Lazy]:  # type: ignore[override]
        return [opened("Invert", bijector)]

    @property
    def bijector(self) -> Bijector:
        """What it is the inverse of, which shares its parameters."""
        return Bijector.built(self.module.module)  # type: ignore[no-any-return,arg-type]
