"""Doors: the checks of what a user hands to a flow, with errors that say what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_tensor(what: str, value: Any, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
    """Raise TypeError or ValueError unless ``value`` is a tensor of events of this shape, precision and place."""
    if not isinstance(value, Tensor):
        raise TypeError(f"Flow: expected {what} to be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor")
    rank = len(shape)
    if value.dim() < rank or tuple(value.shape[value.dim() - rank :]) != tuple(shape):
        wanted = ", ".join(["*batch", *map(str, shape)])
        raise ValueError(f"Flow: expected {what} of shape ({wanted}), got {tuple(value.shape)}")
    low = dtype in (torch.bfloat16, torch.float16)
    if value.dtype != dtype and not (low and value.dtype == torch.float32):
        raise TypeError(
            f"Flow: expected {what} of {dtype}, got {value.dtype}; convert it with .to({dtype}), or the flow with flow.to({value.dtype})"
        )
    if value.device != device:
        raise ValueError(f"Flow: expected {what} on {device}, got {value.device}; move it with .to(), or the flow with flow.to()")


def broadcast(a: Sequence[int], b: Sequence[int], what: str) -> torch.Size:
    """Return the shape to which two batch shapes broadcast, or raise ValueError."""
    if not a or not b or a == b:  # nearly always, and torch's own way takes longer than a small layer
        return torch.Size(a or b)
    try:
        return torch.Size(torch.broadcast_shapes(a, b))
    except RuntimeError:
        raise ValueError(f"{what}: expected a shape that broadcasts with {tuple(b)}, got {tuple(a)}") from None


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
