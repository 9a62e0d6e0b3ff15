"""The activations of perceptrons: one table, of which plans, torch's operators, gradients and the library's enum follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

aten: Any = torch.ops.aten


class Activation(NamedTuple):
    """A row of the table.

    Args:
        function: The activation ``h`` of values ``z``.
        gradient: The gradient at ``z`` of ``(g, z, h)``, from that at ``h``: torch's own, called without a graph.
        steepest: No slope is steeper.
        code: Its name in the enum of the library, or None: then torch evaluates small nets, too.
        slope: The slope at ``(z, h)``, in operators that differentiate any number of times, or None: then it is found by tangents.
    """

    function: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]
    steepest: float
    code: str | None = None
    slope: Callable[[Tensor, Tensor], Tensor] | None = None


def _gelu_slope(z: Tensor, _: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(z * math.sqrt(0.5))) + z * density


def _silu_slope(z: Tensor, h: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate + h * (1 - gate)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(F.relu, lambda g, z, h: aten.threshold_backward(g, h, 0), 1.0, "RELU", lambda z, h: (z > 0).to(z)),
    "leaky_relu": Activation(
        F.leaky_relu,
        lambda g, z, h: aten.leaky_relu_backward(g, z, 0.01, False),
        1.0,
        "LEAKY_RELU",
        lambda z, h: torch.where(z > 0, torch.ones_like(z), 0.01),
    ),
    "elu": Activation(
        F.elu, lambda g, z, h: aten.elu_backward(g, 1, 1, 1, False, z), 1.0, "ELU", lambda z, h: torch.exp(torch.clamp(z, max=0.0))
    ),
    "gelu": Activation(F.gelu, lambda g, z, h: aten.gelu_backward(g, z), 1.13, "GELU", _gelu_slope),
    "silu": Activation(F.silu, lambda g, z, h: aten.silu_backward(g, z), 1.1, "SILU", _silu_slope),
    "softplus": Activation(F.softplus, lambda g, z, h: aten.softplus_backward(g, z, 1, 20), 1.0, "SOFTPLUS", lambda z, h: torch.sigmoid(z)),
    "tanh": Activation(torch.tanh, lambda g, z, h: aten.tanh_backward(g, h), 1.0, "TANH", lambda z, h: 1 - h * h),
    "sigmoid": Activation(torch.sigmoid, lambda g, z, h: aten.sigmoid_backward(g, h), 0.25, "SIGMOID", lambda z, h: h * (1 - h)),
}
"""By their names, as plans have them. A new one is a new row; with C code, it has a case in ``activate`` and ``deactivate``, too."""

CODES: dict[str, int] = {row.code: place for place, row in enumerate(row for row in ACTIVATIONS.values() if row.code is not None)}  # type: ignore[misc]
"""The enum of the library."""


def code_of(activation: str) -> int | None:
    """Return the number by which the library knows an activation, or None where it has none."""
    code = ACTIVATIONS[activation].code
    return None if code is None else CODES[code]
