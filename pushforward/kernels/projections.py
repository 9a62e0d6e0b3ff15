"""Maps that are no bijections: they sample, and say that they cannot score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core.fields import Within
from pushforward.kernels.kernel import Kernel


@dataclass(frozen=True, repr=False)
class Abs(Kernel):
    r"""Absolute value, :math:`y = |x|`: no bijection, since x and -x have the same image.

    A built module maps forward, and raises where it is asked to go back; `Flow` refuses it. The density of :math:`|x|` is
    :math:`p(y) + p(-y)`, which is ``torch.logaddexp(flow.log_prob(y), flow.log_prob(-y))`` for one feature.

    >>> Abs().build(())(torch.tensor(-2.0))[0]
    tensor(2.)
    """

    formula = "y = |x|"
    codomain = constraints.nonnegative
    bijective = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.abs(x), torch.zeros_like(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("Abs: expected to be asked for images alone; x and -x both have the image |x|, so there is no way back")


@dataclass(frozen=True, repr=False)
class Normalize(Kernel):
    r"""Projection onto the unit sphere, :math:`y = x / |x|_p`: no bijection, since it forgets the length.

    The Jacobian determinant is zero, so ladj is -inf. Acts on the last event axis.

    Args:
        p: Order of the norm, at least 1.

    >>> Normalize().build(2)(torch.tensor([3.0, 4.0]))[0]
    tensor([0.6000, 0.8000])
    """

    p: Annotated[float, Within(least=1.0)] = 2.0

    event_dim = 1
    formula = "y = x / |x|_p"
    log_det = "none: the determinant is zero"
    bijective = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(x, self.p, -1, keepdim=True)
        # Of zeros any direction would do; the first is taken, so that the image is on the sphere.
        first = torch.zeros_like(x)
        first[..., :1] = 1
        empty = length == 0
        y = torch.where(empty, first, x / torch.where(empty, 1.0, length))
        return y, torch.full_like(x[..., 0], -math.inf)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(
            "Normalize: expected to be asked for images alone; the length of a vector cannot be told from its direction"
        )
