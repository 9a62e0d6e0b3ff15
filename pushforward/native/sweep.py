"""The compiled sequential direction of an autoregressive layer over a masked perceptron, with its gradient.

The values come from one incremental pass; the gradient from a parallel pass at those values, a sweep back through the same steps,
and one matrix product for each weight.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from pushforward.core import numerics
from pushforward.native.elementwise import KIND, Code
from pushforward.native.library import BLOCK, DOUBLE, MATRIX, as_rows, block, call, matrix, threads

MAX_LAYERS = 32
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid")
"""The activations that the library has, in the order of its enum."""


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return an activation by its name."""
    found: Callable[[Tensor], Tensor] = getattr(torch if name in ("tanh", "sigmoid") else F, name)
    return found


# kernel; double, backward, threads, rows, elements, groups, layers, activation; order, ends; values, shift, gmade, gladj;
# theta, made, ladj, gvalues, gtheta
_HEAD = struct.Struct(f"={KIND}8q" + 2 * BLOCK + 4 * MATRIX + 5 * BLOCK)
# width, source, skip; edges, weight, bias, transposed, z, gz
_LAYER = struct.Struct("=3q" + 6 * BLOCK)
_TILE = 32
"""Rows that run side by side: what a thread gets at least."""

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a sequential pass, as plain arrays.

    Args:
        order: Elements in the order in which they are made.
        ends: For each step, how many elements are made by its end.
        edges: For each hidden layer and step, how many of its units see only what is made before the step.
        sources: For each layer, the last included, the hidden layer that it takes (-1: the elements).
        skips: For each hidden layer, the layer whose values are added to its own (-1: none).
        activation: Its name.

    ``ordered`` says whether elements are made in the order in which they lie.
    """

    order: Indices
    ends: Indices
    edges: tuple[Indices, ...]
    sources: tuple[int, ...]
    skips: tuple[int, ...]
    activation: str
    ordered: bool = field(init=False)

    def __post_init__(self) -> None:
        for name in ("order", "ends"):
            object.__setattr__(self, name, _as_read(getattr(self, name)))
        object.__setattr__(self, "edges", tuple(map(_as_read, self.edges)))
        object.__setattr__(self, "ordered", bool((self.order[1:] > self.order[:-1]).all()))
        if not len(self.edges) == len(self.skips) == len(self.sources) - 1:
            raise ValueError(f"sweep: expected edges and a skip for each of {len(self.sources) - 1} hidden layers")


def _as_read(indices: Indices) -> Indices:
    """Return whole numbers as the library reads them."""
    return np.ascontiguousarray(indices, dtype=np.int64)


Reference = Callable[..., tuple[Tensor, Tensor]]


def sweep(
    code: Code, inverse: bool, program: Program, values: Tensor, shift: Tensor | None, weights: list[Tensor], reference: Reference
) -> tuple[Tensor, Tensor]:
    """Return ``(made, ladj)`` for rows of values.

    Args:
        code: The kernel.
        inverse: Whether the kernel's inverse makes an element.
        program: The steps.
        values: ``(rows, elements)``.
        shift: What the context adds to the first layer, ``(rows, width)``, or None.
        weights: Masked weight and bias of each layer in turn, the last with one row for each parameter and element.
        reference: The same as a differentiable function of ``(values, shift, *weights)``; second derivatives come from it.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit one another.
    """
    _check(code, program, values, shift, weights)
    given = [values, *weights] if shift is None else [values, shift, *weights]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return _Sweep.apply(code, inverse, program, reference, values, shift, *weights)  # type: ignore[no-any-return,no-untyped-call]
    return _forward(code, inverse, program, values, shift, *weights)


def _check(code: Code, program: Program, values: Tensor, shift: Tensor | None, weights: Sequence[Tensor]) -> None:
    """Raise `ValueError` unless all that the compiled code gets fits together."""
    elements = len(program.order)
    if values.dim() != 2 or values.shape[1] != elements:
        raise ValueError(f"sweep: expected values of shape (rows, {elements}), got {tuple(values.shape)}")
    if len(weights) != 2 * len(program.sources):
        raise ValueError(f"sweep: expected a weight and a bias for each of {len(program.sources)} layers, got {len(weights)} tensors")
    widths: list[int] = []
    for index, (source, weight, bias) in enumerate(zip(program.sources, weights[::2], weights[1::2], strict=True)):
        taken = elements if source < 0 else widths[source]
        shape = weight.shape  # of which torch takes long to tell
        outputs = (shape or (0,))[0] if index < len(program.skips) else elements * code.parameters
        if shape != (outputs, taken) or bias.shape != (outputs,):
            raise ValueError(
                f"sweep: layer {index}: expected weight and bias of shapes {(outputs, taken)} and {(outputs,)}, "
                f"got {tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        widths.append(outputs)
    if shift is not None and shift.shape != (len(values), widths[0]):
        raise ValueError(f"sweep: expected a shift of shape {(len(values), widths[0])}, got {tuple(shift.shape)}")
    given, dtype, meta = [values, *([] if shift is None else [shift]), *weights], values.dtype, values.is_meta
    for t in given:
        if t.dtype is not dtype or dtype not in DOUBLE or not (t.is_meta if meta else t.is_cpu):
            got = [(t.dtype, str(t.device)) for t in given]
            raise ValueError(f"sweep: expected tensors on the CPU, all float32 or all float64, got {got}")


def _forward(code: Code, inverse: bool, program: Program, values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
    made, ladj = torch.empty_like(values, memory_format=torch.contiguous_format), values.new_empty(values.shape[0])
    if values.shape[0] and not values.is_meta:
        matrices, biases = ([weight.contiguous().resolve_neg() for weight in weights[first::2]] for first in (0, 1))
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        matrices[0] = _columns(matrices[0], program)
        matrices[-1], biases[-1] = _by_element(matrices[-1], program), _by_element(biases[-1], program)
        layers = [_Layer(weight, bias) for weight, bias in zip(matrices, biases, strict=True)]
        shift = None if shift is None else as_rows(shift, widths[0])
        _Call(code, inverse, program, widths, layers, as_rows(values, values.shape[1]), made, shift=shift, ladj=ladj).run()
    return made, ladj


def _columns(weight: Tensor, program: Program) -> Tensor:
    """Return the first weight with its columns in the order in which elements are made."""
    return weight if program.ordered else weight[:, torch.from_numpy(program.order)]


def _by_element(weight: Tensor, program: Program) -> Tensor:
    """Return the last weight or bias, whose rows go parameter by parameter, with its rows element by element, in their order."""
    by_parameter = weight.unflatten(0, (-1, len(program.order)))
    if not program.ordered:
        by_parameter = by_parameter[:, torch.from_numpy(program.order)]
    by_element: Tensor = by_parameter.transpose(0, 1).flatten(0, 1).contiguous()
    return by_element


@dataclass
class _Layer:
    """What a call knows of a layer: for making values its weight and bias, for gradients the rest."""

    weight: Tensor | None = None
    bias: Tensor | None = None
    transposed: Tensor | None = None
    z: Tensor | None = None
    gz: Tensor | None = None


@dataclass
class _Call:
    """A call of the library, forward or (with ``gmade``) backward."""

    code: Code
    inverse: bool
    program: Program
    widths: list[int]
    layers: list[_Layer]
    values: Tensor
    made: Tensor
    shift: Tensor | None = None
    ladj: Tensor | None = None
    theta: Tensor | None = None
    gmade: Tensor | None = None
    gladj: Tensor | None = None
    gvalues: Tensor | None = None
    gtheta: Tensor | None = None

    def run(self) -> None:
        program, (rows, elements) = self.program, self.values.shape
        head = _HEAD.pack(
            self.code.kind, self.code.bins, self.inverse, self.code.bound, self.code.parts, self.code.floor,
            self.values.dtype == torch.float64, self.gmade is not None, threads(rows, _TILE), rows, elements, len(program.ends),
            len(program.edges), ACTIVATIONS.index(program.activation), *_indices(program.order), *_indices(program.ends),
            *matrix(self.values, rows, elements), *matrix(self.shift, rows, self.widths[0]), *matrix(self.gmade, rows, elements),
            *matrix(self.gladj, rows, 1),
            *block(self.theta), *block(self.made), *block(self.ladj), *block(self.gvalues), *block(self.gtheta),
        )  # fmt: skip
        body = b""
        for index, layer in enumerate(self.layers):
            last = index == len(self.widths)
            width, skip, edges = (0, -1, None) if last else (self.widths[index], program.skips[index], program.edges[index])
            body += _LAYER.pack(
                width, program.sources[index], skip, *_indices(edges),
                *block(layer.weight), *block(layer.bias), *block(layer.transposed), *block(layer.z), *block(layer.gz),
            )  # fmt: skip
        call("pushforward_sweep", head + body)


def _indices(indices: Indices | None) -> tuple[int, int]:
    return (0, 0) if indices is None else (indices.ctypes.data, len(indices))


class _Sweep(Function):
    @staticmethod
    def forward(ctx: Any, code: Code, inverse: bool, program: Program, reference: Reference, *tensors: Any) -> Any:
        made, ladj = _forward(code, inverse, program, *tensors)
        ctx.code, ctx.inverse, ctx.program, ctx.reference = code, inverse, program, reference
        ctx.save_for_backward(made, *tensors)
        return made, ladj

    @staticmethod
    def backward(ctx: Any, gmade: Tensor, gladj: Tensor) -> Any:
        made, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            grads = numerics.gradients(ctx.reference, tensors, (gmade, gladj), again=True)
        else:
            grads = _gradients(ctx.code, ctx.inverse, ctx.program, made, gmade, gladj, *tensors)
        return (None, None, None, None, *grads)


def _gradients(
    code: Code,
    inverse: bool,
    program: Program,
    made: Tensor,
    gmade: Tensor,
    gladj: Tensor,
    values: Tensor,
    shift: Tensor | None,
    *weights: Tensor,
) -> list[Tensor | None]:
    _check(code, program, made, shift, weights)
    matrices = [weight.resolve_neg() for weight in weights[::2]]
    z, h, theta = _parallel(program, made, shift, weights)
    gz = [torch.empty_like(t) for t in z]
    gvalues, gtheta = torch.empty_like(made), torch.empty_like(theta)
    if made.shape[0] and not made.is_meta:
        transposed = [_columns(matrices[0], program), *matrices[1:-1], _by_element(matrices[-1], program)]
        layers = [_Layer(transposed=matrix.t().contiguous()) for matrix in transposed]
        for layer, of_z, of_gz in zip(layers, z, gz, strict=False):
            layer.z, layer.gz = of_z, of_gz
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        _Call(
            code, inverse, program, widths, layers, as_rows(values, values.shape[1]), made, theta=theta,
            gmade=as_rows(gmade, gmade.shape[1]), gladj=gladj.resolve_neg(), gvalues=gvalues, gtheta=gtheta,
        ).run()  # fmt: skip
    grads: list[Tensor | None] = [gvalues, None if shift is None else gz[0]]
    for index, g in enumerate([*gz, gtheta]):
        grads += [g.t() @ h[program.sources[index] + 1], g.sum(0)]
    return grads


def _parallel(
    program: Program, made: Tensor, shift: Tensor | None, weights: tuple[Tensor, ...]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return, for values that are made, z of each hidden layer, what layers take (h[source + 1]), and the parameters."""
    activate = activation(program.activation)
    z: list[Tensor] = []
    # What is made at the last step no unit sees, and what is not finite there would spoil it through its weights of zero.
    last = torch.from_numpy(program.order[program.ends[-2] if len(program.ends) > 1 else 0 :])
    h: list[Tensor] = [made.index_fill(1, last.to(made.device), 0)]
    for index, skip in enumerate(program.skips):
        out = F.linear(h[program.sources[index] + 1], weights[2 * index], weights[2 * index + 1])
        if index == 0 and shift is not None:
            out = out + shift
        if skip >= 0:
            out = out + z[skip]
        z.append(out)
        h.append(activate(out))
    return z, h, F.linear(h[program.sources[-1] + 1], weights[-2], weights[-1])
