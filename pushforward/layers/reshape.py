"""Reshaping: events seen in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.fields import Count
from pushforward.core.layer import Layer, Shape, as_shape
from pushforward.core.promise import Accuracy
from pushforward.core.spec import PlanError


class ReshapeModule(Layer):
    """Events whose numbers stay in their order, in another shape."""

    facts = Facts(accuracy=(Accuracy(0), Accuracy(0)), volume_preserving=True, is_affine=True)

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None, out_shape: Shape) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.out_shape = out_shape

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._seen(x, self.event_shape, self.out_shape)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._seen(y, self.out_shape, self.event_shape)

    @staticmethod
    def _seen(x: Tensor, before: Shape, after: Shape) -> tuple[Tensor, Tensor]:
        batch = x.shape[: x.dim() - len(before)]
        zero = torch.zeros((), device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
        return x.reshape(batch + after), zero.expand(batch)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        return ends.reshape(2, *(self.event_shape if inverse else self.out_shape))


@dataclass(frozen=True, repr=False)
class Reshape(Bijector):
    """See the last axes of an event in another shape; the numbers stay in their order, and volumes are kept.

    Args:
        in_shape: The last axes of what comes in.
        out_shape: What they become, with as many numbers.

    >>> Reshape(6, (2, 3)).build((6,))(torch.arange(6.0))[0].shape
    torch.Size([2, 3])
    """

    in_shape: Count | Sequence[Count]
    out_shape: Count | Sequence[Count]

    axis = -1
    formula = "y = x in another shape"

    def check(self) -> None:
        if math.prod(self._source) != math.prod(self._target):
            raise PlanError(f"Reshape: expected shapes with as many numbers, got {self.in_shape} and {self.out_shape}")

    @property
    def _source(self) -> Shape:
        return as_shape(self.in_shape, "Reshape: in_shape")

    @property
    def _target(self) -> Shape:
        return as_shape(self.out_shape, "Reshape: out_shape")

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return len(self._source)

    @property
    def out_dim(self) -> int:
        return len(self._target)

    def shape_after(self, shape: Shape) -> Shape:
        return self._changed(shape, self._source, self._target)

    def shape_before(self, shape: Shape) -> Shape:
        return self._changed(shape, self._target, self._source)

    def _changed(self, shape: Shape, old: Shape, new: Shape) -> Shape:
        split = len(shape) - len(old)
        if split < 0 or shape[split:] != old:
            raise PlanError(f"{self!r}: expected an event whose last axes are {old}, got shape {shape}")
        return shape[:split] + new

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ReshapeModule(self, event_shape, context_shape, self.shape_after(event_shape))


@dataclass(frozen=True, repr=False)
class Flatten(Bijector):
    """Join all axes of an event to one. A `Reshape` that need not be told the shape; its inverse does, so for that write `Reshape`.

    >>> Flatten().build((2, 3))(torch.zeros(7, 2, 3))[0].shape
    torch.Size([7, 6])
    """

    event_dim = 1
    axis = -1
    formula = "y = x on one axis"

    def shape_after(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def shape_before(self, shape: Shape) -> Shape:
        raise PlanError(f"Flatten().inv: expected to be told the shape before flattening; write Reshape({shape}, ...)")

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ReshapeModule(self, event_shape, context_shape, self.shape_after(event_shape))
