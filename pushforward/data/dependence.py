"""Columns that determine one another: the rows lie on a surface then, on which no density is largest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ROWS, COLUMNS = 4096, 1024
"""Rows that are looked at for each test, at least, and columns up to which sums are looked for; beyond, copies alone are."""
LEAST = 20
"""Rows that two columns have in one order by chance as good as never, at least."""
RESIDUE = 1e-3
"""What is left of a column's spread, at most, where others determine it."""
PART = 0.02
"""The smallest share of a column's spread that another contributes to be named."""


def dependent(values: Tensor, given: Tensor | None = None) -> list[tuple[int, tuple[int, ...]]]:
    """Return each column that others determine to a thousandth of its spread, with those others; context columns count on from the last.

    A column may be a weighted sum of others (a total, what is missing to a hundred per cent, a copy), or rise or fall with one other
    (a logarithm). What a sum leaves is measured where most rows are, so that a row far out in two columns makes no sum of them.

    Args:
        values: ``(n, columns)`` finite rows.
        given: ``(n, context columns)``, which may determine a column as well.
    """
    both = values if given is None else torch.cat([values, given.to(values)], 1)
    wanted = max(ROWS, 4 * min(both.shape[1], COLUMNS))
    rows = both[:: -(-len(both) // wanted)].double().cpu().numpy()
    columns = values.shape[1]
    found = dict(_sums(rows, columns)) if rows.shape[1] <= COLUMNS and len(rows) > rows.shape[1] + 2 else {}
    for column, other in _copies(rows, columns, set(found)) if len(rows) >= LEAST else []:
        found[column] = (other,)
    return sorted(found.items())


def _sums(rows: np.ndarray, columns: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return columns that are weighted sums of others, by a Cholesky decomposition with pivots: what is left when no spread is."""
    centred = rows - rows.mean(0)
    scale = np.sqrt((centred**2).mean(0))
    scaled = centred / np.where(scale > 0, scale, 1.0)
    left = np.where(scale > 0, 1.0, 0.0)
    correlation = scaled.T @ scaled / len(rows)
    factors = np.zeros((0, rows.shape[1]))
    chosen: list[int] = []
    while True:
        # Context columns are given, so they come first; data columns follow by what is left of them.
        order = left + np.where(np.arange(rows.shape[1]) >= columns, 2.0, 0.0) * (left > RESIDUE**2)
        order[chosen] = -1.0
        pivot = int(order.argmax())
        if order[pivot] <= RESIDUE**2:
            break
        factor = (correlation[pivot] - factors[:, pivot] @ factors) / np.sqrt(left[pivot])
        factors = np.vstack([factors, factor])
        left = np.clip(left - factor**2, 0.0, None)
        chosen.append(pivot)
    result = []
    for column in range(columns):
        if column in chosen or scale[column] == 0:
            continue
        weights, *_ = np.linalg.lstsq(scaled[:, chosen], scaled[:, column], rcond=None)
        if _typical(scaled[:, column] - scaled[:, chosen] @ weights) <= RESIDUE * _typical(scaled[:, column]):
            parts = tuple(sorted(chosen[i] for i in np.flatnonzero(np.abs(weights) > PART)))
            result.append((column, parts))
    return [(column, parts) for column, parts in result if parts]


def _typical(values: np.ndarray) -> float:
    """Return the half width of the middle nine tenths of values."""
    low, high = np.quantile(values, [0.05, 0.95])
    return float(high - low) / 2


def _copies(rows: np.ndarray, columns: int, known: set[int]) -> list[tuple[int, int]]:
    """Return columns that have the rows in the order, or the opposite order, of another one."""
    seen: dict[bytes, int] = {}
    result = []
    # A column in which values come again gives no order.
    for column in [*range(columns, rows.shape[1]), *range(columns)]:
        order = np.argsort(rows[:, column], kind="stable")
        ordered = rows[order, column]
        if column in known or (ordered[1:] == ordered[:-1]).any():
            continue
        forward, backward = order.tobytes(), order[::-1].tobytes()
        other = seen.get(forward, seen.get(backward))
        if other is None:
            seen[forward] = column
        elif column < columns:
            result.append((column, other))
    return result
