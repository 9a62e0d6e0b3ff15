"""A built plan whose parameters are a function of a context."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward import doors
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
    noun = "transform"

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

    def label(self) -> str:
        """Return the class's name: what errors begin with."""
        return type(self).__name__

    @property
    def domain(self) -> Constraint:
        support: Constraint = self.transform.domain
        return support

    @property
    def codomain(self) -> Constraint:
        support: Constraint = self.transform.codomain
        return support

    def condition(self, context: Tensor) -> TransformModule:
        if self.context_dim is not None:
            doors.check_tensor(self, "context", context, (self.context_dim,), *doors.place(self))
        elif not isinstance(context, Tensor):  # what else it may be, the user's network knows: labels that it embeds
            raise TypeError(f"{self.label()}: expected context to be a torch.Tensor, got {type(context).__name__}; use torch.as_tensor")
        elif not context.dim():
            raise ValueError(f"{self.label()}: expected context of shape (*batch, context_dim), got ()")
        view = copy.copy(self.transform)  # it has the same parameters: only its context is its own
        view.context = context
        return view
