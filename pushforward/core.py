"""The core: plans of bijections, what they build, and how bijections combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward import numerics, supports
from pushforward.budget import LAYER, reserve
from pushforward.built import BuiltModule
from pushforward.describe import Description, describe
from pushforward.facts import Facts, chained
from pushforward.spec import PlanError, Spec, plain

Shape = tuple[int, ...]
Action = Literal["measure", "follow"]
Values = Any
"""Values of events, the ends of an interval at each site, or a set in which events lie: what a layer made of layers can route."""
Through = Callable[[int, "TransformModule", Values, bool], Values]
"""What is done with each layer in another: its number, itself, what reaches it, and whether it is passed from data to base."""


def as_shape(value: int | Sequence[int] | None, what: str) -> Shape:
    """Return a shape as a tuple of positive ints, or raise `PlanError`."""
    given = plain(value)
    shape = given if isinstance(given, tuple) else () if given is None else (given,)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise PlanError(f"{what}: expected positive whole numbers, got {value!r}")
    return shape


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
    """How many parameters the free layer has: a Python expression in D, the sites of an event (or the length of its vectors),
    C, the length of its first axis, and the plan's own arguments."""
    log_det: ClassVar[str] = "closed form"
    """How the log-determinant is computed."""
    way_back: ClassVar[str] = "closed form"
    """How the inverse is computed."""
    bijective: ClassVar[bool] = True
    """Whether it is a bijection at all; if not, it only maps forward, and no flow takes it."""
    wraps: ClassVar[bool] = False
    """Whether its inverse takes values by whole turns to where they are alike: no rising map, and no distribution function behind it."""
    measured_turned: ClassVar[bool] = True
    """Whether it can be measured where it is turned round, too; if not, `calibrate` says so."""

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

    def build(self, event_shape: int | Sequence[int], context_shape: int | Sequence[int] | None = None) -> TransformModule:
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

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
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
        """Tell what the plan becomes for events of a shape; see `pushforward.describe`."""
        return describe(self.build(event_shape, context_shape), batch=batch)


class TransformModule(BuiltModule):
    r"""A bijection with shapes fixed: ``forward`` is base to data and samples, ``inverse`` is data to base and scores.

    Both take ``x`` of shape ``(*batch, *event)`` and, where it was built with one, a context ``(*batch, *context)`` whose batch
    broadcasts, and return ``(y, ladj)`` with ``ladj`` of shape ``(*batch)``, at least float32: the log of the absolute Jacobian
    determinant of the map that was applied. Outside the map's domain ``ladj`` is -inf and the value is some point of the range.

    They check what they are given. A subclass writes `push` and `pull`, which do the work, and which modules that hold others call.
    """

    noun = "layer"
    plan: Bijector
    facts: Facts = Facts()

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.out_shape = event_shape

    @property
    def domain(self) -> Constraint:
        """The set of values that it takes."""
        return self.facts.domain

    @property
    def codomain(self) -> Constraint:
        """The set of values that it gives."""
        return self.facts.codomain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map base to data; return the value and the log-determinant.

        Args:
            x: ``(*batch, *event_shape)``, of the parameters' precision.
            context: ``(*batch, *context_shape)``, whose batch broadcasts; None where it was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        return self.push(x, self.admit("x", x, self.event_shape, context))

    @final
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to base; return the value and the log-determinant of the inverse map. Takes and raises what `forward` does."""
        return self.pull(y, self.admit("y", y, self.out_shape, context))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `forward`, on what has been checked."""
        raise NotImplementedError

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `inverse`, on what has been checked."""
        raise NotImplementedError

    def image(self, support: Constraint, inverse: bool = False) -> Constraint:
        """Return the set onto which one is mapped (back, if ``inverse``); raise `PlanError` when it does not fit or is not known."""
        domain, codomain = (self.codomain, self.domain) if inverse else (self.domain, self.codomain)
        if not supports.contains(domain, support):
            raise PlanError(f"expected values in {supports.name(domain)}, got values in {supports.name(support)}")
        if supports.same(domain, support):
            return codomain
        ends = supports.sites(support, self.out_shape if inverse else self.event_shape)
        mapped = None if ends is None else self.map_ends(ends, inverse)
        if mapped is None or bool(torch.isnan(mapped).any()):
            apart = ", or let Concatenate give each block layers of its own" if supports.bounds(support) is None else ""
            raise PlanError(
                f"expected all values in {supports.name(domain)}, got only those in {supports.name(support)}, whose image "
                "is not known; put learnable layers before what bounds the values, or take one that fixes the ends, such as a spline "
                f"whose bound is theirs{apart}"
            )
        return supports.of_sites(mapped)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        """Map the ends ``(2, *event)`` of the interval at each site; NaN where they move with parameters, or sites mix."""
        return ends.new_full((2, *(self.event_shape if inverse else self.out_shape)), math.nan)

    @final
    def calibrate(self, y: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data (standardisation) from values on the data side; most layers have nothing to set."""
        self.measure(y, self.admit("y", y, self.out_shape, context))

    @final
    def update(self, y: Tensor, context: Tensor | None = None) -> None:
        """Move what follows the data of a training step (`BatchNorm`) by values on the data side; most layers have nothing to move."""
        self.follow(y, self.admit("y", y, self.out_shape, context))

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Do the work of `calibrate`; ``inverse`` where the layer is turned round, and the values are those of its base side."""

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Do the work of `update`; ``inverse`` as in `measure`."""

    def observe(self, action: Action, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> Tensor:
        """Let it ``measure`` or ``follow`` values, and then return them as they are on its other side."""
        getattr(self, action)(values, context, inverse)
        return (self.push if inverse else self.pull)(values, context)[0]

    def leaves(self) -> Iterator[TransformModule]:
        """Give the layers that it is a chain of, in order from base to data; itself, where it is none."""
        yield self


def expect_way_back(owner: str, transform: TransformModule) -> None:
    """Raise `PlanError` unless all layers are bijections."""
    for part in transform.modules():
        if isinstance(part, TransformModule) and not part.plan.bijective:
            raise PlanError(
                f"{owner}: expected bijections, got {part.plan!r}, which has no way back, so no density can be scored through it"
            )


class Composite(TransformModule):
    """A layer made of layers. It says how values pass through them; what it takes, gives, measures and follows is derived here.

    A subclass declares its `facts` from those of its layers, and writes `route`; and `run` where more is to be done than to pass values and
    to add up their ladj.
    """

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        """Take values through the layers: call ``through`` for each with what reaches it, and put together what comes back.

        Args:
            values: Tensors whose last axes are the event, or a set in which events lie.
            inverse: Whether they go from data to base.
            through: See `Through`; it returns what the layer makes of its values.
        """
        raise NotImplementedError

    def place(self, index: int, layer: TransformModule) -> str:
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

        def through(index: int, layer: TransformModule, own: Tensor, turned: bool) -> Tensor:
            nonlocal total
            own, ladj = layer.pull(own, context) if turned else layer.push(own, context)
            # A permutation adds nothing, and to add nothing would be an operator for each of them.
            total = total if layer.facts.keeps_volume else ladj if total is None else total + ladj
            return self.settle(index, own, inverse)

        value = self.route(values, inverse, through)
        batch = value.shape[: value.dim() - len(self.event_shape if inverse else self.out_shape)]
        if total is None:
            total = torch.zeros((), device=value.device, dtype=torch.promote_types(value.dtype, torch.float32))
        return value, numerics.expanded(total, batch)

    @final
    def image(self, support: Constraint, inverse: bool = False) -> Constraint:
        found: Constraint = self.route(support, inverse, self._image_in)
        return found

    def _image_in(self, index: int, layer: TransformModule, support: Constraint, inverse: bool) -> Constraint:
        try:
            return layer.image(support, inverse)
        except PlanError as error:
            raise PlanError(f"{self.place(index, layer)}{error}") from error

    @final
    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        found: Tensor = self.route(ends, inverse, lambda index, layer, own, turned: layer.map_ends(own, turned))
        return found

    @final
    def observe(self, action: Action, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> Tensor:
        found: Tensor = self.route(values, not inverse, lambda index, layer, own, turned: layer.observe(action, own, context, not turned))
        return found

    @final
    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.observe("measure", values, context, inverse)

    @final
    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.observe("follow", values, context, inverse)


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

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        return InverseModule(self, self.bijector.build(self.bijector.shape_before(event_shape), context_shape))


class InverseModule(Composite):
    """A built bijection turned round."""

    def __init__(self, plan: Bijector, module: TransformModule) -> None:
        super().__init__(plan, module.out_shape, module.context_shape)
        self.out_shape = module.event_shape
        self.module = module
        self.facts = module.facts.inverted()

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        return through(0, self.module, values, not inverse)


@dataclass(frozen=True, repr=False)
class Compose(Bijector):
    """Bijections one after the other, in list order from base to data.

    Args:
        bijectors: The layers; an empty list is the identity.

    >>> from pushforward.bijectors import Affine, Exp
    >>> Compose([Affine(), Exp()])
    Compose((Affine(), Exp()))
    """

    bijectors: Sequence[Bijector]

    def check(self) -> None:
        needed, gained = 0, 0
        for part in self.bijectors:
            needed = max(needed, part.event_dim - gained)
            gained += part.out_dim - part.event_dim
        object.__setattr__(self, "_dims", (needed, needed + gained))

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self._dims[0]

    @property
    def out_dim(self) -> int:
        return self._dims[1]

    def shape_after(self, shape: Shape) -> Shape:
        for part in self.bijectors:
            shape = part.shape_after(shape)
        return shape

    def shape_before(self, shape: Shape) -> Shape:
        for part in reversed(self.bijectors):
            shape = part.shape_before(shape)
        return shape

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        return ComposeModule(self, event_shape, context_shape)


class ComposeModule(Composite):
    """Built layers one after the other."""

    def __init__(self, plan: Compose, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        layers: list[TransformModule] = []
        shape = event_shape
        for index, part in enumerate(plan.bijectors):
            try:
                layers.append(part.build(shape, context_shape))
            except PlanError as error:
                raise PlanError(f"layer {index}: {error}") from error
            shape = layers[-1].out_shape
        self.layers = nn.ModuleList(layers)
        self.out_shape = shape
        facts = chained([layer.facts for layer in layers])
        # Between layers values may reach only a part of what the next layer takes; there the ends are kept here.
        held = [_domain(layers)] if layers else [facts.domain]

        def through(index: int, layer: TransformModule, own: Constraint, turned: bool) -> Constraint:
            held.append(self._image_in(index, layer, own, turned))
            return held[-1]

        self.route(held[0], False, through)
        self.between = [supports.limits(support) for support in held]
        open_ends = all(limits == supports.REAL for limits in self.between)
        self.facts = facts.onto(held[0], held[-1], facts.keeps_volume and open_ends)

    def place(self, index: int, layer: TransformModule) -> str:
        return f"layer {index}: {layer.plan!r}: "

    def route(self, values: Values, inverse: bool, through: Through) -> Values:
        # A ModuleList is slow to give its items one by one from its end.
        layers: list[TransformModule] = [*self.layers]
        for index in range(len(layers) - 1, -1, -1) if inverse else range(len(layers)):
            values = through(index, layers[index], values, inverse)
        return values

    def settle(self, index: int, values: Tensor, inverse: bool) -> Tensor:
        return supports.leave(values, self.between[index if inverse else index + 1])

    def run(self, values: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        rank = len(self.out_shape if inverse else self.event_shape)
        # Between layers values stay in the working precision, so that half formats round once, at the end. Which are outside is told here:
        # between the layers all are taken for inside, and moved there where rounding has put them beyond an end.
        value, outside = supports.enter_events(numerics.working(values), self.between[-1 if inverse else 0], rank, values.dtype)
        value, total = super().run(value, context, inverse)
        if outside is not None:
            total = torch.where(outside, -math.inf, total)
        return supports.leave(value.to(values.dtype), self.between[0 if inverse else -1]), total

    def leaves(self) -> Iterator[TransformModule]:
        for layer in self.layers:
            yield from layer.leaves()  # type: ignore[operator]

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"


def _domain(layers: Sequence[TransformModule]) -> Constraint:
    """Return what a chain takes: of what its first layer takes, the values that the others take from it, as far as that is known."""
    needed = layers[-1].domain
    for layer in layers[-2::-1]:
        try:
            needed = layer.domain if supports.contains(needed, layer.codomain) else layer.image(needed, inverse=True)
        except PlanError:
            needed = layer.domain
    return needed
