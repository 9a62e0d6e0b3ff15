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

    def forward(self, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return the conditional's shares below and above where the marginal's are these ``(...)``."""
        return _between(self.edges, self.sums, self.masses[..., 1, :], self.masses[..., 0, :], below, above)

    def inverse(self, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return the marginal's shares below and above where the conditional's are these ``(...)``."""
        return _between(self.sums, self.edges, self.masses[..., 0, :], self.masses[..., 1, :], below, above)

    def log_slope(self, below: Tensor, above: Tensor) -> Tensor:
        """Return the log of the conditional's density divided by the marginal's ``(...)``."""
        index = bin_of(self.edges, below.unsqueeze(-1), above.unsqueeze(-1)).unsqueeze(-2).expand(*below.shape, 2, 1)
        own, marginal = torch.gather(self.masses, -1, index).squeeze(-1).unbind(-1)
        return torch.log(own / marginal)

    def log_mean_slope(self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        """Return the log of the conditional's share between two places, each by shares below and above, divided by the marginal's."""
        middle = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
        first, last = (bin_of(self.edges, *(part.unsqueeze(-1) for part in end)).squeeze(-1) for end in (a, b))
        own, of = _mass(a, b), _mass(self.forward(*a), self.forward(*b))
        # Within one bin the slope is the same everywhere.
        within = (first == last) | (own <= 0) | (of <= 0)
        return torch.where(within, self.log_slope(*middle), torch.log(torch.where(within, 1.0, of) / torch.where(within, 1.0, own)))


def _mass(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Return the share between two places, each by what lies below and above."""
    return torch.where(b[0] <= 0.5, b[0] - a[0], torch.where(a[0] <= 0.5, 1 - a[0] - b[1], a[1] - b[1]))


def _between(a: Tensor, b: Tensor, across: Tensor, up: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    index = bin_of(a, below.unsqueeze(-1), above.unsqueeze(-1))
    x, y, w, h = (torch.gather(part, -1, index).squeeze(-1) for part in (a[..., 0, :], b[..., 0, :], across, up))
    over, left = (torch.gather(part, -1, index + 1).squeeze(-1) for part in (a[..., 1, :], b[..., 1, :]))
    low = below <= 0.5
    place = torch.where(low, (below - x) / w, 1 - (above - over) / w).clamp(0, 1)
    rest = torch.where(low, 1 - (below - x) / w, (above - over) / w).clamp(0, 1)
    return (y + h * place).clamp(0, 1), (left + h * rest).clamp(0, 1)


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
