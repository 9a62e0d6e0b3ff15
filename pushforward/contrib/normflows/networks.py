"""Networks of normflows as ours."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.contrib.conversion import CopiedNet, CopiedResidual, Outputs, activation_name, mlp, residual
from pushforward.core.spec import PlanError


def perceptron(net: Any) -> tuple[list[Any], nn.Module]:
    """Return the layers of a perceptron and its activation; dropout, which is off where a flow is scored, is left out."""
    if isinstance(net, nn.Linear):
        return [net], nn.ReLU()
    inner = net.net if type(net).__name__ == "MLP" else net
    parts = [part for part in inner if not isinstance(part, nn.Dropout)] if isinstance(inner, nn.Sequential) else []
    linears, activations = parts[::2], parts[1::2]
    fits = len(linears) == len(activations) + 1 and all(isinstance(part, nn.Linear) for part in linears)
    if not fits or len({activation_name(part) for part in activations}) > 1:
        raise PlanError(f"expected an MLP without output_fn, a torch.nn.Linear or a Sequential of them with one activation, got {net!r}")
    return linears, activations[0] if activations else nn.ReLU()


def dense(net: Any, inputs: int, context: int, outputs: Outputs) -> CopiedNet:
    """Copy a perceptron."""
    linears, activation = perceptron(net)
    return mlp(linears, activation, inputs, context, outputs)


def pair(loc: Any, scale: Any, passing: Sequence[int], moving: Sequence[int], context: int) -> CopiedNet:
    """Copy two perceptrons of all features side by side as one; either may be missing, and gives zeros."""
    found = [None if net is None else perceptron(net) for net in (loc, scale)]
    there = [net for net in found if net is not None]
    if not there:
        raise PlanError("expected a network for the scale or the shift, got none")
    depths, names = {len(linears) for linears, _ in there}, {activation_name(function) for _, function in there}
    if len(depths) > 1 or len(names) > 1:
        raise PlanError("expected two networks of the same depth and activation, got others")
    layers = []
    for index in range(depths.pop()):
        weights = [linears[index].weight for linears, _ in there]
        # The first layers see the same features, each of the others those of its own network.
        weight = torch.block_diag(*weights) if index else torch.cat(weights)[:, list(passing)]
        layers.append(SimpleNamespace(weight=weight, bias=torch.cat([linears[index].bias for linears, _ in there])))
    last, starts = layers[-1], iter(range(0, len(layers[-1].bias), len(layers[-1].bias) // len(there)))
    own = [None if net is None else next(starts) for net in found]
    weight, bias = (torch.cat([_rows(values, start, moving) for start in own]) for values in (last.weight, last.bias))
    layers[-1] = SimpleNamespace(weight=weight, bias=bias)
    return mlp(layers, there[0][1], len(passing), context, Outputs(len(moving), (0, 1), by_element=False))


def _rows(values: Tensor, start: int | None, moving: Sequence[int]) -> Tensor:
    if start is None:
        return values.new_zeros((len(moving), *values.shape[1:]))
    return values[[start + i for i in moving]]


def residual_net(net: Any, inputs: int, context: int, outputs: Outputs) -> CopiedNet:
    """Copy a ResidualNet, or a MADE, whose context enters the first layer and gates the blocks."""
    blocks = list(net.blocks)
    if not (net.preprocessing is None or isinstance(net.preprocessing, nn.Identity)):
        raise PlanError(f"expected a network that sees the features as they are, got one with {type(net.preprocessing).__name__}")
    if any(getattr(block, "use_batch_norm", getattr(block, "batch_norm", None)) for block in blocks):
        raise PlanError("expected a network without batch normalisation, got one with it")
    first = net.initial_layer
    if hasattr(net, "context_layer"):  # of MADE, a layer beside the first
        beside = net.context_layer
        mask = torch.cat([first.mask, torch.ones_like(beside.weight)], 1)
        first = SimpleNamespace(weight=torch.cat([first.weight, beside.weight], 1), bias=first.bias + beside.bias, mask=mask)
    if blocks and hasattr(blocks[0], "linear"):  # blocks without a skip: the first layer has no activation of its own
        mask = (blocks[0].linear.mask @ first.mask > 0).float()
        weight = (blocks[0].linear.weight * blocks[0].linear.mask) @ (first.weight * first.mask)
        bias = (blocks[0].linear.weight * blocks[0].linear.mask) @ first.bias + blocks[0].linear.bias
        joined = SimpleNamespace(weight=weight, bias=bias, mask=mask)
        linears = [joined, *(block.linear for block in blocks[1:]), net.final_layer]
        return mlp(linears, blocks[0].activation, inputs, context, outputs)
    if not blocks:
        raise PlanError("expected at least one block, got none")
    gates = [block.context_layer for block in blocks if hasattr(block, "context_layer")]
    plan = CopiedResidual(len(first.bias), len(blocks), activation_name(blocks[0].activation), "gate" if gates else "entrance")
    linears = [first, *(linear for block in blocks for linear in block.linear_layers), net.final_layer]
    return residual(plan, linears, inputs, context, outputs, gates)
