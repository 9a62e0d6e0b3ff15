"""A built perceptron: layers with an activation between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.native.perceptron import small
from pushforward.native.program import Program
from pushforward.nets.dense import Dense
from pushforward.nets.net import NetModule
from pushforward.nets.parts import Block, InputLayer, products, tensors
from pushforward.nets.strategies import Call, Traits, evaluate


class Perceptron(NetModule):
    """Layers with an activation before each but the first and each residual block; the last starts as a constant."""

    def __init__(self, layers: Sequence[nn.Module], activation: str, start: Tensor | None) -> None:
        entrance = layers[0]
        assert isinstance(entrance, InputLayer)
        super().__init__(entrance.inputs, entrance.context)
        self.layers = nn.ModuleList(layers)
        self.activation = activation
        last = layers[-1]
        assert isinstance(last, Dense)
        self.start_at(torch.zeros_like(last.bias) if start is None else start)
        self.program = self._program()
        self.traits = self._traits()

    def label(self) -> str:
        return "MLP"

    def start_at(self, start: Tensor) -> None:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(start)

    def constant(self) -> Tensor | None:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        # What hangs on a layer may give something else than its weights say.
        return None if tensors(self.layers) is None or bool(last.weight.any()) else last.bias.detach()

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        return evaluate(self.call(x, context))

    def call(self, x: Tensor | None, context: Tensor | None) -> Call:
        """Return all that a strategy asks of a call."""
        layers: nn.ModuleList = self._modules["layers"]  # type: ignore[assignment]
        seen, beside = x if self.inputs else None, context if self.context else None
        return Call(self.program, self.traits, layers, tensors(layers), seen, beside)

    def dense(self) -> list[Dense]:
        """Return the layers of weights in turn; of a first that sees inputs and a context, the one of the inputs."""
        found: list[Dense] = []
        for layer in self.layers:
            parts = (layer.x or layer.c,) if isinstance(layer, InputLayer) else products(layer)
            assert all(isinstance(part, Dense) for part in parts)
            found += parts
        return found

    def _program(self) -> Program:
        sources, skips, last = [-1], [-1], 0
        for layer in self.layers[1:-1]:
            new = len(sources)
            sources += [last, new] if isinstance(layer, Block) else [last]
            skips += [-1, last] if isinstance(layer, Block) else [-1]
            last = len(sources) - 1
        layers = self.dense()
        count = sum(int(part.allowed.sum()) for part in self.modules() if isinstance(part, Dense))
        gains, masked = tuple(layer.gain for layer in layers), [layer.mask is not None for layer in layers]
        # Of a context alone the first weights are those of the context, which come as they are multiplied.
        masked[0] = masked[0] and self.inputs > 0
        return Program(self.activation, (*sources, last), (*skips, -1), gains, tuple(masked), count)

    def _traits(self) -> Traits:
        entrance, second, *rest = self.layers
        parts = [part for part in (entrance.x, entrance.c) if part is not None]
        narrow = bool(rest) and all(isinstance(part, Dense) and not part.blocks for part in (*parts, second))
        narrow = narrow and 4 * sum(part.in_features for part in parts if isinstance(part, Dense)) <= self.dense()[1].in_features
        return Traits(small(self.program), narrow, any(part.blocks for part in self.modules() if isinstance(part, Dense)))
