"""Networks read by their attributes, so that no library is imported: stacks of layers, and what nflows makes and normflows after it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from pushforward.contrib.conversion.copying import CopiedNet, mlp, residual
from pushforward.contrib.conversion.kernels import RawSpline
from pushforward.contrib.conversion.nets import CopiedResidual
from pushforward.contrib.conversion.weights import Outputs, activation_name
from pushforward.core.spec import PlanError


def stack(modules: Iterable[nn.Module]) -> tuple[list[Any], nn.Module]:
    """Return the linear layers of a perceptron that is a sequence of modules, and the one activation between them."""
    parts = list(modules)
    linears, between = parts[::2], parts[1::2]
    plain = all(isinstance(getattr(part, "weight", None), Tensor) and part.weight.dim() == 2 for part in linears)  # type: ignore[operator]
    if not (plain and len(parts) % 2) or any(list(part.parameters()) or repr(part) != repr(between[0]) for part in between):
        raise PlanError(f"expected a network of linear layers with one activation between them and nothing else, got {parts}")
    return linears, between[0] if between else nn.ReLU()


def made(net: Any, context: int, outputs: Outputs) -> CopiedNet:
    """Copy a MADE, with residual or with feedforward blocks.

    Args:
        net: The network, with ``initial_layer``, ``blocks``, ``final_layer`` and, if it sees a context, ``context_layer``.
        context: How many context features the flow has.
        outputs: What its outputs are.
    """
    inputs, blocks, own = net.initial_layer.in_features, list(net.blocks), [*([net.context_layer] if hasattr(net, "context_layer") else [])]
    if getattr(net, "use_residual_blocks", hasattr(blocks[0], "linear_layers") if blocks else True):
        return _residual(net, inputs, context, outputs, "shift", own)
    if any(block.batch_norm is not None for block in blocks):
        raise PlanError("expected a network without batch normalisation inside")
    linears = [net.initial_layer, *(block.linear for block in blocks), net.final_layer]
    return mlp(linears, blocks[0].activation if blocks else net.activation, inputs, context, outputs, shift=own[0] if own else None)


def residual_net(net: Any, inputs: int, context: int, outputs: Outputs) -> CopiedNet:
    """Copy a ResidualNet.

    Args:
        net: The network, with ``initial_layer``, ``blocks`` and ``final_layer``.
        inputs: How many features it sees.
        context: How many context features the flow has.
        outputs: What its outputs are.
    """
    return _residual(net, inputs, context, outputs, "gate", [])


def _residual(net: Any, inputs: int, context: int, outputs: Outputs, mode: str, moves: list[Any]) -> CopiedNet:
    blocks = list(net.blocks)
    if not blocks or any(block.use_batch_norm for block in blocks):
        raise PlanError("expected a residual network of at least one block and without batch normalisation inside")
    moves = [*moves, *(block.context_layer for block in blocks if hasattr(block, "context_layer"))]
    name = activation_name(blocks[0].activation)
    plan = CopiedResidual(len(net.initial_layer.bias), len(blocks), name, mode if moves else "entrance")
    linears = [net.initial_layer, *(linear for block in blocks for linear in block.linear_layers), net.final_layer]
    return residual(plan, linears, inputs, context, outputs, moves)


def rational_quadratic(layer: Any, net: Any, elements: int) -> tuple[RawSpline, Outputs]:
    """Return the kernel of a rational-quadratic layer with linear tails, and what the outputs of its network are.

    Args:
        layer: The layer, with ``num_bins``, ``tails``, ``tail_bound`` and the least sizes.
        net: Its network; what makes the bins is divided by the square root of its ``hidden_features``, if it says how many there are.
        elements: How many numbers it maps.
    """
    if layer.tails != "linear":
        raise PlanError(f"expected a spline with tails='linear', got tails={layer.tails!r}")
    bins = int(layer.num_bins)
    kernel = RawSpline(
        bins,
        float(layer.tail_bound),
        least_width=layer.min_bin_width,
        least_height=layer.min_bin_height,
        least_slope=layer.min_derivative,
    )
    gain = 1 / math.sqrt(net.hidden_features) if hasattr(net, "hidden_features") else 1.0
    return kernel, Outputs(elements, range(3 * bins - 1), gain=[gain] * 2 * bins + [1.0] * (bins - 1))
