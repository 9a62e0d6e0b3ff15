"""Planar kernel: vectors pushed along one direction by an amount that depends on another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import OneOf, Positive
from pushforward.core.numerics import finer
from pushforward.kernels.kernel import Kernel

LEAK = 0.2


def contained(product: Tensor, bound: float) -> Tensor:
    r"""Return the factor :math:`\varphi > 0` that brings a real a into :math:`e^{-b} - 1 < a\varphi(a) < e^b - 1`.

    .. math:: \varphi(a) = 1 / (\sqrt{1 + c^2 a^2} + d a), \quad c \pm d = 1 / (e^{\pm b} - 1) \cdot \pm 1

    It is smooth, 1 at zero, and :math:`a\varphi(a)` increases, so that every value inside is reached.
    """
    above, below = 1 / math.expm1(bound), -1 / math.expm1(-bound)
    c, d = 0.5 * (above + below), 0.5 * (above - below)
    return torch.reciprocal(torch.hypot(torch.ones_like(product), c * product) + d * product)


def tanh_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hyperbolic tangent and its slope, which keeps its digits where the tangent comes near to 1."""
    h = torch.tanh(v)
    return h, (1 - h) * (1 + h)


def leaky_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the leaky ReLU and its slope."""
    return F.leaky_relu(v, LEAK), torch.where(v < 0, torch.full_like(v, LEAK), torch.ones_like(v))


ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"tanh": tanh_slope, "leaky_relu": leaky_slope}


def solve_tanh(target: Tensor, factor: Tensor, steps: int = 16) -> Tensor:
    r"""Solve :math:`v + t \tanh v = c` for v, where t > -1, with implicit gradients.

    On either side of zero the left side is convex or concave, so that Newton's method from zero passes the root once at most and then
    comes to it from one side: no bracket is needed. Two differentiable steps carry first and second derivatives.
    """

    def newton(v: Tensor) -> Tensor:
        h, slope = tanh_slope(v)
        return v - (v + factor * h - target) / (1 + factor * slope)

    with torch.no_grad():
        v = target / (1 + factor)
        for _ in range(steps):
            v = newton(v)
    return newton(newton(v))


@dataclass(frozen=True, repr=False)
class Planar(Kernel):
    r"""Planar map of vectors, :math:`y = x + \hat{u}\, h(w^\top x + b)`, with h the hyperbolic tangent or a leaky ReLU.

    It is invertible where :math:`w^\top \hat{u} > -1`. Here :math:`\hat{u} = \varphi(w^\top u)\, u` with a smooth positive factor that
    keeps :math:`1 + w^\top \hat{u}` between :math:`e^{-\beta}` and :math:`e^\beta`; nothing is divided by the length of w, so that all
    parameters zero are the identity, as u = 0 is, with which a layer starts (w starts at random).
    :math:`\log|\det| = \log(1 + w^\top \hat{u}\, h')`. The inverse finds :math:`w^\top x`, by Newton's method or (leaky ReLU) in
    closed form. :math:`2D + 1` parameters; acts on the last event axis; all real vectors to all real vectors.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), with another bound of u.

    Args:
        activation: ``"tanh"`` or ``"leaky_relu"`` (slope 0.2 below zero).
        bound: beta > 0, the largest absolute logarithm of :math:`1 + w^\top \hat{u}`.

    >>> Planar().build((3,))(torch.ones(2, 3))[0].detach()
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "tanh"
    bound: Positive = 3.0

    event_dim = 1
    inverse_method = "a root with tanh, closed form with leaky_relu"
    formula = "y = x + u' h(w.x + b),  u' = u / (sqrt(1 + (c w.u)^2) + d w.u)"
    size = "2 * D + 1"

    @property
    def searches(self) -> bool:
        return self.activation == "tanh"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        # With w = 0 too, no parameter would have a gradient.
        return {"w": torch.randn(shape) / math.sqrt(shape[-1]), "u": torch.zeros(shape), "b": torch.zeros(1)}

    def forward(self, x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        value, w, u, b = map(finer, (x, w, u, b))
        u, factor = self._direction(w, u)
        h, slope = ACTIVATIONS[self.activation]((w * value).sum(-1, keepdim=True) + b)
        return (value + u * h).to(x.dtype), torch.log1p(factor * slope).squeeze(-1).to(x.dtype)

    def inverse(self, y: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        value, w, u, b = map(finer, (y, w, u, b))
        u, factor = self._direction(w, u)
        target = (w * value).sum(-1, keepdim=True) + b
        # Both pieces of the leaky one have positive slopes, so that w.x + b has the sign of w.y + b.
        leaky = self.activation == "leaky_relu"
        v = target / (1 + factor * leaky_slope(target)[1]) if leaky else solve_tanh(target, factor)
        h, slope = ACTIVATIONS[self.activation](v)
        return (value - u * h).to(y.dtype), -torch.log1p(factor * slope).squeeze(-1).to(y.dtype)

    def _direction(self, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return u brought into its bounds, and its product with w."""
        product = (w * u).sum(-1, keepdim=True)
        scale = contained(product, self.bound)
        return u * scale, product * scale
