"""Stereographic projection: a chart of the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core import sets
from pushforward.core.layer import Shape
from pushforward.core.numerics import finer
from pushforward.kernels.constrained import Constrained


@dataclass(frozen=True, repr=False)
class Stereographic(Constrained):
    r"""Stereographic projection, from n - 1 real numbers u to unit vectors of n, :math:`y = (2u, |u|^2 - 1) / (|u|^2 + 1)`.

    All of the sphere but one point, the north pole, to which values far out come. The log-determinant is that of surface area,
    :math:`(n - 1) \log \frac{2}{1 + |u|^2}`. A flow of real numbers that ends with it has a density on the sphere that is rough at that
    pole; `Continuous` on a sphere has no such point. Acts on the last event axis; no parameters.
    Source: Normalizing Flows on Riemannian Manifolds (Gemici et al., 2016).

    >>> Stereographic().build((2,))(torch.zeros(2))
    (tensor([ 0.,  0., -1.]), tensor(1.3863))
    """

    formula = "y = (2 x, |x|^2 - 1) / (|x|^2 + 1)"
    domain = constraints.real_vector
    codomain = sets.SPHERE

    def after(self, shape: Shape) -> Shape:
        return (shape[0] + 1,)

    def before(self, shape: Shape) -> Shape:
        return (shape[0] - 1,)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        u = finer(x)
        square = (u * u).sum(-1, keepdim=True)
        y = torch.cat([2 * u, square - 1], -1) / (square + 1)
        return y.to(x.dtype), self._log_volume(square.squeeze(-1), x.shape[-1]).to(x.dtype)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        v = finer(y)
        flat, height = v[..., :-1], v[..., -1:]
        square = (flat * flat).sum(-1, keepdim=True)
        # 1 - height cancels near the pole, where it is square / (1 + height). Of the pole itself the other side is taken.
        high = height > 0
        pole = high & (square == 0)
        above, below = torch.where(high & ~pole, square, 1.0), torch.where(high, 1.0, 1 - height)
        u = flat * torch.where(high, (1 + height) / above, 1 / below)
        log_volume = self._log_volume((u * u).sum(-1), u.shape[-1])
        return u.to(y.dtype), torch.where(pole.squeeze(-1), -math.inf, -log_volume).to(y.dtype)

    @staticmethod
    def _log_volume(square: Tensor, size: int) -> Tensor:
        return size * (math.log(2) - torch.log1p(square))
