"""Affine kernels: location and scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.fields import Positive
from pushforward.core.numerics import clamp, soft_clamp
from pushforward.kernels.kernel import Kernel, reference
from pushforward.native.elementwise import AFFINE, REFERENCES, Code

# No further: in an autoregressive layer each location feeds the next one, and a chain of huge ones would leave float32.
LOC_BOUND = 1e8


@dataclass(frozen=True, repr=False)
class Affine(Kernel):
    r"""Affine map, :math:`y = \mu + e^{s(\alpha)} x` with :math:`s(\alpha) = \frac{2b}{\pi} \arctan \frac{\pi\alpha}{2b}`.

    The log-scale is bounded by a smooth clamp, so a scale lies in :math:`(e^{-b}, e^b)`, both directions stay accurate in float32 and
    the gradient is the true one everywhere. Two parameters an element; all real values to all real values.
    Source: Density Estimation using Real NVP (Dinh et al., 2017), with another scale function.

    Args:
        bound: b > 0, the largest absolute log-scale of this layer.

    >>> Affine().build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    bound: Positive = 3.0

    formula = "y = loc + exp(s(log_scale)) x,  s(a) = (2b/pi) arctan(pi a / 2b)"
    is_affine = True
    size = "2 * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"loc": torch.zeros(shape), "log_scale": torch.zeros(shape)}

    def code(self) -> Code:
        return Code(AFFINE, 0, float(self.bound))

    def forward(self, x: Tensor, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = soft_clamp(log_scale, self.bound)
        return clamp(loc, -LOC_BOUND, LOC_BOUND) + torch.exp(log_scale) * x, log_scale

    def inverse(self, y: Tensor, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = soft_clamp(log_scale, self.bound)
        return (y - clamp(loc, -LOC_BOUND, LOC_BOUND)) * torch.exp(-log_scale), -log_scale


@dataclass(frozen=True, repr=False)
class Additive(Kernel):
    r"""Shift, :math:`y = x + \mu`; it keeps volumes. One parameter an element; all real values to all real values.

    Source: NICE: Non-linear Independent Components Estimation (Dinh et al., 2014).

    >>> Additive().build((3,))(torch.ones(3))[1]
    tensor(0.)
    """

    formula = "y = x + loc"
    is_affine = True
    size = "D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"loc": torch.zeros(shape)}

    def forward(self, x: Tensor, loc: Tensor) -> tuple[Tensor, Tensor]:
        return x + clamp(loc, -LOC_BOUND, LOC_BOUND), torch.zeros_like(loc)

    def inverse(self, y: Tensor, loc: Tensor) -> tuple[Tensor, Tensor]:
        return y - clamp(loc, -LOC_BOUND, LOC_BOUND), torch.zeros_like(loc)


REFERENCES[AFFINE] = lambda code: reference(Affine(code.bound))
