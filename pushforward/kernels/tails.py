"""Maps that change tails: powers, sinh-arcsinh, and tanh with logarithmic tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import Positive, Within
from pushforward.core.numerics import clamp, finer, soft_clamp
from pushforward.kernels.fixed import Tanh
from pushforward.kernels.kernel import Kernel

# Below this size a power is replaced by its chord: at zero its slope is 0 or infinite.
CORE = 1e-6
# Made once: the compiler does not trace the making of a plan.
TANH = Tanh()


def _largest_log(x: Tensor) -> float:
    # Far enough below the end of the format for a network that sees such values to add them up.
    return math.log(torch.finfo(x.dtype).max) - 7


def _signed_power(x: Tensor, power: Tensor | float, log_power: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return sign(x) |x|^power, which below CORE is its chord, and the log of its slope."""
    z = finer(x)
    log_size = torch.log(clamp(torch.abs(z), min=CORE))
    chord = (power - 1) * math.log(CORE)
    outer = torch.abs(z) > CORE
    y = torch.where(outer, torch.sign(z) * torch.exp(clamp(power * log_size, max=_largest_log(x))), z * _exp(chord))
    ladj = torch.where(outer, log_power + (power - 1) * log_size, chord)
    return y.to(x.dtype), ladj.to(x.dtype)


def _signed_root(y: Tensor, power: Tensor | float, log_power: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the inverse of `_signed_power`."""
    z = finer(y)
    chord = (power - 1) * math.log(CORE)
    edge = torch.as_tensor(power * math.log(CORE), dtype=z.dtype, device=z.device)
    size = torch.abs(z)
    outer = size > torch.exp(edge)
    log_size = torch.log(torch.maximum(size, torch.exp(edge))) / power
    x = torch.where(outer, torch.sign(z) * torch.exp(clamp(log_size, max=_largest_log(y))), z * _exp(-chord))
    ladj = torch.where(outer, -log_power - (power - 1) * log_size, -chord)
    return x.to(y.dtype), ladj.to(y.dtype)


def _exp(value: Tensor | float) -> Tensor | float:
    return torch.exp(value) if isinstance(value, Tensor) else math.exp(value)


@dataclass(frozen=True, repr=False)
class PositivePower(Kernel):
    r"""Power that keeps the sign, :math:`y = \mathrm{sign}(x) |x|^p`; all real values to all real values.

    The power itself has slope 0 or infinity at zero, so no density; for :math:`|x| < 10^{-6}` it is therefore the chord
    :math:`y = x (10^{-6})^{p - 1}`.

    Args:
        exponent: p > 0.

    >>> PositivePower(3.0).build(())(torch.tensor(-2.0))[0]
    tensor(-8.)
    """

    exponent: Positive = 2.0

    formula = "y = sign(x) |x|^exponent"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _signed_power(x, self.exponent, math.log(self.exponent))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return _signed_root(y, self.exponent, math.log(self.exponent))


@dataclass(frozen=True, repr=False)
class SignedPower(Kernel):
    r"""Learnable power that keeps the sign, :math:`y = \mathrm{sign}(x) |x|^p` with :math:`p = e^{s(\alpha)}`; real values to real ones.

    s bounds the log of the power smoothly, as in `Affine`; at zero, where a power has slope 0 or infinity, it is a chord as in
    `PositivePower`. One parameter an element; all zero is the identity.

    Args:
        bound: The largest absolute log of the power.

    >>> SignedPower().build((2,))(torch.tensor([-2.0, 3.0]))[0].detach()
    tensor([-2.,  3.])
    """

    bound: Positive = 1.0

    formula = "y = sign(x) |x|^p,  p = exp(s(log_power))"
    size = "D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"log_power": torch.zeros(shape)}

    def fixes(self, x: Tensor) -> Tensor:
        size = torch.abs(x)
        return (size == 0) | (size == 1) | (size == math.inf)

    def forward(self, x: Tensor, log_power: Tensor) -> tuple[Tensor, Tensor]:
        log_power = soft_clamp(finer(log_power), self.bound)
        return _signed_power(x, torch.exp(log_power), log_power)

    def inverse(self, y: Tensor, log_power: Tensor) -> tuple[Tensor, Tensor]:
        log_power = soft_clamp(finer(log_power), self.bound)
        return _signed_root(y, torch.exp(log_power), log_power)


@dataclass(frozen=True, repr=False)
class SinhArcsinh(Kernel):
    r"""Sinh-arcsinh, :math:`y = \sinh(\delta (\mathrm{arcsinh}\, x + \epsilon))`: skewness epsilon, tail weight delta.

    Tails grow like :math:`|x|^\delta`, heavier for :math:`\delta > 1`. Both parameters are bounded smoothly,
    :math:`|\epsilon| < 2` and :math:`|\log \delta| < b`. Two parameters an element, all zero is the identity; all real values to all real
    values.
    Source: Sinh-arcsinh distributions (Jones and Pewsey, 2009).

    Args:
        bound: b > 0, the largest absolute log of the tail weight.

    >>> SinhArcsinh().build((2,))(torch.tensor([0.5, -3.0]))[0].detach()
    tensor([ 0.5000, -3.0000])
    """

    bound: Positive = 1.0

    formula = "y = sinh(exp(s(log_tail)) (arcsinh(x) + s(skewness)))"
    size = "2 * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"skewness": torch.zeros(shape), "log_tail": torch.zeros(shape)}

    def forward(self, x: Tensor, skewness: Tensor, log_tail: Tensor) -> tuple[Tensor, Tensor]:
        z, shift, log_tail = self._fine(x, skewness, log_tail)
        u = torch.exp(log_tail) * (torch.asinh(z) + shift)
        return _sinh(u, x), (log_tail + _log_cosh(u) - _log_root(z)).to(x.dtype)

    def inverse(self, y: Tensor, skewness: Tensor, log_tail: Tensor) -> tuple[Tensor, Tensor]:
        z, shift, log_tail = self._fine(y, skewness, log_tail)
        u = torch.exp(-log_tail) * torch.asinh(z) - shift
        return _sinh(u, y), (_log_cosh(u) - log_tail - _log_root(z)).to(y.dtype)

    def _fine(self, x: Tensor, skewness: Tensor, log_tail: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return finer(x), soft_clamp(finer(skewness), SKEWNESS_BOUND), soft_clamp(finer(log_tail), self.bound)


SKEWNESS_BOUND = 2.0


def _sinh(u: Tensor, like: Tensor) -> Tensor:
    limit = _largest_log(like)
    return torch.sinh(clamp(u, -limit, limit)).to(like.dtype)


def _log_cosh(u: Tensor) -> Tensor:
    return torch.abs(u) + F.softplus(-2 * torch.abs(u)) - math.log(2)


def _log_root(x: Tensor) -> Tensor:
    """Return log sqrt(1 + x²), the log of cosh(arcsinh x)."""
    return torch.log(torch.hypot(torch.ones_like(x), x))


@dataclass(frozen=True, repr=False)
class LogTanh(Kernel):
    r"""Hyperbolic tangent with logarithmic tails.

    :math:`y = \tanh x` for :math:`|x| \le c`, beyond it :math:`\pm(\tanh c + \alpha \log(|x| / c))`, where
    :math:`\alpha = c (1 - \tanh^2 c)` keeps the slope continuous.

    All real values to all real values; a value far out, whose x is beyond the floating-point format, ends at the end of the range.

    Args:
        cut: c > 0, where the tails begin.

    >>> LogTanh().build(())(torch.tensor(0.5))[0]
    tensor(0.4621)
    """

    cut: Annotated[float, Within(above=0.0, most=15.0)] = 1.0  # beyond, tanh is flat

    formula = "y = tanh(x) for |x| <= cut, logarithmic beyond it"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, (height, rate) = finer(x), self._tail()
        inner, log_slope = TANH.forward(clamp(z, -self.cut, self.cut))
        log_ratio = torch.log(clamp(torch.abs(z), min=self.cut) / self.cut)
        outer = torch.abs(z) > self.cut
        y = torch.where(outer, torch.sign(z) * (height + rate * log_ratio), inner)
        return y.to(x.dtype), torch.where(outer, math.log(rate / self.cut) - log_ratio, log_slope).to(x.dtype)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, (height, rate) = finer(y), self._tail()
        outer = torch.abs(z) > height
        inner, log_slope = TANH.inverse(clamp(z, -height, height))
        log_ratio = clamp(torch.abs(z) - height, min=0) / rate
        far = self.cut * torch.exp(clamp(log_ratio, max=_largest_log(y) - max(math.log(self.cut), 0)))
        x = torch.where(outer, torch.sign(z) * far, inner)
        return x.to(y.dtype), torch.where(outer, log_ratio - math.log(rate / self.cut), log_slope).to(y.dtype)

    def _tail(self) -> tuple[float, float]:
        """Return the height at which the tails begin, and their rate."""
        height = math.tanh(self.cut)
        return height, self.cut / math.cosh(self.cut) ** 2
