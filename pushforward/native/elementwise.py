"""The compiled elementwise kernels as operators of torch: with gradients of any order, vmap, and shapes for the compiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from pushforward.core import mode
from pushforward.native.layout import JOB, MAX_BINS
from pushforward.native.library import DOUBLE, as_rows, block, call, matrix, threads

(
    AFFINE, QUADRATIC_SPLINE, LINEAR_SPLINE, MONOTONIC_NETWORK, DEEP_SIGMOID, DEEP_TANH, SUM_OF_SQUARES, GENTLE_SUM_OF_SQUARES, BERNSTEIN,
    GENTLE_BERNSTEIN, IDENTITY_BERNSTEIN,
) = range(11)  # fmt: skip


class Code(NamedTuple):
    """A kernel in numbers.

    Args:
        kind: Which one.
        bins: Of a spline, units of a network, the degree of a polynomial.
        bound: Half the width of its box, or what bounds its logarithm.
        parts: Panels of a network, terms of a sum of squares.
        floor: The least slope of a sum of squares.
    """

    kind: int
    bins: int
    bound: float
    parts: int = 0
    floor: float = 0.0

    @property
    def parameters(self) -> int:
        """How many parameters an element has."""
        return KINDS[self.kind].parameters(self.bins, self.parts)

    @property
    def taken(self) -> bool:
        """Whether the compiled code takes a kernel of this size.

        A plan asks when it is made: the compiler of torch before 2.6 takes sizes for open ones, of which it can decide nothing.
        """
        form = KINDS.get(self.kind)
        least = 0 < self.floor < 1 if form is not None and form.has_floor else self.floor == 0
        return form is not None and self.bins in form.bins and self.parts in form.parts and least and 0 < self.bound < math.inf


class Form(NamedTuple):
    """A kind: its name in C, the sizes that the compiled code takes, the parameters of an element, and its work (of a spline its bins)."""

    name: str
    bins: range
    parts: range
    parameters: Callable[[int, int], int]
    work: Callable[[int, int], int]
    has_floor: bool = False


_NONE, _BINS, _DEGREES = range(1), range(2, MAX_BINS + 1), range(3, 129)
_SQUARES = (range(1, 17), range(1, 65), lambda bins, parts: parts * (bins + 1) + 1, lambda bins, parts: parts * (bins + 2), True)
_SIGMOIDS = (range(1, MAX_BINS + 1), _NONE, lambda bins, _: 3 * bins, lambda bins, _: 2 * bins)
KINDS = {
    AFFINE: Form("AFFINE", _NONE, _NONE, lambda bins, _: 2, lambda bins, _: 1),
    QUADRATIC_SPLINE: Form("QUADRATIC_SPLINE", _BINS, _NONE, lambda bins, _: 3 * bins - 1, lambda bins, _: bins),
    LINEAR_SPLINE: Form("LINEAR_SPLINE", _BINS, _NONE, lambda bins, _: 4 * bins - 1, lambda bins, _: bins),
    MONOTONIC_NETWORK: Form(
        "MONOTONIC_NETWORK", range(1, 65), range(1, 33), lambda bins, _: 3 * bins + 2, lambda bins, parts: 4 * bins * parts
    ),
    DEEP_SIGMOID: Form("DEEP_SIGMOID", *_SIGMOIDS),
    DEEP_TANH: Form("DEEP_TANH", *_SIGMOIDS),
    SUM_OF_SQUARES: Form("SUM_OF_SQUARES", *_SQUARES),
    GENTLE_SUM_OF_SQUARES: Form("GENTLE_SUM_OF_SQUARES", *_SQUARES),
    BERNSTEIN: Form("BERNSTEIN", _DEGREES, _NONE, lambda bins, _: bins - 1, lambda bins, _: bins),
    GENTLE_BERNSTEIN: Form("GENTLE_BERNSTEIN", _DEGREES, _NONE, lambda bins, _: bins - 1, lambda bins, _: bins),
    IDENTITY_BERNSTEIN: Form("IDENTITY_BERNSTEIN", range(6, 129), _NONE, lambda bins, _: bins - 4, lambda bins, _: bins),
}

Reference = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]
REFERENCES: dict[int, Callable[[Code], Reference]] = {}
"""For each kind, what makes the pure PyTorch function of (x, flat parameters, inverse); second derivatives come from it."""

_GROUP = 512
"""Elements that a thread takes at a time."""
_SHARED_GROUP = 2048
"""The same where all rows share their parameters: what is the same for all of them is computed once a group."""
_GRAIN = 16384
"""Elements, times their work, worth a thread: about a tenth of a millisecond."""
_SHARED_PARTS = 16
"""Partial sums, at most, of the gradient of parameters that all rows share."""


def elementwise(x: Tensor, theta: Tensor, code: Code, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return ``(y, ladj)`` of a kernel: ``x`` (*batch, elements), ``theta`` (*batch or nothing, parameters); ladj summed over elements.

    The parameters' batch must be that of ``x``, or be absent: then all rows share them.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit one another, or there is no such kernel.
    """
    if mode.compiling():
        return torch.ops.pushforward.elementwise(x, theta, *code, inverse)  # type: ignore[no-any-return]
    if mode.transformed():
        return _Value.apply(x, theta, *code, inverse)  # type: ignore[no-any-return,no-untyped-call]
    if torch.is_grad_enabled() and (x.requires_grad or theta.requires_grad):
        return _Eager.apply(x, theta, code, inverse)  # type: ignore[no-any-return,no-untyped-call]
    return _value(x, theta, code, inverse)


def _check(x: Tensor, theta: Tensor, code: Code) -> tuple[torch.Size, int, bool]:
    """Return the batch, the parameters of a row, and whether numbers are double; raise `ValueError` unless what is given fits together."""
    shape, given, double = x.shape, theta.shape, DOUBLE.get(x.dtype)
    if not code.taken:
        form = KINDS.get(code.kind)
        sizes = "" if form is None else (
            f" with {_between(form.bins)} bins, {_between(form.parts)} parts, a floor {'in (0, 1)' if form.has_floor else 'of 0'}"
        )  # fmt: skip
        raise ValueError(
            f"elementwise: expected a kind from 0 to {len(KINDS) - 1}{sizes}, and bound > 0, got kind {code.kind}, bins {code.bins}, "
            f"bound {code.bound}, parts {code.parts}, floor {code.floor}"
        )
    if double is None or theta.dtype is not x.dtype or not ((x.is_cpu and theta.is_cpu) or x.device == theta.device):
        raise ValueError(
            f"elementwise: expected x and theta on one device, both float32 or both float64, got {_words(x)} and {_words(theta)}"
        )
    if not shape:
        raise ValueError("elementwise: expected x of shape (*batch, elements), got ()")
    batch, width = shape[:-1], code.parameters * shape[-1]
    # Axes are counted first: else the compiler compares parameters with rows, and compiles anew where there are as many.
    if given != ((width,) if len(given) == 1 else (*batch, width)):
        raise ValueError(
            f"elementwise: expected theta of shape ({width},) or {(*batch, width)} for x of shape {tuple(shape)}, got {tuple(given)}"
        )
    return batch, width, double


def _between(sizes: range) -> str:
    return f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"


def _check_backward(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, code: Code) -> tuple[int, bool]:
    """Return the parameters of a row, and whether numbers are double; raise `ValueError` unless what is given fits together."""
    batch, width, double = _check(x, theta, code)
    if gy.shape != x.shape or gladj.shape != batch:
        raise ValueError(
            f"elementwise_backward: expected cotangents of shapes {tuple(x.shape)} and {tuple(batch)}, "
            f"got {tuple(gy.shape)} and {tuple(gladj.shape)}"
        )
    alike = (x.is_cpu and gy.is_cpu and gladj.is_cpu) or x.device == gy.device == gladj.device
    if gy.dtype is not x.dtype or gladj.dtype is not x.dtype or not alike:
        raise ValueError(f"elementwise_backward: expected cotangents as {_words(x)}, got {_words(gy)} and {_words(gladj)}")
    return width, double


def _words(tensor: Tensor) -> str:
    return f"{tensor.dtype} on {tensor.device}"


def _value(x: Tensor, theta: Tensor, code: Code, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return value and ladj."""
    batch, width, double = _check(x, theta, code)
    shape = x.shape
    elements = shape[-1]
    y, ladj = x.new_empty(shape), x.new_empty(batch)
    if not elements or x.is_meta:
        return y, ladj if elements else ladj.zero_()
    rows, parameters = as_rows(x, elements), as_rows(theta, width)
    count = rows.shape[0]
    if count:
        group = max(1, min(count, (_SHARED_GROUP if theta.dim() == 1 else _GROUP) // elements))
        job = JOB.pack(
            kind=_kind(code, inverse), is_double=double, backward=0, threads=_threads(count * elements, code),
            rows=count, elements=elements, group=group,
            x=matrix(rows, count, elements), theta=_parameters(parameters, count, width, theta.dim() == 1),
            out=(y.data_ptr(), count * elements), ladj=(ladj.data_ptr(), count),
        )  # fmt: skip
        call("pushforward_elementwise", job)
    return y, ladj


def _kind(code: Code, inverse: bool) -> tuple[int, int, bool, float, int, float]:
    kind, bins, bound, parts, floor = code
    return kind, bins, inverse, bound, parts, floor


def _threads(elements: int, code: Code) -> int:
    return threads(elements * KINDS[code.kind].work(code.bins, code.parts), _GRAIN)


def _parameters(rows: Tensor, count: int, width: int, shared: bool) -> tuple[int, int, int]:
    return (rows.data_ptr(), width, 0) if shared else matrix(rows, count, width)


def _slope(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, code: Code, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return the cotangents of x and theta, where x is on the base side."""
    width, double = _check_backward(x, theta, gy, gladj, code)
    elements, shared = x.shape[-1], theta.dim() == 1
    gx = x.new_empty(x.shape)
    if not elements or x.is_meta:
        return gx, x.new_empty(theta.shape)
    rows, parameters, cotangents = as_rows(x, elements), as_rows(theta, width), as_rows(gy, elements)
    heights = gladj if gladj.dim() == 1 else gladj.reshape(-1)
    if heights.is_neg():
        heights = heights.resolve_neg()
    count = rows.shape[0]
    group = max(1, min(count, (_SHARED_GROUP if shared else _GROUP) // elements))
    if shared:
        group = max(group, -(-count // _SHARED_PARTS))
    sums = -(-count // group) if count else 0
    gtheta = x.new_empty((sums, theta.shape[-1]) if shared else theta.shape)
    if count:
        job = JOB.pack(
            kind=_kind(code, inverse), is_double=double, backward=1, threads=_threads(count * elements, code),
            rows=count, elements=elements, group=group,
            x=matrix(rows, count, elements), theta=_parameters(parameters, count, width, shared), g=matrix(cotangents, count, elements),
            gl=matrix(heights, count, 1), out=(gx.data_ptr(), count * elements), gtheta=block(gtheta),
        )  # fmt: skip
        call("pushforward_elementwise", job)
    return gx, gtheta.sum(0) if shared else gtheta


# Gradients


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, theta, *numbers, ctx.inverse = inputs
    ctx.code = Code(*numbers)
    ctx.save_for_backward(output[0] if ctx.inverse else x, theta)  # the base side, and nothing that grows with the bins


def _gradients(ctx: Any, gy: Tensor, gladj: Tensor) -> tuple[Tensor, Tensor]:
    if mode.transformed() or torch.is_grad_enabled():
        return _Slope.apply(*ctx.saved_tensors, gy, gladj, *ctx.code, ctx.inverse)  # type: ignore[no-any-return,no-untyped-call]
    x, theta = ctx.saved_tensors
    return _slope(x, theta, gy, gladj, ctx.code, ctx.inverse)


def _gradient(ctx: Any, gy: Tensor, gladj: Tensor) -> Any:
    return (*_gradients(ctx, gy, gladj), *[None] * 6)


def _gradient_by_operator(ctx: Any, gy: Tensor, gladj: Tensor) -> Any:
    """Return the gradient as tracers want it, whose tensors have no memory to point to."""
    run: Any = torch.ops.pushforward.elementwise_backward
    return (*run(*ctx.saved_tensors, gy, gladj, *ctx.code, ctx.inverse), *[None] * 6)


def _keep_again(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.code, ctx.inverse = Code(*inputs[4:-1]), inputs[-1]
    ctx.save_for_backward(*inputs[:4])


def _second_gradient(ctx: Any, ggx: Tensor, ggtheta: Tensor) -> Any:
    """Differentiate the reference twice; for an inverse, whose x is a function of y and theta, through its forward map."""
    reference = REFERENCES[ctx.code.kind](ctx.code)

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
    return (*back((ggx, ggtheta)), *[None] * 6)


class _Eager(Function):
    """Plain eager calls: without the dispatch of an operator, which small problems would feel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, code: Code, inverse: bool) -> Any:
        output = _value(x, theta, code, inverse)
        ctx.code, ctx.inverse = code, inverse
        ctx.save_for_backward(output[0] if inverse else x, theta)  # as `_keep` does
        return output

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gladj: Tensor) -> Any:
        return (*_gradients(ctx, gy, gladj), None, None)


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

_ARGUMENTS = "int kind, int bins, float bound, int parts, float floor, bool inverse"
_LIBRARY = torch.library.Library("pushforward", "FRAGMENT")
_LIBRARY.define(f"elementwise(Tensor x, Tensor theta, {_ARGUMENTS}) -> (Tensor, Tensor)")
_LIBRARY.define(f"elementwise_backward(Tensor x, Tensor theta, Tensor gy, Tensor gladj, {_ARGUMENTS}) -> (Tensor, Tensor)")


def _forward(x: Tensor, theta: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    return _value(x, theta, Code(*numbers[:-1]), numbers[-1])


def _backward(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    return _slope(x, theta, gy, gladj, Code(*numbers[:-1]), numbers[-1])


_LIBRARY.impl("elementwise", _forward, "CPU")
_LIBRARY.impl("elementwise_backward", _backward, "CPU")


def _forward_shapes(x: Tensor, theta: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    _check(x, theta, Code(*numbers[:-1]))
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1])


def _backward_shapes(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    _check_backward(x, theta, gy, gladj, Code(*numbers[:-1]))
    return x.new_empty(x.shape), x.new_empty(theta.shape)


torch.library.register_fake("pushforward::elementwise", _forward_shapes, lib=_LIBRARY)
torch.library.register_fake("pushforward::elementwise_backward", _backward_shapes, lib=_LIBRARY)
torch.library.register_autograd("pushforward::elementwise", _gradient_by_operator, setup_context=_keep, lib=_LIBRARY)
torch.library.register_autograd("pushforward::elementwise_backward", _second_gradient, setup_context=_keep_again, lib=_LIBRARY)
for _name in ("elementwise", "elementwise_backward"):
    torch.library.register_vmap(f"pushforward::{_name}", _batched(_name), lib=_LIBRARY)
