"""Bases on the unit sphere: the uniform distribution, and von Mises and Fisher's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pushforward.bases import moments
from pushforward.bases.elements import ElementsModule
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.fields import Length, Positive
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.nets.net import NetLike


@dataclass(frozen=True, repr=False)
class SphereUniform(Base):
    r"""The uniform distribution of unit vectors, events of n >= 2 numbers; no parameters.

    Its density is one over the area of the sphere, :math:`\Gamma(n / 2) / 2 \pi^{n / 2}`, with respect to surface area: for three numbers
    :math:`1 / 4 \pi`. What is no unit vector has the density 0.

    >>> SphereUniform().build((3,)).log_prob(torch.tensor([0.6, 0.0, 0.8]))
    tensor(-2.5310)
    """

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        if len(event_shape) != 1 or event_shape[0] < 2:
            raise PlanError(f"SphereUniform: expected vectors of at least 2 numbers, got event_shape {event_shape}")
        return SphereUniformModule(self, event_shape, context_shape)


@dataclass(frozen=True, repr=False)
class VonMisesFisher(Base):
    r"""The von Mises-Fisher distribution on the sphere, :math:`p(x) = \kappa e^{\kappa \mu^\top x} / 4 \pi \sinh \kappa`.

    Events are unit vectors of three numbers, and the density is with respect to the area of the sphere; what is no unit vector has the
    density 0. The mean direction, that of a vector, and the concentration are learned: free, or a function of the context. Samples carry
    gradients to both.
    Sources: Dispersion on a Sphere (Fisher, 1953); Numerically Stable Sampling of the von Mises Fisher Distribution on S2 (Jakob, 2012).

    Args:
        loc: Where the mean direction starts: any vector but zero, of which the direction counts.
        concentration: kappa at the start.
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log-ratio of the concentration to its start.

    >>> VonMisesFisher(concentration=2.0).build((3,)).log_prob(torch.tensor([0.0, 0.0, 1.0])).detach()
    tensor(-1.1262)
    """

    loc: Annotated[Sequence[float], Length(3)] = (0.0, 0.0, 1.0)
    concentration: Positive = 1.0
    net: NetLike | None = None
    bound: Positive = 5.0

    def check(self) -> None:
        if len(self.loc) != 3 or not any(self.loc):
            raise PlanError(f"VonMisesFisher: expected loc to be three numbers that are not all zero, got {self.loc!r}")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        if event_shape != (3,):
            raise PlanError(f"VonMisesFisher: expected vectors of 3 numbers, got event_shape {event_shape}")
        return VonMisesFisherModule(self, event_shape, context_shape)


class SphereModule(ElementsModule):
    """A built base on the sphere; a subclass writes `density_inside`, of unit vectors alone."""

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        coarse = max((x.dtype, self.anchor.dtype), key=sets.tolerance)
        inside, outside = sets.enter_events(x, sets.SPHERE, 1, coarse)
        assert outside is not None
        return torch.where(outside, -math.inf, self.density_inside(inside, theta))

    def density_inside(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return the log-density ``(*batch)`` of unit vectors."""
        raise NotImplementedError

    def draw_about(self, shape: Shape, direction: Tensor, kappa: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw von Mises-Fisher vectors of ``shape``, which ends in 3, about mean directions."""
        # How far below the top, 0 to 2, by its distribution function; 1 - u is never 0.
        u = 1 - self.uniform(shape[:-1], generator)
        under = -torch.log1p(u * torch.expm1(-2 * kappa)) / kappa
        normal = self.normal(shape, generator)
        across = unit(normal - direction * (normal * direction).sum(-1, keepdim=True))
        # Never zero, where a root has no slope.
        side = torch.sqrt((under * (2 - under)).clamp(min=torch.finfo(under.dtype).tiny))
        return unit((1 - under).unsqueeze(-1) * direction + side.unsqueeze(-1) * across)


class SphereUniformModule(SphereModule):
    """Built `SphereUniform`."""

    def __init__(self, plan: SphereUniform, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.facts = dataclasses.replace(self.facts, support=sets.SPHERE)
        half = event_shape[0] / 2
        self.log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def density_inside(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        level = torch.full_like(x[..., 0], -self.log_area)
        return torch.where(torch.isnan(x).any(-1), math.nan, level)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        return unit(self.normal(shape, generator))

    def element_moments(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        return self.filled(0.0), self.filled(self.elements**-0.5)

    def element_entropy(self, theta: dict[str, Tensor]) -> Tensor | None:
        return self.filled(0.0).new_full((), self.log_area)


class VonMisesFisherModule(SphereModule):
    """Built `VonMisesFisher`."""

    def __init__(self, plan: VonMisesFisher, event_shape: Shape, context_shape: Shape | None) -> None:
        length = math.hypot(*plan.loc)
        start = {"loc": torch.tensor([number / length for number in plan.loc]), "log_concentration": torch.zeros(1)}
        super().__init__(plan, event_shape, context_shape, start, plan.net)
        self.start, self.bound = math.log(plan.concentration), plan.bound
        self.facts = dataclasses.replace(self.facts, support=sets.SPHERE)

    def density_inside(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        direction, kappa = self._direction(theta)
        return log_top(kappa) - kappa * below(x, direction)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        return self.draw_about(shape, *self._direction(theta), generator)

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        direction, kappa = self._direction(self.theta(context))
        return mean_length(kappa).unsqueeze(-1) * direction

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        return spread_about(*self._direction(self.theta(context)))

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        kappa = self._direction(self.theta(context))[1]
        return kappa * (1 - mean_length(kappa)) - log_top(kappa)

    def _direction(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean direction ``(*batch, 3)`` and the concentration ``(*batch)``."""
        kappa = torch.exp(self.start + numerics.soft_clamp(theta["log_concentration"].squeeze(-1), self.bound))
        return unit(theta["loc"]), kappa


def log_top(kappa: Tensor) -> Tensor:
    """Return the log-density of a von Mises-Fisher distribution in its mean direction."""
    return torch.log(kappa / (-2 * math.pi * torch.expm1(-2 * kappa)))


def below(x: Tensor, direction: Tensor) -> Tensor:
    """Return how far below the top unit vectors are, 0 to 2: half the square of their distance, which keeps the digits."""
    return 0.5 * (x - direction).square().sum(-1)


def mean_length(kappa: Tensor) -> Tensor:
    """Return the length of the mean, coth(kappa) - 1 / kappa; by its series where that cancels."""
    small = kappa < 0.1
    safe = torch.where(small, 1.0, kappa)
    square = kappa * kappa
    return torch.where(small, kappa / 3 * (1 - square / 15 * (1 - 2 * square / 21)), 1 / torch.tanh(safe) - 1 / safe)


def spread_about(direction: Tensor, kappa: Tensor) -> Tensor:
    """Return vectors ``(4, *batch, 3)`` whose outer products add up to the covariance."""
    length = mean_length(kappa)
    # Along the mean, 1 - 2 A / kappa - A^2; across, A / kappa.
    up = torch.sqrt((1 - 2 * length / kappa - length * length).clamp(min=0.0))
    eye = torch.eye(3, dtype=direction.dtype, device=direction.device)
    across = torch.sqrt(length / kappa)[..., None, None] * (eye - direction.unsqueeze(-1) * direction.unsqueeze(-2))
    return moments.together([(up.unsqueeze(-1) * direction).unsqueeze(0), across.movedim(-2, 0)])


def unit(x: Tensor) -> Tensor:
    """Return vectors ``(*batch, n)`` of length 1 in the direction of others, zero of zero."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp(min=torch.finfo(x.dtype).tiny)
