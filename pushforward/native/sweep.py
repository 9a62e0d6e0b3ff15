"""The compiled sequential direction of an autoregressive layer over a masked perceptron, with its gradient.

The values come from one incremental pass; the gradient from a parallel pass at those values, a sweep back through the same steps,
and one matrix product for each weight.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from pushforward import numerics
from pushforward.native.elementwise import Code
from pushforward.native.library import call, threads

MAX_LAYERS = 32
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid")
"""The activations that the library has, in the order of its enum."""


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return an activation by its name."""
    found: Callable[[Tensor], Tensor] = getattr(torch if name in ("tanh", "sigmoid") else F, name)
    return found


_HEAD = struct.Struct("=qqqd8q2q5q4q4q")
_LAYER = struct.Struct("=9q")
_TILE = 32
"""Rows that run side by side: what a thread gets at least."""

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a sequential pass, as plain arrays.

    Args:
        order: Sites in the order in which they are made.
        ends: For each step, how many sites are made by its end.
        edges: For each hidden layer and step, how many of its units see only what is made before the step.
        sources: For each layer, the last included, the hidden layer that it takes (-1: the sites).
        skips: For each hidden layer, the layer whose values are added to its own (-1: none).
        activation: Its name.
    """

    order: Indices
    ends: Indices
    edges: tuple[Indices, ...]
    sources: tuple[int, ...]
    skips: tuple[int, ...]
    activation: str


Reference = Callable[..., tuple[Tensor, Tensor]]


def sweep(
    code: Code, inverse: bool, program: Program, values: Tensor, shift: Tensor | None, weights: list[Tensor], reference: Reference
) -> tuple[Tensor, Tensor]:
    """Return ``(made, ladj)`` for rows of values.

    Args:
        code: The kernel.
        inverse: Whether the kernel's inverse makes a site.
        program: The steps.
        values: ``(rows, sites)``.
        shift: What the context adds to the first layer, ``(rows, width)``, or None.
        weights: Masked weight and bias of each layer in turn, the last with one row for each parameter and site.
        reference: The same as a differentiable function of ``(values, shift, *weights)``; second derivatives come from it.
    """
    given = [values, *weights] if shift is None else [values, shift, *weights]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return _Sweep.apply(code, inverse, program, reference, values, shift, *weights)  # type: ignore[no-any-return,no-untyped-call]
    return _forward(code, inverse, program, values, shift, *weights)


def _forward(code: Code, inverse: bool, program: Program, values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
    made, ladj = torch.empty_like(values, memory_format=torch.contiguous_format), values.new_empty(values.shape[0])
    if values.shape[0] and not values.is_meta:
        matrices, biases = [weight.contiguous() for weight in weights[::2]], [bias.contiguous() for bias in weights[1::2]]
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        matrices[0] = _columns(matrices[0], program)
        matrices[-1], biases[-1] = _by_site(matrices[-1], program), _by_site(biases[-1], program)
        layers = [_Layer(weight, bias) for weight, bias in zip(matrices, biases, strict=True)]
        shift = None if shift is None else _rows(shift)
        _Call(code, inverse, program, widths, layers, _rows(values), made, shift=shift, ladj=ladj).run()
    return made, ladj


def _rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _columns(weight: Tensor, program: Program) -> Tensor:
    """Return the first weight with its columns in the order in which sites are made."""
    return weight if _ordered(program) else weight[:, torch.from_numpy(program.order)]


def _by_site(weight: Tensor, program: Program) -> Tensor:
    """Return the last weight or bias, whose rows go parameter by parameter, with its rows site by site, in their order."""
    by_parameter = weight.unflatten(0, (-1, len(program.order)))
    if not _ordered(program):
        by_parameter = by_parameter[:, torch.from_numpy(program.order)]
    by_site: Tensor = by_parameter.transpose(0, 1).flatten(0, 1).contiguous()
    return by_site


def _ordered(program: Program) -> bool:
    return bool((program.order[1:] > program.order[:-1]).all())


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
        program, (rows, sites) = self.program, self.values.shape
        read = (self.values, self.shift, self.theta, self.gmade, self.gladj)
        moved = (self.values, self.shift, self.gmade, self.gladj)
        head = _HEAD.pack(
            self.code.kind, self.code.bins, self.inverse, self.code.bound,
            self.values.dtype == torch.float64, self.gmade is not None, threads(rows, _TILE), rows, sites, len(program.ends),
            len(program.edges), ACTIVATIONS.index(program.activation), program.order.ctypes.data, program.ends.ctypes.data,
            *map(_address, read), *(0 if t is None else t.stride(0) for t in moved),
            *map(_address, (self.made, self.ladj, self.gvalues, self.gtheta)),
        )  # fmt: skip
        body = b""
        for index, layer in enumerate(self.layers):
            last = index == len(self.widths)
            own = (0, -1, 0) if last else (self.widths[index], program.skips[index], program.edges[index].ctypes.data)
            width, skip, edges = own
            tensors = (layer.weight, layer.bias, layer.transposed, layer.z, layer.gz)
            body += _LAYER.pack(width, program.sources[index], skip, edges, *map(_address, tensors))
        call("pushforward_sweep", head + body)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


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
    matrices = weights[::2]
    z, h, theta = _parallel(program, made, shift, weights)
    gz = [torch.empty_like(t) for t in z]
    gvalues, gtheta = torch.empty_like(made), torch.empty_like(theta)
    if made.shape[0] and not made.is_meta:
        transposed = [_columns(matrices[0], program), *matrices[1:-1], _by_site(matrices[-1], program)]
        layers = [_Layer(transposed=matrix.t().contiguous()) for matrix in transposed]
        for layer, of_z, of_gz in zip(layers, z, gz, strict=False):
            layer.z, layer.gz = of_z, of_gz
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        _Call(
            code, inverse, program, widths, layers, _rows(values), made, theta=theta, gmade=_rows(gmade), gladj=gladj,
            gvalues=gvalues, gtheta=gtheta,
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
    h: list[Tensor] = [made]
    for index, skip in enumerate(program.skips):
        out = F.linear(h[program.sources[index] + 1], weights[2 * index], weights[2 * index + 1])
        if index == 0 and shift is not None:
            out = out + shift
        if skip >= 0:
            out = out + z[skip]
        z.append(out)
        h.append(activate(out))
    return z, h, F.linear(h[program.sources[-1] + 1], weights[-2], weights[-1])
