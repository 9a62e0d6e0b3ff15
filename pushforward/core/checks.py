"""Checks: input validation, of what a user hands to a flow, a layer or a base, with errors that say what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""The precisions in which there is something to compute."""


class Owner(Protocol):
    """Who checks: errors begin with its name, which is made only when there is one."""

    noun: str
    """What it is: a flow, a layer, ..."""

    def label(self) -> str:
        """Return the name."""


def check_tensor(owner: Owner, what: str, value: Any, shape: Sequence[int], dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Raise TypeError or ValueError unless ``value`` is a tensor of events of this shape, precision (None: any) and place (None: any)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner.label()}: expected {what} to be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.layout is not torch.strided:
        raise TypeError(f"{owner.label()}: expected {what} to be a dense tensor, got {value.layout}; use .to_dense()")
    rank = len(shape)
    if value.dim() < rank or tuple(value.shape[value.dim() - rank :]) != tuple(shape):
        wanted = ", ".join(["*batch", *map(str, shape)])
        raise ValueError(f"{owner.label()}: expected {what} of shape ({wanted}), got {tuple(value.shape)}{_labels(what, value.dtype)}")
    if value.dtype != dtype:
        _check_dtype(owner, what, value.dtype, dtype)
    if device is not None and value.device != device:
        raise ValueError(
            f"{owner.label()}: expected {what} on {device}, got {value.device}; move it with .to(), or the {owner.noun} with its .to()"
        )


def _check_dtype(owner: Owner, what: str, got: torch.dtype, dtype: torch.dtype | None) -> None:
    if got not in FLOATS:
        way = f"convert it with .to({dtype or torch.get_default_dtype()}){_labels(what, got)}"
        way = "give its .real and .imag as numbers of their own" if got.is_complex else way
        raise TypeError(f"{owner.label()}: expected {what} of {dtype or 'floating point'}, got {got}; {way}")
    low = dtype in (torch.bfloat16, torch.float16)
    if dtype is not None and not (low and got == torch.float32):
        raise TypeError(
            f"{owner.label()}: expected {what} of {dtype}, got {got}; convert it with .to({dtype}), or the {owner.noun} with its .to({got})"
        )


def _labels(what: str, got: torch.dtype) -> str:
    """Return what to do with labels of classes, which as numbers would have an order, where a context may be that."""
    labels = what == "context" and not got.is_floating_point and not got.is_complex
    return "; labels of classes are best as torch.nn.functional.one_hot(labels, classes), converted" if labels else ""


def check_context(owner: Owner, context: Any, shape: Sequence[int] | None, dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Raise TypeError or ValueError unless ``context`` is one of this shape, or is None where there is to be none (``shape`` None)."""
    if shape is None:
        if context is not None:
            raise ValueError(f"{owner.label()}: expected no context, since the {owner.noun} was built without context_shape, got one")
        return
    if context is None:
        wanted = ", ".join(["*batch", *map(str, shape)])
        raise ValueError(
            f"{owner.label()}: expected a context of shape ({wanted}), got none, though the {owner.noun} was built with context_shape"
        )
    check_tensor(owner, "context", context, shape, dtype, device)


def broadcast(a: Sequence[int], b: Sequence[int], what: str) -> torch.Size:
    """Return the shape to which two batch shapes broadcast, or raise ValueError."""
    if not a or not b or a == b:  # nearly always, and torch's own way takes longer than a small layer
        return _size(a or b)
    try:
        size: torch.Size = torch.broadcast_shapes(a, b)
        return size
    except RuntimeError:
        raise ValueError(f"{what}: expected a shape that broadcasts with {tuple(b)}, got {tuple(a)}") from None


def check_batch(owner: Owner, what: str, batch: Sequence[int], other: Sequence[int]) -> torch.Size:
    """Return the shape to which the batch of an argument and another one broadcast, or raise ValueError."""
    if not batch or not other or batch == other:
        return _size(batch or other)
    return broadcast(batch, other, f"{owner.label()}: the batch of {what}")


def _size(shape: Sequence[int]) -> torch.Size:
    # To make a size of one anew fixes what is open in it, as a batch is to torch.export.
    return shape if isinstance(shape, torch.Size) else torch.Size(shape)


def as_size(shape: Any) -> torch.Size:
    """Return a sample shape from a number or a sequence of numbers, or raise TypeError or ValueError."""
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    try:
        sizes = torch.Size(shape)
    except TypeError:
        raise TypeError(f"sample: expected sample_shape to be a number or a tuple of numbers, got {shape!r}") from None
    if any(n < 0 for n in sizes):
        raise ValueError(f"sample: expected sample_shape without negative numbers, got {tuple(sizes)}")
    return sizes


def first_parameter(module: nn.Module) -> Tensor | None:
    """Return what ``next(module.parameters())`` would, without the names and the sets, which take longer than a small layer."""
    return _first(module, "_parameters", False)


def first_tensor(module: nn.Module, floating: bool = False) -> Tensor | None:
    """Return the first parameter or, where there is none, the first buffer; of those with floating point alone, if asked to."""
    found = _first(module, "_parameters", floating)
    return _first(module, "_buffers", floating) if found is None else found


def _first(module: nn.Module, kind: str, floating: bool) -> Tensor | None:
    # Loops without a generator, through which no compiler before torch 2.6 sees.
    held: Tensor | None
    for held in getattr(module, kind).values():
        if held is not None and (held.is_floating_point() or not floating):
            return held
    for part in module._modules.values():
        if part is not None and (found := _first(part, kind, floating)) is not None:
            return found
    return None


def place(module: nn.Module) -> tuple[torch.dtype | None, torch.device | None]:
    """Return the precision and the place of a module's parameters; None where it has none, and so takes any."""
    first = first_parameter(module)
    if first is not None and first.dtype in FLOATS:
        return first.dtype, first.device
    buffer = _first(module, "_buffers", False)
    return None, None if buffer is None else buffer.device
