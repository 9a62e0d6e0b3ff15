"""Squashing maps: all real values into an interval, slowly (soft clip) or by a cumulative distribution function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core.bijector import Bijector
from pushforward.core.fields import OneOf, Positive
from pushforward.core.numerics import clamp
from pushforward.kernels.fixed import Sigmoid
from pushforward.kernels.kernel import Kernel


@dataclass(frozen=True, repr=False)
class Softclip(Kernel):
    r"""Soft clip, :math:`y = x / (1 + |x| / B)`, from all real values to (-B, B); slope 1 at zero, tails that close in like 1/x.

    Args:
        bound: B > 0.

    >>> Softclip(bound=2.0).build(())(torch.tensor(2.0))[0]
    tensor(1.)
    """

    bound: Positive = 1.0

    formula = "y = x / (1 + |x| / bound)"

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        made: Constraint = constraints.interval(-self.bound, self.bound)
        return made

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = torch.abs(x) / self.bound
        return x / (1 + size), -2 * torch.log1p(size)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # bound - |y| is exact near the end, where 1 - |y| / bound would have rounded.
        room = (self.bound - torch.abs(y)) / self.bound
        return y / room, -2 * torch.log(room)


@dataclass(frozen=True, repr=False)
class CumulativeDistribution(Kernel):
    r"""Cumulative distribution function, :math:`y = F((x - \mathrm{loc}) / \mathrm{scale})`, from all real values to (0, 1).

    It makes values of that distribution uniform, and its inverse makes uniform ones follow it. Each F is taken in a form that is
    exact in the lower tail, where y is small, and as exact as numbers next to 1 can be in the upper one.

    Args:
        distribution: ``"Normal"``, ``"Cauchy"``, ``"Laplace"`` or ``"Gumbel"`` (the logistic one is `Sigmoid`).
        loc: Location.
        scale: Scale > 0.

    >>> CumulativeDistribution("Cauchy").build(())(torch.tensor(1.0))[0]
    tensor(0.7500)
    """

    distribution: Annotated[str, OneOf(*STANDARD)] = "Normal"
    loc: float = 0.0
    scale: Positive = 1.0

    formula = "y = F((x - loc) / scale), F the cumulative distribution function"
    codomain = constraints.unit_interval

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        probability, _, log_density = STANDARD[self.distribution]
        z = (x - self.loc) / self.scale
        return probability(z), log_density(z) - math.log(self.scale)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        _, quantile, log_density = STANDARD[self.distribution]
        z = quantile(y)
        return self.loc + self.scale * z, math.log(self.scale) - log_density(z)


def CauchyCDF() -> CumulativeDistribution:
    """Cumulative distribution function of the standard Cauchy distribution.

    >>> CauchyCDF().distribution
    'Cauchy'
    """
    return CumulativeDistribution("Cauchy")


def Logit() -> Bijector:
    """Logit, the inverse of `Sigmoid`: from (0, 1) to all real values.

    >>> Logit().build(())(torch.tensor(0.5))[0]
    tensor(0.)
    """
    return Sigmoid().inv


def _normal(z: Tensor) -> Tensor:
    # (1 + erf) / 2, which is what torch.special.ndtr and torch.distributions.Normal take, cancels in the lower tail.
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def _normal_log_density(z: Tensor) -> Tensor:
    # The square of a larger number, summed over a million elements, is infinite; its density is long zero.
    end = 1e-3 * torch.finfo(z.dtype).max ** 0.5
    z = clamp(z, -end, end)
    return -0.5 * z * z - 0.5 * math.log(2 * math.pi)


def _cauchy(z: Tensor) -> Tensor:
    # 0.5 + arctan(z)/pi cancels in the lower tail; an angle does not.
    return torch.atan2(torch.ones_like(z), -z) / math.pi


def _cauchy_quantile(y: Tensor) -> Tensor:
    low = y < 0.5
    return torch.where(low, -1.0, 1.0) / torch.tan(math.pi * torch.where(low, y, 1 - y))


def _cauchy_log_density(z: Tensor) -> Tensor:
    return -math.log(math.pi) - 2 * torch.log(torch.hypot(torch.ones_like(z), z))


def _laplace(z: Tensor) -> Tensor:
    # Not by torch.abs, whose derivative at 0 is 0.
    tail = 0.5 * torch.exp(torch.where(z < 0, z, -z))
    return torch.where(z < 0, tail, 1 - tail)


def _laplace_quantile(y: Tensor) -> Tensor:
    low = y < 0.5
    tail = torch.log(2 * torch.where(low, y, 1 - y))
    return torch.where(low, tail, -tail)


def _laplace_log_density(z: Tensor) -> Tensor:
    return -math.log(2) - torch.abs(z)


def _gumbel_tail(z: Tensor) -> Tensor:
    # As above: a larger power is no longer finite when it is summed over elements.
    return torch.exp(-clamp(z, min=-math.log(torch.finfo(z.dtype).max) + 14))


def _gumbel(z: Tensor) -> Tensor:
    return torch.exp(-_gumbel_tail(z))


def _gumbel_quantile(y: Tensor) -> Tensor:
    return -torch.log(-torch.log(y))


def _gumbel_log_density(z: Tensor) -> Tensor:
    return -z - _gumbel_tail(z)


STANDARD = {
    "Normal": (_normal, torch.special.ndtri, _normal_log_density),
    "Cauchy": (_cauchy, _cauchy_quantile, _cauchy_log_density),
    "Laplace": (_laplace, _laplace_quantile, _laplace_log_density),
    "Gumbel": (_gumbel, _gumbel_quantile, _gumbel_log_density),
}
