"""Precision: a flow of a half format is trained in float32, since the steps of an optimiser would be lost in its rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


class Masters:
    """The tensors of a module that are in a half format, as float32 within a block: its weights are rounded once, at the end.

    The parameters stay the same objects, so an optimiser that is made inside holds them before and after.

    Args:
        module: The module, of which nothing is changed where it has no tensor of a half format.
    """

    def __init__(self, module: nn.Module) -> None:
        self.kept = [(tensor, tensor.dtype) for tensor in (*module.parameters(), *module.buffers()) if tensor.dtype in HALF]

    def __enter__(self) -> Masters:
        for tensor, _ in self.kept:
            tensor.grad = None
            tensor.data = tensor.data.float()
        return self

    def __exit__(self, *_: object) -> None:
        for tensor, dtype in self.kept:
            tensor.grad = None
            tensor.data = tensor.data.to(dtype)

    @contextmanager
    def rounded(self) -> Iterator[None]:
        """Let the numbers within a block be those that are left at the end."""
        fine: list[Tensor] = [tensor.data.clone() for tensor, _ in self.kept]
        for tensor, dtype in self.kept:
            tensor.data.copy_(tensor.data.to(dtype))
        try:
            yield
        finally:
            for (tensor, _), data in zip(self.kept, fine, strict=True):
                tensor.data.copy_(data)
