"""Targets that are curves with Gaussian noise: two moons, spirals, swiss roll."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.targets.mixtures import equal_normals
from pushforward.targets.target import Source, Target, length


class NoisyCurve(Target):
    r"""Points of curves plus Gaussian noise: :math:`p(x) = \frac{1}{K} \sum_k \int \mathcal{N}(x | c_k(t), \sigma^2 I)\, p(t)\, dt`.

    The integral has no closed form, but a Gauss-Legendre rule with nodes closer than the noise gives it to twelve digits.
    """

    noise: float

    def range(self) -> tuple[float, float, float]:
        """Return both ends of t, and an upper bound of the curve's speed."""
        raise NotImplementedError

    def curves(self, t: Tensor) -> Tensor:
        """Return the curves at t, ``(K, *t, 2)``."""
        raise NotImplementedError

    def weight(self, t: Tensor) -> Tensor:
        """Return the density of t."""
        start, stop, _ = self.range()
        return torch.full_like(t, 1 / (stop - start))

    def quantile(self, u: Tensor) -> Tensor:
        """Return the t below which is a share u of the probability."""
        start, stop, _ = self.range()
        return start + (stop - start) * u

    def density(self, x: Tensor) -> Tensor:
        start, stop, speed = self.range()
        nodes, weights = np.polynomial.legendre.leggauss(24 + math.ceil(3 * speed * (stop - start) / self.noise))
        t = torch.tensor(start + 0.5 * (stop - start) * (nodes + 1), dtype=x.dtype, device=x.device)
        log_weights = torch.log(torch.tensor(0.5 * (stop - start) * weights, dtype=x.dtype, device=x.device) * self.weight(t))
        curves = self.curves(t)
        return equal_normals(x, curves.flatten(0, 1), self.noise, log_weights.repeat(len(curves)) - math.log(len(curves)))

    def draw(self, rows: int, source: Source) -> Tensor:
        curves = self.curves(self.quantile(source.uniform(rows)))
        chosen = source.whole(len(curves), rows).long()
        return torch.take_along_dim(curves, chosen[None, :, None], 0)[0] + self.noise * source.normal(rows, 2)


def _plane(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x, y], -1)


@dataclass(eq=False, repr=False)
class TwoMoons(NoisyCurve):
    """Two half circles that interlock, with Gaussian noise: what ``sklearn.datasets.make_moons`` draws.

    Args:
        noise: Standard deviation of the noise.

    >>> TwoMoons().sample((3,)).shape
    torch.Size([3, 2])
    """

    noise: float = 0.1

    def range(self) -> tuple[float, float, float]:
        return 0.0, math.pi, 1.0

    def curves(self, t: Tensor) -> Tensor:
        return torch.stack([_plane(torch.cos(t), torch.sin(t)), _plane(1 - torch.cos(t), 0.5 - torch.sin(t))])


@dataclass(eq=False, repr=False)
class Spirals(NoisyCurve):
    """Spirals of Archimedes turned against each other, with Gaussian noise; the density falls as the inverse of the radius.

    Source: FFJORD (Grathwohl et al., 2019), whose two spirals have another noise.

    Args:
        arms: Number of spirals.
        turns: How often each goes round.
        radius: Where they end.
        noise: Standard deviation of the noise.

    >>> Spirals().sample((3,)).shape
    torch.Size([3, 2])
    """

    arms: int = 2
    turns: float = 1.5
    radius: float = 3.0
    noise: float = 0.1

    def range(self) -> tuple[float, float, float]:
        return 0.0, 1.0, self.radius * math.hypot(1.0, 2 * math.pi * self.turns)

    def weight(self, t: Tensor) -> Tensor:
        return 2 * t

    def quantile(self, u: Tensor) -> Tensor:
        return torch.sqrt(u)

    def curves(self, t: Tensor) -> Tensor:
        angles = [2 * math.pi * (self.turns * t + k / self.arms) for k in range(self.arms)]
        return torch.stack([self.radius * t.unsqueeze(-1) * _plane(torch.cos(a), torch.sin(a)) for a in angles])


@dataclass(eq=False, repr=False)
class SwissRoll(NoisyCurve):
    """A rolled-up line with Gaussian noise: the first and the last feature of ``sklearn.datasets.make_swiss_roll``, times ``scale``.

    Args:
        scale: Factor of the curve.
        noise: Standard deviation of the noise, in the units of the result.

    >>> SwissRoll().sample((3,)).shape
    torch.Size([3, 2])
    """

    scale: float = 0.2
    noise: float = 0.2

    def range(self) -> tuple[float, float, float]:
        return 1.5 * math.pi, 4.5 * math.pi, self.scale * math.hypot(1.0, 4.5 * math.pi)

    def curves(self, t: Tensor) -> Tensor:
        return (self.scale * t.unsqueeze(-1) * _plane(torch.cos(t), torch.sin(t)))[None]


@dataclass(eq=False, repr=False)
class Circles(Target):
    r"""Points of concentric circles plus Gaussian noise; the default is ``sklearn.datasets.make_circles`` with ``factor=0.5``.

    .. math:: p(x) = \frac{1}{K} \sum_k \frac{1}{2\pi\sigma^2} e^{-(r^2 + R_k^2) / 2\sigma^2} I_0(r R_k / \sigma^2), \quad r = \|x\|

    Args:
        radii: Radius of each circle; one is a ring.
        noise: Standard deviation of the noise.

    >>> Circles([2.0]).log_prob(torch.tensor([0.0, 2.0]))
    tensor(-1.1471)
    """

    radii: Sequence[float] = (1.0, 0.5)
    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.radii = tuple(self.radii)
        if not self.radii or not all(0 < radius < math.inf for radius in self.radii):
            raise ValueError(f"Circles: expected positive radii, got {self.radii}")

    def density(self, x: Tensor) -> Tensor:
        radii = torch.tensor(self.radii, dtype=x.dtype, device=x.device)
        r = length(x).unsqueeze(-1)
        parts = -0.5 * ((r - radii) / self.noise) ** 2 + torch.log(torch.special.i0e(r * radii / self.noise**2))
        return torch.logsumexp(parts, -1) - math.log(2 * math.pi * self.noise**2 * len(self.radii))

    def draw(self, rows: int, source: Source) -> Tensor:
        radii = torch.tensor(self.radii, dtype=source.dtype, device=source.device)[source.whole(len(self.radii), rows).long()]
        angle = 2 * math.pi * source.uniform(rows)
        return radii.unsqueeze(-1) * _plane(torch.cos(angle), torch.sin(angle)) + self.noise * source.normal(rows, 2)
