"""Networks of other libraries as plans: perceptrons and residual networks, plain or masked by counts of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pushforward.contrib.conversion.masks import masks_of
from pushforward.core.fields import Count, OneOf, Place
from pushforward.core.spec import PlanError
from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.dense import Dense
from pushforward.nets.mlp import MLP, sizes
from pushforward.nets.net import Net, NetModule
from pushforward.nets.parts import InputLayer
from pushforward.nets.perceptron import Perceptron
from pushforward.nets.signature import Mask, Signature

CONTEXTS = ("entrance", "gate", "shift")


@dataclass(frozen=True, repr=False)
class CopiedMLP(MLP):
    """Multilayer perceptron that holds the weights of another library's.

    Args:
        widths: Width of each hidden layer; none is a linear map.
        activation: As in `MLP`.
        shares: Of a masked net, for each hidden layer how many of its units see each of the sets of inputs that outputs may see
            (None: a net for outputs that see all). Units are in the order of their sets.
        shifted: Whether what the context adds to the first layer is a layer of its own with an activation (MADE of nflows).
    """

    widths: Sequence[Count] = (64, 64)
    shares: Sequence[Sequence[Place]] | None = None
    shifted: bool = False

    def check(self) -> None:
        if self.shares is not None and tuple(sum(share) for share in self.shares) != self.widths:
            raise PlanError(f"CopiedMLP: expected shares that sum to the widths {self.widths}, got {self.shares}")

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        inputs, outputs, context = sizes(self, signature)
        masks = masks_of(self, signature.mask, self.shares, len(self.widths))
        widths = (*self.widths, outputs)
        entrance = InputLayer(inputs, context, widths[0], masks[0])
        if self.shifted and context:
            entrance.c = nn.Sequential(Dense(context, widths[0]), Activation(self.activation))  # type: ignore[assignment]
        if not self.widths:
            return entrance
        layers = [Dense(a, b, mask) for a, b, mask in zip(widths, widths[1:], masks[1:], strict=False)]
        return Perceptron([entrance, *layers], self.activation, start)


class Activation(nn.Module):
    """An activation by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.name].function(x)


@dataclass(frozen=True, repr=False)
class CopiedResidual(Net):
    """Residual network that holds the weights of another library's; its last layer takes the sum as it is.

    A block is ``h + W2 a(W1 a(h))``. The context enters the first layer beside the inputs and no block (``"entrance"``); or so and each
    block as a gate, ``h + (W2 a(...)) sigmoid(C c)`` (``"gate"``: couplings of nflows); or as ``a(C c)`` that is added to the first layer,
    and each block before its second activation (``"shift"``: MADE of nflows).

    Args:
        width: Width of every hidden layer.
        blocks: Number of residual blocks.
        activation: As in `MLP`.
        context: How a context enters.
        preactivated: False for blocks ``h + W2 a(W1 h)`` (Zuko).
        shares: As in `CopiedMLP`, the same for all layers.
    """

    width: Count
    blocks: Count
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu"
    context: Annotated[str, OneOf(*CONTEXTS)] = "entrance"
    preactivated: bool = True
    shares: Sequence[Place] | None = None

    def check(self) -> None:
        if self.shares is not None and sum(self.shares) != self.width:
            raise PlanError(f"CopiedResidual: expected shares that sum to the width {self.width}, got {self.shares}")

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        return ResidualNetwork(self, signature)


class ResidualBlock(nn.Module):
    """A block of a residual network."""

    def __init__(self, plan: CopiedResidual, context: int, mask: Mask | None) -> None:
        super().__init__()
        self.mode, self.activation, self.preactivated = plan.context, plan.activation, plan.preactivated
        self.inner, self.outer = Dense(plan.width, plan.width, mask), Dense(plan.width, plan.width, mask)
        self.c = Dense(context, plan.width) if context and plan.context != "entrance" else None

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        activate = ACTIVATIONS[self.activation].function
        z = self.inner(activate(h) if self.preactivated else h)
        seen = None if self.c is None else self.c(context)
        if self.mode == "shift" and seen is not None:
            z = z + seen
        z = self.outer(activate(z))
        out: Tensor = h + (z * torch.sigmoid(seen) if self.mode == "gate" and seen is not None else z)
        return out


class ResidualNetwork(NetModule):
    """A built residual network."""

    def __init__(self, plan: CopiedResidual, signature: Signature) -> None:
        inputs, outputs, context = sizes(plan, signature)
        super().__init__(inputs, context)
        enter, *hidden, leave = masks_of(plan, signature.mask, None if plan.shares is None else (plan.shares, plan.shares), 2)
        shifted = plan.context == "shift" and context > 0
        self.activation = plan.activation
        self.enter = InputLayer(inputs, 0 if shifted else context, plan.width, enter)
        self.shift = Dense(context, plan.width) if shifted else None
        self.blocks = nn.ModuleList(ResidualBlock(plan, context, hidden[0]) for _ in range(plan.blocks))
        self.leave = Dense(plan.width, outputs, leave)

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        h = self.enter(x, None if self.shift is not None else context)
        if self.shift is not None:
            h = h + ACTIVATIONS[self.activation].function(self.shift(context))
        for block in self.blocks:
            h = block(h, context)
        out: Tensor = self.leave(h)
        return out
