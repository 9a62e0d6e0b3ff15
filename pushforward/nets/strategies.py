"""How a perceptron is evaluated: one ordered table of ways, of which the first that takes a call runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward.core import mode, numerics
from pushforward.native import perceptron as native
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.program import Program, interpret, of_tensors
from pushforward.nets.dense import few
from pushforward.nets.parts import Block
from pushforward.nets.remade import remade

LARGE = 1 << 20
"""Activations from which on those of the first layer are not kept for the gradient: to make them again takes a few hundredths of a step."""


class Traits(NamedTuple):
    """What is known of a perceptron when it is built.

    Args:
        small: Whether its units are so few that compiled code is worth while.
        narrow: Whether a unit of the first layer takes so few inputs that to make its activations again costs next to nothing.
        in_blocks: Whether a layer is multiplied in blocks.
    """

    small: bool
    narrow: bool
    in_blocks: bool


class Call(NamedTuple):
    """One call of a perceptron.

    Args:
        program: What its layers are.
        traits: What is known of it.
        modules: Its layers.
        tensors: Theirs, as `of_tensors` takes them, or None where a layer has to be called to do what it does.
        x: ``(*batch, inputs)``, or None where no layer takes them.
        context: ``(*batch, contexts)``, whose batch broadcasts, likewise.
    """

    program: Program
    traits: Traits
    modules: nn.ModuleList
    tensors: list[Tensor | None] | None
    x: Tensor | None
    context: Tensor | None


class Strategy(NamedTuple):
    """A way to evaluate a perceptron: whether it takes a call, and what it makes of one that it takes."""

    takes: Callable[[Call], bool]
    run: Callable[[Call], Tensor]


def evaluate(call: Call) -> Tensor:
    """Return what the last layer gives, by the first strategy that takes the call."""
    for strategy in STRATEGIES:
        if strategy.takes(call):
            return strategy.run(call)
    raise AssertionError("the last strategy takes all calls")


# Few units: one call of compiled code.


def _takes_compiled(call: Call) -> bool:
    _, traits, _, tensors, x, context = call
    if not traits.small or tensors is None or mode.watched():
        return False
    given = context if x is None else x
    if mode.autocast(given):  # type: ignore[arg-type]
        return False
    # Contexts of several samples each are multiplied once, not once a sample.
    several = x is not None and context is not None and x.shape[:-1] != context.shape[:-1]
    if several and (context.dim() > x.dim() or math.prod(context.shape[:-1]) != 1):  # type: ignore[union-attr]
        return False
    return native.takes(x, context, tensors)


def _compiled(call: Call) -> Tensor:
    program, _, _, tensors, x, context = call
    assert tensors is not None
    given = context if x is None else x
    assert given is not None
    if x is not None and context is not None and x.shape[:-1] != context.shape[:-1]:
        context = context.reshape(1, -1).expand(math.prod(x.shape[:-1]), -1)
    out = native.perceptron(program, _rows(x), _rows(context), tensors)
    return out if given.dim() == 2 else numerics.reshaped(out, (*given.shape[:-1], out.shape[-1]))


def _rows(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.dim() == 2 else numerics.reshaped(x, (math.prod(x.shape[:-1]), x.shape[-1]))


# A step on many rows: the first activations, made of few inputs, are made again for the gradient.


def _takes_remade(call: Call) -> bool:
    if not call.traits.narrow or call.tensors is None or not torch.is_grad_enabled() or not mode.eager():
        return False
    weight = call.tensors[4]
    assert weight is not None
    if weight.is_meta or mode.autocast(weight):
        return False
    rows = max(math.prod(t.shape[:-1]) for t in (call.x, call.context) if t is not None)
    return rows * weight.shape[1] >= LARGE


def _remade(call: Call) -> Tensor:
    assert call.tensors is not None
    _, _, *rest = call.modules
    return _in_turn(call.program.activation, rest, remade(call.program, call.x, call.context, call.tensors))


# By torch's operators on the tensors. To call a module for each product, and in it to ask for its tensors and for the rows, takes as long
# as a small product.


def _takes_direct(call: Call) -> bool:
    if call.traits.in_blocks or call.tensors is None:
        return False
    return not any(few(t) for t in (call.x, call.context) if t is not None)


def _direct(call: Call) -> Tensor:
    program, _, _, tensors, x, context = call
    assert tensors is not None
    dtype = tensors[-4].dtype  # type: ignore[union-attr]
    x, context = (None if t is None else t.to(dtype) for t in (x, context))
    return interpret(program, x, of_tensors(program, tensors, context))


# By calling each layer, which does what hangs on it, and takes few rows and large masks as it knows best.


def _called(call: Call) -> Tensor:
    first, *rest = call.modules  # a slice of a ModuleList makes a new one, which takes longer than a small layer
    return _in_turn(call.program.activation, rest, first(call.x, call.context))


def _in_turn(activation: str, layers: Sequence[Any], h: Tensor) -> Tensor:
    activate = ACTIVATIONS[activation].function
    for layer in layers:
        h = layer(h if isinstance(layer, Block) else activate(h))
    return h


COMPILED = Strategy(_takes_compiled, _compiled)
REMADE = Strategy(_takes_remade, _remade)
DIRECT = Strategy(_takes_direct, _direct)
CALLED = Strategy(lambda call: True, _called)
STRATEGIES = (COMPILED, REMADE, DIRECT, CALLED)
"""In the order in which they are tried. A new one is a new row."""
