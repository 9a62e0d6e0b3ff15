"""Deep sigmoidal maps: monotone networks whose weights are the kernel's parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import MOST, Count, OneOf, Within
from pushforward.core.numerics import clamp, soft_clamp
from pushforward.kernels.kernel import reference
from pushforward.kernels.monotonic import Monotone, spread
from pushforward.native.elementwise import DEEP_SIGMOID, DEEP_TANH, REFERENCES, Code

# One layer: slopes, shifts, log-shares of the units in each output, shares of the inputs in each unit (None: a single input).
Layer = tuple[Tensor, Tensor, Tensor, Tensor | None]


@dataclass(frozen=True, repr=False)
class DeepSigmoid(Monotone):
    r"""Deep sigmoidal map (DSF): :math:`y = \phi^{-1}\big(\sum_k w_k \phi(a_k x + b_k)\big)`, repeated ``layers`` times.

    A mean of K lines, :math:`w_k > 0, \sum_k w_k = 1, a_k > 0`, taken on the scale of an activation :math:`\phi`: a straight line again
    far out, bent between. The sums are of logarithms, so the tails are exact. With L layers the logs of the scales are within
    :math:`\pm 2 / L`, and all biases together move a line by 6 at most, so that no slope is too flat to be undone.
    Initially the units differ by their biases alone (were they equal they would stay so), spread over 1: the map is within 0.05 of the
    identity for each layer (tanh 0.09, leaky_relu 0.45). 3KL parameters an element; all real values to all real values.
    Source: Neural Autoregressive Flows (Huang et al., 2018).

    Args:
        units: K >= 1.
        layers: L >= 1.
        activation: One of ``sigmoid, tanh, elu, leaky_relu`` (of slope 0.01 below zero).

    >>> DeepSigmoid(units=4).build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    units: Count = 8
    layers: Count = 1
    activation: Annotated[str, OneOf(*MEANS)] = "sigmoid"

    formula = "y = phi^-1(sum_k w_k phi(a_k x + b_k)),  phi = sigmoid, tanh, elu or leaky_relu"
    size = "D * 3 * units * layers"

    @property
    def width(self) -> int:
        """How many values each layer hands on to the next."""
        return 1

    def check(self) -> None:
        kind = COMPILED.get(self.activation)
        code = None if kind is None or self.layers > 1 else Code(kind, self.units, 1.0)
        object.__setattr__(self, "_code", code if code is not None and code.taken else None)

    def code(self) -> Code | None:
        return self._code

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        count = self.units * self.layers
        biases = spread(self.units, 0.5, shape).repeat(self.layers, *(1,) * len(shape))
        return {"scales": torch.zeros(count, *shape), "biases": biases, "weights": torch.zeros(count, *shape)}

    def prepare(self, scales: Tensor, biases: Tensor, weights: Tensor, mixes: Tensor | None = None) -> list[Layer]:
        units, width, last = self.units, self.width, self.layers - 1
        steepest = SCALE_BOUND / self.layers
        # What the earlier layers have shifted is stretched by the later ones.
        shift = MEANS[self.activation][1] / sum([math.exp(steepest * layer) for layer in range(self.layers)])
        slopes = torch.exp(soft_clamp(scales, steepest)).unflatten(-2, (self.layers, units)).unbind(-3)
        shifts = soft_clamp(biases, shift).unflatten(-2, (self.layers, units)).unbind(-3)
        shares = torch.log_softmax(soft_clamp(weights, SHARE_BOUND).unflatten(-2, (last * width + 1, units)), -2)
        inputs: tuple[Tensor | None, ...] = (None,) * self.layers
        if mixes is not None:
            inputs = (None, *torch.softmax(soft_clamp(mixes, SHARE_BOUND).unflatten(-2, (last, units, width)), -2).unbind(-4))
        return list(zip(slopes, shifts, shares.split([width] * last + [1], -3), inputs, strict=True))

    def curve(self, x: Tensor, prepared: list[Layer]) -> tuple[Tensor, Tensor]:
        mean = MEANS[self.activation][0]
        # Slopes are bounded both ways, so the chain rule needs no logarithms before the end.
        value, slope = x.unsqueeze(-2), torch.ones_like(x).unsqueeze(-2)
        for steepness, shift, share, inputs in prepared:
            if inputs is not None:
                value, slope = (inputs * value.unsqueeze(-3)).sum(-2), (inputs * slope.unsqueeze(-3)).sum(-2)
            value, slope = mean((steepness * value + shift).unsqueeze(-3), (steepness * slope).unsqueeze(-3), share)
        return value.squeeze(-2), torch.log(slope).squeeze(-2)


@dataclass(frozen=True, repr=False)
class DenseSigmoid(DeepSigmoid):
    r"""Dense deep sigmoidal map (DDSF): `DeepSigmoid` with K values, not one, handed on from layer to layer.

    .. math:: h^{l}_i = \phi^{-1}\big(\sum_j w^l_{ij} \phi(a^l_j \sum_k u^l_{jk} h^{l-1}_k + b^l_j)\big), \quad h^0 = x, \; h^L = y

    The rows of w and u are positive and sum to 1; the slope follows layer by layer from the chain rule. Bounds and initial
    values are those of `DeepSigmoid`, but that each value handed on leans on a unit of its own.
    :math:`2KL + 2K^2(L-1) + K` parameters an element; all real values to all real values.
    Source: Neural Autoregressive Flows (Huang et al., 2018), section 4.2.

    Args:
        units: K >= 1, in each layer.
        layers: L >= 2.
        activation: As in `DeepSigmoid`.

    >>> DenseSigmoid(units=3).build((2,))(torch.ones(5, 2))[1].shape
    torch.Size([5])
    """

    units: Count = 4
    layers: Annotated[int, Within(least=2, most=MOST)] = 2

    formula = "y = h_L,  h_l = phi^-1(W_l phi(a_l U_l h_(l-1) + b_l)),  h_0 = x,  phi = sigmoid, tanh, elu or leaky_relu"
    size = "D * (2 * units * layers + 2 * units ** 2 * (layers - 1) + units)"

    @property
    def width(self) -> int:
        return self.units

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        own = torch.eye(self.units).flatten().repeat(self.layers - 1)
        weights = torch.cat([own, torch.zeros(self.units)]).reshape(-1, *(1,) * len(shape)).expand(-1, *shape)
        return super().init(shape) | {"weights": weights, "mixes": torch.zeros((self.layers - 1) * self.units**2, *shape)}


SCALE_BOUND = 2.0
SHARE_BOUND = 3.0
LEAK = 0.01

# Each takes the units' lines and their slopes, (*batch, 1, K, elements), and the log-shares (*batch, outputs, K, elements), and returns the
# mean of the lines on its scale, and its slope, (*batch, outputs, elements).


def _sigmoid_mean(z: Tensor, slope: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    up, down = share + F.logsigmoid(z), share + F.logsigmoid(-z)
    # w s(z) s(-z) / (P Q), with P and Q the sums of either sigmoid, as a product of two shares: far out P or Q is nothing.
    inner = torch.softmax(up, -2) * torch.softmax(down, -2) * torch.exp(-share)
    return torch.logsumexp(up, -2) - torch.logsumexp(down, -2), (slope * inner).sum(-2)


def _tanh_mean(z: Tensor, slope: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    # tanh z = 2 sigmoid(2z) - 1
    y, slope = _sigmoid_mean(2 * z, slope, share)
    return 0.5 * y, slope


def _elu_mean(z: Tensor, slope: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    above = F.relu(z)
    level = share + clamp(z, max=0) + torch.log1p(above)  # the logarithm of w (1 + elu(z))
    total = torch.logsumexp(level, -2)
    y = torch.where(total < 0, total, (torch.exp(share) * F.elu(z)).sum(-2))
    return y, (slope * torch.softmax(level, -2) / (1 + above)).sum(-2) * (1 + F.relu(y))


def _leaky_relu_mean(z: Tensor, slope: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    w = torch.exp(share)
    y = F.leaky_relu((w * F.leaky_relu(z, LEAK)).sum(-2), 1 / LEAK)
    return y, (slope * w * torch.where(z > 0, torch.ones_like(z), LEAK)).sum(-2) * torch.where(y > 0, torch.ones_like(y), 1 / LEAK)


# The means, and how far all biases together may move a line: no further than that slopes stay well above float32's rounding.
Mean = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
MEANS: dict[str, tuple[Mean, float]] = {
    "sigmoid": (_sigmoid_mean, 6.0),
    "tanh": (_tanh_mean, 3.0),
    "elu": (_elu_mean, 6.0),
    "leaky_relu": (_leaky_relu_mean, 6.0),
}
COMPILED = {"sigmoid": DEEP_SIGMOID, "tanh": DEEP_TANH}
REFERENCES[DEEP_SIGMOID] = lambda code: reference(DeepSigmoid(code.bins))
REFERENCES[DEEP_TANH] = lambda code: reference(DeepSigmoid(code.bins, activation="tanh"))
