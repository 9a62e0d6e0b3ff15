"""Dense layers: products with weights that may be masked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core import mode
from pushforward.core.numerics import Rule, differentiable
from pushforward.nets.net import Mask

# To BLAS one row is a matrix and a vector, which it sums in another way; padded up to this many, a row alone is a small batch. How it sums
# a batch of a certain size is its own affair: on some processors a row alone is a few roundings off what it is in a batch all the same.
FEW_ROWS = 4
# Outputs that are multiplied together, and the least size of a layer that is taken in blocks: below, the products are too small to gain.
BLOCK, LEAST = 128, 512


class Block(NamedTuple):
    """Outputs ``[start, stop)`` of a masked layer, all of which see the inputs before ``full``, and none those from ``reach`` on."""

    start: int
    stop: int
    full: int
    reach: int


class Dense(nn.Linear):
    """A linear layer whose weights may be masked: ``mask`` is ``(outputs, inputs)``, None for all ones; all count ``gain`` times."""

    mask: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, mask: Mask | None = None, bias: bool = True, fan_in: int | None = None, gain: float = 1.0
    ) -> None:
        super().__init__(inputs, outputs, bias)
        self.gain = gain
        # In memory as the weights lie: a product of two layouts takes several times as long.
        scaled = None if mask is None else gain * torch.tensor(np.ascontiguousarray(mask), dtype=self.weight.dtype)
        self.register_buffer("mask", scaled, persistent=False)
        self.allowed: Mask = np.ones((outputs, inputs), dtype=bool) if mask is None else mask
        self.blocks = () if mask is None or min(mask.shape) < LEAST else _blocks(mask)
        # As nn.Linear, but counting what a unit really receives: its unmasked inputs and those of a layer beside this one.
        fan = np.full(outputs, fan_in or inputs) if mask is None else mask.sum(1) + ((fan_in or inputs) - inputs)
        bound = torch.tensor(1 / np.sqrt(np.maximum(fan, 1)), dtype=self.weight.dtype)
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(bound[:, None])
            if self.mask is not None:
                self.weight.mul_(self.mask)
            if self.bias is not None:
                self.bias.uniform_(-1, 1).mul_(bound)

    def forward(self, x: Tensor) -> Tensor:
        if not self.blocks or mode.watched() or mode.autocast(x):
            return product(x, self.masked(), self.bias)
        rows = x.to(self.weight.dtype).reshape(math.prod(x.shape[:-1]), self.in_features)
        out: Tensor = differentiable(IN_BLOCKS, (self.blocks, self.gain), rows, self.weight, self.bias, self.mask)
        return out.reshape((*x.shape[:-1], self.out_features))

    def masked(self) -> Tensor:
        """Return what the inputs are multiplied by: the weight times its gain, with zeros where the mask forbids a connection."""
        if self.mask is None:
            return self.weight if self.gain == 1 else self.weight * self.gain
        return self.weight * self.mask


def _blocks(mask: Mask) -> tuple[Block, ...]:
    found = []
    for start in range(0, len(mask), BLOCK):
        rows = mask[start : start + BLOCK]
        seen, hidden = np.flatnonzero(rows.any(0)), np.flatnonzero(~rows.all(0))
        reach = int(seen[-1]) + 1 if len(seen) else 0
        found.append(Block(start, start + len(rows), min(int(hidden[0]) if len(hidden) else reach, reach), reach))
    return tuple(found)


def few(x: Tensor) -> bool:
    """Tell whether there are so few rows that BLAS may sum them in another way; of an export, which is for any number, there never are."""
    return not mode.exporting() and 0 < math.prod(x.shape[:-1]) < FEW_ROWS


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x W' + b``, for a row alone within roundings of what it is in a batch."""
    x = x.to(weight.dtype)
    if few(x) and x.shape[-1]:  # torch 2.5 pads nothing that has no columns
        rows = math.prod(x.shape[:-1])
        padded = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, FEW_ROWS - rows))
        return F.linear(padded, weight, bias)[:rows].reshape((*x.shape[:-1], weight.shape[0]))
    return F.linear(x, weight, bias)


Known = tuple[tuple[Block, ...], float]


def _in_blocks(known: Known, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor) -> Tensor:
    blocks, gain = known
    padded = F.pad(x, (0, 0, 0, FEW_ROWS - len(x))) if 0 < len(x) < FEW_ROWS else x
    out = x.new_zeros(len(padded), len(weight)) if bias is None else bias.expand(len(padded), -1).contiguous()
    for block, part in _parts(blocks, weight, mask):
        at = out[:, block.start : block.stop]
        at.addmm_(padded[:, : block.full], weight[block.start : block.stop, : block.full].mT, alpha=gain)
        at.addmm_(padded[:, block.full : block.reach], part.mT)
    return out[: len(x)]


def _gradient(known: Known, given: Sequence[Tensor], _: None, g: Tensor) -> tuple[Tensor | None, ...]:
    (blocks, gain), (x, weight, bias, mask) = known, given
    gx, gw = torch.zeros_like(x), torch.zeros_like(weight)
    for (start, stop, full, reach), part in _parts(blocks, weight, mask):
        of_block = g[:, start:stop]
        gx[:, :full].addmm_(of_block, weight[start:stop, :full], alpha=gain)
        gx[:, full:reach].addmm_(of_block, part)
        gw[start:stop, :full].addmm_(of_block.mT, x[:, :full], alpha=gain)
        torch.mul(torch.mm(of_block.mT, x[:, full:reach]), mask[start:stop, full:reach], out=gw[start:stop, full:reach])
    return gx, gw, None if bias is None else g.sum(0), None


def _whole(_: Known, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor) -> Tensor:
    return F.linear(x, weight * mask, bias)


IN_BLOCKS = Rule(_in_blocks, _gradient, _whole, keep=False)
"""``x W' + b`` of rows for a large masked W: without the products of its zeros, and masking only what has both zeros and others.

To write the product of a large weight and its mask to new memory takes longer than to multiply a batch with it.
"""


def _parts(blocks: tuple[Block, ...], weight: Tensor, mask: Tensor) -> list[tuple[Block, Tensor]]:
    """Return each block with its weights of which the mask takes some."""
    return [(b, weight[b.start : b.stop, b.full : b.reach] * mask[b.start : b.stop, b.full : b.reach]) for b in blocks]
