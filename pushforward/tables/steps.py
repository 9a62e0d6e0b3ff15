"""Steps: distribution functions on [0, 1] that are linear between the edges of bins."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Steps(NamedTuple):
    """Piecewise linear distribution functions, each sum kept from its own end, so that small shares keep their digits.

    Args:
        edges: Where bins begin and end, ``(..., 2, B + 1)``: the share of the marginal below each edge, and that above.
        sums: Of the conditional the same, ``(..., 2, B + 1)``.
        masses: Of each bin the conditional's share and the marginal's, ``(..., 2, B)``, both positive.
    """

    edges: Tensor
    sums: Tensor
    masses: Tensor

    def take(self, index: Tensor) -> Steps:
        """Return some of them."""
        return Steps(*(part.index_select(0, index) for part in self))

    def repeated(self, count: int) -> Steps:
        """Return one several times over."""
        return Steps(*(part.expand(count, -1, -1) for part in self))

    def forward(self, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the conditional's shares below and above where the marginal's are these ``(..., P)``, and the log-slope."""
        return self._between(self.edges, self.sums, self.masses[..., 1, :], self.masses[..., 0, :], below, above)

    def inverse(self, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return the marginal's shares below and above where the conditional's are these ``(..., P)``."""
        return self._between(self.sums, self.edges, self.masses[..., 0, :], self.masses[..., 1, :], below, above)[:2]

    @staticmethod
    def _between(a: Tensor, b: Tensor, across: Tensor, up: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = bin_of(a, below, above)
        x, y, w, h = (_at(part, index) for part in (a[..., 0, :], b[..., 0, :], across, up))
        over, left = _at(a[..., 1, :], index + 1), _at(b[..., 1, :], index + 1)
        low = below <= 0.5
        place = torch.where(low, (below - x) / w, 1 - (above - over) / w).clamp(0, 1)
        rest = torch.where(low, 1 - (below - x) / w, (above - over) / w).clamp(0, 1)
        return (y + h * place).clamp(0, 1), (left + h * rest).clamp(0, 1), torch.log(h / w)


def bin_of(edges: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return the bins ``(..., P)`` that shares are in, by ``edges (..., 2, B + 1)`` on the nearer side."""
    from_left = torch.searchsorted(edges[..., 0, 1:-1].contiguous(), below.contiguous(), right=True)
    # Of shares above the edges fall from left to right.
    from_right = edges.shape[-1] - 2 - torch.searchsorted(edges[..., 1, 1:-1].flip(-1).contiguous(), above.contiguous(), right=True)
    return torch.where(below <= 0.5, from_left, from_right)


def sums_of(masses: Tensor) -> Tensor:
    """Return what lies below and above each edge of bins with masses ``(..., B)``, ``(..., 2, B + 1)``."""
    before, after = F.pad(torch.cumsum(masses, -1), (1, 0)), F.pad(torch.cumsum(masses.flip(-1), -1).flip(-1), (0, 1))
    return torch.stack([before, after], -2)


def _at(part: Tensor, index: Tensor) -> Tensor:
    return torch.gather(part.expand(*index.shape[:-1], -1), -1, index)
