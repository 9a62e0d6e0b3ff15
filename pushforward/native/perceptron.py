"""A compiled perceptron of few units: one call where torch takes one for each product, activation and gradient."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from pushforward.core import numerics
from pushforward.native.library import BLOCK, MATRIX, as_rows, block, call, matrix, threads, usable
from pushforward.native.sweep import ACTIVATIONS, MAX_LAYERS
from pushforward.native.sweep import activation as function_of

MAX_PRODUCTS = 6144
"""Weights, at most: beyond, a layer is worth the product of matrices that torch has for it."""
_GROUP, _PARTS = 256, 8
"""Rows that a thread takes at a time, at least, and sums of the gradient of the weights, at most."""
_GRAIN = 1 << 18
"""Products worth a thread."""

# double, backward, threads, rows, group, layers, activation, inputs, contexts; x, c, g; out, gx, gc; three that C fills in
_HEAD = struct.Struct("=9q" + 3 * MATRIX + 3 * BLOCK + "3q")
# inputs, outputs, source, skip, gain, weight, mask, more, bias, their gradients; four that C fills in
_LAYER = struct.Struct("=4qd" + 7 * BLOCK + "4q")


@dataclass(frozen=True, eq=False)
class Form:
    """A perceptron without its tensors.

    Args:
        activation: Its name.
        sources: For each layer, the hidden layer whose activations it takes (-1: what comes in).
        skips: For each layer, the one whose values are added to its own (-1: none).
        gains: How many times the weights of a layer without a mask count.
        products: How many weights there are that no mask forbids.
    """

    activation: str
    sources: tuple[int, ...]
    skips: tuple[int, ...]
    gains: tuple[float, ...]
    products: int

    @property
    def small(self) -> bool:
        """Whether the compiled code is worth while, and takes as many layers."""
        return self.products <= MAX_PRODUCTS and len(self.sources) <= MAX_LAYERS


NOTHING = (0, 0)
"""Address and extent of a tensor that there is not."""

LayerTensors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Weight, mask, weight of the context, and bias."""


def perceptron(form: Form, x: Tensor | None, c: Tensor | None, layers: Sequence[LayerTensors]) -> Tensor | None:
    """Return ``(rows, outputs)`` for rows of inputs and of contexts, or None where the compiled code does not take these tensors.

    Args:
        form: What the layers are.
        x: ``(rows, inputs)``.
        c: ``(rows, contexts)``.
        layers: The tensors of each layer; the first alone has weights of the context.

    Raises:
        ValueError: The shapes of rows and tensors do not fit one another.
    """
    tensors = [t for layer in layers for t in layer]
    if not usable(x, c, *tensors):
        return None
    if torch.is_grad_enabled():
        return _Perceptron.apply(form, x, c, *tensors)  # type: ignore[no-any-return,no-untyped-call]
    return _forward(form, x, c, tensors)


def reference(form: Form, x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> Tensor:
    """Return the same as `perceptron` by torch's operators."""
    activate = function_of(form.activation)
    z: list[Any] = []
    for index, (source, skip, gain) in enumerate(zip(form.sources, form.skips, form.gains, strict=True)):
        weight, mask, more, bias = tensors[4 * index : 4 * index + 4]
        parts = []
        if weight is not None and (source >= 0 or x is not None):
            if mask is not None or gain != 1:
                weight = weight * (gain if mask is None else mask)
            parts.append(F.linear(x if source < 0 else activate(z[source]), weight, bias))  # type: ignore[arg-type]
        if more is not None and c is not None:
            parts.append(F.linear(c, more, None if parts else bias))
        z.append(sum([*parts[1:], *([z[skip]] if skip >= 0 else [])], parts[0]))
        if source >= 0 and source not in form.sources[index + 1 :] and source not in form.skips[index + 1 :]:
            z[source] = None  # nothing takes it any more
    return z[-1]  # type: ignore[no-any-return]


def _sizes(form: Form, x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> list[tuple[int, int, int]]:
    """Return how many inputs, outputs and contexts the weights of each layer have; raise `ValueError` unless all fits together."""
    inputs = contexts = 0
    sizes: list[tuple[int, int, int]] = []
    for index, (source, skip) in enumerate(zip(form.sources, form.skips, strict=True)):
        weight, mask, more, bias = tensors[4 * index : 4 * index + 4]
        # Torch takes a few times as long to tell a shape as to compare it.
        own, other = None if weight is None else weight.shape, None if more is None else more.shape
        if index == 0:
            inputs, contexts = own[-1] if own else 0, other[-1] if other else 0
        taken, outputs = inputs if source < 0 else sizes[source][1], (own or other or (0,))[0]
        if (
            (own if taken else other) is None
            or (own is not None and own != (outputs, taken))
            or (other is not None and (source >= 0 or other != (outputs, contexts)))
            or (mask is not None and mask.shape != own)
            or (bias is not None and bias.shape != (outputs,))
            or (skip >= 0 and sizes[skip][1] != outputs)
        ):
            got = [None if t is None else tuple(t.shape) for t in (weight, mask, more, bias)]
            added = f", and {sizes[skip][1]} outputs as layer {skip}, which is added" if skip >= 0 else ""
            raise ValueError(f"perceptron: layer {index}: expected weights of {taken} inputs{added}, and mask and bias to match, got {got}")
        sizes.append((taken, outputs, 0 if other is None else contexts))
    count = x.shape[:1] if x is not None else () if c is None else c.shape[:1]
    for name, rows, width in (("inputs", x, inputs), ("contexts", c, contexts)):
        if (rows is None) != (width == 0) or (rows is not None and rows.shape != (*count, width)):
            came = None if rows is None else tuple(rows.shape)
            raise ValueError(f"perceptron: expected {name} of shape {(*count, width) if width else None}, got {came}")
    return sizes


def _forward(form: Form, x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> Tensor:
    sizes = _sizes(form, x, c, tensors)
    rows = x if x is not None else c
    assert rows is not None
    out = rows.new_empty(rows.shape[0], sizes[-1][1])
    if rows.shape[0] and not rows.is_meta:
        _run(form, sizes, x, c, tensors, None, [out, None, None], None)
    return out


def _run(
    form: Form, sizes: list[tuple[int, int, int]], x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None],
    g: Tensor | None, made: Sequence[Tensor | None], gradients: Sequence[Tensor | None] | None,
) -> None:  # fmt: skip
    """Call the compiled code on tensors whose shapes are those that `_sizes` gives."""
    rows = [None if t is None else as_rows(t, t.shape[-1]) for t in (x, c, g)]
    first = rows[0] if rows[0] is not None else rows[1]
    assert first is not None
    count, (inputs, outputs, contexts) = len(first), sizes[0]
    given = [None if t is None else t.contiguous() for t in tensors]
    body, products = b"", 0
    for index, (source, skip, gain) in enumerate(zip(form.sources, form.skips, form.gains, strict=True)):
        taken, outputs, beside = sizes[index]
        products += (taken + beside) * outputs
        places: list[int] = []
        for t, extent in zip(given[4 * index : 4 * index + 4], (taken * outputs, taken * outputs, beside * outputs, outputs), strict=True):
            places += NOTHING if t is None else (t.data_ptr(), extent)
        if gradients is None:
            places += 3 * NOTHING
        else:
            of_weight, _, of_more, of_bias = gradients[4 * index : 4 * index + 4]
            places += (*block(of_weight), *block(of_more), *block(of_bias))
        body += _LAYER.pack(taken + beside, outputs, source, skip, gain, *places, 0, 0, 0, 0)
    group = max(_GROUP, -(-count // _PARTS))
    activation = ACTIVATIONS.index(form.activation)
    head = _HEAD.pack(
        first.dtype is torch.float64, g is not None, threads(count * products, _GRAIN), count, group, len(sizes) - 1, activation,
        inputs, contexts, *matrix(rows[0], count, inputs), *matrix(rows[1], count, contexts), *matrix(rows[2], count, outputs),
        *block(made[0]), *block(made[1]), *block(made[2]), 0, 0, 0,
    )  # fmt: skip
    call("pushforward_perceptron", head + body)


class _Perceptron(Function):
    @staticmethod
    def forward(ctx: Any, form: Form, x: Tensor | None, c: Tensor | None, *tensors: Tensor | None) -> Tensor:
        ctx.form = form
        ctx.save_for_backward(x, c, *tensors)
        return _forward(form, x, c, tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        x, c, *tensors = ctx.saved_tensors
        again = torch.is_grad_enabled()  # the gradient is to be differentiated itself
        # What was saved passes through the hooks of whoever set some, and may come back as anything.
        if again or not usable(x, c, *cotangents, *tensors):

            def function(x: Tensor | None, c: Tensor | None, *tensors: Tensor | None) -> Tensor:
                return reference(ctx.form, x, c, tensors)

            return (None, *numerics.gradients(function, [x, c, *tensors], cotangents, again))
        sizes = _sizes(ctx.form, x, c, tensors)
        # Weights are differentiated whether asked for or not; what comes in only where it is, since it costs a product.
        masks = range(1, len(tensors), 4)
        gradients = [
            None if t is None or i in masks else torch.empty_like(t, memory_format=torch.contiguous_format) for i, t in enumerate(tensors)
        ]
        made = [
            None if t is None or not ctx.needs_input_grad[1 + i] else torch.empty_like(t, memory_format=torch.contiguous_format)
            for i, t in enumerate((x, c))
        ]
        rows = x if x is not None else c
        if rows.shape[0] and not rows.is_meta:
            _run(ctx.form, sizes, x, c, tensors, cotangents[0], [None, *made], gradients)
        else:
            for gradient in gradients:
                if gradient is not None:
                    gradient.zero_()
        return (None, *made, *gradients)
