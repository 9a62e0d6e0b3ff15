"""Parts: different bijections on different slices of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.composite import Composite, Through, Values
from pushforward.core.facts import abreast
from pushforward.core.fields import Count, Length
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class _Sliced(Bijector):
    bijectors: Annotated[Sequence[Bijector], Length(1)]

    event_dim = 1

    @property
    def _axis(self) -> int:
        return self.axis

    def slices(self, shape: Shape, after: bool) -> tuple[list[Shape], list[int] | None]:
        """Return the shapes of the parts of events of a shape, and their lengths (None: they have no axis of their own)."""
        raise NotImplementedError

    def place(self, shape: Shape) -> int:
        """Return the axis, counted from 0; raise `PlanError` when the event has none such."""
        if not -len(shape) <= self._axis < len(shape):
            raise PlanError(f"{self!r}: expected an axis of the event, got axis {self._axis} for shape {shape}")
        return self._axis % len(shape)

    def shape_after(self, shape: Shape) -> Shape:
        return self._joined(shape, [b.shape_after(s) for b, s in zip(self.bijectors, self.slices(shape, False)[0], strict=True)])

    def shape_before(self, shape: Shape) -> Shape:
        return self._joined(shape, [b.shape_before(s) for b, s in zip(self.bijectors, self.slices(shape, True)[0], strict=True)])

    def _joined(self, shape: Shape, parts: list[Shape]) -> Shape:
        raise NotImplementedError

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return PartsModule(self, event_shape, context_shape)


@dataclass(frozen=True, repr=False)
class Concatenate(_Sliced):
    """Different bijections on consecutive slices of an axis.

    Each sees its slice as an event of its own; a slice may change its length. (`torch.distributions` has CatTransform for it; what its
    IndependentTransform says, that numbers make up one event, every plan here is told by the event's shape.)

    Args:
        bijectors: The bijections, in the order of the slices.
        lengths: How long each slice is (None: one entry each).
        axis: The event axis.

    >>> from pushforward.bijectors import Compose, Exp
    >>> Concatenate([Compose([]), Exp()], [2, 1]).build(3)(torch.zeros(3))[0]
    tensor([0., 0., 1.])
    """

    lengths: Sequence[Count] | None = None
    axis: int = 0  # type: ignore[misc]

    _levels = 5  # inverted, it asks each part for its shape in both directions
    formula = "y = (g_1(x_1), g_2(x_2), ...) by slices of an axis"

    def check(self) -> None:
        if self.lengths is not None and len(self.lengths) != len(self.bijectors):
            raise PlanError(f"Concatenate: expected {len(self.bijectors)} positive lengths, one for each bijector, got {self.lengths!r}")

    def slices(self, shape: Shape, after: bool) -> tuple[list[Shape], list[int] | None]:
        axis = self.place(shape)
        lengths = list(self.lengths or (1,) * len(self.bijectors))
        if after:  # the lengths are those of what comes in
            lengths = [b.shape_after(_with(shape, axis, n))[axis] for b, n in zip(self.bijectors, lengths, strict=True)]
        if sum(lengths) != shape[axis]:
            raise PlanError(f"{self!r}: expected {sum(lengths)} entries on axis {self.axis}, the sum of the lengths, got shape {shape}")
        return [_with(shape, axis, n) for n in lengths], lengths

    def _joined(self, shape: Shape, parts: list[Shape]) -> Shape:
        axis = self.place(shape)
        if any(len(part) != len(shape) or _with(part, axis, 1) != _with(parts[0], axis, 1) for part in parts):
            raise PlanError(f"{self!r}: expected parts that differ along axis {self.axis} alone, got parts of shapes {parts}")
        return _with(parts[0], axis, sum(part[axis] for part in parts))


def _with(shape: Shape, axis: int, length: int) -> Shape:
    return (*shape[:axis], length, *shape[axis + 1 :])


@dataclass(frozen=True, repr=False)
class Stack(_Sliced):
    """Different bijections on the entries of an axis; each sees an event without that axis.

    Args:
        bijectors: The bijections, one for each entry.
        axis: The event axis.

    >>> from pushforward.bijectors import Compose, Exp
    >>> Stack([Compose([]), Exp()]).build(2)(torch.zeros(2))[0]
    tensor([0., 1.])
    """

    axis: int = 0  # type: ignore[misc]

    formula = "y = (g_1(x_1), g_2(x_2), ...) by entries of an axis"

    def slices(self, shape: Shape, after: bool) -> tuple[list[Shape], list[int] | None]:
        axis = self.place(shape)
        if shape[axis] != len(self.bijectors):
            raise PlanError(f"{self!r}: expected {len(self.bijectors)} entries on axis {self.axis}, one a bijector, got {shape}")
        return [shape[:axis] + shape[axis + 1 :]] * shape[axis], None

    def _joined(self, shape: Shape, parts: list[Shape]) -> Shape:
        if any(part != parts[0] for part in parts):
            raise PlanError(f"{self!r}: expected parts of one shape, got parts of shapes {parts}")
        # Counted from the end, an axis stays where it is when the parts gain axes before it.
        axis = self.axis if self.axis >= 0 else self.axis + len(parts[0]) + 1
        return (*parts[0][:axis], len(parts), *parts[0][axis:])


class PartsModule(Composite):
    """Built bijections on slices of an event."""

    def __init__(self, plan: _Sliced, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        shapes, self.lengths = plan.slices(event_shape, False)
        made: list[Layer] = []
        for index, (part, shape) in enumerate(zip(plan.bijectors, shapes, strict=True)):
            try:
                made.append(part.build(shape, context_shape))
            except PlanError as error:
                raise PlanError(f"part {index}: {error}") from error
        self.parts = nn.ModuleList(made)
        self.out_shape = plan.shape_after(event_shape)
        self.axes = plan.place(event_shape) - len(event_shape), plan.place(self.out_shape) - len(self.out_shape)
        self.out_lengths = None if self.lengths is None else [part.out_shape[self.axes[1]] for part in made]
        facts = [part.facts for part in made]
        self.facts = abreast(facts).onto(self._join([f.domain for f in facts], True), self._join([f.codomain for f in facts], False))

    def place(self, index: int, layer: Layer) -> str:
        return f"part {index}: "

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        each = zip(self.parts, self._split(values, inverse), strict=True)
        return self._join([through(index, part, own, inverse) for index, (part, own) in enumerate(each)], inverse)  # type: ignore[arg-type]

    def _side(self, data: bool) -> tuple[int, list[int] | None, Shape]:
        """Return the axis, the lengths and the shape of events on a side."""
        return (self.axes[1], self.out_lengths, self.out_shape) if data else (self.axes[0], self.lengths, self.event_shape)

    def _split(self, values: Values, inverse: bool) -> Sequence[Values]:
        axis, lengths, shape = self._side(inverse)
        if isinstance(values, Constraint):
            return sets.split(values, len(self.parts), lengths, axis, shape)
        return values.unbind(axis) if lengths is None else torch.split(values, lengths, axis)

    def _join(self, parts: list[Values], inverse: bool) -> Values:
        axis, lengths, shape = self._side(not inverse)
        if isinstance(parts[0], Constraint):
            return sets.joined(parts, lengths, axis, len(shape))
        rank = len(shape) - (lengths is None)
        # A context may widen the batch of some parts alone.
        batches = [part.shape[: part.dim() - rank] for part in parts]
        if any(batch != batches[0] for batch in batches):
            batch = torch.broadcast_shapes(*batches)
            parts = [part.expand(batch + part.shape[part.dim() - rank :]) for part in parts]
        return torch.stack(parts, axis) if lengths is None else torch.cat(parts, axis)
