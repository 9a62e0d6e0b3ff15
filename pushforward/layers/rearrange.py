"""Rearrangement: permutations of features, moved axes, and the selections that structures make."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.bijector import Bijector, Inverse
from pushforward.core.budget import reserve
from pushforward.core.compose import Compose
from pushforward.core.composite import Composite, Through, Values
from pushforward.core.facts import Facts
from pushforward.core.fields import Place
from pushforward.core.layer import Layer, Shape
from pushforward.core.promise import Accuracy
from pushforward.core.spec import PlanError


class Index(nn.Module):
    """A fixed choice of elements on the last axis. The plan holds it, so it is no part of the state."""

    index: Tensor

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(list(elements), dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.index_select(x, -1, self.index) if x.dim() else x


def expand_elements(features: Sequence[int], rest: int) -> list[int]:
    """Return the elements of features, each of which has ``rest`` of them."""
    return [feature * rest + j for feature in features for j in range(rest)]


class Selection(nn.Module):
    """Two parts of the elements on the last axis: ``split`` takes them apart, ``merge`` puts them together again."""

    def __init__(self, first: Sequence[int], second: Sequence[int], rest: int = 1) -> None:
        super().__init__()
        reserve((len(first) + len(second)) * rest)
        one, two = expand_elements(first, rest), expand_elements(second, rest)
        joined = [*one, *two]
        self.sizes = [len(one), len(two)]
        together = list(range(len(joined)))
        # Two halves, in either order, are cut and joined as they are; anything else is put into order first.
        self.turned = joined != together and [*two, *one] == together
        direct = joined == together or self.turned
        self.take = None if direct else Index(joined)
        self.give = None if direct else Index(sorted(range(len(joined)), key=joined.__getitem__))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two parts of ``(*batch, elements)``."""
        if self.turned:
            second, first = torch.split_with_sizes(x, self.sizes[::-1], -1)
        else:
            first, second = torch.split_with_sizes(x if self.take is None else self.take(x), self.sizes, -1)
        return first, second

    def merge(self, first: Tensor, second: Tensor) -> Tensor:
        """Return ``(*batch, elements)`` from its two parts."""
        x = torch.cat([second, first] if self.turned else [first, second], -1)
        return x if self.give is None else self.give(x)


class PermuteModule(Layer):
    """A permutation of the first event axis."""

    order: Tensor
    back: Tensor
    facts = Facts(accuracy=(Accuracy(0), Accuracy(0)), volume_preserving=True, is_affine=True)

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None, order: Sequence[int]) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.places = list(order)
        self.register_buffer("order", torch.tensor(self.places, dtype=torch.long), persistent=False)
        back = sorted(range(len(order)), key=order.__getitem__)
        self.reverses = list(order) == list(range(len(order)))[::-1]
        self.register_buffer("back", torch.tensor(back, dtype=torch.long), persistent=False)

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._move(x, self.order)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._move(y, self.back)

    def _move(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        batch = x.shape[: x.dim() - len(self.event_shape)]
        zero = torch.zeros((), device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
        # The gradient of a flip is a flip, that of a selection is an addition into zeros.
        moved = x.flip(len(batch)) if self.reverses else torch.index_select(x, len(batch), index)
        return moved, zero.expand(batch)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        # From the plan's own numbers: a module on the meta device has none.
        order = sorted(range(len(self.places)), key=self.places.__getitem__) if inverse else self.places
        return ends[:, order]


@dataclass(frozen=True, repr=False)
class Permute(Bijector):
    """Put features into another order: feature ``i`` of y is feature ``order[i]`` of x. Acts on the first event axis.

    Args:
        order: Every index once.

    >>> Permute([2, 0, 1]).build(3)(torch.tensor([10.0, 11.0, 12.0]))[0]
    tensor([12., 10., 11.])
    """

    order: Sequence[Place]

    event_dim = 1
    formula = "y_i = x_order(i)"

    def check(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise PlanError(f"Permute: expected every index from 0 once, got {self.order!r}")

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        if len(self.order) != event_shape[0]:
            raise PlanError(f"{self!r}: expected {len(self.order)} features, got {event_shape[0]} (event_shape {event_shape})")
        reserve(event_shape[0])
        return PermuteModule(self, event_shape, context_shape, self.order)


@dataclass(frozen=True, repr=False)
class Reverse(Bijector):
    """Turn the order of the features round. Acts on the first event axis.

    >>> Reverse().build(3)(torch.tensor([10.0, 11.0, 12.0]))[0]
    tensor([12., 11., 10.])
    """

    event_dim = 1
    formula = "y_i = x_(D-1-i)"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        reserve(event_shape[0])
        return PermuteModule(self, event_shape, context_shape, range(event_shape[0] - 1, -1, -1))


@dataclass(frozen=True, repr=False)
class Shuffle(Bijector):
    """Put features into a random order, which the seed fixes, so that a saved plan is the same flow. Acts on the first event axis.

    Args:
        seed: A whole number; another seed, another order.

    >>> Shuffle(seed=1).build(4)(torch.arange(4.0))[0].sort().values
    tensor([0., 1., 2., 3.])
    """

    seed: int = 0

    event_dim = 1
    formula = "y_i = x_shuffled(i)"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        reserve(event_shape[0])
        draw = random.Random(self.seed)  # its stream for a seed is promised to stay the same
        keys = [draw.random() for _ in range(event_shape[0])]
        return PermuteModule(self, event_shape, context_shape, sorted(range(event_shape[0]), key=keys.__getitem__))


@dataclass(frozen=True, repr=False)
class OnAxis(Bijector):
    """Let a bijection act on another event axis than its own (the first for structures, the last for vectors).

    Args:
        bijector: A single layer.
        axis: The event axis, counted from 0, or from -1 backwards.

    >>> from pushforward.bijectors import Linear
    >>> OnAxis(Linear(), 0).build((3, 8, 8))(torch.zeros(5, 3, 8, 8))[1].shape
    torch.Size([5])
    """

    bijector: Bijector
    axis: int = 0  # type: ignore[misc]

    event_dim = 1

    def check(self) -> None:
        inner = self.bijector.bijector if isinstance(self.bijector, Inverse) else self.bijector
        if isinstance(inner, Compose):
            raise PlanError(f"OnAxis: expected a single layer, got {self.bijector!r}; wrap the layers one by one")

    def words(self) -> str:
        return self.bijector.words()

    def shape_after(self, shape: Shape) -> Shape:
        return self._shape(shape, self.bijector.shape_after)

    def shape_before(self, shape: Shape) -> Shape:
        return self._shape(shape, self.bijector.shape_before)

    def _shape(self, shape: Shape, change: Callable[[Shape], Shape]) -> Shape:
        place, own, seen = self.place(shape), self.bijector.axis % len(shape), list(shape)
        seen.insert(own, seen.pop(place))
        found = list(change(tuple(seen)))
        if len(found) != len(shape):
            raise PlanError(f"{self!r}: expected a bijector that keeps the number of axes, got one between shapes {seen} and {found}")
        found.insert(place, found.pop(own))
        return tuple(found)

    def place(self, shape: Shape) -> int:
        """Return the axis, counted from 0; raise `PlanError` when the event has none such."""
        if not -len(shape) <= self.axis < len(shape):
            raise PlanError(f"{self!r}: expected an axis of the event, got axis {self.axis} for event_shape {shape}")
        return self.axis % len(shape)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return OnAxisModule(self, event_shape, context_shape)


class OnAxisModule(Composite):
    """A built bijection that sees the event with one axis moved."""

    def __init__(self, plan: OnAxis, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        rank, place, seen = len(event_shape), plan.place(event_shape), list(event_shape)
        own = plan.bijector.axis % rank
        self.source, self.target = place - rank, own - rank
        seen.insert(own, seen.pop(place))
        self.module = plan.bijector.build(tuple(seen), context_shape)
        self.out_shape = plan.shape_after(event_shape)
        facts = self.module.facts
        self.facts = facts.onto(self._moved(facts.domain, True, True), self._moved(facts.codomain, True, False))

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        return self._moved(through(0, self.module, self._moved(values, False, inverse), inverse), True, inverse)

    def _moved(self, values: Values, out: bool, inverse: bool) -> Values:
        """Return values as the bijection sees them, or as they leave (``out``)."""
        source, target = (self.target, self.source) if out else (self.source, self.target)
        if not isinstance(values, Constraint):
            return values.movedim(source, target)
        layer = self.module if out else self
        return sets.moved(values, source, target, layer.out_shape if inverse != out else layer.event_shape)
