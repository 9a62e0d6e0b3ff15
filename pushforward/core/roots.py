"""Roots: a safeguarded Newton's method with implicit gradients, for increasing functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core import mode

STEPS = 96
"""Enough for any increasing function of a floating-point format: a third of them halve its whole range."""
POLISH = 2
"""Newton steps at the root, which carry the gradients."""


def root(function: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, steps: int | None = None) -> Tensor:
    r"""Solve :math:`f(x) = y` for an increasing :math:`f: \mathbb{R} \to \mathbb{R}` that returns its value and :math:`\log f'`.

    Newton's method inside a bracket that is halved where Newton would leave it. The bracket is kept in
    :math:`z = \mathrm{asinh}\, x`, so it starts as the whole range of the floating-point format and nothing has to be
    searched outward. A number whose Newton step is a few roundings stays where it is, whatever the others do, and when all do the search
    ends. Under `torch.compile` and function transforms all ``steps`` are made, since nothing may look at values there. Two
    differentiable Newton steps at the root carry first and second derivatives with respect to ``y`` and to whatever ``function``
    closes over.

    A ``y`` beyond the image of ``f`` ends at the end of the range; NaN gives NaN.

    Args:
        function: From ``x`` to the value and the log-slope, each of the shape of ``y``.
        y: Where the root is sought, float32 or float64, of any shape.
        steps: Evaluations of the search, at most (None: `STEPS`); `POLISH` follow.

    >>> root(lambda x: (x**3 + x, torch.log(3 * x**2 + 1)), torch.tensor([2.0, 10.0]))
    tensor([1., 2.])
    """
    info = torch.finfo(y.dtype)
    top = math.asinh(info.max / 4)
    may_look = not (y.is_meta or mode.watched())
    with torch.no_grad():
        low, high = torch.full_like(y, -top), torch.full_like(y, top)
        z, settled, last = torch.zeros_like(y), torch.isnan(y), torch.full_like(y, math.inf)
        for step in range(STEPS if steps is None else steps):
            x = torch.sinh(z)
            value, log_slope = function(x)
            below = value < y
            low, high = torch.where(below, z, low), torch.where(below, high, z)
            newton = torch.asinh(x - (value - y) * torch.exp(-log_slope))
            move = torch.abs(newton - z)
            near = move <= 4 * info.eps * (1 + torch.abs(z))
            take = (newton > low) & (newton < high)
            if step % 3 == 2:  # a bracket that no step has halved for long is halved now, so slow convergence cannot outlast the steps
                take = take & (move <= 0.5 * last)
            z = torch.where(settled, z, torch.where(take | near, newton, 0.5 * (low + high)))
            settled, last = settled | near, move
            if may_look and bool(settled.all()):
                break
        x = torch.where(torch.isnan(y), y, torch.sinh(z))
    for _ in range(POLISH):
        value, log_slope = function(x)
        update = (value - y) * torch.exp(-log_slope)
        x = x - torch.where(torch.isfinite(update), update, torch.zeros_like(update))
    return x
