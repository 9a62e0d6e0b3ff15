"""Numerics: smooth bounds, working precision, and gradients of what is computed once more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor


def working(x: Tensor) -> Tensor:
    """Return ``x`` in the precision in which kernels compute: float32 for the half formats, else its own."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def expanded(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return ``x`` expanded to ``shape``; itself where it has it, since a view that changes nothing costs an operator each way."""
    return x if x.shape == shape else x.expand(shape)


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return ``x`` reshaped to ``shape``; itself where it has it."""
    return x if x.shape == shape else x.reshape(shape)


def finer(x: Tensor) -> Tensor:
    """Return ``x`` in float64, or on a device without it in float32: what is computed from it rounds once, at the end."""
    return x.float() if x.device.type == "mps" else x.double()


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002 (torch's own words for them)
    """Return `torch.clamp`, whose derivative is 1 at the ends themselves, and 0 at NaN, in every version of torch.

    From 2.14 on torch takes 0 or a half at the ends, and 1 at NaN. A value at the end of a box, or at a knot, would have no gradient.
    """
    bounded = torch.clamp(x.detach(), min, max)
    return torch.where(bounded == x, x, bounded) if torch.is_grad_enabled() else bounded


def soft_clamp(x: Tensor, bound: float) -> Tensor:
    r"""Bound a value smoothly: :math:`\frac{2b}{\pi}\arctan\frac{\pi x}{2b}`, in (-b, b), with slope 1 at zero.

    The slope falls off like 1/x² and is never faked, so a saturated parameter still learns.
    """
    scale = 2 * bound / math.pi
    return scale * torch.atan(x / scale)


def soft_clamp_inverse(value: Tensor, bound: float) -> Tensor:
    """Return what `soft_clamp` bounds to a value in (-bound, bound)."""
    scale = 2 * bound / math.pi
    return scale * torch.tan(value / scale)


Function = Callable[..., tuple[Tensor, Tensor]]


def recomputed(function: Function, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``function(*tensors)``, keeping only the tensors for its gradient: what lies between is computed again."""
    return differentiable(Rule(_evaluated, _once_more, _evaluated), function, *tensors)  # type: ignore[no-any-return]


class Rule(NamedTuple):
    """A function of tensors with a gradient of its own; higher derivatives are those of ``reference``.

    All three get first what the function knows beside tensors. It is handed over, so that a rule may stand in a module: to make closures
    at each call takes longer.

    Args:
        forward: ``forward(known, *tensors)``, one tensor or several.
        backward: ``backward(known, tensors, y, *cotangents)``, from the first output and the cotangents of all to a cotangent or None for
            each tensor.
        reference: The same as ``forward`` in a form that can be differentiated.
        keep: Whether ``backward`` needs ``y``; else it gets None.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Sequence[Tensor | None]]
    reference: Callable[..., Any]
    keep: bool = True


def differentiable(rule: Rule, known: Any, *tensors: Tensor | None) -> Any:
    """Return ``rule.forward(known, *tensors)`` with the gradient of the rule; None stands for a tensor that there is not."""
    if torch.is_grad_enabled():
        for t in tensors:
            if t is not None and t.requires_grad:
                return _Differentiable.apply(rule, known, *tensors)  # type: ignore[no-untyped-call]
    return rule.forward(known, *tensors)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, known: Any, *tensors: Tensor | None) -> Any:
        out = rule.forward(known, *tensors)
        ctx.rule, ctx.known = rule, known
        ctx.save_for_backward(*tensors, (out[0] if isinstance(out, tuple) else out) if rule.keep else None)
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        *tensors, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            return None, None, *gradients(partial(ctx.rule.reference, ctx.known), tensors, cotangents, again=True)
        return None, None, *ctx.rule.backward(ctx.known, tensors, y, *cotangents)


def _evaluated(function: Function, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    return function(*tensors)


def _once_more(function: Function, tensors: Sequence[Tensor], _: Tensor, *cotangents: Tensor) -> Sequence[Tensor | None]:
    return gradients(function, tensors, cotangents)


def gradients(
    function: Callable[..., Any], given: Sequence[Tensor | None], cotangents: Sequence[Tensor], again: bool = False
) -> list[Tensor | None]:
    """Return the gradients of a function that is evaluated once more, at each tensor as if it were independent of the others.

    Args:
        function: From the tensors to what the cotangents belong to.
        given: What it depends on, with None where it takes none.
        cotangents: Those of the outputs.
        again: Whether the gradients are to be differentiated themselves.
    """
    with torch.enable_grad():
        # A view is a variable of its own: what leads from one of the tensors to another is no part of the gradient.
        own = [None if t is None else t.view_as(t) if again else t.detach().requires_grad_(t.requires_grad) for t in given]
        wanted = [t for t in own if t is not None and t.requires_grad]
        found = iter(torch.autograd.grad(function(*own), wanted, tuple(cotangents), create_graph=again, allow_unused=True))
    return [next(found) if t is not None and t.requires_grad else None for t in own]


def constant(values: Any, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the precision and the place of another; ``new_tensor`` refuses views of complex conjugates.

    >>> constant([1, 2], torch.zeros(3, dtype=torch.float64))
    tensor([1., 2.], dtype=torch.float64)
    """
    return torch.tensor(values, dtype=like.dtype, device=like.device)
