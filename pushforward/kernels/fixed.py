"""Fixed maps: bijections of numbers without parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pushforward.core.fields import Positive
from pushforward.core.numerics import clamp, constant
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel


@dataclass(frozen=True, repr=False)
class Exp(Kernel):
    r"""Exponential, :math:`y = e^x`, from all real values to the positive ones.

    >>> Exp().build(())(torch.tensor(0.0))
    (tensor(1.), tensor(0.))
    """

    formula = "y = exp(x)"
    codomain = constraints.positive

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Beyond this exp is infinite and its gradient NaN; the result stays the largest number.
        return torch.exp(clamp(x, max=math.log(torch.finfo(x.dtype).max))), x

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.log(y)
        return x, -x


@dataclass(frozen=True, repr=False)
class Sigmoid(Kernel):
    r"""Logistic function, :math:`y = 1 / (1 + e^{-x})`, from all real values to (0, 1).

    >>> Sigmoid().build(())(torch.tensor(0.0))[0]
    tensor(0.5000)
    """

    formula = "y = 1 / (1 + exp(-x))"
    codomain = constraints.unit_interval

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(x), F.logsigmoid(x) + F.logsigmoid(-x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_y, log_rest = torch.log(y), torch.log1p(-y)
        return log_y - log_rest, -log_y - log_rest


@dataclass(frozen=True, repr=False)
class Tanh(Kernel):
    r"""Hyperbolic tangent, :math:`y = \tanh x`, from all real values to (-1, 1).

    >>> Tanh().build(())(torch.tensor(0.0))
    (tensor(0.), tensor(0.))
    """

    formula = "y = tanh(x)"
    codomain = constraints.interval(-1.0, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # log(1 - tanh²x) loses everything once tanh rounds to 1; this form is exact for all x.
        return torch.tanh(x), 2 * (math.log(2) - torch.abs(x) - F.softplus(-2 * torch.abs(x)))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.atanh(y), -torch.log1p(-y) - torch.log1p(y)


@dataclass(frozen=True, repr=False)
class Sin(Kernel):
    r"""Sine, :math:`y = \sin x`, from :math:`(-\frac{\pi}{2}, \frac{\pi}{2})`, where it increases, to (-1, 1).

    >>> Sin().build(())(torch.tensor(0.5235988))[0]
    tensor(0.5000)
    """

    formula = "y = sin(x)"
    domain = constraints.interval(-0.5 * math.pi, 0.5 * math.pi)
    codomain = constraints.interval(-1.0, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sin(x), torch.log(torch.cos(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.asin(y), -0.5 * (torch.log1p(-y) + torch.log1p(y))


@dataclass(frozen=True, repr=False)
class Cos(Kernel):
    r"""Negated cosine, which increases, :math:`y = -\cos x`, from :math:`(0, \pi)` to (-1, 1).

    A polar angle becomes a height, in which the uniform distribution on a sphere is uniform.

    >>> Cos().build(())(torch.tensor(1.0471976))[0]
    tensor(-0.5000)
    """

    formula = "y = -cos(x)"
    domain = constraints.interval(0.0, math.pi)
    codomain = constraints.interval(-1.0, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.cos(x), torch.log(torch.sin(x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.acos(-y), -0.5 * (torch.log1p(-y) + torch.log1p(y))


@dataclass(frozen=True, repr=False)
class Softplus(Kernel):
    r"""Softplus, :math:`y = \log(1 + e^x)`, from all real values to the positive ones.

    >>> Softplus().inv.build(())(torch.tensor(30.0))[0]
    tensor(30.)
    """

    formula = "y = log(1 + exp(x))"
    codomain = constraints.positive

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.logaddexp(x, torch.zeros_like(x)), F.logsigmoid(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = torch.log(-torch.expm1(-y))
        return y + log_slope, -log_slope


@dataclass(frozen=True, repr=False)
class ELU(Kernel):
    r"""Exponential linear unit, :math:`y = x` for :math:`x \ge 0`, else :math:`e^x - 1`; from all real values to (-1, inf).

    >>> ELU().build(())(torch.tensor(2.0))
    (tensor(2.), tensor(0.))
    """

    formula = "y = x if x >= 0 else exp(x) - 1"
    codomain = constraints.greater_than(-1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        below = clamp(x, max=0)
        return torch.where(x > 0, x, torch.expm1(below)), below

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        below = torch.log1p(clamp(y, max=0))
        return torch.where(y > 0, y, below), -below


@dataclass(frozen=True, repr=False)
class LeakyReLU(Kernel):
    r"""Leaky rectifier, :math:`y = x` for :math:`x \ge 0`, else :math:`s x`; all real values to all real values.

    Args:
        slope: s > 0, the slope below zero.

    >>> LeakyReLU(slope=0.5).build(())(torch.tensor(-2.0))[0]
    tensor(-1.)
    """

    slope: Positive = 0.01

    formula = "y = x if x >= 0 else slope x"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x >= 0, x, self.slope * x), math.log(self.slope) * (x < 0).to(x.dtype)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(y >= 0, y, y / self.slope), -math.log(self.slope) * (y < 0).to(y.dtype)


def _power(x: Tensor, exponent: float) -> Tensor:
    """Return a power that stays finite and above zero, with its gradient, for every positive number."""
    info = torch.finfo(x.dtype)
    reach = math.exp(0.99 * min(-math.log(info.tiny), math.log(info.max)) / max(abs(exponent), 1.0))
    return torch.pow(clamp(x, 1 / reach, reach), exponent)


@dataclass(frozen=True, repr=False)
class Power(Kernel):
    r"""Power, :math:`y = x^p`, positive values to positive values.

    Args:
        exponent: p, not zero.

    >>> Power(2.0).build(())(torch.tensor(3.0))[0]
    tensor(9.)
    """

    exponent: float = 2.0

    formula = "y = x^exponent"
    domain = constraints.positive
    codomain = constraints.positive

    def check(self) -> None:
        if self.exponent == 0:
            raise PlanError(f"Power: expected an exponent other than zero, got {self.exponent}")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _power(x, self.exponent), math.log(abs(self.exponent)) + (self.exponent - 1) * torch.log(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return _power(y, 1 / self.exponent), (1 / self.exponent - 1) * torch.log(y) - math.log(abs(self.exponent))


@dataclass(frozen=True, repr=False)
class AffineFixed(Kernel):
    r"""Affine map with given numbers, :math:`y = \mathrm{loc} + \mathrm{scale}\, x`; all real values to all real values.

    Args:
        loc: Location, a number or one per element.
        scale: Scale, not zero, a number or one per element.

    >>> AffineFixed(loc=1.0, scale=2.0).build((2,))(torch.ones(2))[0]
    tensor([3., 3.])
    """

    loc: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0

    formula = "y = loc + scale x"
    is_affine = True

    def check(self) -> None:
        if 0 in (self.scale if isinstance(self.scale, tuple) else (self.scale,)):
            raise PlanError(f"AffineFixed: expected scales other than zero, got {self.scale}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        for name in ("loc", "scale"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != shape[-1]:
                raise PlanError(f"{self!r}: expected {name} to be a number or {shape[-1]} numbers, one per element, got {len(value)}")
        return {}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = constant(self.loc, x), constant(self.scale, x)
        return loc + scale * x, torch.log(torch.abs(scale)).expand(x.shape)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = constant(self.loc, y), constant(self.scale, y)
        return (y - loc) / scale, -torch.log(torch.abs(scale)).expand(y.shape)
