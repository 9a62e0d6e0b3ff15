"""The target that a picture is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core import numerics
from pushforward.targets.target import Source, Target


@dataclass(eq=False, repr=False)
class Picture(Target):
    r"""A picture as a density: uniform on each pixel, in proportion to its intensity; outside and where it is black the density is 0.

    .. math:: p(x) = \frac{I_{ij}}{A \sum_{kl} I_{kl}} \text{ on pixel } ij, \text{ of area } A

    The first row of the picture is the top. A histogram is a picture, too.

    Args:
        intensities: Rows of numbers of at least 0, an array or a tensor.
        low: Lower left corner.
        high: Upper right corner.

    >>> Picture([[0.0, 1.0], [2.0, 1.0]], high=(1.0, 1.0), low=(0.0, 0.0)).log_prob(torch.tensor([[0.1, 0.1], [0.1, 0.9]])).exp()
    tensor([2., 0.])
    """

    intensities: Sequence[Sequence[float]]
    low: tuple[float, float] = (-3.0, -3.0)
    high: tuple[float, float] = (3.0, 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        picture = _array(self.intensities)
        if picture.ndim != 2 or not np.isfinite(picture).all() or (picture < 0).any() or not (picture > 0).any():
            raise ValueError(f"Picture: expected rows of intensities of at least 0, not all 0, got an array of shape {picture.shape}")
        (left, bottom), (right, top) = self.low, self.high
        if not (-math.inf < left < right < math.inf and -math.inf < bottom < top < math.inf):
            raise ValueError(f"Picture: expected finite corners (x, y) with low < high, got low={self.low!r} and high={self.high!r}")
        self.intensities = tuple(map(tuple, picture.tolist()))
        self.low, self.high = (float(left), float(bottom)), (float(right), float(top))
        #: The probability of each pixel, by column and row from the lower left.
        self.pixels = torch.from_numpy(picture[::-1].T / picture.sum())
        self.area = (right - left) * (top - bottom) / picture.size

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(torch.tensor(self.low), torch.tensor(self.high)), 1)

    def density(self, x: Tensor) -> Tensor:
        low, high, count = self._frame(x)
        inside = ((x >= low) & (x <= high)).all(-1)
        place = torch.where(inside.unsqueeze(-1), (x - low) / (high - low) * count, 0.0)
        column, row = torch.minimum(torch.floor(place), count - 1).long().unbind(-1)
        log_density = torch.log(self.pixels.to(x)[column, row]) - math.log(self.area)
        return torch.where(inside, log_density, -math.inf)

    def draw(self, rows: int, source: Source) -> Tensor:
        u = source.uniform(rows, 2)
        low, high, count = self._frame(u)
        # In float64: a picture has more pixels than float32 has numbers to tell them apart.
        fine = Source(source.generator, numerics.finer(u).dtype, u.device).uniform(rows)
        total = self.pixels.flatten().cumsum(0)
        pixel = torch.searchsorted((total / total[-1]).to(fine), fine, right=True)
        corner = torch.stack([pixel // len(self.pixels[0]), pixel % len(self.pixels[0])], -1)
        # Off the edges by what rounds: beside a pixel may be one of density 0.
        margin = torch.finfo(u.dtype).eps * count * (4 + (torch.abs(low) + torch.abs(high)) / (high - low))
        place = corner + 0.5 + (u - 0.5) * (1 - 2 * torch.clamp(margin, max=0.25))
        return low + (high - low) * place / count

    def _frame(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both corners and the numbers of pixels."""
        numbers = (self.low, self.high, self.pixels.shape)
        low, high, count = (torch.tensor(pair, dtype=like.dtype, device=like.device) for pair in numbers)
        return low, high, count


def _array(rows: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Picture: expected rows of numbers, all of one length: {error}") from error
