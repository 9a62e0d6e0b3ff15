"""Composite: a layer made of layers, from which what it takes, gives, measures and follows is derived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import numerics
from pushforward.core.layer import Action, Layer
from pushforward.core.spec import PlanError

Values = Any
"""Values of events, the ends of an interval at each element, or a set in which events lie: what a layer made of layers can route."""


Through = Callable[[int, "Layer", Values, bool], Values]
"""What is done with each layer in another: its number, itself, what reaches it, and whether it is passed from data to base."""


class Composite(Layer):
    """A layer made of layers. It says how values pass through them; what it takes, gives, measures and follows is derived here.

    A subclass declares its `facts` from those of its layers, and writes `route`; and `run` where more is to be done than to pass values and
    to add up their ladj.
    """

    settles = False
    """Whether `settle` has to be asked."""

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        """Take values through the layers: call ``through`` for each with what reaches it, and put together what comes back.

        Args:
            values: Tensors whose last axes are the event, or a set in which events lie.
            inverse: Whether they go from data to base.
            through: See `Through`; it returns what the layer makes of its values.
        """
        raise NotImplementedError

    def place(self, index: int, layer: Layer) -> str:
        """Return how errors tell of a layer in it."""
        return ""

    def settle(self, index: int, values: Tensor, inverse: bool) -> Tensor:
        """Return what a layer gave, inside the set in which it lies, where rounding may have put it onto the edge."""
        return values

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(x, context, False)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.run(y, context, True)

    def run(self, values: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        """Pass values, and add up the ladj of all layers that change volumes."""
        total: Tensor | None = None
        settles = self.settles

        def through(index: int, layer: Layer, own: Tensor, inverted: bool) -> Tensor:
            nonlocal total
            own, ladj = layer.pull(own, context) if inverted else layer.push(own, context)
            # A permutation adds nothing, and to add nothing would be an operator for each of them.
            total = total if layer.facts.volume_preserving else ladj if total is None else total + ladj
            return self.settle(index, own, inverse) if settles else own

        value = self.route(values, inverse, through)
        batch = value.shape[: value.dim() - len(self.event_shape if inverse else self.out_shape)]
        if total is None:
            total = torch.zeros((), device=value.device, dtype=torch.promote_types(value.dtype, torch.float32))
        return value, numerics.expanded(total, batch)

    @final
    def image(self, support: Constraint, inverse: bool = False) -> Constraint:
        found: Constraint = self.route(support, inverse, self._image_in)
        return found

    def _image_in(self, index: int, layer: Layer, support: Constraint, inverse: bool) -> Constraint:
        try:
            return layer.image(support, inverse)
        except PlanError as error:
            raise PlanError(f"{self.place(index, layer)}{error}") from error

    @final
    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        found: Tensor = self.route(ends, inverse, lambda index, layer, own, inverted: layer.map_ends(own, inverted))
        return found

    @final
    def observe(self, action: Action, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> Tensor:
        found: Tensor = self.route(values, not inverse, lambda index, layer, own, back: layer.observe(action, own, context, not back))
        return found

    @final
    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.observe("measure", values, context, inverse)

    @final
    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.observe("follow", values, context, inverse)
