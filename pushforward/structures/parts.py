"""Parts: different bijections on different slices of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward import numerics, supports
from pushforward.core import Bijector, Shape, TransformModule
from pushforward.fields import Count, Length
from pushforward.spec import PlanError


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

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
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

    _levels = 5  # turned round, it asks each part for its shape in both directions
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


class PartsModule(TransformModule):
    """Built bijections on slices of an event."""

    is_affine = True

    def __init__(self, plan: _Sliced, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        shapes, self.lengths = plan.slices(event_shape, False)
        made: list[TransformModule] = []
        for index, (part, shape) in enumerate(zip(plan.bijectors, shapes, strict=True)):
            try:
                made.append(part.build(shape, context_shape))
            except PlanError as error:
                raise PlanError(f"part {index}: {error}") from error
        self.parts = nn.ModuleList(made)
        self.out_shape = plan.shape_after(event_shape)
        self.axes = plan.place(event_shape) - len(event_shape), plan.place(self.out_shape) - len(self.out_shape)
        self.out_lengths = None if self.lengths is None else [part.out_shape[self.axes[1]] for part in made]
        self.uses_context = any(part.uses_context for part in made)
        self.follows_data = any(part.follows_data for part in made)
        self.sees = "; ".join(dict.fromkeys(part.sees for part in made))
        self.passes = max(part.passes[0] for part in made), max(part.passes[1] for part in made)
        self.steps = max(part.steps[0] for part in made), max(part.steps[1] for part in made)
        self.roots = max(part.roots[0] for part in made), max(part.roots[1] for part in made)
        self.adaptive = any(part.adaptive[0] for part in made), any(part.adaptive[1] for part in made)
        self.keeps_volume = all(part.keeps_volume for part in made)
        self.domain = supports.joined([part.domain for part in made], self.lengths, self.axes[0], len(event_shape))
        self.codomain = supports.joined([part.codomain for part in made], self.out_lengths, self.axes[1], len(self.out_shape))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values = zip(self.parts, self._split(x, False), strict=True)
        return self._join([part.push(v, context) for part, v in values], False)  # type: ignore[operator]

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values = zip(self.parts, self._split(y, True), strict=True)
        return self._join([part.pull(v, context) for part, v in values], True)  # type: ignore[operator]

    def _split(self, x: Tensor, inverse: bool) -> tuple[Tensor, ...]:
        lengths = self.out_lengths if inverse else self.lengths
        return x.unbind(self.axes[inverse]) if lengths is None else torch.split(x, lengths, self.axes[inverse])

    def _join(self, done: list[tuple[Tensor, Tensor]], inverse: bool) -> tuple[Tensor, Tensor]:
        values, ladjs = [value for value, _ in done], [ladj for _, ladj in done]
        # A context may widen the batch of some parts alone.
        shapes = [ladj.shape for ladj in ladjs]
        batch = shapes[0] if all(shape == shapes[0] for shape in shapes) else torch.broadcast_shapes(*shapes)
        values = [numerics.expanded(value, batch + value.shape[ladj.dim() :]) for value, ladj in zip(values, ladjs, strict=True)]
        moved = [ladj for part, ladj in zip(self.parts, ladjs, strict=True) if not part.keeps_volume] or ladjs[:1]
        axis = self.axes[not inverse]
        return torch.stack(values, axis) if self.lengths is None else torch.cat(values, axis), numerics.expanded(
            sum(moved[1:], moved[0]), batch
        )

    def image(self, support: Constraint) -> Constraint:
        images = []
        for index, (part, own) in enumerate(zip(self.parts, self._each_of(support), strict=True)):
            try:
                images.append(part.image(own))  # type: ignore[operator]
            except PlanError as error:
                raise PlanError(f"part {index}: {error}") from error
        return supports.joined(images, self.out_lengths, self.axes[1], len(self.out_shape))

    def _each_of(self, support: Constraint) -> Sequence[Constraint]:
        """Return the set in which the values of each part lie."""
        given, lengths = supports.structured(support), self.lengths and tuple(self.lengths)
        if isinstance(given, supports.Parts) and (given.dim, given.lengths) == (self.axes[0], lengths):
            return given.cseq
        ends = supports.sites(support, self.event_shape)
        return [support] * len(self.parts) if ends is None else [supports.of_sites(own) for own in self._split(ends, False)]

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor | None:
        mapped = [part.map_ends(own, inverse) for part, own in zip(self.parts, self._split(ends, inverse), strict=True)]  # type: ignore[operator]
        if any(one is None for one in mapped):
            return None
        return torch.stack(mapped, self.axes[not inverse]) if self.lengths is None else torch.cat(mapped, self.axes[not inverse])

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        for part, value in zip(self.parts, self._split(values, not inverse), strict=True):
            part.measure(value, context, inverse)  # type: ignore[operator]

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        for part, value in zip(self.parts, self._split(values, not inverse), strict=True):
            part.follow(value, context, inverse)  # type: ignore[operator]
