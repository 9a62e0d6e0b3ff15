"""Bijector: the plan of a bijection, and of its inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pushforward.core.budget import LAYER, reserve
from pushforward.core.composite import Composite, Through, Values
from pushforward.core.describe import Description, describe
from pushforward.core.layer import Layer, Shape, as_shape
from pushforward.core.spec import PlanError, Spec


class Bijector(Spec):
    """A plan of a bijection ``y = g(x)``, base to data: no shape, no tensor; comparable, printable, JSON both ways.

    >>> from pushforward.bijectors import Affine
    >>> Affine().build((2,))(torch.zeros(3, 2))[0].shape
    torch.Size([3, 2])
    """

    _called = ("a bijector", "bijectors")
    _dims: tuple[int, int]
    """``event_dim`` and ``out_dim`` of a plan that has them from the plans in it, known once, when it is made."""
    event_dim: ClassVar[int] = 0
    """Number of event axes that the bijection needs at least."""
    axis: ClassVar[int] = 0
    """The event axis it acts on: 0 for structures (features, channels, tokens), -1 for kernels on vectors."""
    formula: ClassVar[str] = ""
    """The map in plain characters, as `describe` and the catalogue print it."""
    size: ClassVar[str] = "0"
    """How many parameters the free layer has: a Python expression in D, the elements of an event (or the length of its vectors),
    C, the length of its first axis, and the plan's own arguments."""
    log_det: ClassVar[str] = "closed form"
    """How the log-determinant is computed."""
    inverse_method: ClassVar[str] = "closed form"
    """How the inverse is computed."""
    bijective: ClassVar[bool] = True
    """Whether it is a bijection at all; if not, it only maps forward, and no flow takes it."""
    wraps: ClassVar[bool] = False
    """Whether its inverse takes values by whole turns to where they are alike: no rising map, and no distribution function behind it."""
    measured_turned: ClassVar[bool] = True
    """Whether it can be measured where it is inverted, too; if not, `calibrate` says so."""

    @property
    def out_dim(self) -> int:
        """Number of event axes that the inverse needs at least; another than ``event_dim`` where the map makes matrices of vectors."""
        return self.event_dim

    def shape_after(self, shape: Shape) -> Shape:
        """Return the shape onto which events of a shape are mapped; raise `PlanError` when they do not fit."""
        return shape

    def shape_before(self, shape: Shape) -> Shape:
        """Return the shape of the events that are mapped onto a shape; raise `PlanError` when there is none."""
        return shape

    def build(self, event_shape: int | Sequence[int], context_shape: int | Sequence[int] | None = None) -> Layer:
        """Build the module for events of a shape; raise `PlanError` when plan and shapes do not fit."""
        event = as_shape(event_shape, "event_shape")
        context = None if context_shape is None else as_shape(context_shape, "context_shape")
        if len(event) < self.event_dim:
            raise PlanError(
                f"{self!r}: expected an event of at least {self.event_dim} axes, got event_shape {event}; "
                "give event_shape, or wrap the base in torch.distributions.Independent"
            )
        reserve(1, LAYER + math.prod(event))
        return self.make(event, context)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        """Make the module; the part of `build` that each kind of plan writes itself."""
        raise NotImplementedError

    @property
    def inv(self) -> Bijector:
        """The plan of the inverse bijection; ``plan.inv.inv`` is ``plan``."""
        return Inverse(self)

    def words(self) -> str:
        """Return the formula in which a description tells of this plan; that of what it wraps, where it wraps something."""
        return self.formula or repr(self)

    def describe(
        self, event_shape: int | Sequence[int], context_shape: int | Sequence[int] | None = None, batch: int = 1000
    ) -> Description:
        """Return a `Description` of what the plan becomes for events of a shape."""
        return describe(self.build(event_shape, context_shape), batch=batch)


@dataclass(frozen=True, repr=False)
class Inverse(Bijector):
    """The inverse of a bijection: it samples where the other scores.

    >>> from pushforward.bijectors import Exp
    >>> Inverse(Exp()).build(())(torch.tensor(1.0))[0].item(), Exp().inv.inv == Exp()
    (0.0, True)
    """

    bijector: Bijector

    def check(self) -> None:
        object.__setattr__(self, "_dims", (self.bijector.out_dim, self.bijector.event_dim))

    def words(self) -> str:
        return f"inverse of: {self.bijector.words()}"

    @property
    def inv(self) -> Bijector:
        return self.bijector

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self._dims[0]

    @property
    def out_dim(self) -> int:
        return self._dims[1]

    @property
    def axis(self) -> int:  # type: ignore[override]
        return self.bijector.axis

    def shape_after(self, shape: Shape) -> Shape:
        return self.bijector.shape_before(shape)

    def shape_before(self, shape: Shape) -> Shape:
        return self.bijector.shape_after(shape)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return InverseModule(self, self.bijector.build(self.bijector.shape_before(event_shape), context_shape))


class InverseModule(Composite):
    """A built bijection inverted."""

    def __init__(self, plan: Bijector, module: Layer) -> None:
        super().__init__(plan, module.out_shape, module.context_shape)
        self.out_shape = module.event_shape
        self.module = module
        self.facts = module.facts.inverted()

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        return through(0, self.module, values, not inverse)
