"""The compiled elementwise kernels as operators of torch: with gradients of any order, vmap, and shapes for the compiler."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from pushforward.native.library import BLOCK, DOUBLE, MATRIX, as_rows, block, call, matrix, threads, transformed

AFFINE, QUADRATIC_SPLINE, LINEAR_SPLINE = range(3)
MAX_BINS = 1024


class Code(NamedTuple):
    """A kernel in numbers: which one, its bins, and its bound."""

    kind: int
    bins: int
    bound: float


Reference = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]
REFERENCES: dict[int, Callable[[int, float], Reference]] = {}
"""For each kind, what makes the pure PyTorch function of (x, flat parameters, inverse); second derivatives come from it."""

# kind, bins, inverse, bound, is double, backward, threads, rows, sites, group; x, theta and their cotangents; what is made
JOB = struct.Struct("=qqqd6q" + 4 * MATRIX + 3 * BLOCK)
_GROUP = 512
"""Sites that a thread takes at a time."""
_SHARED_GROUP = 2048
"""The same where all rows share their parameters: what is the same for all of them is computed once a group."""
_GRAIN = 16384
"""Sites, times bins, worth a thread: about a tenth of a millisecond."""
_SHARED_PARTS = 16
"""Partial sums, at most, of the gradient of parameters that all rows share."""


def elementwise(x: Tensor, theta: Tensor, code: Code, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return ``(y, ladj)`` of a kernel: ``x`` (*batch, sites), ``theta`` (*batch or nothing, parameters); ladj summed over sites.

    The parameters' batch must be that of ``x``, or be absent: then all rows share them.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit one another, or there is no such kernel.
    """
    if torch.compiler.is_compiling():
        return torch.ops.pushforward.elementwise(x, theta, *code, inverse)  # type: ignore[no-any-return]
    if transformed():
        return _Value.apply(x, theta, *code, inverse)  # type: ignore[no-any-return,no-untyped-call]
    if torch.is_grad_enabled() and (x.requires_grad or theta.requires_grad):
        return _Eager.apply(x, theta, *code, inverse)  # type: ignore[no-any-return,no-untyped-call]
    return _forward(x, theta, *code, inverse)


def parameters_of(kind: int, bins: int) -> int:
    """Return how many parameters a site has."""
    return 2 if kind == AFFINE else (3 if kind == QUADRATIC_SPLINE else 4) * bins - 1


def _check(x: Tensor, theta: Tensor, kind: int, bins: int, bound: float) -> tuple[tuple[int, ...], bool]:
    """Return the batch, and whether numbers are double; raise `ValueError` unless all that an operator gets fits together."""
    shape, given, double = x.shape, theta.shape, DOUBLE.get(x.dtype)
    if not 0 <= kind <= LINEAR_SPLINE or not (bins == 0 if kind == AFFINE else 2 <= bins <= MAX_BINS) or not 0 < bound < math.inf:
        raise ValueError(
            f"elementwise: expected kind {AFFINE} with bins 0, or {QUADRATIC_SPLINE} or {LINEAR_SPLINE} with bins from 2 to {MAX_BINS}, "
            f"and bound > 0, got kind {kind}, bins {bins}, bound {bound}"
        )
    if double is None or theta.dtype is not x.dtype or not ((x.is_cpu and theta.is_cpu) or x.device == theta.device):
        raise ValueError(
            f"elementwise: expected x and theta on one device, both float32 or both float64, got {_words(x)} and {_words(theta)}"
        )
    if not shape:
        raise ValueError("elementwise: expected x of shape (*batch, sites), got ()")
    batch, width = shape[:-1], parameters_of(kind, bins) * shape[-1]
    if given != (*batch, width) and given != (width,):
        raise ValueError(
            f"elementwise: expected theta of shape ({width},) or {(*batch, width)} for x of shape {tuple(shape)}, got {tuple(given)}"
        )
    return batch, double


def _check_backward(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, kind: int, bins: int, bound: float) -> bool:
    """Return whether numbers are double; raise `ValueError` unless all that an operator gets fits together."""
    batch, double = _check(x, theta, kind, bins, bound)
    if gy.shape != x.shape or gladj.shape != batch:
        raise ValueError(
            f"elementwise_backward: expected cotangents of shapes {tuple(x.shape)} and {tuple(batch)}, "
            f"got {tuple(gy.shape)} and {tuple(gladj.shape)}"
        )
    alike = (x.is_cpu and gy.is_cpu and gladj.is_cpu) or x.device == gy.device == gladj.device
    if gy.dtype is not x.dtype or gladj.dtype is not x.dtype or not alike:
        raise ValueError(f"elementwise_backward: expected cotangents as {_words(x)}, got {_words(gy)} and {_words(gladj)}")
    return double


def _words(tensor: Tensor) -> str:
    return f"{tensor.dtype} on {tensor.device}"


def _forward(x: Tensor, theta: Tensor, kind: int, bins: int, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    batch, double = _check(x, theta, kind, bins, bound)
    shape = x.shape
    sites = shape[-1]
    y, ladj = x.new_empty(shape), x.new_empty(batch)
    if not sites or x.is_meta:
        return y, ladj if sites else ladj.zero_()
    width = sites * parameters_of(kind, bins)
    rows, parameters = as_rows(x, sites), as_rows(theta, width)
    count = rows.shape[0]
    if count:
        group = max(1, min(count, (_SHARED_GROUP if theta.dim() == 1 else _GROUP) // sites))
        job = JOB.pack(
            kind, bins, inverse, bound, double, 0, threads(count * sites * max(1, bins), _GRAIN), count, sites, group,
            *matrix(rows, count, sites), *_parameters(parameters, count, width, theta.dim() == 1), 0, 0, 0, 0, 0, 0,
            y.data_ptr(), count * sites, ladj.data_ptr(), count, 0, 0,
        )  # fmt: skip
        call("pushforward_elementwise", job)
    return y, ladj


def _parameters(rows: Tensor, count: int, width: int, shared: bool) -> tuple[int, int, int]:
    return (rows.data_ptr(), width, 0) if shared else matrix(rows, count, width)


def _backward(
    x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, kind: int, bins: int, bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    double = _check_backward(x, theta, gy, gladj, kind, bins, bound)
    sites, shared = x.shape[-1], theta.dim() == 1
    width = sites * parameters_of(kind, bins)
    gx = x.new_empty(x.shape)
    if not sites or x.is_meta:
        return gx, x.new_empty(theta.shape)
    rows, parameters, cotangents = as_rows(x, sites), as_rows(theta, width), as_rows(gy, sites)
    heights = gladj if gladj.dim() == 1 else gladj.reshape(-1)
    if heights.is_neg():
        heights = heights.resolve_neg()
    count = rows.shape[0]
    group = max(1, min(count, (_SHARED_GROUP if shared else _GROUP) // sites))
    if shared:
        group = max(group, -(-count // _SHARED_PARTS))
    parts = -(-count // group) if count else 0
    gtheta = x.new_empty((parts, theta.shape[-1]) if shared else theta.shape)
    if count:
        job = JOB.pack(
            kind, bins, inverse, bound, double, 1, threads(count * sites * max(1, bins), _GRAIN), count, sites, group,
            *matrix(rows, count, sites), *_parameters(parameters, count, width, shared), *matrix(cotangents, count, sites),
            *matrix(heights, count, 1), gx.data_ptr(), count * sites, 0, 0, *block(gtheta),
        )  # fmt: skip
        call("pushforward_elementwise", job)
    return gx, gtheta.sum(0) if shared else gtheta


# Gradients

Arguments = tuple[Tensor, Tensor, int, int, float, bool]


def _keep(ctx: Any, inputs: Arguments, output: tuple[Tensor, Tensor]) -> None:
    x, theta, ctx.kind, ctx.bins, ctx.bound, ctx.inverse = inputs
    ctx.save_for_backward(output[0] if ctx.inverse else x, theta)  # the base side, and nothing that grows with the bins


def _gradient(ctx: Any, gy: Tensor, gladj: Tensor) -> Any:
    run: Any = _Slope.apply if transformed() or torch.is_grad_enabled() else _backward
    return (*run(*ctx.saved_tensors, gy, gladj, ctx.kind, ctx.bins, ctx.bound, ctx.inverse), None, None, None, None)


def _gradient_by_operator(ctx: Any, gy: Tensor, gladj: Tensor) -> Any:
    """Return the gradient as tracers want it, whose tensors have no memory to point to."""
    run: Any = torch.ops.pushforward.elementwise_backward
    return (*run(*ctx.saved_tensors, gy, gladj, ctx.kind, ctx.bins, ctx.bound, ctx.inverse), None, None, None, None)


def _keep_again(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.kind, ctx.bins, ctx.bound, ctx.inverse = inputs
    ctx.save_for_backward(*tensors)


def _second_gradient(ctx: Any, ggx: Tensor, ggtheta: Tensor) -> Any:
    """Differentiate the reference twice; for an inverse, whose x is a function of y and theta, through its forward map."""
    reference = REFERENCES[ctx.kind](ctx.bins, ctx.bound)

    def first(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor) -> tuple[Tensor, Tensor]:
        pull: Any = torch.func.vjp(lambda x, theta: reference(x, theta, False), x, theta)[1]
        if not ctx.inverse:
            gx, gtheta = pull((gy, gladj))
            return gx, gtheta
        # x = f^-1(y), ladj = -log f'(x): see spline.h.
        slope: Tensor = pull((torch.ones_like(x), torch.zeros_like(gladj)))[0]
        bend = pull((torch.zeros_like(x), torch.ones_like(gladj)))[0]
        inner = -(gy - gladj.unsqueeze(-1) * bend) / slope
        return -inner, pull((inner, -gladj))[1]

    back: Any = torch.func.vjp(first, *ctx.saved_tensors)[1]
    return (*back((ggx, ggtheta)), None, None, None, None)


class _Eager(Function):
    """Plain eager calls: without the dispatch of an operator, which small problems would feel."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = _forward(*inputs)
        _keep(ctx, inputs, output)
        return output

    backward = staticmethod(_gradient)


def _batched(operator: str) -> Callable[..., Any]:
    """Return the vmap rule of an operator whose tensors have any number of batch axes at their front."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        tensors = [
            (a.unsqueeze(0).expand(info.batch_size, *a.shape) if d is None else a.movedim(d, 0)) if isinstance(a, Tensor) else a
            for a, d in zip(args, in_dims, strict=True)
        ]
        x, theta = tensors[:2]
        shared = theta.dim() < x.dim()  # by the rows within a sample, not by the samples
        if shared:
            theta = theta.reshape(len(theta), *[1] * (x.dim() - theta.dim()), -1).expand(*x.shape[:-1], -1)
        face = _Value if operator == "elementwise" else _Slope
        out = face.apply(x, theta, *tensors[2:])  # type: ignore[no-untyped-call]
        if shared and operator == "elementwise_backward":
            out = (out[0], out[1].flatten(1, -2).sum(1))
        return out, (0, 0)

    return rule


class _Value(Function):
    """The operator as function transforms see it, which do not take an operator's own gradient."""

    generate_vmap_rule = False
    forward = staticmethod(lambda *inputs: torch.ops.pushforward.elementwise(*inputs))
    setup_context = staticmethod(_keep)
    backward = staticmethod(_gradient)
    vmap = staticmethod(_batched("elementwise"))


class _Slope(Function):
    """The gradient, itself differentiable."""

    generate_vmap_rule = False
    forward = staticmethod(lambda *inputs: torch.ops.pushforward.elementwise_backward(*inputs))
    setup_context = staticmethod(_keep_again)
    backward = staticmethod(_second_gradient)
    vmap = staticmethod(_batched("elementwise_backward"))


# The operators

_ARGUMENTS = "int kind, int bins, float bound, bool inverse"
_LIBRARY = torch.library.Library("pushforward", "FRAGMENT")
_LIBRARY.define(f"elementwise(Tensor x, Tensor theta, {_ARGUMENTS}) -> (Tensor, Tensor)")
_LIBRARY.define(f"elementwise_backward(Tensor x, Tensor theta, Tensor gy, Tensor gladj, {_ARGUMENTS}) -> (Tensor, Tensor)")
_LIBRARY.impl("elementwise", _forward, "CPU")
_LIBRARY.impl("elementwise_backward", _backward, "CPU")


def _forward_shapes(x: Tensor, theta: Tensor, kind: int, bins: int, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    _check(x, theta, kind, bins, bound)
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1])


def _backward_shapes(
    x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, kind: int, bins: int, bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    _check_backward(x, theta, gy, gladj, kind, bins, bound)
    return x.new_empty(x.shape), x.new_empty(theta.shape)


torch.library.register_fake("pushforward::elementwise", _forward_shapes, lib=_LIBRARY)
torch.library.register_fake("pushforward::elementwise_backward", _backward_shapes, lib=_LIBRARY)
torch.library.register_autograd("pushforward::elementwise", _gradient_by_operator, setup_context=_keep, lib=_LIBRARY)
torch.library.register_autograd("pushforward::elementwise_backward", _second_gradient, setup_context=_keep_again, lib=_LIBRARY)
for _name in ("elementwise", "elementwise_backward"):
    torch.library.register_vmap(f"pushforward::{_name}", _batched(_name), lib=_LIBRARY)
