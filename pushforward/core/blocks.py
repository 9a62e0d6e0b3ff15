"""Blocks: many rows a part at a time, so that what a call takes beside its result has a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pushforward.core import mode

BYTES = 2**25
"""What a block takes, about: each row a few times the numbers of the widest layer."""
TIMES = 4
"""How many times as many numbers a row takes as the widest layer gives: inputs, outputs and parameters of a kernel, and its own."""
LEAST, NUMBERS = 2048, 2**20
"""Rows, and numbers in them, that are taken together without a look at what they go through, which takes as long as a small layer."""
ALONE = ("pushforward.", "torch.nn.modules.container", "torch.nn.modules.linear", "torch.nn.modules.activation")
"""Where modules are to which rows mean nothing to one another, in training as well."""


def in_blocks(
    function: Callable[..., tuple[Tensor, ...]], module: nn.Module, batch: Sequence[int], fixed: int, *given: tuple[Tensor | None, int]
) -> tuple[Tensor, ...]:
    """Return ``function(*tensors)``, of some rows at a time where there are many, and nobody asks for gradients or looks on.

    Args:
        function: From the tensors to tensors ``(*batch, *rest)``, each row by itself.
        module: What the rows go through, which tells how many of them make a block.
        batch: The shape to which the batches of all tensors broadcast.
        fixed: How many axes at the end of the batch are not to be cut.
        given: Each tensor, or None, with the number of axes behind its batch.
    """
    tensors = [tensor for tensor, _ in given]
    if torch.is_grad_enabled() or mode.compiling():
        return function(*tensors)
    count = math.prod(batch)
    width = max(math.prod(tensor.shape[tensor.dim() - rank :]) for tensor, rank in given if tensor is not None)
    if count <= LEAST and count * width <= NUMBERS:
        return function(*tensors)
    cuts = batch[: len(batch) - fixed]
    rows = rows_of(module, width)
    if count <= rows or not cuts or mode.transformed() or mode.tracing():
        return function(*tensors)
    axis = max(range(len(cuts)), key=cuts.__getitem__)
    size = max(1, rows * batch[axis] // count)
    found: list[Tensor] = []
    for start in range(0, batch[axis], size):
        length = min(size, batch[axis] - start)
        made = function(*(_cut(tensor, rank, len(batch) - axis, start, length) for tensor, rank in given))
        # One result that is filled, not parts that are joined, which would take as much again.
        found = found or [part.new_empty((*batch, *part.shape[len(batch) :])) for part in made]
        for whole, part in zip(found, made, strict=True):
            whole.narrow(axis, start, length).copy_(part)
    return tuple(found)


def rows_of(module: nn.Module, width: int) -> int:
    """Return how many rows make a block for a module that takes rows of ``width`` numbers; of huge rows one alone is a block."""
    if any(part.training and not type(part).__module__.startswith(ALONE) for part in module.modules()):
        return 2**62  # a module of the user's, which may look at its batch while it is trained
    widest, bytes_of_number = width, 4
    for parameter in module.parameters():
        widest = max(widest, parameter.shape[0] if parameter.dim() else 1)
        bytes_of_number = max(bytes_of_number, parameter.dtype.itemsize)
    return max(1, BYTES // (TIMES * bytes_of_number * widest))


def _cut(tensor: Tensor | None, rank: int, place: int, start: int, length: int) -> Tensor | None:
    """Return the part of a tensor along the batch axis that is the ``place``-th from the end of the batch, where it has that axis."""
    axis = -1 if tensor is None else tensor.dim() - rank - place
    return tensor if tensor is None or axis < 0 or tensor.shape[axis] == 1 else tensor.narrow(axis, start, length)
