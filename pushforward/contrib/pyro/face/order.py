"""The order of features in a plan: what a saved transform has beside its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pushforward.contrib.pyro.face.layout import OnDim
from pushforward.core import checks
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.layer import Layer
from pushforward.core.spec import PlanError
from pushforward.layers.autoregressive import InverseAutoregressive
from pushforward.layers.rearrange import Permute


def order_of(plan: Bijector) -> tuple[int, ...] | None:
    """Return the order of features in a plan, if it has one."""
    if isinstance(plan, Compose):
        return next(filter(None, map(order_of, plan.bijectors)), None)
    return tuple(plan.order or ()) or None if isinstance(plan, InverseAutoregressive | Permute) else None


def reordered(plan: Bijector, order: Sequence[int]) -> Bijector:
    """Return a plan with another order of features."""
    if isinstance(plan, Compose):
        return Compose([reordered(part, order) for part in plan.bijectors])
    own = order_of(plan)
    if own is not None and len(own) != len(order):
        raise PlanError(f"{plan!r}: expected a saved order of the same length, got {order}")
    return plan if own is None else plan.replace(order=order)


def rebuilt(layer: Layer, order: Sequence[int]) -> Layer:
    """Return a layer with another order of features, around the same parameters."""
    if isinstance(layer, OnDim):
        return OnDim(rebuilt(layer.layer, order), layer.dim)
    made = reordered(layer.plan, order).build(layer.event_shape, layer.context_shape)
    dtype, device = checks.place(layer)
    share(made.to(device=device, dtype=dtype), layer)
    return made


def share(made: nn.Module, old: nn.Module) -> None:
    """Give a module the very parameters of another of the same names, so that an optimiser that holds them goes on."""
    for name, parameter in old.named_parameters():
        path, _, leaf = name.rpartition(".")
        setattr(made.get_submodule(path), leaf, parameter)
