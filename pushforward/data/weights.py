"""Weights of rows: only their ratios matter."""

from __future__ import annotations

import torch
from torch import Tensor


def relative(owner: str, weights: Tensor) -> Tensor:
    """Return weights ``(n,)`` of rows in float64, divided by the largest of them: only their ratios matter.

    Raises:
        ValueError: Not one weight a row, a weight that is negative or not finite, or none above 0.

    >>> relative("fit", torch.tensor([0.0, 1e-300, 2e-300], dtype=torch.float64))
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if weights.dim() != 1:
        raise ValueError(f"{owner}: expected weights of shape (n,), got {tuple(weights.shape)}")
    weights = weights.double()
    bad = ~(torch.isfinite(weights) & (weights >= 0))
    if bool(bad.any()):
        rows = bad.nonzero().squeeze(-1).tolist()
        found = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise ValueError(f"{owner}: expected finite weights of at least 0, got others in rows {found}")
    if not bool((weights > 0).any()):
        raise ValueError(f"{owner}: expected weights with a weight above 0, got none")
    return weights / weights.max()
