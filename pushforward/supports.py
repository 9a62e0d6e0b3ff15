"""Supports: intervals as torch constraints, and how one lies in another."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

Ends = tuple[float, float] | None
REAL: Ends = (-math.inf, math.inf)


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
                return None  # another interval for each site
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


def contains(outer: Constraint, inner: Constraint) -> bool:
    """Tell whether every value of ``inner`` is one of ``outer``."""
    if outer is inner:
        return True
    a, b = bounds(outer), bounds(inner)
    return a is not None and b is not None and a[0] <= b[0] and b[1] <= a[1]


def same(a: Constraint, b: Constraint) -> bool:
    """Tell whether two constraints allow the same values (torch's constraints have no equality of their own)."""
    return contains(a, b) and contains(b, a)


def name(constraint: Constraint) -> str:
    """Return a constraint in the words of mathematics: ``(0, inf)``."""
    ends = bounds(constraint)
    return str(constraint) if ends is None else f"({ends[0]:g}, {ends[1]:g})"


def enter(value: Tensor, ends: Ends, closed: bool = False) -> tuple[Tensor, Tensor | None]:
    """Return values that are all inside an interval (its ends too if ``closed``), and where they were not (None for the real line).

    What is outside becomes an inner point, so that no formula and no gradient meets it; NaN is left as it is.
    """
    if ends is None or ends == REAL:
        return value, None
    outside = (value < ends[0]) | (value > ends[1]) if closed else (value <= ends[0]) | (value >= ends[1])
    return torch.where(outside, inner_point(*ends), value), outside


def leave(value: Tensor, ends: Ends) -> Tensor:
    """Return values moved off the ends of an open interval onto which rounding may have put them."""
    if ends is None or ends == REAL:
        return value
    return torch.clamp(value, _after(ends[0], 1, value.dtype), _after(ends[1], -1, value.dtype))


def inner_point(lower: float, upper: float) -> float:
    """Return some point inside an interval."""
    if lower == -math.inf:
        return min(upper - 1.0, 0.0)
    return lower + 1.0 if upper == math.inf else 0.5 * (lower + upper)


def _after(end: float, direction: int, dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    if abs(end) == math.inf:
        return info.max if end > 0 else info.min
    # The next number but one: torch.nextafter knows no half formats.
    return end + direction * (2 * info.tiny if end == 0 else info.eps * abs(end))


def independent(constraint: Constraint, rank: int) -> Constraint:
    """Return the constraint on events of ``rank`` axes of which ``constraint`` holds at every site."""
    extra = rank - constraint.event_dim
    made: Constraint = constraints.independent(constraint, extra) if extra > 0 else constraint
    return made


def any_site(mask: Tensor, rank: int) -> Tensor:
    """Return which events of ``rank`` axes are marked at some site."""
    return mask.flatten(mask.dim() - rank).any(-1) if rank else mask
