"""Targets that are normal feature by feature, given the features before: funnel, banana, Rosenbrock, waves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.targets.target import Source, Target, log_normal


class Triangular(Target):
    r"""Each feature is normal given those before it, :math:`x_i = m_i(x_{<i}) + s_i(x_{<i})\, z_i`: exact to score and to draw."""

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        """Return the mean and the logarithm of the standard deviation of a feature given those before it."""
        raise NotImplementedError

    def density(self, x: Tensor) -> Tensor:
        features = list(x.unbind(-1))
        total = torch.zeros_like(features[0])
        for index, feature in enumerate(features):
            mean, log_scale = self.conditional(index, features[:index])
            z = (feature - mean) * torch.exp(torch.as_tensor(-log_scale, dtype=x.dtype, device=x.device))
            total = total + log_normal(z) - log_scale
        return total

    def draw(self, rows: int, source: Source) -> Tensor:
        features: list[Tensor] = []
        for index, z in enumerate(source.normal(self.length, rows)):
            mean, log_scale = self.conditional(index, features)
            features.append(mean + torch.exp(torch.as_tensor(log_scale, dtype=z.dtype, device=z.device)) * z)
        return torch.stack(features, -1)


@dataclass(eq=False, repr=False)
class Funnel(Triangular):
    r"""Neal's funnel: :math:`x_1 \sim \mathcal{N}(0, s^2)`, the others :math:`\mathcal{N}(0, e^{x_1})` given the first.

    Source: Slice Sampling (Neal, 2003), with ``features=10``.

    Args:
        features: Number of features.
        scale: s, the standard deviation of the first feature.

    >>> Funnel(10).log_prob(torch.zeros(10)).round(decimals=4)
    tensor(-10.2880)
    """

    features: int = 2
    scale: float = 3.0

    @property
    def length(self) -> int:
        return self.features

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        return (0.0, 0.5 * before[0]) if index else (0.0, math.log(self.scale))


@dataclass(eq=False, repr=False)
class Banana(Triangular):
    r"""A normal bent along its first feature: :math:`x_1 \sim \mathcal{N}(0, s^2)`, :math:`x_2 \sim \mathcal{N}(b (x_1^2 - s^2), 1)`.

    Further features are standard normal. The means are zero whatever the bend, which keeps volumes.
    Source: Adaptive Proposal Distribution for Random Walk Metropolis Algorithm (Haario et al., 1999), with b = 0.03 or 0.1 and s = 10.

    Args:
        features: Number of features.
        bend: b.
        scale: s, the standard deviation of the first feature.

    >>> Banana().sample((3,)).shape
    torch.Size([3, 2])
    """

    features: int = 2
    bend: float = 0.5
    scale: float = 2.0

    @property
    def length(self) -> int:
        return self.features

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        if index == 0:
            return 0.0, math.log(self.scale)
        return (self.bend * (before[0] ** 2 - self.scale**2) if index == 1 else 0.0), 0.0


@dataclass(eq=False, repr=False)
class Rosenbrock(Triangular):
    r"""Rosenbrock's function as an energy, :math:`p(x) \propto \exp(-a (x_1 - \mu)^2 - b \sum_{i > 1} (x_i - x_{i-1}^2)^2)`.

    In this form, where each feature follows the one before, the constant is known and drawing is exact.
    Source: An n-Dimensional Rosenbrock Distribution for Markov Chain Monte Carlo Testing (Pagani et al., 2022).

    Args:
        features: Number of features.
        centre: mu, the mean of the first feature.
        a: Precision of the first feature.
        b: Precision of the others.

    >>> Rosenbrock(3).sample((4,)).shape
    torch.Size([4, 3])
    """

    features: int = 2
    centre: float = 1.0
    a: float = 0.05
    b: float = 5.0

    @property
    def length(self) -> int:
        return self.features

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        mean = before[-1] ** 2 if index else self.centre
        return mean, -0.5 * math.log(2 * (self.b if index else self.a))


@dataclass(eq=False, repr=False)
class SineWave(Triangular):
    r"""A noisy sine, :math:`x_1 \sim \mathcal{N}(0, s^2)`, :math:`x_2 \sim \mathcal{N}(\sin(\omega x_1), \sigma^2)`.

    Source: Masked Autoregressive Flow's and Neural Spline Flows' plane data (Durkan et al., 2019).

    Args:
        frequency: omega, in radians.
        scale: s, the standard deviation of the first feature.
        noise: sigma.

    >>> SineWave().sample((3,)).shape
    torch.Size([3, 2])
    """

    frequency: float = 5.0
    scale: float = 1.0
    noise: float = math.exp(-1)

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        return (torch.sin(self.frequency * before[0]), math.log(self.noise)) if index else (0.0, math.log(self.scale))


@dataclass(eq=False, repr=False)
class Crescent(Triangular):
    r"""A noisy parabola, :math:`x_1 \sim \mathcal{N}(0, 1)`, :math:`x_2 \sim \mathcal{N}(\tfrac{1}{2} x_1^2 - 1, \sigma^2)`.

    Source: Neural Spline Flows' plane data (Durkan et al., 2019).

    Args:
        noise: sigma.

    >>> Crescent().sample((3,)).shape
    torch.Size([3, 2])
    """

    noise: float = math.exp(-1)

    def conditional(self, index: int, before: list[Tensor]) -> tuple[Tensor | float, Tensor | float]:
        return (0.5 * before[0] ** 2 - 1, math.log(self.noise)) if index else (0.0, 0.0)
