"""A case: one plan with shapes, built at will in any precision with parameters of any size, and points to try it on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer, Shape
from pushforward.flow.flow import Flow
from pushforward.nets.conditioner import Parameters
from pushforward.nets.net import ModuleNet

M = TypeVar("M", bound=nn.Module)
ROWS = 200
"""Rows of data that layers which measure have met."""


def randomize(module: M, scale: float, seed: int = 0) -> M:
    """Move a new module off the identity, in place: kernel parameters get noise of standard deviation ``scale``.

    Hidden layers stay as they were initialised; the last layer of each network is drawn so that its outputs vary as much as the
    free parameters do. Parameters that no `Parameters` holds (those of a module of your own) are drawn likewise.

    >>> from pushforward.bijectors import Affine
    >>> module = randomize(Affine().build((2,)), scale=1.0)
    >>> bool((module(torch.zeros(2))[0] != 0).all())
    True
    """
    draw = torch.Generator().manual_seed(seed)

    def noise(like: Tensor, size: float) -> Tensor:
        return (size * torch.randn(like.shape, generator=draw, dtype=torch.float64)).to(like)

    hidden: set[int] = set()
    for part in module.modules():
        if isinstance(part, Parameters) and part.net is not None:
            own = list(part.net.parameters())
            last = 1 if isinstance(part.net, ModuleNet) else 2
            order = own[1:] if isinstance(part.net, ModuleNet) else own[: len(own) - last]
            hidden.update(id(p) for p in order)
    with torch.no_grad():
        for parameter in module.parameters():
            if id(parameter) not in hidden:
                fan = parameter[0].numel() if parameter.dim() > 1 and len(parameter) else 1
                parameter.add_(noise(parameter, scale / fan**0.5))
    return module


@dataclass(frozen=True)
class Case:
    """A plan with shapes.

    Args:
        plan: The bijector.
        event_shape: Shape of an event.
        context_shape: Shape of a context (None: not conditional).
        seed: Seed of every draw.
    """

    plan: Bijector
    event_shape: Shape
    context_shape: Shape | None = None
    seed: int = 0

    def build(self, dtype: torch.dtype = torch.float64, scale: float = 1.0, seed: int = 0) -> Layer:
        """Build the module with parameters of a given size; the same seeds give the same weights in every precision."""
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone, which is put back: torch.manual_seed would move other devices as well, and takes as long as a build.
            torch.default_generator.manual_seed(self.seed + seed)
            module = self.plan.build(self.event_shape, self.context_shape)
        randomize(module, scale, self.seed + seed)
        if any(type(layer).measure is not Layer.measure for layer in module.leaves()):
            # What a layer measures is of size 1, and has the heavy tails with which a layer that minds them does all that it can.
            draw = torch.Generator().manual_seed(self.seed + seed)
            z = torch.sinh(2 * torch.randn(ROWS, *module.out_shape, generator=draw, dtype=torch.float64)) / 4
            module.double().measure(self.into(z, module.codomain), self.contexts(ROWS))
        return module.to(dtype)

    def points(self, rows: int, dtype: torch.dtype = torch.float64, spread: float = 1.0, module: Layer | None = None) -> Tensor:
        """Draw ``(rows, *event)`` in the domain; where the range is bounded, points that do not saturate."""
        module = module or self.build()
        draw = torch.Generator().manual_seed(self.seed + 1)
        z = spread * torch.randn(rows, *self.event_shape, generator=draw, dtype=torch.float64)
        # A set of vectors is not drawn in but mapped onto, which does not saturate at moderate points.
        if sets.bounds(module.codomain) in (sets.REAL, None):
            return self.into(z, module.domain).to(dtype)
        exact = clone(module).double()
        context = self.contexts(rows)
        z = (
            z
            if module.out_shape == self.event_shape
            else spread * torch.randn(rows, *module.out_shape, generator=draw, dtype=torch.float64)
        )
        return exact.inverse(self.into(z, module.codomain), context)[0].detach().to(dtype)

    def contexts(self, rows: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
        """Draw ``(rows, *context)``, or None."""
        if self.context_shape is None:
            return None
        draw = torch.Generator().manual_seed(self.seed + 2)
        return torch.randn(rows, *self.context_shape, generator=draw, dtype=torch.float64).to(dtype)

    @staticmethod
    def into(z: Tensor, support: Constraint) -> Tensor:
        """Map real values into a support, of whose shape they are."""
        kind = sets.structured(support)
        if isinstance(kind, sets.Parts):
            return kind.join([Case.into(part, c) for c, part in zip(kind.cseq, kind.split(z), strict=True)])
        if kind is not None:
            return kind.member(z)
        mapped: Tensor = biject_to(support)(z)
        return mapped


@dataclass(frozen=True)
class FlowCase:
    """A flow with its parameters moved off the identity, and contexts to try it on."""

    flow: Flow
    seed: int = 0

    def build(self, dtype: torch.dtype = torch.float64) -> Flow:
        """Return a copy in a given precision."""
        return copy.deepcopy(self.flow).to(dtype)

    def contexts(self, rows: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
        """Draw ``(rows, *context)``, or None."""
        if self.flow.context_shape is None:
            return None
        draw = torch.Generator().manual_seed(self.seed + 2)
        return torch.randn(rows, *self.flow.context_shape, generator=draw, dtype=torch.float64).to(dtype)

    def samples(self, flow: Flow, rows: int, context: Tensor | None = None) -> Tensor:
        """Draw rows of the flow's batch, leaving the global random state alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 3)
            return flow.sample((rows,), context)


def rank(case: Case) -> int:
    """Return the number of event axes."""
    return len(case.event_shape)


def jacobian(function: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None, axes: int) -> Tensor:
    """Return ``(rows, size out, size in)`` of a map on events of ``axes`` axes, row by row through vmap."""
    shape = x.shape[x.dim() - axes :]
    flat = x.reshape(len(x), -1)

    def single(row: Tensor, given: Tensor | None) -> Tensor:
        return function(row.reshape(shape), given)[0].reshape(-1)

    of_row = torch.func.jacrev(single)
    result: Tensor = torch.func.vmap(of_row, in_dims=(0, None if context is None else 0))(flat, context)
    return result


def clone(module: Layer) -> Layer:
    """Return a deep copy."""
    return copy.deepcopy(module)
