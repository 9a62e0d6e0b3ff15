"""A compiled perceptron of few units: one call where torch takes one for each product, activation and gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.numerics import Rule, differentiable
from pushforward.native.activations import code_of
from pushforward.native.layout import DENSE_LAYER, MAX_LAYERS, NET
from pushforward.native.library import NOTHING, as_rows, block, call, matrix, threads, usable
from pushforward.native.program import Program, interpret, of_tensors

MAX_PRODUCTS = 6144
"""Weights, at most: beyond, a layer is worth the product of matrices that torch has for it."""
_GROUP, _PARTS = 256, 8
"""Rows that a thread takes at a time, at least, and sums of the gradient of the weights, at most."""
_GRAIN = 1 << 18
"""Products worth a thread."""


def small(program: Program) -> bool:
    """Tell whether the compiled code is worth while, takes as many layers, and has the activation."""
    return program.products <= MAX_PRODUCTS and len(program.sources) <= MAX_LAYERS and code_of(program.activation) is not None


def takes(x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> bool:
    """Tell whether the compiled code takes these rows and the tensors of these layers."""
    return usable(x, c, *tensors)


def perceptron(program: Program, x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> Tensor:
    """Return ``(rows, outputs)`` for rows of inputs and of contexts, and of layers, that it `takes`.

    Args:
        program: What the layers are.
        x: ``(rows, inputs)``.
        c: ``(rows, contexts)``.
        tensors: Those of all layers, as `of_tensors` takes them; the first alone has weights of the context.

    Raises:
        ValueError: The shapes of rows and tensors do not fit one another.
    """
    return differentiable(RULE, program, x, c, *tensors)  # type: ignore[no-any-return]


def reference(program: Program, x: Tensor | None, c: Tensor | None, *tensors: Tensor | None) -> Tensor:
    """Return the same as `perceptron` by torch's operators."""
    return interpret(program, x, of_tensors(program, tensors, c))


def _sizes(program: Program, x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None]) -> list[tuple[int, int, int]]:
    """Return how many inputs, outputs and contexts the weights of each layer have; raise `ValueError` unless all fits together."""
    inputs = contexts = 0
    sizes: list[tuple[int, int, int]] = []
    for index, (source, skip) in enumerate(zip(program.sources, program.skips, strict=True)):
        weight, mask, more, bias = tensors[4 * index : 4 * index + 4]
        masked = program.masked[index]
        # Torch takes a few times as long to tell a shape as to compare it.
        own, other = None if weight is None else weight.shape, None if more is None else more.shape
        if index == 0:
            inputs, contexts = own[-1] if own else 0, other[-1] if other else 0
        taken, outputs = inputs if source < 0 else sizes[source][1], (own or other or (0,))[0]
        if (
            (own if taken else other) is None
            or (own is not None and own != (outputs, taken))
            or (other is not None and (source >= 0 or other != (outputs, contexts)))
            or (mask.shape != own if masked and mask is not None else masked or mask is not None)
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


def _forward(program: Program, x: Tensor | None, c: Tensor | None, *tensors: Tensor | None) -> Tensor:
    sizes = _sizes(program, x, c, tensors)
    rows = x if x is not None else c
    assert rows is not None
    out = rows.new_empty(rows.shape[0], sizes[-1][1])
    if rows.shape[0] and not rows.is_meta:
        _run(program, sizes, x, c, tensors, None, [out, None, None], None)
    return out


def _run(
    program: Program, sizes: list[tuple[int, int, int]], x: Tensor | None, c: Tensor | None, tensors: Sequence[Tensor | None],
    g: Tensor | None, made: Sequence[Tensor | None], gradients: Sequence[Tensor | None] | None,
) -> None:  # fmt: skip
    """Call the compiled code on tensors whose shapes are those that `_sizes` gives."""
    rows = [None if t is None else as_rows(t, t.shape[-1]) for t in (x, c, g)]
    first = rows[0] if rows[0] is not None else rows[1]
    assert first is not None
    count, (inputs, outputs, contexts) = first.shape[0], sizes[0]
    given = [None if t is None else t.contiguous() for t in tensors]
    body, products = b"", 0
    for index, (source, skip, gain) in enumerate(zip(program.sources, program.skips, program.gains, strict=True)):
        taken, outputs, beside = sizes[index]
        products += (taken + beside) * outputs
        weight, mask, more, bias = given[4 * index : 4 * index + 4]
        wanted = {}
        if gradients is not None:
            of_weight, _, of_more, of_bias = gradients[4 * index : 4 * index + 4]
            wanted = {"gweight": block(of_weight), "gmore": block(of_more), "gbias": block(of_bias)}
        body += DENSE_LAYER.pack(
            inputs=taken + beside, outputs=outputs, source=source, skip=skip, gain=gain,
            weight=NOTHING if weight is None else (weight.data_ptr(), taken * outputs),
            mask=NOTHING if mask is None else (mask.data_ptr(), taken * outputs),
            more=NOTHING if more is None else (more.data_ptr(), beside * outputs),
            bias=NOTHING if bias is None else (bias.data_ptr(), outputs), **wanted,
        )  # fmt: skip
    head = NET.pack(
        is_double=first.dtype is torch.float64, backward=g is not None, threads=threads(count * products, _GRAIN), rows=count,
        group=max(_GROUP, -(-count // _PARTS)), layers=len(sizes) - 1, activation=code_of(program.activation),
        inputs=inputs, contexts=contexts, x=matrix(rows[0], count, inputs), c=matrix(rows[1], count, contexts),
        g=matrix(rows[2], count, outputs), out=block(made[0]), gx=block(made[1]), gc=block(made[2]),
    )  # fmt: skip
    call("pushforward_perceptron", head + body)


def _gradients(program: Program, given: Sequence[Tensor | None], _: None, g: Tensor) -> Sequence[Tensor | None]:
    x, c, *tensors = given
    # What was saved passes through the hooks of whoever set some, and may come back as anything.
    if not usable(*given, g):
        return numerics.gradients(partial(reference, program), given, (g,))
    sizes = _sizes(program, x, c, tensors)
    # Weights are differentiated whether asked for or not; what comes in only where it is, since it costs a product.
    gradients = [
        None if t is None or i % 4 == 1 else torch.empty_like(t, memory_format=torch.contiguous_format) for i, t in enumerate(tensors)
    ]
    made = [None if t is None or not t.requires_grad else torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, c)]
    rows = x if x is not None else c
    assert rows is not None
    if rows.shape[0] and not rows.is_meta:
        _run(program, sizes, x, c, tensors, g, [None, *made], gradients)
    else:
        for gradient in gradients:
            if gradient is not None:
                gradient.zero_()
    return [*made, *gradients]


RULE = Rule(_forward, _gradients, reference, keep=False)
