"""Copying networks: the weights of another library's, in the order in which ours has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pushforward.contrib.conversion.masks import by_set, through
from pushforward.contrib.conversion.nets import CopiedMLP, CopiedResidual
from pushforward.contrib.conversion.weights import Outputs, Tensors, Weights, activation_name
from pushforward.core.spec import PlanError
from pushforward.nets.net import Mask, Net


class CopiedNet(NamedTuple):
    """The plan of a network, the tensors of what it builds, and which features the parameters of each feature see, if it is masked."""

    plan: Net
    tensors: Tensors
    mask: Mask | None = None


def mlp(
    linears: Sequence[Any],
    activation: Callable[[Tensor], Tensor],
    inputs: int,
    context: int,
    outputs: Outputs,
    columns: Sequence[int] | None = None,
    shift: Any = None,
) -> CopiedNet:
    """Copy a multilayer perceptron, masked if its first layer has a ``mask``.

    Args:
        linears: Its layers, each with a weight and a bias.
        activation: What is applied between them.
        inputs: How many features it sees.
        context: How many context features the flow has.
        outputs: What its outputs are.
        columns: Which of its inputs are our features, then our context (None: they are in this order).
        shift: The layer from the context whose activation is added to the first one (None: there is none).
    """
    layers = [Weights.read(linear) for linear in linears]
    if columns is not None:
        layers[0] = layers[0].columns(list(columns))
    layers[-1] = outputs.of(layers[-1])
    mask, shares = None, None
    if hasattr(linears[0], "mask"):
        levels = _reach(layers, inputs)
        mask, shares = levels[-1][: outputs.elements], []
        for index, level in enumerate(levels[:-1]):
            order, share = by_set(level, mask)
            shares.append(share)
            layers[index], layers[index + 1] = layers[index].sorted(order), layers[index + 1].columns(order)
            shift = shift if index or shift is None else Weights.read(shift).sorted(order)
    plan = CopiedMLP([len(layer.bias) for layer in layers[:-1]], activation_name(activation), shares, shift is not None)
    first = layers[0].entrance("layers.0" if layers[1:] else "", inputs, context if shift is None else 0)
    first |= {} if shift is None else shift.named("layers.0.c.0")
    rest = [layer.named(f"layers.{index}") for index, layer in enumerate(layers)][1:]
    tensors = {name.removeprefix("."): value for part in (first, *rest) for name, value in part.items()}
    return CopiedNet(plan, tensors, mask)


def residual(
    plan: CopiedResidual,
    linears: Sequence[Any],
    inputs: int,
    context: int,
    outputs: Outputs,
    moves: Sequence[Any] = (),
) -> CopiedNet:
    """Copy a residual network, masked if its first layer has a ``mask``.

    Args:
        plan: What it is, without shares, which are found from the masks.
        linears: Its first layer, two for each block, and the last.
        inputs: How many features it sees.
        context: How many context features the flow has.
        outputs: What its outputs are.
        moves: The layers of the context: with ``context="shift"`` the one beside the first layer and one for each block, with ``"gate"``
            one for each block.
    """
    *layers, last = [Weights.read(linear) for linear in linears]
    last, of_context = outputs.of(last), [Weights.read(linear) for linear in moves]
    mask, share = None, None
    if hasattr(linears[0], "mask"):
        level = _reach(layers[:1], inputs)[0]
        if any((through(layer.mask, level) & ~level).any() for layer in layers[1:]):
            raise PlanError("expected residual blocks whose units see no more than the units that they are added to")
        mask = through(last.mask, level)[: outputs.elements]
        order, share = by_set(level, mask)
        layers = [layers[0].sorted(order), *(layer.sorted(order).columns(order) for layer in layers[1:])]
        last, of_context = last.columns(order), [layer.sorted(order) for layer in of_context]
    tensors = layers[0].entrance("enter", inputs, 0 if plan.context == "shift" else context) | last.named("leave")
    for index in range(plan.blocks):
        tensors |= layers[2 * index + 1].named(f"blocks.{index}.inner") | layers[2 * index + 2].named(f"blocks.{index}.outer")
    names = [*(["shift"] if plan.context == "shift" else []), *(f"blocks.{index}.c" for index in range(plan.blocks))]
    for name, layer in zip(names, of_context, strict=False):
        tensors |= layer.named(name)
    return CopiedNet(plan.replace(shares=share), tensors, mask)


def _reach(layers: Sequence[Weights], inputs: int) -> list[Mask]:
    """Return for each layer which inputs its units see, and which numbers of the context where some do not see all of it."""
    first = layers[0].mask
    levels = [first[:, :inputs] if first[:, inputs:].all() else first]
    for layer in layers[1:]:
        levels.append(through(layer.mask, levels[-1]))
    return levels
