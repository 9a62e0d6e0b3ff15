"""A built plan whose parameters are a function of a context."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import TransformModule as Layer
from pushforward.transforms.conditional import ConditionalTransformModule
from pushforward.transforms.module import TransformModule
from pushforward.transforms.planned import Planned

C = TypeVar("C", bound="PlannedConditional")


class PlannedConditional(ConditionalTransformModule):
    """A built plan whose parameters are a function of a context; `condition` gives the transform for one, or for a batch.

    Args:
        layer: What the plan built.
        event_dim: How many axes a transformed event has.
        nn: The user's network in the layer, if there is one.
    """

    bijective = True

    def __init__(self, layer: Layer, event_dim: int, nn: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.transform = Planned(layer, event_dim, nn)
        self.context_dim: int | None = None

    @classmethod
    def of(cls: type[C], layer: Layer, event_dim: int) -> C:
        """Make a conditional transform of this class from a layer instead of from the arguments of the class."""
        made = cls.__new__(cls)
        PlannedConditional.__init__(made, layer, event_dim)
        assert layer.context_shape is not None
        (made.context_dim,) = layer.context_shape
        return made

    @property
    def domain(self) -> Constraint:
        support: Constraint = self.transform.domain
        return support

    @property
    def codomain(self) -> Constraint:
        support: Constraint = self.transform.codomain
        return support

    def condition(self, context: Tensor) -> TransformModule:
        name, length = type(self).__name__, self.context_dim
        if not isinstance(context, Tensor):
            raise TypeError(f"{name}: expected a context as a tensor, got {type(context).__name__}; use torch.as_tensor")
        if not context.dim() or (length is not None and context.shape[-1] != length):
            raise ValueError(f"{name}: expected a context of shape (*batch, {length or 'context_dim'}), got {tuple(context.shape)}")
        view = copy.copy(self.transform)  # it has the same parameters: only its context is its own
        view.context = context
        return view
