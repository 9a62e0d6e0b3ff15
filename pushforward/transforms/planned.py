"""A built plan as a transform of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward import supports
from pushforward.core import Bijector
from pushforward.core import TransformModule as Layer
from pushforward.doors import broadcast
from pushforward.transforms.layout import Along, Elements, Sized, shared
from pushforward.transforms.module import OnePass, TransformModule
from pushforward.transforms.order import order_of, reordered

P = TypeVar("P", bound="Planned")


class PlannedMap(OnePass):
    """A built plan as a transform: value and log-determinant from one pass, in either direction.

    Inside another package's ``TransformedDistribution``, which asks for them one after the other, the second comes from the direction
    that takes fewer steps.

    Args:
        layer: What the plan built.
        event_dim: How many axes a transformed event has.
    """

    bijective = True
    layer: Layer
    context: Tensor | None

    def __init__(self, layer: Layer, event_dim: int) -> None:
        super().__init__()
        self.layer, self.rank, self.context = layer, event_dim, None

    @property
    def plan(self) -> Bijector:
        """The plan of the layer."""
        return self.layer.plan

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> constraints.Constraint:
        return supports.independent(self.layer.domain, self.rank)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> constraints.Constraint:
        return supports.independent(self.layer.codomain, self.rank)

    @property
    def context_batch(self) -> torch.Size:
        return torch.Size() if self.context is None else self.context.shape[:-1]

    @property
    def _own_batch(self) -> tuple[int, ...]:
        """The batch that contexts and places make, whatever that of the values is."""
        return (*self.context_batch, self.layer.places) if isinstance(self.layer, Elements) else self.context_batch

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("x", x)
        return self.layer.push(x, self.context)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("y", y)
        return self.layer.pull(y, self.context)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_ladj(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        forward, inverse = self.layer.facts.steps
        return self.call_and_ladj(x)[1] if forward <= inverse else -self.inverse_and_ladj(y)[1]

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape(shape, self.plan.shape_after)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape(shape, self.plan.shape_before)

    def _shape(self, shape: Sequence[int], change: Callable[[Any], Any]) -> torch.Size:
        self._check(shape)
        split = len(shape) - self.rank
        batch = torch.broadcast_shapes(tuple(shape[:split]), self._own_batch)
        return torch.Size((*batch, *(change(tuple(shape[split:])) if self.rank else ())))

    def _check(self, shape: Sequence[int]) -> None:
        """Raise ValueError unless values of a shape have enough axes, and those of the layer."""
        wanted = self._wanted()
        got = tuple(shape[len(shape) - self.rank :])
        if len(shape) < self.rank or any(a not in ("?", b) for a, b in zip(wanted, got, strict=True)):
            raise ValueError(f"{self.label()}: expected values of shape (*batch, {', '.join(map(str, wanted))}), got {tuple(shape)}")
        if isinstance(self.layer, Elements) and shape and shape[-1] != self.layer.places:
            raise ValueError(f"{self.label()}: expected values of shape (*batch, {self.layer.places}), got {tuple(shape)}")
        if self.context is not None:
            broadcast(tuple(shape[: len(shape) - self.rank]), self._own_batch, f"{self.plan!r}: the batch of the values")

    def _wanted(self) -> tuple[Any, ...]:
        """Return the shape of an event, with a question mark for an axis that may have any length."""
        layer, any_shape = self.layer, ("?",) * self.rank
        if isinstance(layer, Along):
            return (*layer.event_shape, *any_shape[1:]) if layer.event_shape else any_shape
        if isinstance(layer, Sized):
            return any_shape if layer.built is None else layer.built.event_shape
        return layer.event_shape

    def _admit(self, what: str, value: Any) -> None:
        self.admit(what, value)
        # A distribution's shape may be one number for all places; of values each place has its own.
        if isinstance(self.layer, Elements) and not value.dim():
            raise ValueError(f"{self.label()}: expected values of shape (*batch, {self.layer.places}), got ()")
        self._check(value.shape)

    def update(self, y: Tensor) -> None:
        """Move what follows the data of a training step (`BatchNorm`) by rows of the data side; most transforms have nothing to move."""
        self._admit("y", y)
        self.layer.follow(y)


class Planned(PlannedMap, TransformModule):
    """A built plan as a transform that is a module: what all learnable transforms here are.

    Args:
        layer: As in `PlannedMap`.
        event_dim: As in `PlannedMap`.
        nn: The user's network in the layer, if there is one.
    """

    permutation: Tensor

    def __init__(self, layer: Layer, event_dim: int, nn: Callable[..., Any] | None = None) -> None:
        super().__init__(layer, event_dim)
        self.nn = nn
        order = order_of(layer.plan)
        if order is not None:
            self.register_buffer("permutation", torch.tensor(order))

    @classmethod
    def of(cls: type[P], layer: Layer, event_dim: int) -> P:
        """Make a transform of this class from a layer instead of from the arguments of the class."""
        made = cls.__new__(cls)
        Planned.__init__(made, layer, event_dim)
        return made

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The order is a part of the plan: with another one, the layer is built anew around the same parameters.
        saved = state.get(f"{prefix}permutation")
        if saved is not None and "permutation" in self._buffers and saved.tolist() != self.permutation.tolist():
            layer = self.layer.layer if isinstance(self.layer, Along) else self.layer
            made = reordered(layer.plan, saved.tolist()).build(layer.event_shape, layer.context_shape)
            own = next(layer.parameters(), None)
            shared(made.to(self.permutation.device) if own is None else made.to(own.device, own.dtype), layer)
            self.layer = Along(made, self.layer.dim) if isinstance(self.layer, Along) else made
        super()._load_from_state_dict(state, prefix, *rest)
