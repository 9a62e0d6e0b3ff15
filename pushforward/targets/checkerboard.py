"""The checkerboard target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.targets.target import Source, Target


@dataclass(eq=False, repr=False)
class Checkerboard(Target):
    """Uniform on every second cell of a square board around the origin, lower left included; elsewhere the density is 0.

    Source: FFJORD (Grathwohl et al., 2019).

    Args:
        cells: Number of cells on a side, an even number.
        extent: Half the side of the board.

    >>> Checkerboard().log_prob(torch.tensor([[-3.5, -3.5], [-3.5, -1.5]])).exp().round(decimals=3)
    tensor([0.0310, 0.0000])
    """

    cells: int = 4
    extent: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cells % 2:
            raise ValueError(f"Checkerboard: expected an even number of cells, got {self.cells}")

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(-self.extent, self.extent), 1)

    def density(self, x: Tensor) -> Tensor:
        side = 2 * self.extent / self.cells
        column, row = torch.floor((x + self.extent) / side).clamp(-1, self.cells).unbind(-1)
        inside = (torch.abs(x) <= self.extent).all(-1) & ((column + row) % 2 == 0)
        return torch.where(inside, -math.log(2 * self.extent**2), torch.full_like(column, -math.inf))

    def draw(self, rows: int, source: Source) -> Tensor:
        side = 2 * self.extent / self.cells
        column, half = source.whole(self.cells, rows), source.whole(self.cells // 2, rows)
        corner = torch.stack([column, 2 * half + column % 2], -1)
        return side * (corner + source.uniform(rows, 2)) - self.extent
