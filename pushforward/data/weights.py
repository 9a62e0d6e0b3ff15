"""Weights of rows: only their ratios matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.from_frames import frame_of, is_table


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


def of_rows(owner: str, weights: Any, count: int) -> Tensor:
    """Return the weights of so many rows, given as a tensor, an array, a list or a column of a table, as `relative` does.

    Raises:
        ValueError: They are no numbers, not one a row, or none that `relative` takes.

    >>> of_rows("fit", [1, 2], 2)
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    given = weights.detach().cpu() if isinstance(weights, Tensor) else weights
    values = frame_of(given).to_numpy() if is_table(given) else np.asarray(given)
    values = values.squeeze(-1) if values.ndim == 2 and values.shape[1] == 1 else values
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{owner}: expected weights to be numbers, got {values.dtype}")
    heavy = relative(owner, torch.from_numpy(np.asarray(values, np.float64)))
    if len(heavy) != count:
        raise ValueError(f"{owner}: expected one weight a row, {count}, got {len(heavy)}")
    return heavy
