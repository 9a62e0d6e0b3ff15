"""The layers that a perceptron is made of, and their tensors where none of them has to be called."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.dense import Dense
from pushforward.nets.net import Mask, NetModule, hooked, hooks_of_all


class InputLayer(NetModule):
    """The first layer: inputs and context side by side, so that the context is multiplied once, not once a sample."""

    def __init__(self, inputs: int, context: int, outputs: int, mask: Mask | None) -> None:
        super().__init__(inputs, context)
        fan = inputs + context
        # A mask may be of the inputs alone.
        own, beside = (None, None) if mask is None else (mask[:, :inputs], mask[:, inputs:] if mask.shape[1] > inputs else None)
        self.x = Dense(inputs, outputs, own, fan_in=fan) if inputs else None
        self.c = Dense(context, outputs, beside, bias=not inputs, fan_in=fan) if context else None

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        if self.x is None or x is None:
            out: Tensor = self.c(context)  # type: ignore[misc]
        elif self.c is None:
            out = self.x(x)
        else:
            out = self.x(x) + self.c(context)
        return out


class Block(nn.Module):
    """A residual block before its activation."""

    def __init__(self, width: int, mask: Mask | None, activation: str) -> None:
        super().__init__()
        self.inner, self.outer = Dense(width, width, mask), Dense(width, width, mask)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation].function
        out: Tensor = h + self.outer(activate(self.inner(activate(h))))
        return out


def products(layer: Any) -> tuple[Any, ...]:
    """Return the layers of weights in one of a perceptron's after the first."""
    return (layer.inner, layer.outer) if isinstance(layer, Block) else (layer,)


def tensors(layers: nn.ModuleList) -> list[Tensor | None] | None:
    """Return the tensors of all layers, as `of_tensors` takes them, or None where a layer has to be called to do what it does.

    To look into a module's dictionaries is several times as fast as to ask for its attributes, and this is done at each call.
    """
    first, *rest = layers._modules.values()
    if hooks_of_all() or not _plain(first, InputLayer):
        return None
    own, beside = first.x, first.c
    found: list[Tensor | None] = []
    parts: list[Any] = [part for part in (own, beside) if part is not None]
    for layer in rest:
        if type(layer) is not Dense and isinstance(layer, Block) and not _plain(layer, Block):
            return None
        parts += products(layer)
    for part in parts:
        if not _plain(part, Dense):
            return None
        parameters = part._parameters
        found += (parameters["weight"], part._buffers["mask"], None, parameters["bias"])
    if beside is not None:
        # Of the context the first layer has the weights as they are multiplied, and where there are no inputs its bias.
        at = 0 if own is None else 4
        weight, mask, _, bias = found[at : at + 4]
        weight = weight if weight is None or mask is None else weight * mask
        found[: at + 4] = (None, None, weight, bias) if own is None else (*found[:2], weight, found[3])
    return found


def _plain(module: Any, kind: type[nn.Module]) -> bool:
    """Tell whether a module is what was built: parametrisations change its class, pruning and others hang hooks on it."""
    return type(module) is kind and not hooked(module)
