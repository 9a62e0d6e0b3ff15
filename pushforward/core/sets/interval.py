"""Intervals: the supports that are one for each number, as torch constraints."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

Ends = tuple[float, float] | None


REAL: Ends = (-math.inf, math.inf)


def tolerance(dtype: torch.dtype) -> float:
    """Return how far, relative to their size, numbers may be off what they should be."""
    return max(1e-6, 4 * torch.finfo(dtype).eps)


def bounds(constraint: Constraint) -> Ends:
    """Return the ends of an interval constraint, or None for a support that is no interval of the real line.

    >>> bounds(constraints.positive)
    (0.0, inf)
    """
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    if isinstance(constraint, type(constraints.real)):  # a copied or unpickled flow has constraints of its own
        return -math.inf, math.inf
    lower, upper = (getattr(constraint, name, None) for name in ("lower_bound", "upper_bound"))
    if constraint.is_discrete or (lower is None and upper is None):
        return None
    ends = []
    for end, default in ((lower, -math.inf), (upper, math.inf)):
        if isinstance(end, Tensor):
            if bool((end != end.flatten()[0]).any()):
                return None  # another interval for each element
            end = end.flatten()[0]
        ends.append(default if end is None else float(end))
    return ends[0], ends[1]


def interval(lower: float, upper: float) -> Constraint:
    """Return the torch constraint of the open interval (lower, upper), either end of which may be infinite."""
    if lower == -math.inf and upper == math.inf:
        return constraints.real
    if lower == 0 and upper == math.inf:
        return constraints.positive
    if upper == math.inf:
        return constraints.greater_than(lower)
    if lower == -math.inf:
        return constraints.less_than(upper)
    return constraints.interval(lower, upper)


def inner_point(lower: float, upper: float) -> float:
    """Return some point inside an interval."""
    if lower == -math.inf:
        return min(upper - 1.0, 0.0)
    return lower + 1.0 if upper == math.inf else 0.5 * (lower + upper)


def inner_points(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return two points inside each of some intervals, the lower one first."""
    step = torch.where(torch.isinf(high - low), 1.0, (high - low) / 3)
    first = torch.where(torch.isinf(low), torch.where(torch.isinf(high), -1.0, high - 2 * step), low + step)
    return first, first + step


def _after(end: float, direction: int, dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    if abs(end) == math.inf:
        return info.max if end > 0 else info.min
    # The next number but one: torch.nextafter knows no half formats.
    return end + direction * (2 * info.tiny if end == 0 else info.eps * abs(end))


def independent(constraint: Constraint, rank: int) -> Constraint:
    """Return the constraint on events of ``rank`` axes of which ``constraint`` holds at every element."""
    extra = rank - constraint.event_dim
    made: Constraint = constraints.independent(constraint, extra) if extra > 0 else constraint
    return made


def inside(constraint: Constraint, value: Tensor) -> Tensor:
    """Return which events are in a set, as its ``check`` does; that of some of torch's sets fails for a batch of nothing.

    >>> inside(independent(constraints.positive, 1), torch.ones(0, 3)).shape
    torch.Size([0])
    """
    if not value.numel():
        return torch.ones(value.shape[: value.dim() - constraint.event_dim], dtype=torch.bool, device=value.device)
    found: Tensor = constraint.check(value)
    return found


def any_element(mask: Tensor, rank: int) -> Tensor:
    """Return which events of ``rank`` axes are marked at some element."""
    return mask.flatten(mask.dim() - rank).any(-1) if rank else mask
