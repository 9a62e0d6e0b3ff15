"""Block neural autoregressive flow: one network that is itself the map, increasing in each feature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.fields import Count, Length, OneOf, Positive
from pushforward.core.layer import Layer, Shape
from pushforward.core.numerics import finer, soft_clamp
from pushforward.core.promise import Accuracy, Effort
from pushforward.core.roots import root
from pushforward.core.spec import PlanError
from pushforward.kernels.planar import LEAK, leaky_slope, tanh_slope
from pushforward.layers.residual import WholeModule

ROOT_STEPS = 42
GATE_BOUND = 4.0
GATE_START = -2.0


def _leaky_tanh(v: Tensor) -> tuple[Tensor, Tensor]:
    h, slope = tanh_slope(v)
    return (1 - LEAK) * h + LEAK * v, (1 - LEAK) * slope + LEAK


# Each with its slope, which is positive and nowhere beyond 1.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "tanh": tanh_slope,
    "leaky_tanh": _leaky_tanh,
    "leaky_relu": leaky_slope,
}


@dataclass(frozen=True, repr=False)
class BlockAutoregressive(Bijector):
    r"""Block neural autoregressive flow: :math:`y_i` is a network of :math:`x_{\le i}` and the context that increases in :math:`x_i`.

    Each feature has some units in each hidden layer, so that a weight is a table of blocks: positive on the diagonal
    (:math:`e^{s(\cdot)}` divided by the units that it joins), any number below it, zero above, all bounded smoothly. The slope of
    :math:`y_i` is a product of the diagonal blocks and the slopes of the activation, in which nothing but positive numbers is added. The
    inverse makes one feature after the other, each a safeguarded root with implicit gradients.

    With n for the network, ``residual`` is ``"gated"``, :math:`y = \gamma n(x) + (1 - \gamma) x`, ``"normal"``, :math:`y = x + n(x)`, or
    None, :math:`y = n(x)`. The last needs an activation that is onto, else values far out would have no origin. The layer starts with no
    feature seeing another, gated with slopes near 1; it cannot be the identity exactly. All real values to all real values.
    Source: Block Neural Autoregressive Flow (De Cao et al., 2019).

    Args:
        factors: Units for each feature, for each hidden layer.
        activation: ``"tanh"``, ``"leaky_tanh"`` (0.8 tanh v + 0.2 v) or ``"leaky_relu"`` (slope 0.2 below zero).
        residual: ``"gated"``, ``"normal"`` or None.
        bound: The largest absolute value of the other weights, and of the logarithm of a positive one times the units that it joins.

    >>> layer = BlockAutoregressive((4,)).build(3, context_shape=2)
    >>> layer(torch.zeros(5, 3), torch.zeros(5, 2))[1].shape
    torch.Size([5])
    """

    factors: Annotated[Sequence[Count], Length(1)] = (8, 8)
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "tanh"
    residual: Annotated[str, OneOf("gated", "normal")] | None = "gated"
    bound: Positive = 2.0

    event_dim = 1
    inverse_method = "a root for each feature"
    formula = "y_i = n_i(x_1, ..., x_i), increasing in x_i"
    size = "sum(D * b * (D * a + 1) for a, b in zip((1, *factors), (*factors, 1))) + (residual == 'gated')"

    def check(self) -> None:
        if self.residual is None and self.activation == "tanh":
            raise PlanError(
                "BlockAutoregressive: expected residual to be 'gated' or 'normal' where activation is 'tanh', whose values are bounded, "
                "got None; or take activation 'leaky_tanh'"
            )

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return BlockAutoregressiveModule(self, event_shape, context_shape)


class Blocks(nn.Module):
    """A table of blocks ``(D out, D in)``: positive on the diagonal, any number below, zero above."""

    def __init__(self, features: int, inputs: int, outputs: int, bound: float) -> None:
        super().__init__()
        self.features, self.inputs, self.outputs, self.bound = features, inputs, outputs, bound
        start = 0.3 * torch.randn(features, outputs, features, inputs)
        own = torch.eye(features).reshape(features, 1, features, 1)
        # Other features start unseen; units of one feature have to differ from one another.
        self.weight = nn.Parameter((start * own).reshape(features * outputs, features * inputs))
        self.bias = nn.Parameter(torch.linspace(-1, 1, outputs).repeat(features) if outputs > 1 else torch.zeros(features))

    def blocks(self) -> tuple[Tensor, Tensor]:
        """Return all the weights ``(D out, D in)`` and the positive blocks ``(D, out, in)``."""
        weight = finer(self.weight)
        table = weight.unflatten(0, (self.features, self.outputs)).unflatten(-1, (self.features, self.inputs))
        bounded = soft_clamp(table, self.bound)
        place = torch.arange(self.features, device=weight.device)
        row, column = place.reshape(-1, 1, 1, 1), place.reshape(1, 1, -1, 1)
        positive = torch.exp(bounded) / self.inputs
        full = torch.where(row == column, positive, torch.where(row > column, bounded, torch.zeros_like(bounded)))
        diagonal = torch.diagonal(positive, dim1=0, dim2=2).permute(2, 0, 1)
        return full.reshape(weight.shape), diagonal


class BlockAutoregressiveModule(WholeModule):
    """A built block autoregressive layer; the event is flat inside."""

    def __init__(self, plan: BlockAutoregressive, event_shape: Shape, context_shape: Shape | None) -> None:
        features = math.prod(event_shape)
        super().__init__(plan, event_shape, context_shape, features * plan.factors[0])
        self.features, self.activation, self.residual = features, plan.activation, plan.residual
        sizes = (1, *plan.factors, 1)
        self.layers = nn.ModuleList(Blocks(features, a, b, plan.bound) for a, b in zip(sizes, sizes[1:], strict=False))
        self.gate = nn.Parameter(torch.tensor(GATE_START)) if plan.residual == "gated" else None
        self.facts = Facts(
            depends_on=self.seen("earlier inputs"),
            uses_context=self.context is not None,
            accuracy=(Accuracy(), Accuracy(features)),
            effort=(Effort(), Effort(ROOT_STEPS + 3, features, roots=1, adaptive=True)),
        )

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, weights, biases = self._prepare(x, context)
        h, slope = value, torch.ones_like(value).unsqueeze(-1)
        for index, ((full, own), bias) in enumerate(zip(weights, biases, strict=True)):
            h = torch.matmul(h, full.mT) + bias
            slope = torch.matmul(own, slope.unsqueeze(-1)).squeeze(-1)
            if index + 1 < len(weights):
                h, steep = ACTIVATIONS[self.activation](h)
                slope = slope * steep.unflatten(-1, (self.features, -1))
        y, slope = self._joined(value, h, slope.squeeze(-1))
        return self.leave(x, y, torch.log(slope).sum(-1))

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        target, weights, biases = self._prepare(y, context)
        made: list[list[Tensor]] = [[] for _ in weights]  # what each layer is given, feature by feature
        total = target.new_zeros(target.shape[:-1])
        for i in range(self.features):
            shifts, own = [], []
            for (full, diagonal), bias, before in zip(weights, biases, made, strict=True):
                units, inputs = diagonal.shape[1:]
                rows = slice(i * units, (i + 1) * units)
                shift = bias[..., rows]
                if before:
                    shift = shift + torch.matmul(torch.cat(before, -1), full[rows, : i * inputs].mT)
                shifts.append(shift)
                own.append(diagonal[i])

            def feature(x: Tensor, shifts: list[Tensor] = shifts, own: list[Tensor] = own) -> tuple[Tensor, Tensor]:
                value, slope, _ = self._feature(x, shifts, own)
                return value, torch.log(slope)

            x = root(feature, target[..., i], ROOT_STEPS)
            _, slope, hidden = self._feature(x, shifts, own)
            total = total - torch.log(slope)
            for before, h in zip(made, hidden, strict=True):
                before.append(h)
        return self.leave(y, torch.cat(made[0], -1), total)

    def _feature(self, x: Tensor, shifts: list[Tensor], own: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return one feature's value and slope, and what each layer is given, from what earlier features add to each layer."""
        h, slope = x.unsqueeze(-1), torch.ones_like(x).unsqueeze(-1)
        given = []
        for index, (shift, block) in enumerate(zip(shifts, own, strict=True)):
            given.append(h)
            h, slope = torch.matmul(h, block.mT) + shift, torch.matmul(slope, block.mT)
            if index + 1 < len(own):
                h, steep = ACTIVATIONS[self.activation](h)
                slope = slope * steep
        y, slope = self._joined(x, h.squeeze(-1), slope.squeeze(-1))
        return y, slope, given

    def _joined(self, x: Tensor, n: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return value and slope of the map from those of the network."""
        if self.residual == "normal":
            return x + n, 1 + slope
        if self.gate is None:
            return n, slope
        # Bounded, so that the linear part, which makes the map onto, never vanishes.
        gate = torch.sigmoid(soft_clamp(finer(self.gate), GATE_BOUND))
        return x + gate * (n - x), (1 - gate) + gate * slope

    def _prepare(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Return flat values, the weights and their positive blocks, and biases, the first with what the context adds."""
        weights = [layer.blocks() for layer in self.layers]  # type: ignore[operator]
        biases = [finer(layer.bias) for layer in self.layers]  # type: ignore[arg-type]
        value, biases[0] = self.enter(x, context, biases[0])
        return value, weights, biases
