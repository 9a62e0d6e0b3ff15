"""Radial kernel: vectors pushed towards a point or away from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.fields import Positive
from pushforward.core.numerics import clamp, soft_clamp
from pushforward.kernels.kernel import Kernel


@dataclass(frozen=True, repr=False)
class Radial(Kernel):
    r"""Radial map of vectors, :math:`y = x + \frac{\alpha k}{\alpha + r} (x - x_0)` with :math:`r = |x - x_0|`.

    :math:`\alpha = e^{s(\cdot)} > 0` and :math:`1 + k = e^{s(\cdot)}`, the factor by which it stretches at :math:`x_0`, are bounded
    smoothly as in `Affine`; k = 0 is the identity. With :math:`\rho = \alpha / (\alpha + r)`,
    :math:`\log|\det| = (D-1) \log(1 + k\rho) + \log(1 + k\rho^2)`. The inverse is closed: r is the positive root of a quadratic equation.
    :math:`D + 2` parameters; acts on the last event axis; all real vectors to all real vectors.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015); its beta is :math:`\alpha k`.

    Args:
        bound: The largest absolute value of both logarithms.

    >>> Radial().build((3,))(torch.ones(3))[0].detach()
    tensor([1., 1., 1.])
    """

    bound: Positive = 3.0

    event_dim = 1
    formula = "y = x + alpha k (x - x0) / (alpha + |x - x0|),  k > -1"
    size = "D + 2"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"center": torch.zeros(shape), "log_alpha": torch.zeros(1), "log_stretch": torch.zeros(1)}

    def forward(self, x: Tensor, center: Tensor, log_alpha: Tensor, log_stretch: Tensor) -> tuple[Tensor, Tensor]:
        alpha, k = self._shape(log_alpha, log_stretch)
        away = x - center
        near = alpha / (alpha + _length(away))
        return x + k * near * away, _log_det(k, near, x.shape[-1])

    def inverse(self, y: Tensor, center: Tensor, log_alpha: Tensor, log_stretch: Tensor) -> tuple[Tensor, Tensor]:
        alpha, k = self._shape(log_alpha, log_stretch)
        away = y - center
        s = _length(away)
        # r² - (s - alpha - alpha k) r - s alpha = 0; all is divided by s + alpha, so that no square leaves the format.
        unit = s + alpha
        middle = (s - alpha * (1 + k)) / unit
        product = 4 * (s / unit) * (alpha / unit)
        # Not by torch.abs, whose derivative at 0 is 0.
        far = torch.where(middle >= 0, middle, -middle) + torch.sqrt(middle * middle + product)
        r = 0.5 * unit * torch.where(middle >= 0, far, product / far)
        near = alpha / (alpha + r)
        return y - (k * near / (1 + k * near)) * away, -_log_det(k, near, y.shape[-1])

    def _shape(self, log_alpha: Tensor, log_stretch: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(soft_clamp(log_alpha, self.bound)), torch.expm1(soft_clamp(log_stretch, self.bound))


def _log_det(k: Tensor, near: Tensor, size: int) -> Tensor:
    return ((size - 1) * torch.log1p(k * near) + torch.log1p(k * near * near)).squeeze(-1)


def _length(x: Tensor) -> Tensor:
    """Return Euclidean lengths, also of vectors whose squares leave the format; the gradient at zero is zero."""
    size = clamp(torch.amax(torch.abs(x), -1, keepdim=True), min=torch.finfo(x.dtype).tiny).detach()
    square = ((x / size) ** 2).sum(-1, keepdim=True)
    some = square > 0
    return torch.where(some, size * torch.sqrt(torch.where(some, square, 1.0)), 0.0)
