"""Weights of another library's network, read from its layers and put into the order in which ours has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.numerics import constant
from pushforward.core.spec import PlanError
from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.net import Mask

Tensors = dict[str, Tensor]


class Weights(NamedTuple):
    """A layer with its mask multiplied into its weights."""

    weight: Tensor
    bias: Tensor
    mask: Mask

    @staticmethod
    def read(linear: Any) -> Weights:
        """Read a layer that has a weight, a bias or None, and perhaps a mask."""
        weight, mask = linear.weight.detach(), getattr(linear, "mask", None)
        bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach()
        allowed = np.ones(weight.shape, dtype=bool) if mask is None else mask.detach().cpu().numpy().astype(bool)
        return Weights(weight if mask is None else weight * mask, bias, allowed)

    def sorted(self, rows: Any) -> Weights:
        """Return the layer with its outputs in another order."""
        return Weights(self.weight[rows], self.bias[rows], self.mask[rows])

    def columns(self, order: Any) -> Weights:
        """Return the layer with its inputs in another order."""
        return Weights(self.weight[:, order], self.bias, self.mask[:, order])

    def named(self, name: str) -> Tensors:
        """Return the tensors of a `Dense`."""
        return {f"{name}.weight": self.weight, f"{name}.bias": self.bias}

    def entrance(self, name: str, inputs: int, context: int) -> Tensors:
        """Return the tensors of an `InputLayer`; a net that sees no context gets weights of zero for it."""
        weight = F.pad(self.weight, (0, inputs + context - self.weight.shape[1]))
        found = {f"{name}.x.weight": weight[:, :inputs]} if inputs else {}
        found |= {f"{name}.c.weight": weight[:, inputs:]} if context else {}
        return found | {f"{name}.{'x' if inputs else 'c'}.bias": self.bias}


class Outputs(NamedTuple):
    """How outputs of another library's network become the parameters of our kernel, which go parameter by parameter.

    Args:
        elements: How many numbers the kernel maps.
        take: For each parameter of one element in our order, which it is there.
        by_element: Whether outputs there go element by element.
        gain: What each parameter, in our order, is multiplied with (None: 1).
        shift: What is added then (None: 0).
    """

    elements: int
    take: Sequence[int]
    by_element: bool = True
    gain: Sequence[float] | None = None
    shift: Sequence[float] | None = None

    @property
    def order(self) -> list[int]:
        """Their outputs in our order."""
        count = len(self.take)
        return [
            element * count + i if self.by_element else i * self.elements + element for i in self.take for element in range(self.elements)
        ]

    def of(self, dense: Weights) -> Weights:
        """Return a last layer that gives the parameters of our kernel."""
        count = len(self.take)
        if len(dense.weight) != count * self.elements:
            raise PlanError(
                f"expected a network with {count} outputs for each of {self.elements} features, got {len(dense.weight)} outputs"
            )
        gain = constant(self.gain or [1.0] * count, dense.weight).repeat_interleave(self.elements)
        shift = constant(self.shift or [0.0] * count, dense.weight).repeat_interleave(self.elements)
        found = dense.sorted(self.order)
        return Weights(found.weight * gain[:, None], found.bias * gain + shift, found.mask)


def activation_name(function: Callable[[Tensor], Tensor]) -> str:
    """Return the name that an activation has here, by its values; raise `PlanError` for one that there is not."""
    probe = torch.linspace(-6.0, 6.0, 25)
    for name, ours in ACTIVATIONS.items():
        if torch.allclose(function(probe), ours.function(probe), rtol=0, atol=1e-6):
            return name
    raise PlanError(f"expected an activation that is one of {', '.join(ACTIVATIONS)}, got {function!r}")
