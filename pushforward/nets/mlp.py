"""Hypernetworks: multilayer perceptrons, plain, masked and residual, with the context joined in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor, nn

from pushforward.core.budget import reserve
from pushforward.core.fields import Count, Length, OneOf
from pushforward.core.spec import PlanError
from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.dense import Dense
from pushforward.nets.net import Net
from pushforward.nets.parts import Block, InputLayer
from pushforward.nets.perceptron import Perceptron
from pushforward.nets.signature import Mask, Signature

WIDE = 64
"""Width up to which the outputs of a net are plain sums."""


@dataclass(frozen=True, repr=False)
class MLP(Net):
    """Multilayer perceptron; masked (MADE) where each output may see only some inputs.

    The context enters the first layer beside the inputs. The last layer starts with zero weights, and counts more than 64 inputs
    sqrt(64 / width) times each, so that wide nets learn nearly at the rate of narrow ones.
    Source of the masks: MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015).

    Args:
        widths: Width of each hidden layer.
        activation: One of ``relu, leaky_relu, elu, gelu, silu, softplus, tanh, sigmoid``.

    >>> net = MLP((32,)).build(Signature(inputs=(2,), outputs=(3,), context=(4,)))
    >>> net(torch.zeros(5, 2), torch.zeros(4)).shape
    torch.Size([5, 3])
    """

    widths: Annotated[Sequence[Count], Length(1)] = (64, 64)
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu"

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        inputs, outputs, context = sizes(self, signature)
        masks = _masks(signature.mask, self.widths, inputs, context)
        layers: list[nn.Module] = [InputLayer(inputs, context, self.widths[0], masks[0])]
        layers += [Dense(a, b, mask) for a, b, mask in zip(self.widths, self.widths[1:], masks[1:], strict=False)]
        layers.append(_exit(self.widths[-1], outputs, masks[-1]))
        return Perceptron(layers, self.activation, start)

    def summary(self, signature: Signature) -> str:
        return _summary("MLP", signature, self.widths, self.activation)


@dataclass(frozen=True, repr=False)
class ResidualMLP(Net):
    """Residual perceptron: blocks ``h + W2 a(W1 a(h))`` of one width; masked where each output may see only some inputs.

    Source: Deep Residual Learning for Image Recognition (He et al., 2016), as used in Neural Spline Flows (Durkan et al., 2019).

    Args:
        width: Width of every hidden layer.
        blocks: Number of residual blocks.
        activation: As in `MLP`.

    >>> ResidualMLP(width=32).build(Signature((2,), (3,)))(torch.zeros(5, 2), None).shape
    torch.Size([5, 3])
    """

    width: Count = 64
    blocks: Count = 2
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu"

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        inputs, outputs, context = sizes(self, signature)
        enter, hidden, leave = _masks(signature.mask, (self.width, self.width), inputs, context)
        layers: list[nn.Module] = [InputLayer(inputs, context, self.width, enter)]
        layers += [Block(self.width, hidden, self.activation) for _ in range(self.blocks)]
        layers.append(_exit(self.width, outputs, leave))
        return Perceptron(layers, self.activation, start)

    def summary(self, signature: Signature) -> str:
        return _summary("ResidualMLP", signature, (f"{self.blocks} blocks of {self.width}",), self.activation)


def _exit(width: int, outputs: int, mask: Mask | None) -> Dense:
    """Return the last layer; one of more than ``WIDE`` inputs counts each the less.

    An optimiser such as Adam moves all weights by the same amount in each step, so the outputs of a wide layer move with its width: a step
    that is right for 64 units throws the parameters of 256 units beyond the bounds of their kernel, where slopes are small.
    Source: Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer (Yang et al., 2022).
    """
    return Dense(width, outputs, mask, gain=min(1.0, math.sqrt(WIDE / width)))


def sizes(net: Net, signature: Signature) -> tuple[int, int, int]:
    """Return the numbers of inputs, outputs and context of a net on flat values, or raise `PlanError`."""
    if not isinstance(signature, Signature) or not signature.is_flat:
        got = signature.words() if isinstance(signature, Signature) else repr(signature)
        raise PlanError(f"{net!r}: expected a signature of one axis each, such as Signature((2,), (3,)), got {got}")
    return signature.sizes


def _summary(name: str, signature: Signature, hidden: Sequence[object], activation: str) -> str:
    return f"{name} {' → '.join(map(str, (signature.entrance(), *hidden, signature.sizes[1])))}, {activation}"


def _masks(mask: Mask | None, widths: Sequence[int], inputs: int, context: int) -> list[Mask | None]:
    """Return a mask for each layer: input to hidden, hidden to hidden, hidden to output; the first has columns for what ``mask`` has.

    Each hidden unit is given one of the sets that outputs may see, sorted by size; a connection is allowed where the
    earlier set is part of the later one. For a chain of features this is MADE, for any other graph it is as exact.
    """
    if mask is None:
        return [None] * (len(widths) + 1)
    sets = np.unique(mask, axis=0)
    sets = sets[np.lexsort((*sets.T, sets.sum(1)))]
    if len(sets) > 1 and not (context and mask.shape[1] == inputs):
        sets = sets[sets.any(1)]  # a unit that sees nothing is a constant, unless it sees the context
    nested = all(within(a[None], b[None]).item() for a, b in zip(sets, sets[1:], strict=False))
    if not nested and min(widths) < len(sets):
        raise PlanError(f"MLP: expected hidden widths of at least {len(sets)}, one unit for each set of parents, got {tuple(widths)}")
    # Sets of inputs for each unit, and products of them that take several numbers for each entry of a mask.
    reserve(sum(width * mask.shape[1] for width in widths), 1)
    reserve(sum(a * b for a, b in zip(widths, (*widths[1:], len(mask)), strict=True)), 16)
    hidden = [sets[[unit * len(sets) // width for unit in range(width)]] for width in widths]
    between = [within(early, late) for early, late in zip(hidden, hidden[1:], strict=False)]
    return [hidden[0], *between, within(hidden[-1], mask)]


def within(early: Mask, late: Mask) -> Mask:
    """Return for sets of inputs, ``(early, inputs)`` and ``(late, inputs)``, a mask ``(late, early)``: where the early is part of the late.

    >>> within(np.array([[True, False], [True, True]]), np.array([[True, False]]))
    array([[ True, False]])
    """
    missing = early.astype(np.float32) @ (~late).astype(np.float32).T
    return np.asarray(missing.T < 0.5)
