"""The core: plans (Bijector, Kernel, Net, Base), what they build (TransformModule), and how plans combine."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward import numerics, supports
from pushforward.describe import Description, describe
from pushforward.spec import PlanError, Spec, plain

Shape = tuple[int, ...]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


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

    event_dim: ClassVar[int] = 0
    """Number of event axes that the bijection needs at least."""
    axis: ClassVar[int] = 0
    """The event axis it acts on: 0 for structures (features, channels, tokens), -1 for kernels on vectors."""

    def build(self, event_shape: int | Sequence[int], context_shape: int | Sequence[int] | None = None) -> TransformModule:
        """Build the module for events of a shape; raise `PlanError` when plan and shapes do not fit."""
        event = as_shape(event_shape, "event_shape")
        context = None if context_shape is None else as_shape(context_shape, "context_shape")
        if len(event) < self.event_dim:
            raise PlanError(
                f"{self!r}: expected an event of at least {self.event_dim} axes, got event_shape {event}; "
                "give event_shape, or wrap the base in torch.distributions.Independent"
            )
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


class TransformModule(nn.Module):
    r"""A bijection with shapes fixed: ``forward`` is base to data and samples, ``inverse`` is data to base and scores.

    Both take ``x`` of shape ``(*batch, *event)`` and an optional context ``(*batch, *context)`` whose batch
    broadcasts, and return ``(y, ladj)`` with ``ladj`` of shape ``(*batch)``, at least float32: the log of the absolute Jacobian
    determinant of the map that was applied. Outside the map's domain ``ladj`` is -inf and the value is some point of the range.
    """

    sees: str = "nothing"
    """What the parameters may see, in words."""
    passes: tuple[int, int] = (1, 1)
    """Evaluations of the network: (to sample, to score)."""
    uses_context: bool = False
    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__()
        self.plan = plan
        self.event_shape = event_shape
        self.out_shape = event_shape
        self.context_shape = context_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to base; return the value and the log-determinant of the inverse map."""
        raise NotImplementedError

    def image(self, support: Constraint) -> Constraint:
        """Return the set onto which ``support`` is mapped; raise `PlanError` when it does not fit or is not known."""
        if not supports.contains(self.domain, support):
            raise PlanError(f"expected values in {supports.name(self.domain)}, got values in {supports.name(support)}")
        if supports.same(self.domain, support):
            return self.codomain
        ends = supports.bounds(support)
        mapped = None if ends is None else self.map_ends(ends)
        if mapped is None:
            raise PlanError(
                f"expected all values in {supports.name(self.domain)}, got only those in {supports.name(support)}, whose image "
                "is not known; put learnable layers before the map that bounds the values"
            )
        return supports.interval(min(mapped), max(mapped))

    def map_ends(self, ends: tuple[float, float], inverse: bool = False) -> tuple[float, float] | None:
        """Map the ends of an interval, where the map is fixed, monotone and the same at all sites; else return None."""
        return None

    def calibrate(self, y: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data (standardisation) from values on the data side; most layers have nothing to set."""

    def extra_repr(self) -> str:
        return f"{self.plan!r}, event_shape={self.event_shape}"


class Kernel(Bijector):
    r"""The pure maths of one bijection: parameters without constraints in, ``(y, ladj)`` out; no state.

    With ``event_dim = 0`` a kernel maps numbers: it gets ``x`` of shape ``(*batch, sites)``, a parameter of size K as
    ``(*batch, K, sites)`` (parameter-major: each parameter is contiguous over sites), a single one as ``(*batch, sites)``,
    and returns ``ladj`` per site. With ``event_dim = 1`` it maps vectors on the last axis and returns ``ladj`` per vector.

    A subclass states ``formula``, ``domain`` and ``codomain`` and writes ``forward``; it writes ``init`` when it has
    parameters and ``inverse`` when there is a closed form (the default finds the root numerically).
    """

    axis = -1
    formula: ClassVar[str] = ""
    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    forward: Callable[..., tuple[Tensor, Tensor]]

    def init(self, shape: Shape) -> dict[str, Tensor]:
        """Return the parameters' names, shapes and identity values for ``shape`` sites (or a vector of that length)."""
        return {}

    def numerical_inverse(self, y: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(x, ladj)`` of the inverse of an increasing map of all real values: a safeguarded root with implicit gradients."""
        y = y.expand(self.forward(torch.zeros_like(y), **parameters)[0].shape)
        x = numerics.root(lambda x: self.forward(x, **parameters), y)
        ladj = self.forward(x, **parameters)[1]
        # A value that the map does not reach leaves the root at the end of the range: no point before it, density zero.
        return x, torch.where(torch.abs(x) > torch.finfo(x.dtype).max / 64, -math.inf, -ladj)

    inverse: Callable[..., tuple[Tensor, Tensor]] = numerical_inverse

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        return KernelModule(self, self, event_shape, context_shape, None)


class Net(Spec):
    """A plan of a hypernetwork: what is visible in, the parameters of a kernel out."""

    def build(self, inputs: int, outputs: int, context: int = 0, sees: Mask | None = None, start: Tensor | None = None) -> nn.Module:
        """Build ``(x | None, c | None) -> (*batch, outputs)``.

        ``x`` has ``inputs`` features and ``c`` has ``context``; a net without inputs gets None for them. ``sees`` is a boolean
        array ``(outputs, inputs)`` that says which input each output may depend on (None: all). A new net gives the constant ``start``
        of shape ``(outputs,)`` whatever it sees.
        """
        raise NotImplementedError

    def summary(self, inputs: int, outputs: int, context: int) -> str:
        """Return the network in words, with its widths."""
        return repr(self)


NetLike = Net | nn.Module


class ModuleNet(nn.Module):
    """A user's own module as a hypernetwork: it gets ``cat(x, c)`` on the last axis and its output is added to the start."""

    def __init__(self, module: nn.Module, inputs: int, outputs: int, context: int, sees: Mask | None, start: Tensor | None) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)  # a plan may be built more than once; each build has its own weights
        self.offset = nn.Parameter(torch.zeros(outputs) if start is None else start.clone())
        name = type(module).__name__
        # Two rows that are alike in nothing, to see the shape and what depends on what.
        probe = torch.linspace(-1.0, 1.3, 2 * (inputs + context)).reshape(2, -1).sin()
        try:
            out = self.module(probe)
        except Exception as error:
            raise PlanError(f"{name}: expected a module that takes (batch, {inputs} inputs + {context} context): {error}") from error
        if not isinstance(out, Tensor) or out.shape != (2, outputs):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise PlanError(f"{name}: expected an output of shape (batch, {outputs}), got {got} for a batch of 2")
        if sees is not None and not probe.is_meta:
            jacobian: Any = torch.autograd.functional.jacobian(lambda v: self.module(v).sum(0), probe)
            hidden = (jacobian != 0).any(1)[:, :inputs].numpy() & ~sees
            if hidden.any():
                output, seen = np.argwhere(hidden)[0].tolist()
                raise PlanError(f"{name}: output {output} depends on feature {seen}, which it must not see; mask the module, or use MLP()")

    def forward(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        if x is not None and context is not None:
            batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            visible = torch.cat([x.expand(*batch, -1), context.expand(*batch, -1)], -1)
        else:
            visible = x if x is not None else context  # type: ignore[assignment]
        out: Tensor = self.module(visible.to(self.offset.dtype))
        return out + self.offset


class Parameters(nn.Module):
    """The only place where kernel parameters come to be: learnable offset + optional net of whatever is visible.

    Calling it with the visible features ``(*batch, inputs)`` and the context returns the parameters by name, each
    ``(*batch, *shape)`` with ``lead`` axes of size 1 between batch and shape.
    """

    def __init__(
        self,
        init: dict[str, Tensor],
        net: NetLike | None = None,
        inputs: int = 0,
        context: int = 0,
        sees: Mask | None = None,
        lead: int = 0,
    ) -> None:
        super().__init__()
        self.layout: list[tuple[str, int, int, Shape]] = []
        stop = 0
        for key, value in init.items():
            start, stop = stop, stop + value.numel()
            self.layout.append((key, start, stop, (1,) * lead + tuple(value.shape)))
        self.size = stop
        flat = torch.cat([value.flatten() for value in init.values()]) if init else None
        self.offset: nn.Parameter | None = None
        self.net: nn.Module | None = None
        self.summary = "none"
        if flat is None:
            return
        if net is None or inputs + context == 0:
            self.offset = nn.Parameter(flat.clone())
        elif isinstance(net, Net):
            self.net = net.build(inputs, stop, context, sees, flat)
            self.summary = net.summary(inputs, stop, context)
        else:
            self.net = ModuleNet(net, inputs, stop, context, sees, flat)
            self.summary = f"{type(net).__name__} {inputs + context} → {stop}"

    def forward(self, visible: Tensor | None = None, context: Tensor | None = None) -> dict[str, Tensor]:
        if self.net is not None:
            theta = self.net(visible, context)
        elif self.offset is not None:
            theta = self.offset
        else:
            return {}
        theta = numerics.working(theta)
        return {name: theta[..., a:b].unflatten(-1, shape) for name, a, b, shape in self.layout}


def flat_context(context: Tensor | None, shape: Shape | None) -> Tensor | None:
    """Return a context ``(*batch, *context)`` with its event axes joined to one."""
    if context is None or shape is None or len(shape) == 1:
        return context
    return context.reshape((*context.shape[: context.dim() - len(shape)], math.prod(shape)))


class KernelModule(TransformModule):
    """A kernel whose parameters see nothing, or the context alone: free, contextual and fixed layers."""

    def __init__(self, plan: Bijector, kernel: Kernel, event_shape: Shape, context_shape: Shape | None, net: NetLike | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        if not supports.same(kernel.domain, constraints.real) and type(kernel).inverse is Kernel.inverse:
            raise PlanError(f"{kernel!r}: the numerical inverse expects a domain of all real values; write inverse in closed form")
        self.kernel = kernel
        self.domain, self.codomain = kernel.domain, kernel.codomain
        self.ends = supports.bounds(kernel.domain), supports.bounds(kernel.codomain)
        self.rank = len(event_shape)
        if kernel.event_dim == 0:
            self.sites: Shape = (math.prod(event_shape),)
            lead = 0
        else:
            self.sites, lead = event_shape[-1:], self.rank - 1
        context = 0 if net is None or context_shape is None else math.prod(context_shape)
        self.parameters_of = Parameters(kernel.init(self.sites), net, 0, context, None, lead)
        self.uses_context = self.parameters_of.net is not None
        self.sees = "the context" if self.uses_context else "nothing"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(self.kernel.forward, x, context, *self.ends)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(self.kernel.inverse, y, context, *reversed(self.ends))

    def _apply_kernel(
        self,
        function: Callable[..., tuple[Tensor, Tensor]],
        x: Tensor,
        context: Tensor | None,
        source: supports.Ends,
        target: supports.Ends,
    ) -> tuple[Tensor, Tensor]:
        parameters = self.parameters_of(None, flat_context(context, self.context_shape) if self.uses_context else None)
        values, outside = supports.enter(numerics.working(x), source)
        if self.kernel.event_dim == 0:
            y, ladj = function(values.reshape((*x.shape[: x.dim() - self.rank], *self.sites)), **parameters)
            batch = y.shape[:-1]
            if outside is not None:
                ladj = torch.where(outside.reshape(values.shape[: values.dim() - self.rank] + self.sites), -math.inf, ladj)
            # Summed before it is broadcast: a scale that no input changes is summed once, not once a row.
            ladj = ladj.sum(-1)
        else:
            y, ladj = function(values, **parameters)
            batch = y.shape[: y.dim() - self.rank]
            if self.rank > 1:
                ladj = ladj.expand(y.shape[:-1]).flatten(len(batch)).sum(-1)
        return supports.leave(y.reshape(batch + self.event_shape).to(x.dtype), target), ladj.expand(batch)

    def map_ends(self, ends: tuple[float, float], inverse: bool = False) -> tuple[float, float] | None:
        if self.parameters_of.size or self.kernel.event_dim:
            return None
        function = self.kernel.inverse if inverse else self.kernel.forward
        low, high = function(torch.tensor(ends, dtype=torch.float64, device="cpu")[:, None].expand(2, *self.sites))[0]
        same = bool((low == low[0]).all() and (high == high[0]).all())
        return (float(low[0]), float(high[0])) if same else None


@dataclass(frozen=True, repr=False)
class Elementwise(Bijector):
    """A kernel whose parameters are a function of the context (``net``), or free (``net=None``).

    Args:
        kernel: The maths of the layer.
        net: The network from context to parameters: a `Net` plan or any module of yours.

    >>> from pushforward.bijectors import MLP, Spline
    >>> layer = Elementwise(Spline(), net=MLP()).build(2, context_shape=3)
    >>> layer(torch.zeros(5, 2), torch.ones(5, 3))[0].shape
    torch.Size([5, 2])
    """

    kernel: Kernel
    net: NetLike | None = None

    def check(self) -> None:
        expect_kernel(self, self.kernel)
        expect_net(self, self.net, optional=True)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        if len(event_shape) < self.kernel.event_dim:
            raise PlanError(f"{self!r}: expected an event of at least {self.kernel.event_dim} axis, got event_shape {event_shape}")
        if self.net is not None and context_shape is None:
            raise PlanError(f"{self!r}: expected a context for its net, got none; give context_shape, or leave out net")
        return KernelModule(self, self.kernel, event_shape, context_shape, self.net)


def expect_kernel(owner: Spec, kernel: object) -> None:
    """Raise `PlanError` unless ``kernel`` is a kernel plan."""
    if not isinstance(kernel, Kernel):
        raise PlanError(f"{type(owner).__name__}: expected a kernel such as Affine() or Spline(), got {kernel!r}")


def expect_net(owner: Spec, net: object, optional: bool = False) -> None:
    """Raise `PlanError` unless ``net`` is a `Net` plan or a module."""
    if not (isinstance(net, Net | nn.Module) or (optional and net is None)):
        raise PlanError(f"{type(owner).__name__}: expected net to be a plan such as MLP() or an nn.Module, got {net!r}")


@dataclass(frozen=True, repr=False)
class Inverse(Bijector):
    """The inverse of a bijection: it samples where the other scores.

    >>> from pushforward.bijectors import Exp
    >>> Inverse(Exp()).build(())(torch.tensor(1.0))[0].item(), Exp().inv.inv == Exp()
    (0.0, True)
    """

    bijector: Bijector

    def check(self) -> None:
        if not isinstance(self.bijector, Bijector):
            raise PlanError(f"Inverse: expected a bijector, got {self.bijector!r}")

    @property
    def inv(self) -> Bijector:
        return self.bijector

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.bijector.event_dim

    @property
    def axis(self) -> int:  # type: ignore[override]
        return self.bijector.axis

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        return InverseModule(self, self.bijector.build(event_shape, context_shape))


class InverseModule(TransformModule):
    """A built bijection turned round."""

    def __init__(self, plan: Bijector, module: TransformModule) -> None:
        super().__init__(plan, module.out_shape, module.context_shape)
        self.out_shape = module.event_shape
        self.module = module
        self.uses_context, self.sees = module.uses_context, module.sees
        self.passes = (module.passes[1], module.passes[0])
        self.domain, self.codomain = module.codomain, module.domain

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.module.inverse(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.module(y, context)
        return out

    def map_ends(self, ends: tuple[float, float], inverse: bool = False) -> tuple[float, float] | None:
        return self.module.map_ends(ends, not inverse)


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
        if not isinstance(self.bijectors, tuple):
            raise PlanError(f"Compose: expected a list of bijectors, got {self.bijectors!r}")
        for index, part in enumerate(self.bijectors):
            if not isinstance(part, Bijector):
                hint = "; write it with brackets, as a plan" if isinstance(part, type) else ""
                raise PlanError(f"Compose: expected layer {index} to be a bijector, got {part!r}{hint}")

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return max((part.event_dim for part in self.bijectors), default=0)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> TransformModule:
        return ComposeModule(self, event_shape, context_shape)


class ComposeModule(TransformModule):
    """Built layers one after the other."""

    def __init__(self, plan: Compose, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        layers: list[TransformModule] = []
        shape = event_shape
        held: list[Constraint] = []
        for index, part in enumerate(plan.bijectors):
            try:
                layers.append(part.build(shape, context_shape))
                held = held or [layers[0].domain]
                held.append(layers[-1].image(held[-1]))
            except PlanError as error:
                raise PlanError(f"layer {index}: {part!r}: {error}") from error
            shape = layers[-1].out_shape
        self.layers = nn.ModuleList(layers)
        self.out_shape = shape
        if held:
            self.domain, self.codomain = held[0], held[-1]
        # Between layers values may reach only a part of what the next layer takes; there the ends are kept here.
        self.between = [supports.bounds(support) for support in held] or [supports.REAL]
        self.uses_context = any(layer.uses_context for layer in layers)
        self.sees = "; ".join(dict.fromkeys(layer.sees for layer in layers))
        self.passes = (sum(layer.passes[0] for layer in layers), sum(layer.passes[1] for layer in layers))

    def _chain(
        self, steps: list[Callable[..., tuple[Tensor, Tensor]]], ends: list[supports.Ends], x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # Between layers values stay in the working precision, so that half formats round once, at the end.
        value, outside = supports.enter(numerics.working(x), ends[0])
        total = value.new_zeros(())
        for step, limits in zip(steps, ends[1:], strict=True):
            value, ladj = step(value, context)
            value, total = supports.leave(value, limits), total + ladj
        batch = value.shape[: value.dim() - len(self.out_shape)]
        if outside is not None:
            total = torch.where(supports.any_site(outside, len(self.event_shape)), -math.inf, total)
        return supports.leave(value.to(x.dtype), ends[-1]), total.expand(batch)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._chain(list(self.layers), self.between, x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._chain([layer.inverse for layer in reversed(self.layers)], self.between[::-1], y, context)  # type: ignore[misc]

    def image(self, support: Constraint) -> Constraint:
        for index, layer in enumerate(self.layers):
            try:
                support = layer.image(support)  # type: ignore[operator]
            except PlanError as error:
                raise PlanError(f"layer {index}: {layer.plan!r}: {error}") from error
        return support

    def calibrate(self, y: Tensor, context: Tensor | None = None) -> None:
        for layer in reversed(self.layers):
            layer.calibrate(y, context)  # type: ignore[operator]
            y = layer.inverse(y, context)[0]  # type: ignore[operator]

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"


class Base(Spec):
    """A plan of a base distribution."""

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        """Build the base for events of a shape."""
        raise NotImplementedError


class BaseModule(nn.Module):
    """A base distribution with its shapes fixed; its tensors move with the module and are in its ``state_dict``."""

    has_rsample: bool = True
    uses_context: bool = False
    batch_shape: torch.Size = torch.Size()
    support: Constraint = constraints.real

    def __init__(self, plan: Base, event_shape: Shape, context_shape: Shape | None = None) -> None:
        super().__init__()
        self.plan, self.event_shape, self.context_shape = plan, event_shape, context_shape

    def log_prob(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density of ``(*batch, *event)``, at least float32."""
        raise NotImplementedError

    def rsample(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*batch, *event)``; ``batch`` includes the base's own batch shape at its end."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.plan!r}, event_shape={self.event_shape}"
