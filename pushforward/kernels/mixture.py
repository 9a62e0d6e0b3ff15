"""Mixtures: the distribution function of a mixture, seen through the inverse of that of one component."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pushforward.core.fields import Count
from pushforward.core.numerics import clamp, finer, soft_clamp
from pushforward.core.roots import root
from pushforward.kernels.affine import Affine
from pushforward.kernels.monotonic import Monotone, spread
from pushforward.kernels.neural import MEANS


@dataclass(frozen=True, repr=False)
class _Mixture(Monotone):
    components: Count = 8

    shift_bound: ClassVar[float]
    variance: ClassVar[float]
    """The variance of the standard component."""

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        # Components that differ, with the variance of a single one.
        shifts = spread(self.components, START * math.sqrt(self.variance), shape)
        scales = 0.5 * torch.log1p((shifts * shifts).mean(0, keepdim=True) / self.variance)
        return {"weights": torch.zeros_like(shifts), "shifts": shifts, "scales": scales.expand_as(shifts)}

    def prepare(self, weights: Tensor, shifts: Tensor, scales: Tensor) -> tuple[Tensor, ...]:
        share = torch.log_softmax(soft_clamp(weights, WEIGHT_BOUND), -2)
        return share, soft_clamp(shifts, self.shift_bound), soft_clamp(scales, SCALE_BOUND)


# Made once: the compiler does not trace the making of a plan.
AFFINE = Affine()
START = 0.3
WEIGHT_BOUND = 3.0
SCALE_BOUND = 2.0


@dataclass(frozen=True, repr=False)
class LogisticMixture(_Mixture):
    r"""Distribution function of a mixture of logistics, seen through the logit and followed by an affine map.

    .. math:: y = \mu + e^s \sigma^{-1}\Big(\sum_k \pi_k\, \sigma(e^{a_k} x + b_k)\Big)

    The sums are of logarithms, so the tails are exact, asymptotically lines. The :math:`a_k` lie within 2 and the :math:`b_k` within 8,
    since between components the slope falls off like :math:`e^{-|b|}`; the affine map is that of `Affine`. Initially the components
    differ by their shifts, since equal ones would stay equal: the map is within 0.03 of the identity for :math:`|x| \le 5`
    (exactly, with one component). :math:`3K + 2` parameters an element, or 3K without the affine map; all real values to all real values.
    Source: Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design (Ho et al., 2019).

    Args:
        components: K >= 1.
        affine: Whether the affine map follows.

    >>> LogisticMixture(components=4).build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    affine: bool = True

    formula = "y = loc + exp(log_scale) logit(sum_k pi_k sigmoid(exp(a_k) x + b_k))"
    size = "D * (3 * components + (2 if affine else 0))"
    shift_bound = 8.0
    variance = math.pi**2 / 3

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return super().init(shape) | (Affine().init(shape) if self.affine else {})

    def prepare(
        self, weights: Tensor, shifts: Tensor, scales: Tensor, loc: Tensor | None = None, log_scale: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        mixture = super().prepare(weights, shifts, scales)
        return mixture if loc is None or log_scale is None else (*mixture, loc, log_scale)

    def curve(self, x: Tensor, prepared: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        share, shift, log_scale, *affine = prepared
        scale = torch.exp(log_scale)
        y, slope = MEANS["sigmoid"][0](scale * x.unsqueeze(-2) + shift, scale, share)
        if not affine:
            return y, torch.log(slope)
        y, ladj = AFFINE.forward(y, *affine)
        return y, torch.log(slope) + ladj


@dataclass(frozen=True, repr=False)
class Gaussianization(_Mixture):
    r"""Distribution function of a mixture of normals, seen through the inverse of the standard normal one.

    .. math:: y = \Phi^{-1}\Big(\sum_k \pi_k\, \Phi(e^{a_k} x + b_k)\Big)

    It takes the smaller tail, in logarithms and relative to that of the nearest component, so that neither direction loses anything
    far out, where the map tends to a line. The :math:`a_k` lie within 2 and the :math:`b_k` within 4, since between components the
    slope falls off like :math:`e^{-b^2/2}`. Initially the components differ by their shifts, since equal ones would stay equal:
    the map is within 0.01 of the identity for :math:`|x| \le 5` (exactly, with one component).
    3K parameters an element; all real values to all real values.
    Source: Gaussianization Flows (Meng et al., 2020).

    Args:
        components: K >= 1.

    >>> Gaussianization(components=4).build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    formula = "y = Phi^-1(sum_k pi_k Phi(exp(a_k) x + b_k))"
    size = "D * 3 * components"
    shift_bound = 4.0
    variance = 1.0

    def curve(self, x: Tensor, prepared: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        share, shift, log_scale = prepared
        z = torch.exp(log_scale) * x.unsqueeze(-2) + shift
        side = _side((torch.exp(share) * torch.erf(z / math.sqrt(2))).sum(-2))
        w = side.unsqueeze(-2) * z
        nearest = clamp(w.detach().amin(-2), min=0)
        tail, log_hazard = _tail(w, nearest, share, log_scale)
        y = _quantile(tail, nearest)
        return side * y, log_hazard + _log_mills(y)

    def inverse(self, y: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        share, shift, log_scale = self.prepare(**{name: finer(value) for name, value in parameters.items()})
        value = finer(y)
        bent = clamp(value, -STRAIGHT, STRAIGHT)
        side = _side(value)
        far = side * bent

        # Not through the quantile: x is where the tail of the mixture is that of y, both relative to the density at y.
        def function(x: Tensor) -> tuple[Tensor, Tensor]:
            w = side.unsqueeze(-2) * (torch.exp(log_scale) * x.unsqueeze(-2) + shift)
            tail, log_hazard = _tail(w, far, share, log_scale)
            return -side * tail, log_hazard

        level = _log_mills(far)
        x = root(function, -side * level, STEPS)
        ladj = -function(x)[1] - level
        return (x + (value - bent) * torch.exp(ladj)).to(y.dtype), ladj.to(y.dtype)


# The log of a tail is far from a line; 54 steps reach the last digit with parameters of any size.
STEPS = 60
# Beyond, the map is a line to the last digit, and the square of what rounding leaves of a difference leaves the range.
STRAIGHT = 1e15


def _side(value: Tensor) -> Tensor:
    """Return 1 for values not below zero, else -1."""
    return 1 - 2 * (value < 0).to(value.dtype)


def _log_mills(w: Tensor) -> Tensor:
    r"""Return the log of Mills' ratio :math:`(1 - \Phi(w)) / \phi(w)`, with a derivative that keeps its digits, for w not far below 0."""
    near = torch.special.erfcx(clamp(w, max=FAR) / math.sqrt(2)) * math.sqrt(math.pi / 2)
    # The derivative of erfcx cancels like w²; the first five terms of the asymptotic series are all there is to know beyond.
    far = clamp(w, min=FAR)
    u = torch.reciprocal(far) ** 2
    series = u * (-1 + u * (3 + u * (-15 + u * (105 - 945 * u))))
    return torch.where(w < FAR, torch.log(near), torch.log1p(series) - torch.log(far))


FAR = 50.0


def _tail(w: Tensor, reference: Tensor, share: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log of a mixture's upper tail, as a multiple of the normal density at a reference, and that of its hazard."""
    reference = reference.unsqueeze(-2)
    above, below = clamp(w, min=0), clamp(w, max=0)
    mills = _log_mills(above)
    # No difference of squares: each would be beyond the range long before their difference is.
    tails = 0.5 * (reference - w) * (reference + w) + mills
    # Most of a component is above what is below its middle, and its hazard is its density there.
    most = torch.log1p(-0.5 * torch.erfc(-below / math.sqrt(2))) + 0.5 * math.log(2 * math.pi)
    terms = share + torch.where(w < 0, most + 0.5 * (reference * reference), tails)
    hazards = torch.where(w < 0, -0.5 * (below * below) - most, -mills)
    # Not the log of the density less that of the tail: far from the reference both are squares of numbers.
    return torch.logsumexp(terms, -2), torch.logsumexp(torch.log_softmax(terms, -2) + hazards + log_scale, -2)


def _quantile(tail: Tensor, reference: Tensor) -> Tensor:
    """Return the y >= 0 whose normal upper tail has that log, as a multiple of the density at a reference near y."""
    with torch.no_grad():
        close = reference < 10
        log_probability = torch.where(close, tail - 0.5 * (reference * reference), 0.0) - 0.5 * math.log(2 * math.pi)
        y = torch.where(close, -torch.special.ndtri(torch.exp(log_probability)), reference)
        for _ in range(2):
            y = _newton(y, tail, reference)
    # Two more steps, which carry two derivatives.
    return _newton(_newton(y, tail, reference), tail, reference)


def _newton(y: Tensor, tail: Tensor, reference: Tensor) -> Tensor:
    mills = _log_mills(y)
    return y + torch.exp(mills) * (mills - 0.5 * (y - reference) * (y + reference) - tail)
