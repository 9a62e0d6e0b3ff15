"""Grids and atoms: columns in which values come again. One rule for the warning and for the noise that takes a grid away."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.data.rows import SAMPLE

LEAST = 20
"""Rows of which to say that values come again, at least."""
CELLS = 100
"""Cells of a grid that a flow may tell apart where hardly any value comes again."""
ATOM, SPIKE, TIMES = 0.1, 0.02, 10
"""A value has a probability of its own from this share of few rows on, and of many, if it comes so many times as often as others."""
ATOMS = 8
"""Such values of a column, at most."""


class Repeats(NamedTuple):
    """How values come again in a column.

    Attributes:
        step: Of its grid, 0 for none.
        distinct: Values that differ.
        share: Of the rows, that of the most frequent value.
        atoms: Values that have a probability of their own, with their shares: far more frequent than the others of the column.
    """

    step: float
    distinct: int
    share: float
    atoms: tuple[tuple[float, float], ...] = ()

    @property
    def grid(self) -> bool:
        """Whether the values lie on a grid, which noise as wide as its step takes away."""
        return self.step > 0

    @property
    def atom(self) -> bool:
        """Whether a value has a probability of its own beside values that lie on no grid: noise does not take that away."""
        return not self.grid and bool(self.atoms)


def repeats(column: Tensor) -> Repeats:
    """Return how values come again in a column.

    It lies on a grid where values come again: where there are at most half as many as rows, and all are whole steps apart or most of them
    come again; and where there are more, if they are whole steps apart on a grid of at most a hundred cells. The step is the smallest
    distance between two values; it divides the range into at most ten cells a row, since a grid that is finer is not seen.

    Args:
        column: ``(n,)`` finite values; of more than `SAMPLE`, evenly spread ones are looked at.
    """
    some = column[:: -(-len(column) // SAMPLE)]
    distinct, counts = torch.unique(some, return_counts=True)
    count, rows = len(distinct), len(some)
    found = Repeats(0.0, count, counts.max().item() / rows if rows else 0.0, _atoms(distinct, counts))
    if count < 2 or count > 0.9 * rows:
        return found
    values = distinct.double()
    reach, gaps = (values[-1] - values[0]).item(), values.diff()
    rounding = 4 * torch.finfo(column.dtype).eps * values.abs().max().item()
    if 2 * int((gaps > rounding).sum()) >= len(gaps):
        # Decimal numbers such as 0.1 + 0.2 and 0.3 differ in their last bits only.
        gaps = gaps[gaps > rounding]
    else:
        # The last bits are all that the numbers of this format have there: they are the grid.
        rounding = 0.0
    if reach > 10 * rows * gaps.min().item():
        return found
    step = gaps.min().item()
    whole = torch.abs(gaps / step - torch.round(gaps / step))
    on_steps = bool((whole <= (gaps / step + 1) * rounding / step + 1e-9).all())
    if 2 * count > rows:
        return found._replace(step=step) if on_steps and reach <= CELLS * step else found
    return found._replace(step=step) if on_steps or 2 * int((counts > 1).sum()) >= count else found


def _atoms(distinct: Tensor, counts: Tensor) -> tuple[tuple[float, float], ...]:
    if len(distinct) <= ATOMS:
        return ()
    rows = int(counts.sum())
    least = max(min(LEAST, ATOM * rows), SPIKE * rows, TIMES * float(counts.double().median()))
    large = torch.argsort(counts, descending=True, stable=True)[:ATOMS]
    chosen = sorted(int(place) for place in large if counts[place] >= least)
    return tuple((float(distinct[place]), int(counts[place]) / rows) for place in chosen)
