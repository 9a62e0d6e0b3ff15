"""Priors: the set of each feature, read from a prior or its support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets

Support = Distribution | Constraint | Sequence[Constraint | str] | None


def of_features(support: Distribution | Constraint | Sequence[Constraint | str], features: int) -> list[Constraint | str]:
    """Return the set of each feature: an interval whose ends are numbers, or what the user wrote for it.

    Raises:
        ValueError: The support is not one interval for each feature (a simplex, say), or is of another number of features.
    """
    told: Any = support.support if isinstance(support, Distribution) else support
    if not isinstance(told, Constraint):
        found = list(told)
    elif (parts := _cat(told)) is not None:
        found = [each for part, length in parts for each in of_features(part, length)]
    else:
        found = _intervals(told, features)
    if len(found) != features:
        raise ValueError(f"support: expected a set for each of {features} features, got {len(found)}")
    return found


def _inner(support: Constraint) -> Constraint:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def _cat(support: Constraint) -> list[tuple[Constraint, int]] | None:
    inner = _inner(support)
    return list(zip(inner.cseq, inner.lengths, strict=True)) if isinstance(inner, constraints.cat) else None


def _intervals(support: Constraint, features: int) -> list[Constraint | str]:
    inner = _inner(support)
    ends = [getattr(inner, name, None) for name in ("lower_bound", "upper_bound")]
    real = sets.bounds(inner) == sets.REAL
    if inner.is_discrete or sets.structured(inner) is not None or (ends == [None, None] and not real):
        raise ValueError(f"support: expected an interval for each feature, got {support}; write a list with a set for each feature")
    try:
        low, high = (_spread(end, default, features) for end, default in zip(ends, (-math.inf, math.inf), strict=True))
    except RuntimeError as error:
        raise ValueError(f"support: expected an interval for each of {features} features, got {support}") from error
    return [sets.interval(a, b) for a, b in zip(low, high, strict=True)]


def _spread(end: float | Tensor | None, default: float, features: int) -> list[float]:
    value = torch.as_tensor(default if end is None else end, dtype=torch.float64, device="cpu")
    spread: list[float] = value.expand(features).tolist()
    return spread
