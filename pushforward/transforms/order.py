"""The order of features in a plan: what a saved transform has beside its parameters."""

from __future__ import annotations

from pushforward.core import Bijector, Compose
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.structures.rearrange import Permute


def order_of(plan: Bijector) -> tuple[int, ...] | None:
    """Return the order of features in a plan, if it has one."""
    if isinstance(plan, Compose):
        return next((order for order in map(order_of, plan.bijectors) if order is not None), None)
    order = plan.order if isinstance(plan, Autoregressive | InverseAutoregressive | Permute) else None
    return None if order is None else tuple(order)


def reordered(plan: Bijector, order: list[int]) -> Bijector:
    """Return a plan with another order of features."""
    if isinstance(plan, Compose):
        return Compose([reordered(part, order) for part in plan.bijectors])
    if order_of(plan) is None:
        return plan
    if len(order) != len(order_of(plan) or ()):
        raise PlanError(f"{plan!r}: expected a saved order of the same length, got {order}")
    return plan.replace(order=order)
