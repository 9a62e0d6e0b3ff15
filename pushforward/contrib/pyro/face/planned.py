"""A built plan as a transform of torch, and one whose parameters are a function of a context."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.contrib.pyro.face.conditional import ConditionalTransformModule
from pushforward.contrib.pyro.face.layout import Lazy, OnDim, PerElement
from pushforward.contrib.pyro.face.order import order_of, rebuilt
from pushforward.contrib.pyro.face.transform import AtOnce, TransformModule
from pushforward.core import checks, sets
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer

P = TypeVar("P", bound="Planned")
C = TypeVar("C", bound="PlannedConditional")


class PlannedMap(AtOnce):
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
    def domain(self) -> Constraint:
        return sets.independent(self.layer.domain, self.rank)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Constraint:
        return sets.independent(self.layer.codomain, self.rank)

    @property
    def context_batch(self) -> torch.Size:
        return torch.Size() if self.context is None else self.context.shape[:-1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("x", x)
        return self.layer.push(x, self.context)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("y", y)
        return self.layer.pull(y, self.context)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        forward, inverse = self.layer.facts.depth
        return self.call_and_ladj(x)[1] if forward <= inverse else -self.inverse_and_ladj(y)[1]

    def update(self, y: Tensor) -> None:
        """Move what follows the data of a training step (`BatchNorm`) by rows of the data side; most transforms have nothing to move."""
        self._admit("y", y)
        self.layer.follow(y)

    def observe(self, y: Tensor, inverse: bool = False) -> Tensor:
        return self.layer.observe("follow", y, self.context, inverse)

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape(shape, self.plan.shape_after)

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        return self._shape(shape, self.plan.shape_before)

    def _shape(self, shape: Sequence[int], change: Callable[[Any], Any]) -> torch.Size:
        self._check(shape)
        split = len(shape) - self.rank
        batch = torch.broadcast_shapes(tuple(shape[:split]), self._own_batch)
        return torch.Size((*batch, *(change(tuple(shape[split:])) if self.rank else ())))

    @property
    def _own_batch(self) -> tuple[int, ...]:
        """The batch that contexts and places make, whatever that of the values is."""
        return (*self.context_batch, self.layer.places) if isinstance(self.layer, PerElement) else self.context_batch

    def _admit(self, what: str, value: Any) -> None:
        self.admit(what, value)
        # A distribution's shape may be one number for all places; of values each place has its own.
        if isinstance(self.layer, PerElement) and not value.dim():
            raise ValueError(f"{self.label()}: expected values of shape (*batch, {self.layer.places}), got ()")
        self._check(value.shape)

    def _check(self, shape: Sequence[int]) -> None:
        """Raise ValueError unless values of a shape have enough axes, and those of the layer."""
        wanted: Sequence[Any] = (self.layer.places,) if isinstance(self.layer, PerElement) and shape else self._wanted()
        got = tuple(shape[max(len(shape) - len(wanted), 0) :])
        if len(got) < len(wanted) or any(a not in ("?", b) for a, b in zip(wanted, got, strict=True)):
            raise ValueError(f"{self.label()}: expected values of shape (*batch, {', '.join(map(str, wanted))}), got {tuple(shape)}")
        if self.context is not None:
            checks.broadcast(tuple(shape[: len(shape) - self.rank]), self._own_batch, f"{self.plan!r}: the batch of the values")

    def _wanted(self) -> tuple[Any, ...]:
        """Return the shape of an event, with a question mark for an axis that may have any length."""
        layer, any_shape = self.layer, ("?",) * self.rank
        if isinstance(layer, OnDim):
            return (*layer.event_shape, *any_shape[1:]) if layer.event_shape else any_shape
        if isinstance(layer, Lazy):
            return any_shape if layer.built is None else layer.built.event_shape
        return layer.event_shape


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
            self.layer = rebuilt(self.layer, saved.tolist())
        super()._load_from_state_dict(state, prefix, *rest)


class PlannedConditional(ConditionalTransformModule):
    """A built plan whose parameters are a function of a context; `condition` gives the transform for one, or for a batch.

    Args:
        layer: What the plan built.
        event_dim: How many axes a transformed event has.
        nn: The user's network in the layer, if there is one.
    """

    bijective = True
    noun = "transform"
    domain = property(lambda self: self.transform.domain)
    codomain = property(lambda self: self.transform.codomain)

    def __init__(self, layer: Layer, event_dim: int, nn: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.transform = Planned(layer, event_dim, nn)
        # What a context may be the user's network knows: labels that it embeds.
        self.context_shape = layer.context_shape if nn is None else None

    @classmethod
    def of(cls: type[C], layer: Layer, event_dim: int) -> C:
        """Make a conditional transform of this class from a layer instead of from the arguments of the class."""
        made = cls.__new__(cls)
        PlannedConditional.__init__(made, layer, event_dim)
        return made

    def label(self) -> str:
        """Return the class's name: what errors begin with."""
        return type(self).__name__

    def condition(self, context: Tensor) -> TransformModule:
        if self.context_shape is not None:
            checks.check_tensor(self, "context", context, self.context_shape, *checks.place(self))
        elif not isinstance(context, Tensor):
            raise TypeError(f"{self.label()}: expected context to be a torch.Tensor, got {type(context).__name__}; use torch.as_tensor")
        elif not context.dim():
            raise ValueError(f"{self.label()}: expected context of shape (*batch, context_dim), got ()")
        view = copy.copy(self.transform)  # it has the same parameters: only its context is its own
        view.context = context
        return view
