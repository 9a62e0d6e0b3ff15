"""Kernel: the pure maths of one bijection, and the layers whose parameters see nothing or the context alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import mode, numerics, sets
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer, Shape
from pushforward.core.promise import Accuracy, Effort
from pushforward.core.roots import root
from pushforward.core.spec import PlanError, Spec
from pushforward.native.elementwise import Code, Reference, elementwise
from pushforward.native.library import usable
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.net import NetLike


class Kernel(Bijector):
    r"""The pure maths of one bijection: parameters without constraints in, ``(y, ladj)`` out; no state.

    With ``event_dim = 0`` a kernel maps numbers: it gets ``x`` of shape ``(*batch, elements)``, a parameter of size K as
    ``(*batch, K, elements)`` (parameter-major: each parameter is contiguous over elements), a single one as ``(*batch, elements)``,
    and returns ``ladj`` per element. With ``event_dim = 1`` it maps vectors on the last axis and returns ``ladj`` per vector.

    A subclass states ``formula``, ``size``, ``domain`` and ``codomain`` and writes ``forward``; it writes ``init`` when it has
    parameters and ``inverse`` when there is a closed form (the default finds the root numerically).
    """

    _called = ("a kernel such as Affine() or Spline()", "kernels")
    axis = -1
    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    forward: Callable[..., tuple[Tensor, Tensor]]

    def init(self, shape: Shape) -> dict[str, Tensor]:
        """Return the parameters' names, shapes and identity values for ``shape`` elements (or a vector of that length)."""
        return {}

    def start(self, shape: Shape) -> dict[str, Tensor]:
        """Return values of the same identity from which it learns best where data is standardised: `init`, unless there are better."""
        return self.init(shape)

    def numerical_inverse(self, y: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(x, ladj)`` of the inverse of an increasing map of all real values: a safeguarded root with implicit gradients."""
        y = y.expand(self.forward(torch.zeros_like(y), **parameters)[0].shape)
        x = root(lambda x: self.forward(x, **parameters), y)
        ladj = self.forward(x, **parameters)[1]
        # A value that the map does not reach leaves the root at the end of the range: no point before it, density zero.
        return x, torch.where(torch.abs(x) > torch.finfo(x.dtype).max / 64, -math.inf, -ladj)

    inverse: Callable[..., tuple[Tensor, Tensor]] = numerical_inverse
    is_affine: ClassVar[bool] = False
    """Whether y is an affine function of x."""

    def fixes(self, x: Tensor) -> Tensor:
        """Return which points of the real line the map leaves where they are, rising, whatever its parameters."""
        return torch.zeros_like(x, dtype=torch.bool)

    def keeps(self, ends: Tensor) -> bool:
        """Tell whether intervals with these ends ``(2, *elements)`` map onto themselves: all real values, or between fixed points."""
        whole = torch.isinf(ends).all(0)
        return bool((whole | self.fixes(ends).all(0)).all())

    @property
    def searches(self) -> bool:
        """Whether the inverse seeks each number as a root."""
        return type(self).inverse is Kernel.inverse or self.inverse_method.startswith("a root")

    @property
    def accuracy(self) -> tuple[Accuracy, Accuracy]:
        """How exact ``forward`` and ``inverse`` promise to be, given their parameters: to rounding, unless a subclass says otherwise."""
        return Accuracy(), Accuracy()

    @property
    def effort(self) -> tuple[Effort, Effort]:
        """What ``forward`` and ``inverse`` take, with one evaluation of the network that makes the parameters."""
        return Effort(), Effort(roots=int(self.searches))

    _code: Code | None
    """What `code` gives, of a plan that knows it once it is made."""

    def code(self) -> Code | None:
        """Return the compiled kernel that computes the same, if there is one; ``forward`` and ``inverse`` stay the reference."""
        return None

    def compiled(self, x: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor] | None:
        """Return value and ladj of a kernel on vectors from compiled code, where it takes these tensors.

        Args:
            x: ``(*batch, length)``.
            theta: All parameters on one axis, which all rows share.
            inverse: Whether to evaluate the inverse.
        """
        return None

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return KernelModule(self, self, event_shape, context_shape, None)


def evaluate(
    kernel: Kernel, x: Tensor, theta: Tensor, named: Callable[[Tensor], dict[str, Tensor]], inverse: bool
) -> tuple[Tensor, Tensor]:
    """Evaluate a kernel on numbers, compiled where it can be; return ``y`` (*batch, elements) and ``ladj`` summed over the elements.

    Args:
        kernel: A kernel with ``event_dim = 0``.
        x: ``(*batch, elements)``.
        theta: All parameters on one axis, ``(*batch, size)``; its batch broadcasts against that of ``x``.
        named: Gives the parameters by name.
        inverse: Whether to evaluate the inverse.
    """
    code = kernel.code()
    if code is not None and usable(x, theta):
        if theta.dim() > 1 and theta.shape[:-1] != x.shape[:-1]:
            batch = torch.broadcast_shapes(x.shape[:-1], theta.shape[:-1])
            x, theta = x.expand(*batch, -1), theta.reshape(-1) if math.prod(theta.shape[:-1]) == 1 else theta.expand(*batch, -1)
        return elementwise(x, theta, code, inverse)

    def of_reference(x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj = (kernel.inverse if inverse else kernel.forward)(x, **named(theta))
        # Summed before it is broadcast: a scale that no input changes is summed once, not once a row.
        ladj = ladj.sum(-1)
        return y, numerics.expanded(ladj, y.shape[:-1])

    # The compiler decides by itself what to keep, and function transforms need to see every operator.
    if code is None or mode.watched():
        return of_reference(x, theta)
    return numerics.recomputed(of_reference, x, theta)


def reference(kernel: Kernel) -> Reference:
    """Return the pure PyTorch function of ``(x, theta, inverse)`` that a compiled kernel must agree with."""

    def run(x: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        parameters, start = {}, 0
        for name, value in kernel.init(x.shape[-1:]).items():
            parameters[name] = theta[..., start : start + value.numel()].unflatten(-1, value.shape)
            start += value.numel()
        y, ladj = (kernel.inverse if inverse else kernel.forward)(x, **parameters)
        return y, ladj.sum(-1).expand(y.shape[:-1])

    return run


class KernelModule(Layer):
    """A kernel whose parameters see nothing, or the context alone: free, contextual and fixed layers."""

    def __init__(self, plan: Bijector, kernel: Kernel, event_shape: Shape, context_shape: Shape | None, net: NetLike | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        if not sets.same(kernel.domain, constraints.real) and type(kernel).inverse is Kernel.inverse:
            raise PlanError(f"{kernel!r}: the numerical inverse expects a domain of all real values; write inverse in closed form")
        self.kernel = kernel
        self.ends = sets.bounds(kernel.domain), sets.bounds(kernel.codomain)
        self.rank = len(event_shape)
        if kernel.event_dim == 0:
            self.elements: Shape = (math.prod(event_shape),)
            lead = 0
        else:
            self.elements, lead = event_shape[-1:], self.rank - 1
        numbers = event_shape if kernel.event_dim == 0 else None
        self.parameters_of = Parameters(kernel.init(self.elements), net, None, context_shape, elements=numbers, lead=lead)
        given = self.parameters_of.net is not None
        self.facts = Facts(
            kernel.domain,
            kernel.codomain,
            depends_on="the context" if given else "nothing",
            uses_context=given,
            accuracy=kernel.accuracy,
            effort=kernel.effort,
            is_affine=kernel.is_affine,
        )

    def begin(self) -> None:
        if self.parameters_of.size:
            self.parameters_of.begin(self.kernel.init(self.elements), self.kernel.start(self.elements))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(False, x, context, *self.ends)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(True, y, context, *reversed(self.ends))

    def _apply_kernel(
        self, inverse: bool, x: Tensor, context: Tensor | None, source: sets.Ends, target: sets.Ends
    ) -> tuple[Tensor, Tensor]:
        theta = self.parameters_of.flat(None, flat_context(context, self.context_shape) if self.facts.uses_context else None)
        values, outside = sets.enter(numerics.working(x), source)
        if self.kernel.event_dim == 0 and outside is None:
            values = numerics.reshaped(values, (*x.shape[: x.dim() - self.rank], *self.elements))
            y, ladj = evaluate(self.kernel, values, theta, self.parameters_of.named, inverse)
            batch = y.shape[:-1]
        else:
            y, ladj, batch = self._outside(inverse, values, outside, theta)
        y = numerics.reshaped(y, batch + self.event_shape)
        return sets.leave(y.to(x.dtype), target), numerics.expanded(ladj, batch)

    def _outside(self, inverse: bool, values: Tensor, outside: Tensor | None, theta: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
        """Evaluate a kernel on vectors, or one on numbers where some of them are outside its domain."""
        function = self.kernel.inverse if inverse else self.kernel.forward
        if self.kernel.event_dim == 0:
            elements = values.reshape((*values.shape[: values.dim() - self.rank], *self.elements))
            y, ladj = function(elements, **self.parameters_of.named(theta))
            if outside is not None:
                ladj = torch.where(outside.reshape(values.shape[: values.dim() - self.rank] + self.elements), -math.inf, ladj)
            return y, ladj.sum(-1), y.shape[:-1]
        # With a context the rows have matrices of their own, and a row alone has to be computed as in a batch.
        made = None if self.facts.uses_context else self.kernel.compiled(values, theta, inverse)
        y, ladj = made or function(values, **self.parameters_of.named(theta))
        batch = y.shape[: y.dim() - self.rank]
        if self.rank > 1:
            ladj = ladj.expand(y.shape[:-1]).flatten(len(batch)).sum(-1)
        return y, ladj, batch

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        source, target = self.ends[::-1] if inverse else self.ends
        if self.parameters_of.size and not self.kernel.event_dim and not self.kernel.wraps and self.kernel.keeps(ends):
            return ends
        if self.parameters_of.size or self.kernel.event_dim or self.kernel.wraps or source is None or target is None:
            return super().map_ends(ends, inverse)
        function = self.kernel.inverse if inverse else self.kernel.forward
        low, high = ends.reshape(2, *self.elements)
        first, second = function(torch.stack(sets.inner_points(low, high)))[0]
        rising, mapped = first < second, function(torch.stack([low, high]))[0]
        # Formulas are not asked for limits: an end of what the map takes goes to an end of what it gives.
        for place, end in enumerate(source):
            limit = torch.where(rising, target[place], target[1 - place])
            mapped = torch.where(torch.stack([low, high]) == end, limit.to(mapped), mapped)
        return mapped.reshape(ends.shape)


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
        expect_bijective(self, self.kernel)

    def words(self) -> str:
        return self.kernel.words()

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        if len(event_shape) < self.kernel.event_dim:
            raise PlanError(f"{self!r}: expected an event of at least {self.kernel.event_dim} axis, got event_shape {event_shape}")
        if self.net is not None and context_shape is None:
            raise PlanError(f"{self!r}: expected a context for its net, got none; give context_shape, or leave out net")
        return KernelModule(self, self.kernel, event_shape, context_shape, self.net)


def expect_bijective(owner: Spec, kernel: Kernel) -> None:
    """Raise `PlanError` unless ``kernel`` has a way back."""
    if not kernel.bijective:
        raise PlanError(f"{type(owner).__name__}: expected a bijection, got {kernel!r}, which has no way back")


def expect_between_numbers(owner: Spec, kernel: Kernel) -> None:
    """Raise `PlanError` unless ``kernel`` maps numbers, and all real ones to all real ones, as the values beside them are."""
    name = type(owner).__name__
    expect_bijective(owner, kernel)
    if kernel.event_dim != 0:
        raise PlanError(f"{name}: expected a kernel on numbers, got {kernel!r}, which acts on vectors")
    for side in (kernel.domain, kernel.codomain):
        if not sets.same(side, constraints.real):
            raise PlanError(
                f"{name}: expected a kernel from all real values to all real values, got {kernel!r}, whose values are in "
                f"{sets.name(side)}; put the map that bounds them after the layer"
            )
