"""Simplices and ordered vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pushforward.core import sets
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp, finer
from pushforward.kernels.constrained import Constrained


def _tail_sums(x: Tensor) -> Tensor:
    """Return the sums of the numbers from each on: of positive ones nothing cancels, as it would in 1 minus those before."""
    return torch.cumsum(x.flip(-1), -1).flip(-1)


def _longer(shape: Shape) -> Shape:
    return (shape[0] + 1,)


def _shorter(shape: Shape) -> Shape:
    return (shape[0] - 1,)


@dataclass(frozen=True, repr=False)
class StickBreaking(Constrained):
    r"""Stick breaking, from K - 1 real numbers to the simplex of K: each takes a share :math:`\sigma(x_k - \log(K - k))` of what is left.

    The offsets put zero at the centre of the simplex. The log-determinant is that of the first K - 1 coordinates, the last being 1 minus
    their sum. Acts on the last event axis; no parameters.
    Source: A Constructive Definition of Dirichlet Priors (Sethuraman, 1994).

    >>> StickBreaking().build((2,))(torch.zeros(2))[0]
    tensor([0.3333, 0.3333, 0.3333])
    """

    formula = "y_k = sigmoid(x_k - log(K - k)) (1 - y_1 - ... - y_(k-1)),  y_K the rest"
    domain = constraints.real_vector
    codomain = sets.Simplex()

    def after(self, shape: Shape) -> Shape:
        return _longer(shape)

    def before(self, shape: Shape) -> Shape:
        return _shorter(shape)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        z = x - self._offset(x)
        log_share, log_rest = F.logsigmoid(z), F.logsigmoid(-z)
        log_left = torch.cumsum(log_rest, -1)
        log_y = F.pad(log_share, (0, 1)) + F.pad(log_left, (1, 0))
        # dy_k/dx_k = y_k (1 - share_k), and no earlier y depends on x_k.
        return torch.exp(log_y), (log_y[..., :-1] + log_rest).sum(-1)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        tails = _tail_sums(y)
        left = torch.log(tails[..., 1:])
        log_y = torch.log(y[..., :-1])
        x = log_y - left
        return x + self._offset(x), -(log_y + left - torch.log(tails[..., :-1])).sum(-1)

    @staticmethod
    def _offset(x: Tensor) -> Tensor:
        return torch.log(torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device))


@dataclass(frozen=True, repr=False)
class Softmax(Constrained):
    r"""Softmax with the last logit fixed at zero, from K - 1 real numbers to the simplex of K.

    A softmax of K logits takes all that differ by a constant to the same point and is no bijection; this one is, and like that one it
    treats the coordinates alike. The log-determinant is that of the first K - 1 coordinates, :math:`\sum_{k=1}^K \log y_k`. Acts on the
    last event axis; no parameters.
    Source: The Statistical Analysis of Compositional Data (Aitchison, 1982), additive log-ratio.

    >>> Softmax().build((2,))(torch.zeros(2))[0]
    tensor([0.3333, 0.3333, 0.3333])
    """

    formula = "y = softmax(x_1, ..., x_(K-1), 0)"
    domain = constraints.real_vector
    codomain = sets.Simplex()

    def after(self, shape: Shape) -> Shape:
        return _longer(shape)

    def before(self, shape: Shape) -> Shape:
        return _shorter(shape)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        log_y = torch.log_softmax(F.pad(x, (0, 1)), -1)
        return torch.exp(log_y), log_y.sum(-1)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        log_y = torch.log(y)
        return log_y[..., :-1] - log_y[..., -1:], -log_y.sum(-1)


@dataclass(frozen=True, repr=False)
class SimplexToOrdered(Constrained):
    r"""From the simplex of K to K - 1 ordered cut points, :math:`y_k = a + \mathrm{logit}(x_1 + \dots + x_k)`.

    The cut points of an ordered logistic regression, given the probabilities of its categories. The log-determinant is that of the first
    K - 1 coordinates of the simplex. Acts on the last event axis; no parameters.
    Source: Ordinal Regression (Betancourt, 2019), section 2.2.

    Args:
        anchor: a, where the cut points are centred.

    >>> SimplexToOrdered().build((3,))(torch.tensor([0.25, 0.5, 0.25]))[0]
    tensor([-1.0986,  1.0986])
    """

    anchor: float = 0.0

    formula = "y_k = anchor + logit(x_1 + ... + x_k)"
    domain = sets.Simplex()
    codomain = sets.ORDERED

    def after(self, shape: Shape) -> Shape:
        return _shorter(shape)

    def before(self, shape: Shape) -> Shape:
        return _longer(shape)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        fine = finer(x)  # near the anchor two logs cancel, whose sums have one rounding for each of the numbers
        log_below, log_above = torch.log(torch.cumsum(fine, -1)[..., :-1]), torch.log(_tail_sums(fine)[..., 1:])
        return (self.anchor + log_below - log_above).to(x.dtype), -(log_below + log_above).sum(-1).to(x.dtype)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        fine = finer(y)
        z = fine - self.anchor
        log_below, log_above = F.logsigmoid(z), F.logsigmoid(-z)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): nothing cancels but the gap itself.
        log_gap = torch.log(-torch.expm1(fine[..., :-1] - fine[..., 1:]))
        log_x = F.pad(log_below, (0, 1)) + F.pad(log_above, (1, 0)) + F.pad(log_gap, (1, 1))
        return torch.exp(log_x).to(y.dtype), (log_below + log_above).sum(-1).to(y.dtype)


@dataclass(frozen=True, repr=False)
class Ordered(Constrained):
    r"""From D real numbers to D increasing ones: :math:`y_1 = x_1`, then :math:`y_k = y_{k-1} + e^{x_k}`.

    A gap below the rounding of what it is added to becomes that rounding, so what is mapped is ordered. Acts on the last event axis; no
    parameters.

    Args:
        positive: Make the first one positive too, :math:`y_1 = e^{x_1}`.

    >>> Ordered().build((3,))(torch.zeros(3))[0]
    tensor([0., 1., 2.])
    """

    positive: bool = False

    formula = "y_1 = x_1 (positive: exp(x_1)),  y_k = y_(k-1) + exp(x_k)"
    domain = constraints.real_vector

    @property
    def codomain(self) -> sets.Ordered:  # type: ignore[override]
        return sets.POSITIVE_ORDERED if self.positive else sets.ORDERED

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        # All of them together stay within the floating-point format.
        gap = torch.exp(clamp(x, max=math.log(torch.finfo(x.dtype).max / 2 / x.shape[-1])))
        if self.positive:
            return torch.cumsum(gap, -1), x.sum(-1)
        return torch.cumsum(torch.cat([x[..., :1], gap[..., 1:]], -1), -1), x[..., 1:].sum(-1)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        log_gap = torch.log(y[..., 1:] - y[..., :-1])
        first = torch.log(y[..., :1]) if self.positive else y[..., :1]
        x = torch.cat([first, log_gap], -1)
        return x, -(x.sum(-1) if self.positive else log_gap.sum(-1))
