"""What the layers of a perceptron are, as data, and their one interpreter by torch's operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pushforward.native.activations import ACTIVATIONS

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""What multiplies: of x, W and b, ``x W' + b``."""


@dataclass(frozen=True)
class Program:
    """The layers of a perceptron: ``z_i = W_i h + b_i (+ z_skip)``, h the activations of an earlier layer, or what comes in.

    The compiled perceptron, the sequential direction and torch's operators all do what it says.

    Args:
        activation: Its name.
        sources: For each layer, the last included, the hidden layer whose activations it takes (-1: what comes in).
        skips: For each layer, the one whose values are added to its own (-1: none, as for the last).
        gains: How many times the weights of a layer without a mask count; a mask says it itself.
        masked: Whether the weights of a layer have a mask.
        products: How many weights there are that no mask forbids.

    Raises:
        ValueError: A layer takes or adds no earlier one, or is not told of in each.
    """

    activation: str
    sources: tuple[int, ...]
    skips: tuple[int, ...]
    gains: tuple[float, ...]
    masked: tuple[bool, ...]
    products: int = 0

    def __post_init__(self) -> None:
        count = len(self.sources)
        if not count or {len(self.skips), len(self.gains), len(self.masked)} != {count} or self.skips[-1] != -1:
            raise ValueError(f"program: expected source, skip, gain and mask of each layer, and no skip of the last, got {self}")
        if any(not -1 <= earlier < layer for earliers in (self.sources, self.skips) for layer, earlier in enumerate(earliers)):
            raise ValueError(f"program: expected sources and skips to be earlier layers, or -1, got {self.sources} and {self.skips}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"program: expected an activation that is one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")


def interpret(program: Program, first: Any, layer: Callable[[int, Any], Tensor], keep: tuple[list[Any], list[Any]] | None = None) -> Tensor:
    """Return what the last layer gives.

    Args:
        program: What the layers are.
        first: What comes in.
        layer: What layer i makes of what it takes, ``layer(i, h)``: `of_tensors`, `of_weights`, or a part of it.
        keep: Lists for z of each hidden layer, and for h: what comes in and each one's activations. Without them nothing is kept that no
            later layer takes.
    """
    activate = ACTIVATIONS[program.activation].function
    sources, skips = program.sources, program.skips
    z: list[Any]
    h: list[Any]
    z, h = ([], []) if keep is None else keep
    h.append(first)
    for index in range(len(sources) - 1):
        source, skip = sources[index], skips[index]
        out = layer(index, h[source + 1])
        if skip >= 0:
            out = out + z[skip]
        if keep is None:
            if source not in sources[index + 1 :]:
                h[source + 1] = None
            if skip >= 0 and skip not in skips[index + 1 :]:
                z[skip] = None
        z.append(out if keep is not None or index in skips else None)
        h.append(activate(out))
    return layer(len(sources) - 1, h[sources[-1] + 1])


def of_tensors(
    program: Program, tensors: Sequence[Tensor | None], context: Tensor | None, product: Product = F.linear
) -> Callable[[int, Tensor | None], Tensor]:
    """Return the layers of tensors as they are learnt: weight, mask, weight of the context, and bias of each in turn.

    The first takes the context beside what comes in, or alone where that is None.
    """

    def layer(index: int, h: Tensor | None) -> Tensor:
        more, bias = tensors[4 * index + 2 : 4 * index + 4]
        if h is None:
            assert context is not None
            assert more is not None
            return product(context, more, bias)
        out = product(h, counted(program, tensors, index), bias)
        return out if more is None or context is None else out + product(context, more, None)

    return layer


def counted(program: Program, tensors: Sequence[Tensor | None], index: int) -> Tensor:
    """Return what a layer multiplies: its weight as the mask says, or times its gain."""
    weight, mask = tensors[4 * index : 4 * index + 2]
    assert weight is not None
    if program.masked[index]:
        assert mask is not None
        return weight * mask
    gain = program.gains[index]
    return weight if gain == 1 else weight * gain


def of_weights(weights: Sequence[Tensor], shift: Tensor | None, product: Product = F.linear) -> Callable[[int, Tensor], Tensor]:
    """Return the layers of masked weight and bias of each in turn; ``shift`` is what the context adds to the first."""

    def layer(index: int, h: Tensor) -> Tensor:
        out = product(h, weights[2 * index], weights[2 * index + 1])
        return out if index or shift is None else out + shift

    return layer
