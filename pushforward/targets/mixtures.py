"""Targets that are mixtures: Gaussians on a ring and on a grid, a pinwheel, two targets side by side."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pushforward.core import sets
from pushforward.targets.target import Source, Target, length, log_normal


class _EqualNormals(Target):
    """Normals of one scale and equal weights."""

    noise: float

    def centres(self) -> Sequence[tuple[float, float]]:
        raise NotImplementedError

    def density(self, x: Tensor) -> Tensor:
        return equal_normals(x, torch.tensor(self.centres(), dtype=x.dtype, device=x.device), self.noise)

    def draw(self, rows: int, source: Source) -> Tensor:
        centres = torch.tensor(self.centres(), dtype=source.dtype, device=source.device)
        return centres[source.whole(len(centres), rows).long()] + self.noise * source.normal(rows, 2)


def equal_normals(x: Tensor, centres: Tensor, noise: float, log_weights: Tensor | None = None) -> Tensor:
    """Return the log-density of a mixture of isotropic normals, with weights that are equal if not given."""
    parts = log_normal((x.unsqueeze(-2) - centres) / noise).sum(-1)
    parts = parts - math.log(len(centres)) if log_weights is None else parts + log_weights
    return torch.logsumexp(parts, -1) - x.shape[-1] * math.log(noise)


@dataclass(eq=False, repr=False)
class GaussianRing(_EqualNormals):
    """Gaussians of equal weight at equal distances on a circle, the first one at the top or to the right.

    The eight Gaussians of the literature are the default; ``GaussianRing(modes, 2.0, 2 / 3 * sin(pi / modes))`` is the circular
    Gaussian mixture of normflows.
    Source: Improved Training of Wasserstein GANs (Gulrajani et al., 2017).

    Args:
        modes: Number of Gaussians.
        radius: Radius of the circle.
        noise: Standard deviation of each.

    >>> GaussianRing().log_prob(torch.tensor([4.0, 0.0]))
    tensor(-2.5310)
    """

    modes: int = 8
    radius: float = 4.0
    noise: float = 0.5

    def centres(self) -> Sequence[tuple[float, float]]:
        angles = [2 * math.pi * k / self.modes for k in range(self.modes)]
        return [(self.radius * math.sin(a), self.radius * math.cos(a)) for a in angles]


@dataclass(eq=False, repr=False)
class GaussianGrid(_EqualNormals):
    """Gaussians of equal weight on a square grid around the origin, 25 of them by default.

    Source: Improved Training of Wasserstein GANs (Gulrajani et al., 2017).

    Args:
        side: Number of Gaussians on a side.
        spread: Distance of neighbours.
        noise: Standard deviation of each.

    >>> GaussianGrid().sample((3,)).shape
    torch.Size([3, 2])
    """

    side: int = 5
    spread: float = 2.0
    noise: float = 0.1

    def centres(self) -> Sequence[tuple[float, float]]:
        line = [self.spread * (k - 0.5 * (self.side - 1)) for k in range(self.side)]
        return [(a, b) for a in line for b in line]


@dataclass(eq=False, repr=False)
class Pinwheel(Target):
    r"""Arms of a pinwheel: long Gaussians beside the origin, turned round it and bent.

    A point is turned by ``twist`` times its distance from the origin, which keeps areas, so that the density is a plain mixture of
    what the arms were. (The original bends by the exponential of one coordinate, of which no density in closed form is known.)
    Source: Composing Graphical Models with Neural Networks (Johnson et al., 2016).

    Args:
        arms: Number of arms.
        radius: Distance of an arm's centre from the origin.
        spread: Standard deviation along an arm.
        noise: Standard deviation across it.
        twist: Angle per unit of distance.

    >>> Pinwheel().sample((3,)).shape
    torch.Size([3, 2])
    """

    arms: int = 5
    radius: float = 2.0
    spread: float = 0.6
    noise: float = 0.2
    twist: float = 0.7

    def density(self, x: Tensor) -> Tensor:
        turn = torch.arange(self.arms, dtype=x.dtype, device=x.device) * (2 * math.pi / self.arms) + self.twist * length(x).unsqueeze(-1)
        cos, sin = torch.cos(turn), torch.sin(turn)
        along, across = cos * x[..., :1] + sin * x[..., 1:], cos * x[..., 1:] - sin * x[..., :1]
        parts = log_normal((along - self.radius) / self.spread) + log_normal(across / self.noise)
        return torch.logsumexp(parts, -1) - math.log(self.arms * self.spread * self.noise)

    def draw(self, rows: int, source: Source) -> Tensor:
        z = source.normal(rows, 2)
        along, across = self.radius + self.spread * z[:, 0], self.noise * z[:, 1]
        turn = source.whole(self.arms, rows) * (2 * math.pi / self.arms) + self.twist * torch.hypot(along, across)
        cos, sin = torch.cos(turn), torch.sin(turn)
        return torch.stack([cos * along - sin * across, sin * along + cos * across], -1)


@dataclass(eq=False, repr=False)
class TwoIndependent(Target):
    """Two distributions of vectors side by side, independent of each other: the features of the first, then those of the second.

    Source: Augmented Normalizing Flows (Huang et al., 2020).

    Args:
        first: A target, a flow, or any other distribution of `torch.distributions` on vectors.
        second: Another, or the same. A generator that `sample` is given goes to those that take one.

    >>> TwoIndependent(GaussianRing(), Pinwheel()).sample((3,)).shape
    torch.Size([3, 4])
    """

    first: Distribution
    second: Distribution

    def __post_init__(self) -> None:
        for name, part in (("first", self.first), ("second", self.second)):
            if isinstance(part, Distribution):
                shape, batch = tuple(part.event_shape), tuple(part.batch_shape)
                got = f"{type(part).__name__} of event_shape {shape} and batch_shape {batch}"
            else:
                shape, batch, got = (), (), repr(part) if isinstance(part, type) else type(part).__name__
            if len(shape) != 1 or batch:
                raise ValueError(
                    f"TwoIndependent: expected {name} to be a distribution on vectors, without a batch, got {got}; "
                    "torch.distributions.Independent makes batch axes those of an event"
                )
        super().__post_init__()

    @property
    def length(self) -> int:
        return sum(self._lengths)

    @property
    def _lengths(self) -> list[int]:
        return [self.first.event_shape[0], self.second.event_shape[0]]

    @property
    def support(self) -> constraints.Constraint:
        """The set of values: those of the first in its own, and those of the second."""
        each = [part.support or constraints.real_vector for part in (self.first, self.second)]
        return sets.independent(sets.joined(each, self._lengths, -1, 1), 1)

    def density(self, x: Tensor) -> Tensor:
        a, b = x.split(self._lengths, -1)
        return self.first.log_prob(a) + self.second.log_prob(b)

    def draw(self, rows: int, source: Source) -> Tensor:
        return torch.cat([_drawn(part, rows, source) for part in (self.first, self.second)], -1)


def _drawn(part: Distribution, rows: int, source: Source) -> Tensor:
    """Draw rows of a distribution, from the source where it takes one."""
    if isinstance(part, Target):
        return part.draw(rows, source)
    told: dict[str, Any] = {"generator": source.generator} if source.generator is not None else {}
    if told and "generator" not in inspect.signature(part.sample).parameters:
        raise ValueError(f"TwoIndependent: expected no generator, since {type(part).__name__} draws from torch's global one, got one")
    return part.sample(torch.Size((rows,)), **told).to(source.dtype)
