"""Mode: who looks on while operators run, torch's compiler, its tracers, its function transforms, or autocast."""

from __future__ import annotations

from contextvars import ContextVar

import torch
from torch import Tensor

AS_ON_CPU: ContextVar[bool] = ContextVar("AS_ON_CPU", default=False)
"""Whether meta tensors stand for tensors on the CPU, so that a step on the meta device is the step that would run there."""


compiling = torch.compiler.is_compiling
"""Tell whether torch's compiler or its export is making a graph of what runs; asked so often that a call around it would be felt."""


def exporting() -> bool:
    """Tell whether torch.export looks on: sizes are open, so nothing may ask how many rows there are, and operators are torch's alone.

    Then the compiler looks on, too.
    """
    asked = getattr(torch.compiler, "is_exporting", None)
    if asked is not None:
        return bool(asked())
    return compiling() and not torch.compiler.is_dynamo_compiling()  # torch before 2.7


def tracing() -> bool:
    """Tell whether ``torch.jit.trace`` records: operators alone, so what other code writes would be replayed as memory nobody filled."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def transformed() -> bool:
    """Tell whether a function transform such as vmap is at work, which must see each operator."""
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is None or bool(active()) or forward_mode()


def forward_mode() -> bool:
    """Tell whether tensors may carry tangents, which compiled kernels would drop without a word."""
    return bool(getattr(torch.autograd.forward_ad, "_current_level", 0) >= 0)


def autocast(like: Tensor) -> bool:
    """Tell whether products on the device of a tensor are taken in half precision; torch knows no autocast on the meta device."""
    return not like.is_meta and torch.is_autocast_enabled(like.device.type)


def watched() -> bool:
    """Tell whether the compiler or a function transform sees every operator, and values may not be looked at."""
    return compiling() or transformed()


def eager() -> bool:
    """Tell whether nobody looks on: each operator runs as it is called, and is recorded by autograd alone."""
    return not (watched() or tracing())
