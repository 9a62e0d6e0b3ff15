"""Shaped nets among layers, which keep their values flat: shapes are given back on the way in, and taken off on the way out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.core.checks import first_parameter
from pushforward.core.layer import Shape
from pushforward.nets.net import NetModule, start_at
from pushforward.nets.signature import Signature


class ShapedNet(NetModule):
    """A network on values in their shapes as one on flat values; it gets one axis of batch, and values in its weights' precision."""

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        inputs, self.outputs, context = signature.sizes
        super().__init__(inputs, context)
        self.module = module
        self.of_inputs, self.of_outputs, self.of_context = signature.inputs, signature.outputs, signature.context

    def label(self) -> str:
        return type(self.module).__name__

    def start_at(self, start: Tensor) -> None:
        start_at(self.module, start.reshape(self.of_outputs))

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        batch = torch.broadcast_shapes(*(value.shape[:-1] for value in (x, context) if value is not None))
        of_weights = first_parameter(self.module)

        def shaped(value: Tensor | None, shape: Shape | None) -> Tensor | None:
            if value is None or shape is None:
                return None
            value = value if of_weights is None else value.to(of_weights.dtype)
            return value.expand(*batch, -1).reshape(math.prod(batch), *shape)

        out: Tensor = self.module(shaped(x, self.of_inputs), shaped(context, self.of_context))
        return out.reshape(*batch, self.outputs)
