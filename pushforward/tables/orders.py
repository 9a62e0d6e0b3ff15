"""Orders: which columns of a row are known in a step of training, so that its loss is an unbiased one of all orders."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_known(rows: int, columns: int, in_order: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""Return what is known of each row, and how often its loss counts.

    Each row draws an order and a place t in it; the columns before it are known, and the loss is that of all after it, times
    :math:`D / (D - t)`: its mean is that of a whole chain, over all orders and rows.
    Source: A Deep and Tractable Density Estimator (Uria et al., 2014), eq. 9.

    Args:
        rows: How many.
        columns: D.
        in_order: Share of the rows whose order is the schema's.
        generator: Of the random numbers.

    Returns:
        ``(rows, columns)`` of bool, and ``(rows)``.

    >>> known, count = draw_known(4, 3, 0.0, torch.Generator().manual_seed(0))
    >>> bool((count == 3 / (3 - known.sum(1))).all())
    True
    """
    # Places are spread evenly over a batch, from a common random start: each has the same probability, and few batches are odd.
    start = torch.rand((), generator=generator)
    place = ((torch.arange(rows) + start) / rows * columns).long().clamp(max=columns - 1)
    place = place[torch.randperm(rows, generator=generator)]
    rank = torch.rand(rows, columns, generator=generator).argsort(1)
    own = torch.rand(rows, generator=generator) < in_order
    rank = torch.where(own.unsqueeze(1), torch.arange(columns), rank)
    return rank < place.unsqueeze(1), columns / (columns - place)
