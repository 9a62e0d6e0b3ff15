"""The compiled linear map of rows, y = L D U x + b, and its gradient; the formula is in `pushforward.kernels.linear`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core import mode
from pushforward.native.layout import JOB
from pushforward.native.library import DOUBLE, as_rows, block, call, matrix, threads, usable

MAX_WIDTH = 48
"""Beyond it the matrices leave the fast caches, and the products of BLAS, which takes them in blocks, are quicker."""
_GROUP = 128
"""Rows, at least, that a thread takes at a time: it computes the factors once for them."""
_PARTS = 16
"""Partial sums, at most, of the gradient of the parameters."""
_GRAIN = 1 << 19
"""Products worth a thread."""


def takes(x: Tensor, theta: Tensor) -> bool:
    """Tell whether the compiled code takes these rows and these parameters, which all rows share."""
    few = theta.dim() == 1 and 1 < x.shape[-1] <= MAX_WIDTH
    return few and usable(x, theta) and not mode.watched()


def linear(x: Tensor, theta: Tensor, bound: float, bias: bool, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return ``(y, ladj)`` of rows ``(*batch, size)`` for parameters ``(count,)``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit one another.
    """
    _check(x, theta, bound, bias)
    y, ladj = x.new_empty(x.shape), x.new_empty(x.shape[:-1])
    _run(x, theta, None, None, bound, bias, inverse, y, ladj, None, _GROUP)
    return y, ladj


def linear_gradient(x: Tensor, theta: Tensor, gy: Tensor, gladj: Tensor, bound: float, bias: bool, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return the gradients at ``x``, the base side whichever way the map ran: of what went in, and of ``theta``."""
    _check(x, theta, bound, bias, gy, gladj)
    gx = x.new_empty(x.shape)
    count = gladj.numel()
    group = max(_GROUP, -(-count // _PARTS))
    gtheta = x.new_empty(max(1, -(-count // group)), theta.shape[0])
    _run(x, theta, gy, gladj, bound, bias, inverse, gx, None, gtheta, group)
    return gx, gtheta.sum(0) if count else torch.zeros_like(theta)


def _check(x: Tensor, theta: Tensor, bound: float, bias: bool, *cotangents: Tensor) -> None:
    """Raise `ValueError` unless all that the compiled code gets fits together."""
    shape, dtype = x.shape, x.dtype
    size = shape[-1] if shape else 0
    count = size * (size + bool(bias))
    if not size or theta.shape != (count,):
        raise ValueError(
            f"linear: expected rows (*batch, size) and parameters ({count},), got shapes {tuple(shape)} and {tuple(theta.shape)}"
        )
    if not 0 < bound < math.inf:
        raise ValueError(f"linear: expected bound > 0, got {bound}")
    if cotangents and (cotangents[0].shape != shape or cotangents[1].shape != shape[:-1]):
        got = " and ".join(str(tuple(t.shape)) for t in cotangents)
        raise ValueError(f"linear: expected cotangents of shapes {tuple(shape)} and {tuple(shape[:-1])}, got {got}")
    for t in (theta, *cotangents):
        if dtype not in DOUBLE or t.dtype is not dtype or not ((x.is_cpu and t.is_cpu) or (x.is_meta and t.is_meta)):
            raise ValueError(
                f"linear: expected tensors on the CPU, all float32 or all float64, got {dtype} on {x.device} and {t.dtype} on {t.device}"
            )


def _run(
    x: Tensor, theta: Tensor, gy: Tensor | None, gladj: Tensor | None, bound: float, bias: bool, inverse: bool,
    out: Tensor, ladj: Tensor | None, gtheta: Tensor | None, group: int,
) -> None:  # fmt: skip
    size = x.shape[-1]
    if not x.numel() or x.is_meta:
        return
    rows, theta = as_rows(x, size), theta.contiguous().resolve_neg()
    cotangents, heights = (None, None) if gy is None or gladj is None else (as_rows(gy, size), gladj.reshape(-1).resolve_neg())
    height = rows.shape[0]
    count = threads(height * size * size, _GRAIN)
    call("pushforward_linear", JOB.pack(
        kind=(0, bias, inverse, bound, 0, 0.0), is_double=x.dtype == torch.float64, backward=gy is not None, threads=count,
        rows=height, elements=size, group=group,
        x=matrix(rows, height, size), theta=matrix(theta, 1, theta.shape[0]), g=matrix(cotangents, height, size),
        gl=matrix(heights, height, 1), out=block(out), ladj=block(ladj), gtheta=block(gtheta),
    ))  # fmt: skip
