"""What holds other plans, as a table: a row says how a combinator wraps a plan, and where the plan's values stand in the whole.

The laws of tests/test_combinators.py run over every plan of the tables inside every combinator here. A new combinator is a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from cases import CASES
from every_plan import EVERY
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.bases import Mixture, Product, Pushforward, StandardNormal
from pushforward.core import sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.bijector import Bijector, Inverse
from pushforward.core.compose import Compose
from pushforward.core.facts import BaseFacts
from pushforward.core.spec import PlanError, Spec
from pushforward.layers.domains import to_support
from pushforward.layers.parts import Concatenate, Stack
from pushforward.layers.rearrange import OnAxis, Reverse

Shape = tuple[int, ...]
S = StandardNormal()


@dataclass(frozen=True)
class Row:
    """A plan with shapes, as the tables have it."""

    name: str
    plan: Bijector
    event_shape: Shape
    context_shape: Shape | None

    @property
    def out_shape(self) -> Shape:
        return tuple(self.plan.shape_after(self.event_shape))

    def sides(self, turned: bool) -> tuple[Shape, Shape]:
        """Return the shapes on the base's side and on the data's, of the plan or of its inverse."""
        return (self.out_shape, self.event_shape) if turned else (self.event_shape, self.out_shape)


ROWS = {name: Row(name, *row) for name, row in CASES.items()}
_PLANS = {row.plan for row in ROWS.values()}
ROWS |= {
    repr(plan): Row(repr(plan), plan, *shapes) for plan, *shapes in EVERY.values() if isinstance(plan, Bijector) and plan not in _PLANS
}


def kind(value: Any) -> tuple[str, ...]:
    """Return the names of the classes of which a plan is made."""
    if isinstance(value, Spec):
        return (type(value).__name__, *(name for field in fields(value) for name in kind(getattr(value, field.name))))
    return tuple(dict.fromkeys(name for item in value for name in kind(item))) if isinstance(value, tuple) else ()


# Rows made of the same classes as an earlier one, with other arguments, are left to `make test-heavy`.
_FIRST = {kind(row.plan): name for name, row in reversed(ROWS.items())}
FURTHER = set(ROWS) - set(_FIRST.values())


@dataclass(frozen=True)
class Combinator:
    """How plans stand in a combinator.

    Args:
        wrap: Makes it of a row: a bijector; or of a row and a base below the row's plan, a base.
        shape: The shape of the whole from one of the plan's two shapes.
        put: Values of the whole from those of each of the plans in it, whose events have a shape.
        take: The other way.
        copies: How many of the plan are in it.
        turned: Whether the plan's data side is the whole's base side.
        is_base: Whether it is a base.
        refuses: Words of the error where it cannot hold a row, told from what the plan declares; None where it holds it.
        row: The row that it is tried on, where that is not the one of the tables.
        together: The log-density of the whole from those of the plans in it.
        own: How many parameters it has itself.
        beside: The layers that are in it beside the plan.
    """

    wrap: Callable[..., Any]
    shape: Callable[[Row, Shape], Shape] = lambda row, shape: shape
    put: Callable[[Row, Sequence[Tensor], Shape], Tensor] = lambda row, values, shape: values[0]
    take: Callable[[Row, Tensor, Shape], Sequence[Tensor]] = lambda row, value, shape: [value]
    copies: int = 1
    turned: bool = False
    is_base: bool = False
    refuses: Callable[[Row], str | None] = lambda row: None
    row: Callable[[Row], Row] = lambda row: row
    together: Callable[[Sequence[Tensor]], Tensor] = lambda terms: torch.stack(list(terms)).sum(0)
    own: int = 0
    beside: Callable[[Row], list[Bijector]] = lambda row: []

    @property
    def inverse(self) -> Combinator:
        """Return the combinator that turns what this one makes round."""
        return Combinator(**{**vars(self), "turned": not self.turned, "wrap": lambda row: self.wrap(row).inv})

    def expected_error(self, row: Row) -> str | None:
        """Return a pattern of the words with which a pair is refused, or None for one that has to work."""
        if not row.plan.bijective:
            return "no way back"
        words = self.refuses(row)
        if not self.turned:
            return words
        try:
            row.plan.shape_before(row.out_shape)
        except PlanError:
            words = words or ""
        return None if words is None else "expected"  # in the words of the plan, or of what holds it


# A longer event, so that there is another axis to act on than the plan's own.


@functools.cache
def _with_two_axes(row: Row) -> Row:
    if len(row.event_shape) != 1 or not row.plan.bijective:
        return row
    first = (row.plan.axis % 1) == 0 and row.plan.axis >= 0
    wide = (*row.event_shape, 2) if first else (2, *row.event_shape)
    try:
        row.plan.build(wide, row.context_shape)
    except PlanError:
        return row
    return Row(row.name, row.plan, wide, row.context_shape)


def _axes(row: Row, shape: Shape) -> tuple[int, int]:
    """Return the plan's own axis and the one on which it is put."""
    own = row.plan.axis % max(len(shape), 1)
    return own, len(shape) - 1 if own == 0 else 0


def _moved(row: Row, shape: Shape) -> Shape:
    own, axis = _axes(row, shape)
    rest = [*shape[:own], *shape[own + 1 :]]
    return (*rest[:axis], *shape[own : own + 1], *rest[axis:])


def _move(value: Tensor, source: int, target: int, shape: Shape) -> Tensor:
    return value.movedim(source - len(shape), target - len(shape)) if shape else value


def _refused_by_axis(row: Row) -> str | None:
    inner = row.plan.bijector if isinstance(row.plan, Inverse) else row.plan
    if isinstance(inner, Compose):
        return "expected a single layer"
    if not row.event_shape:
        return "expected an axis of the event|at least 1 axes"
    return None if len(row.out_shape) == len(row.event_shape) else "expected a bijector that keeps the number of axes"


def _refused_by_slices(row: Row) -> str | None:
    if not row.event_shape:
        return "expected an axis of the event|at least 1 axes"
    return None if len(row.out_shape) == len(row.event_shape) else "expected parts that differ along axis 0 alone"


def _longer(row: Row, shape: Shape) -> Shape:
    return (2 * shape[0], *shape[1:]) if shape else shape


def _beside(row: Row, data: bool) -> list[Bijector]:
    """Return neighbours in a chain that together change nothing, where values are all real numbers on an axis."""
    shape = row.out_shape if data else row.event_shape
    return [Reverse(), Reverse()] if shape and is_real(row, data) else [Compose([])]


def _refused_by_product(row: Row) -> str | None:
    if not row.event_shape:
        return "expected an event of 2 features"
    shape = source(row, False)[1]
    alike = len(shape) == len(row.out_shape) and shape[1:] == row.out_shape[1:]
    return None if alike else "expected bases that change no axis but the first"


AXIS = Combinator(
    lambda row: OnAxis(row.plan, _axes(row, row.event_shape)[1]),
    shape=_moved,
    put=lambda row, values, shape: _move(values[0], *_axes(row, shape), shape),
    take=lambda row, value, shape: [_move(value, *_axes(row, shape)[::-1], shape)],
    refuses=_refused_by_axis,
    row=_with_two_axes,
)
SLICES = Combinator(
    lambda row: Concatenate([row.plan, row.plan], [row.event_shape[0]] * 2 if row.event_shape else None),
    shape=_longer,
    put=lambda row, values, shape: torch.cat(list(values), -len(shape)),
    take=lambda row, value, shape: value.chunk(2, -len(shape)),
    copies=2,
    refuses=_refused_by_slices,
)
ENTRIES = Combinator(
    lambda row: Stack([row.plan, row.plan]),
    shape=lambda row, shape: (2, *shape),
    put=lambda row, values, shape: torch.stack(list(values), -len(shape) - 1),
    take=lambda row, value, shape: value.unbind(-len(shape) - 1),
    copies=2,
)
CHAIN = Combinator(
    lambda row: Compose([*_beside(row, False), row.plan, *_beside(row, True)]),
    beside=lambda row: [*_beside(row, False), *_beside(row, True)],
)
ALONE = Combinator(lambda row: row.plan)

COMBINATORS = {
    "alone": ALONE,
    "inverse": ALONE.inverse,
    "Compose": CHAIN,
    "Compose, inverse": CHAIN.inverse,
    "OnAxis": AXIS,
    "OnAxis, inverse": AXIS.inverse,
    "Concatenate": SLICES,
    "Concatenate, inverse": SLICES.inverse,
    "Stack": ENTRIES,
    "Stack, inverse": ENTRIES.inverse,
    "Pushforward": Combinator(lambda row, base: Pushforward(base, row.plan), is_base=True),
    "Mixture": Combinator(
        lambda row, base: Mixture([Pushforward(base, row.plan)] * 2, noise=0.0),
        take=lambda row, value, shape: [value, value],
        copies=2,
        is_base=True,
        together=lambda terms: torch.logsumexp(torch.stack(list(terms)), 0) - math.log(2),
        own=2,
    ),
    "Product": Combinator(
        lambda row, base: Product([Pushforward(base, row.plan)] * 2, [source(row, False)[1][0] if row.event_shape else 1] * 2),
        shape=_longer,
        put=lambda row, values, shape: torch.cat(list(values), -len(shape)),
        take=lambda row, value, shape: value.chunk(2, -len(shape)),
        copies=2,
        is_base=True,
        refuses=_refused_by_product,
    ),
}


@functools.cache
def set_of(row: Row, data: bool) -> Constraint:
    """Return the set on one side of a row's plan, for whole events."""
    module = row.plan.build(row.event_shape, row.context_shape)
    kind, shape = (module.codomain, row.out_shape) if data else (module.domain, row.event_shape)
    return constraints.independent(kind, len(shape) - kind.event_dim) if len(shape) > kind.event_dim else kind


@functools.cache
def is_real(row: Row, data: bool) -> bool:
    """Tell whether values on one side of a row's plan are all real numbers."""
    module = row.plan.build(row.event_shape, row.context_shape)
    return sets.bounds(module.codomain if data else module.domain) == sets.REAL


@functools.cache
def source(row: Row, turned: bool) -> tuple[Base, Shape]:
    """Return a base, with the shape to build it for, that draws from all of what the row's plan takes (``turned``: its inverse)."""
    chart = to_support(set_of(row, turned))
    shape = row.sides(turned)[0]
    return (S, shape) if chart == Compose([]) else (Pushforward(S, chart), tuple(chart.shape_before(shape)))


@dataclass(frozen=True, repr=False)
class Feeding(Base):
    """A base for what a combinator makes of a row whose plan does not take all real values: the row's own, for each plan in its place."""

    inner: Base
    inner_shape: Sequence[int]
    combinator: str
    plan: Bijector
    event: Sequence[int]

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return FeedingModule(self, event_shape, context_shape)


class FeedingModule(BaseModule):
    def __init__(self, plan, event_shape, context_shape):
        super().__init__(plan, event_shape, context_shape)
        self.combinator, self.row = COMBINATORS[plan.combinator], Row("", plan.plan, tuple(plan.event), context_shape)
        self.inside = plan.inner.build(tuple(plan.inner_shape), None)
        # What it is to feed says itself what it takes; that this is what the plans in it take has a law.
        self.facts = BaseFacts(self.combinator.wrap(self.row).build(event_shape, context_shape).domain)

    def score(self, value, context=None):
        parts = self.combinator.take(self.row, value, self.inside.event_shape)
        return torch.stack([self.inside.score(part) for part in parts]).sum(0)

    def draw(self, batch, context=None, generator=None):
        parts = [self.inside.draw(batch, None, generator) for _ in range(self.combinator.copies)]
        return self.combinator.put(self.row, parts, self.inside.event_shape)


def flow_arguments(name: str, row: Row) -> tuple[Base, Any, Shape]:
    """Return the base, the bijector and the event shape of the flow that has a row's plan in a combinator."""
    combinator = COMBINATORS[name]
    base, shape = source(row, combinator.turned)
    if combinator.is_base:
        return combinator.wrap(row, base), [], combinator.shape(row, shape)
    whole = combinator.shape(row, row.sides(combinator.turned)[0])
    fed = base if base == S else Feeding(base, shape, name, row.plan, row.event_shape)
    return fed, combinator.wrap(row), whole
