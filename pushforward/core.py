"""The core: plans of bijections and bases, what they build, and how bijections combine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward import numerics, supports
from pushforward.budget import LAYER, reserve
from pushforward.built import BuiltModule
from pushforward.describe import Description, describe
from pushforward.doors import as_size, check_batch
from pushforward.spec import PlanError, Spec, plain

Shape = tuple[int, ...]


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
    sees: str = "nothing"
    """What the parameters may see, in words."""
    passes: tuple[int, int] = (1, 1)
    """How often the work of the network is done: (to sample, to score)."""
    steps: tuple[int, int] = (1, 1)
    """Steps that follow one another: (to sample, to score). An autoregressive layer has, one way, as many as its graph is deep."""
    roots: tuple[int, int] = (0, 0)
    """How often each number is sought as a root of an equation, with some ten evaluations of the kernel: (to sample, to score)."""
    adaptive: tuple[bool, bool] = (False, False)
    """Whether it ends as soon as nothing changes, so that passes and steps are the most: (to sample, to score)."""
    uses_context: bool = False
    keeps_volume: bool = False
    """Whether ladj is always zero."""
    follows_data: bool = False
    """Whether `update` moves something."""
    is_affine: bool = False
    """Whether its values are an affine function of what comes in; of what holds layers, whether it is where they are."""
    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.out_shape = event_shape

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

    def image(self, support: Constraint) -> Constraint:
        """Return the set onto which ``support`` is mapped; raise `PlanError` when it does not fit or is not known."""
        if not supports.contains(self.domain, support):
            raise PlanError(f"expected values in {supports.name(self.domain)}, got values in {supports.name(support)}")
        if supports.same(self.domain, support):
            return self.codomain
        ends = supports.sites(support, self.event_shape)
        mapped = None if ends is None else self.map_ends(ends)
        if mapped is None or bool(torch.isnan(mapped).any()):
            apart = ", or let Concatenate give each block layers of its own" if supports.bounds(support) is None else ""
            raise PlanError(
                f"expected all values in {supports.name(self.domain)}, got only those in {supports.name(support)}, whose image "
                "is not known; put learnable layers before what bounds the values, or take one that fixes the ends, such as a spline "
                f"whose bound is theirs{apart}"
            )
        return supports.of_sites(mapped)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor | None:
        """Map the ends ``(2, *event)`` of the interval at each site; return None where they move with parameters, or sites mix."""
        return None

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

    def leaves(self) -> Iterator[TransformModule]:
        """Give the layers that it is a chain of, in order from base to data; itself, where it is none."""
        yield self


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


class InverseModule(TransformModule):
    """A built bijection turned round."""

    is_affine = True

    def __init__(self, plan: Bijector, module: TransformModule) -> None:
        super().__init__(plan, module.out_shape, module.context_shape)
        self.out_shape = module.event_shape
        self.module = module
        self.uses_context, self.sees = module.uses_context, module.sees
        self.passes, self.steps = module.passes[::-1], module.steps[::-1]
        self.roots, self.adaptive = module.roots[::-1], module.adaptive[::-1]
        self.keeps_volume, self.follows_data = module.keeps_volume, module.follows_data
        self.domain, self.codomain = module.codomain, module.domain

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.module.pull(x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.module.push(y, context)

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor | None:
        return self.module.map_ends(ends, not inverse)

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.module.measure(values, context, not inverse)

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.module.follow(values, context, not inverse)


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


class ComposeModule(TransformModule):
    """Built layers one after the other."""

    is_affine = True

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
        held = [_domain(layers)] if layers else []
        for index, layer in enumerate(layers):
            held.append(self._image_of(index, layer, held[-1]))
        self.layers = nn.ModuleList(layers)
        self.out_shape = shape
        if held:
            self.domain, self.codomain = held[0], held[-1]
        # Between layers values may reach only a part of what the next layer takes; there the ends are kept here.
        self.between = [supports.limits(support) for support in held] or [supports.REAL]
        self.uses_context = any(layer.uses_context for layer in layers)
        self.follows_data = any(layer.follows_data for layer in layers)
        self.keeps_volume = all(layer.keeps_volume for layer in layers) and all(limits == supports.REAL for limits in self.between)
        self.sees = "; ".join(dict.fromkeys(layer.sees for layer in layers))
        self.passes = (sum(layer.passes[0] for layer in layers), sum(layer.passes[1] for layer in layers))
        self.steps = (sum(layer.steps[0] for layer in layers), sum(layer.steps[1] for layer in layers))
        self.roots = (sum(layer.roots[0] for layer in layers), sum(layer.roots[1] for layer in layers))
        self.adaptive = (any(layer.adaptive[0] for layer in layers), any(layer.adaptive[1] for layer in layers))

    def _chain(self, inverse: bool, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # A ModuleList is slow to give its items one by one from its end.
        layers, ends = ([*self.layers][::-1], self.between[::-1]) if inverse else ([*self.layers], self.between)
        source, target = (self.out_shape, self.event_shape) if inverse else (self.event_shape, self.out_shape)
        # Between layers values stay in the working precision, so that half formats round once, at the end.
        value, outside = supports.enter(numerics.working(x), ends[0])
        total: Tensor | None = None
        for layer, limits in zip(layers, ends[1:], strict=True):
            value, ladj = layer.pull(value, context) if inverse else layer.push(value, context)
            value = supports.leave(value, limits)
            # A permutation adds nothing, and to add nothing would be an operator for each of them.
            total = total if layer.keeps_volume else ladj if total is None else total + ladj
        batch = value.shape[: value.dim() - len(target)]
        total = value.new_zeros(()) if total is None else total
        if outside is not None:
            total = torch.where(supports.any_site(outside, len(source)), -math.inf, total)
        return supports.leave(value.to(x.dtype), ends[-1]), numerics.expanded(total, batch)

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._chain(False, x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._chain(True, y, context)

    def image(self, support: Constraint) -> Constraint:
        for index, layer in enumerate(self.layers):
            support = self._image_of(index, layer, support)  # type: ignore[arg-type]
        return support

    @staticmethod
    def _image_of(index: int, layer: TransformModule, support: Constraint) -> Constraint:
        try:
            return layer.image(support)
        except PlanError as error:
            raise PlanError(f"layer {index}: {layer.plan!r}: {error}") from error

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor | None:
        mapped: Tensor | None = ends
        for layer in [*self.layers][::-1] if inverse else self.layers:
            mapped = None if mapped is None else layer.map_ends(mapped, inverse)  # type: ignore[operator]
        return mapped

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self._each("measure", values, context, inverse)

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self._each("follow", values, context, inverse)

    def _each(self, action: Literal["measure", "follow"], values: Tensor, context: Tensor | None, inverse: bool) -> None:
        """Let each layer look at the values on its own side, from the data's side (``inverse``: the base's) on."""
        for layer in self.layers if inverse else [*self.layers][::-1]:
            getattr(layer, action)(values, context, inverse)
            values = (layer.push if inverse else layer.pull)(values, context)[0]  # type: ignore[operator]

    def leaves(self) -> Iterator[TransformModule]:
        for layer in self.layers:
            yield from layer.leaves()  # type: ignore[operator]

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"


def _domain(layers: Sequence[TransformModule]) -> Constraint:
    """Return what a chain takes: of what its first layer takes, the values that the others take from it, as far as that is known."""
    needed = layers[-1].domain
    for layer in layers[-2::-1]:
        ends = None if supports.contains(needed, layer.codomain) else supports.sites(needed, layer.out_shape)
        mapped = None if ends is None else layer.map_ends(ends, inverse=True)
        needed = layer.domain if mapped is None or bool(torch.isnan(mapped).any()) else supports.of_sites(mapped)
    return needed


class Base(Spec):
    """A plan of a base distribution."""

    _called = ("a base plan, such as StandardNormal() or what wrap() gives for a torch distribution", "base plans")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        """Build the base for events of a shape."""
        raise NotImplementedError


class BaseModule(BuiltModule):
    """A base distribution with its shapes fixed; its tensors move with the module and are in its ``state_dict``.

    The public methods check what they are given. A subclass writes those that do the work: `score`, `draw`, and what else it has.
    """

    noun = "base"
    plan: Base
    has_rsample: bool = True
    has_tails: bool = False
    """Whether its sites are independent of one another and their distribution functions are known: `log_tails` and `quantile`."""
    gaussian: bool = False
    """Whether it is a normal distribution, of whatever covariance."""
    uses_context: bool = False
    follows_data: bool = False
    """Whether `update` moves something."""
    batch_shape: torch.Size = torch.Size()
    support: Constraint = constraints.real

    def __init__(self, plan: Base, event_shape: Shape, context_shape: Shape | None = None) -> None:
        super().__init__(plan, event_shape, context_shape)
        reserve(1, LAYER + math.prod(event_shape))

    @final
    def log_prob(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density ``(*batch)``, at least float32.

        Args:
            value: ``(*batch, *event)``, of the parameters' precision.
            context: ``(*batch, *context)``, whose batch broadcasts; None where it was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        context = self.admit("value", value, self.event_shape, context)
        check_batch(self, "value", value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)
        return self.score(value, context)

    @final
    def rsample(self, batch: Sequence[int] = (), context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*batch, *event)``; ``batch`` includes the base's own batch shape, and that of the context, at its end."""
        size, given = as_size(batch), self.admit_context(context)
        own = () if context is None or self.context_shape is None else context.shape[: context.dim() - len(self.context_shape)]
        needed = check_batch(self, "the context", own, self.batch_shape)
        if check_batch(self, "the sample", needed, size) != size:
            raise ValueError(f"{self.label()}: expected a batch to which {tuple(needed)} broadcasts, got {tuple(size)}")
        return self.draw(size, given, generator)

    @final
    def log_tails(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log P(X <= value) and log P(X > value) at each site, ``(*batch, *event)``, in float64, where ``has_tails``."""
        self._expect_tails()
        return self.tails_at(value, self.admit("value", value, self.event_shape, context))

    @final
    def quantile(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        """Return ``(*batch, *event)`` whose `log_tails` differ by ``odds``, the log-odds of the distribution function."""
        self._expect_tails()
        return self.value_at(odds, self.admit("odds", odds, self.event_shape, context))

    @final
    def calibrate(self, value: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data from values of the base; only bases with bijections inside have something to set."""
        self.measure(value, self.admit("value", value, self.event_shape, context))

    @final
    def update(self, value: Tensor, context: Tensor | None = None) -> None:
        """Move what follows the data of a training step by values of the base; see `TransformModule.update`."""
        self.follow(value, self.admit("value", value, self.event_shape, context))

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the work of `log_prob`, on what has been checked."""
        raise NotImplementedError

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Do the work of `rsample`."""
        raise NotImplementedError

    def tails_at(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `log_tails`."""
        raise NotImplementedError

    def value_at(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the work of `quantile`."""
        raise NotImplementedError

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return the mean ``(*batch, *event)`` given a context that has been checked, or None where it has no closed form."""
        return None

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return vectors ``(n, *batch, *event)`` whose outer products add up to the covariance, or None where it has no closed form."""
        return None

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return the entropy ``(*batch)`` in nats, or None where it has no closed form."""
        return None

    def _expect_tails(self) -> None:
        if not self.has_tails:
            raise NotImplementedError(f"{self.label()}: its distribution function is not known, or its sites depend on one another")

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        """Do the work of `calibrate`."""

    def follow(self, value: Tensor, context: Tensor | None = None) -> None:
        """Do the work of `update`."""


def hand_down(
    action: Literal["measure", "follow"], value: Tensor, context: Tensor | None, transform: TransformModule, base: BaseModule
) -> None:
    """Let a bijection, and then the base under it, ``measure`` or ``follow``, each by the values on its own data side."""
    getattr(transform, action)(value, context)
    # To map all rows once more is for bases that have something to set.
    if base.follows_data if action == "follow" else type(base).measure is not BaseModule.measure:
        getattr(base, action)(transform.pull(value, context)[0], context)
