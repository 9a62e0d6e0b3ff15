"""ToBase: the map of a flow for a context as a `torch.distributions.Transform`, from data to base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Transform
from torch.distributions.constraints import Constraint

from pushforward.core import sets


class Both(Protocol):
    """What has a way to its base and back: a flow."""

    base: Any
    context_shape: Any

    @property
    def event_shape(self) -> torch.Size: ...
    @property
    def support(self) -> Constraint: ...

    def to_base(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...
    def from_base(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...


class ToBase(Transform):
    """The map of a flow for a context, from data to base; ``inv`` goes from base to data. Value and log-determinant come in one pass.

    It looks at the flow: what the flow learns, this follows, and nothing is kept from call to call.

    Args:
        flow: The flow.
        context: The context ``(*batch, *context)`` in the user's units; None where the flow takes none.
        inverted: Whether it goes from base to data instead.
    """

    bijective = True

    def __init__(self, flow: Both, context: Tensor | None, inverted: bool = False) -> None:
        super().__init__()
        self.flow, self.context, self.inverted = flow, context, inverted

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        """The set of values that it takes."""
        return self._sides()[0]

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        """The set of values that it gives."""
        return self._sides()[1]

    @property
    def inv(self) -> ToBase:
        """The other direction."""
        return type(self)(self.flow, self.context, not self.inverted)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of ``(*batch, *event)`` and the log-determinant ``(*batch)``. Raises what `Flow.to_base` does."""
        return (self.flow.from_base if self.inverted else self.flow.to_base)(x, self.context)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def forward_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape of what values of a shape are mapped onto, the batch of the context included."""
        before, after = tuple(self.flow.event_shape), tuple(self.flow.base.event_shape)
        if self.inverted:
            before, after = after, before
        split = len(shape) - len(before)
        if split < 0 or tuple(shape[split:]) != before:
            wanted = ", ".join(["*batch", *map(str, before)])
            raise ValueError(f"{type(self).__name__}: expected values of shape ({wanted}), got {tuple(shape)}")
        given = () if self.context is None else self.context.shape[: self.context.dim() - len(self.flow.context_shape)]
        return torch.Size((*torch.broadcast_shapes(tuple(shape[:split]), given), *after))

    def inverse_shape(self, shape: Sequence[int]) -> torch.Size:
        """Return the shape that the inverse gives for values of a shape."""
        return self.inv.forward_shape(shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToBase) and (self.flow, self.inverted) == (other.flow, other.inverted) and self.context is other.context

    def __hash__(self) -> int:
        return hash((id(self.flow), self.inverted))

    def __repr__(self) -> str:
        given = "" if self.context is None else f", given a context of shape {tuple(self.context.shape)}"
        return f"{type(self).__name__}({self.flow!r}{given}){'.inv' if self.inverted else ''}"

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inv.call_and_ladj(y)[0]

    def _sides(self) -> tuple[Constraint, Constraint]:
        base, data = sets.independent(self.flow.base.support, len(self.flow.base.event_shape)), self.flow.support
        return (base, data) if self.inverted else (data, base)
