"""Targets that are known by their energies: those of the first paper on normalizing flows, and rings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.targets.target import Source, Target, length


@dataclass(eq=False, repr=False)
class TwoModes(Target):
    r"""Two modes on a ring.

    .. math:: p(x) \propto e^{-\frac{1}{2} (\frac{\|x\| - R}{\sigma})^2}
        \big(e^{-\frac{1}{2} (\frac{x_1 - R}{s})^2} + e^{-\frac{1}{2} (\frac{x_1 + R}{s})^2}\big)

    The default is the energy U1 of the paper; ``TwoModes(2.0, 0.2, 0.3)`` is the target TwoMoons of normflows, which is not
    normalised there. The constant, `log_normalizer`, is computed by quadrature to twelve digits.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), table 1.

    Args:
        radius: R, of the ring and of both modes.
        width: sigma, of the ring.
        spread: s, of the modes along the first axis.

    >>> round(TwoModes().log_normalizer, 4)
    1.8775
    """

    radius: float = 2.0
    width: float = 0.4
    spread: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        # Smooth and periodic in the angle, and over many standard deviations in the radius: equidistant nodes converge exponentially.
        r, step = np.linspace(0, self.radius + 12 * self.width, 1201, retstep=True)
        count = 64 + math.ceil(40 * self.radius / self.spread)
        x = r[:, None] * np.cos(2 * np.pi * np.arange(count) / count)
        ring = r * np.exp(-0.5 * ((r - self.radius) / self.width) ** 2)
        modes = sum(np.exp(-0.5 * ((x - side) / self.spread) ** 2).mean(1) for side in (-self.radius, self.radius))
        simpson = np.array([1, *[4, 2] * 599, 4, 1]) * step / 3
        self.log_normalizer = math.log(2 * math.pi * float((simpson * ring * modes).sum()))

    def density(self, x: Tensor) -> Tensor:
        ring = -0.5 * ((length(x) - self.radius) / self.width) ** 2
        modes = [-0.5 * ((x[..., 0] - side) / self.spread) ** 2 for side in (-self.radius, self.radius)]
        return ring + torch.logaddexp(*modes) - self.log_normalizer

    def draw(self, rows: int, source: Source) -> Tensor:
        def propose(count: int) -> tuple[Tensor, Tensor]:
            # Of the ring alone; then the first factor is at most 1 for one mode and that of the other in its place for the other.
            ring = _ring(count, self.radius, self.width, source)
            modes = sum(torch.exp(-0.5 * ((ring[:, 0] - side) / self.spread) ** 2) for side in (-self.radius, self.radius))
            return ring, torch.as_tensor(0.5 * modes)

        return source.accepted(rows, propose)


def _ring(rows: int, radius: float, width: float, source: Source) -> Tensor:
    r"""Draw points whose density depends on the distance r alone, in proportion to :math:`e^{-(r - R)^2 / 2 \sigma^2}`."""

    def propose(count: int) -> tuple[Tensor, Tensor]:
        # Distances have the density r exp(-(r - R)^2 / 2 s^2), and r <= (m / e) exp(r / m), with equality at the proposals' mean m.
        middle = 0.5 * (radius + math.hypot(radius, 2 * width))
        r = middle + width * source.normal(count)
        return r, torch.where(r > 0, r / middle * torch.exp(1 - r / middle), torch.zeros_like(r))

    r, angle = source.accepted(rows, propose), 2 * math.pi * source.uniform(rows)
    return torch.stack([r * torch.cos(angle), r * torch.sin(angle)], -1)


@dataclass(eq=False, repr=False)
class RingMixture(Target):
    r"""Rings around the origin, :math:`p(x) \propto \sum_k e^{-(\|x\| - R_k)^2 / 2 \sigma^2}`.

    The radii are :math:`R_k = 2 k / K`, the width is :math:`\sigma = 1 / 4 K`.

    The constant has a closed form. Source: normflows (Stimper et al., 2023), which does not normalise it.

    Args:
        rings: K.

    >>> RingMixture().sample((3,)).shape
    torch.Size([3, 2])
    """

    rings: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.width = 0.25 / self.rings
        self.radii = [2 * (k + 1) / self.rings for k in range(self.rings)]
        s = self.width
        #: The integral of each ring.
        self.masses = [
            2 * math.pi * (s**2 * math.exp(-0.5 * (r / s) ** 2) + r * s * math.sqrt(math.pi / 2) * (1 + math.erf(r / s / math.sqrt(2))))
            for r in self.radii
        ]
        self.log_normalizer = math.log(math.fsum(self.masses))

    def density(self, x: Tensor) -> Tensor:
        radii = torch.tensor(self.radii, dtype=x.dtype, device=x.device)
        return torch.logsumexp(-0.5 * ((length(x).unsqueeze(-1) - radii) / self.width) ** 2, -1) - self.log_normalizer

    def draw(self, rows: int, source: Source) -> Tensor:
        rings = torch.stack([_ring(rows, radius, self.width, source) for radius in self.radii])
        return torch.take_along_dim(rings, source.chosen(self.masses, rows)[None, :, None], 0)[0]


@dataclass(eq=False, repr=False)
class Smiley(Target):
    r"""A face: two eyes and a mouth on a ring, :math:`p(x) \propto e^{-(\|x\| - 2)^2 / 2 \sigma^2 - (|x_2 + 0.8| - 1.2)^2 / 2 \sigma^2}`.

    The constant, `log_normalizer`, is computed by quadrature to twelve digits. ``Smiley(2 * scale)`` is that of normflows.
    Source: normflows (Stimper et al., 2023), which does not normalise it.

    Args:
        width: sigma.

    >>> Smiley().sample((3,)).shape
    torch.Size([3, 2])
    """

    width: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        nodes, weights = np.polynomial.legendre.leggauss(100 + math.ceil(16 / self.width))
        nodes, weights = 0.5 * (nodes + 1), 0.5 * weights
        total = 0.0
        # The line between eyes and mouth is a kink: it is met from the distance 0.8 on, at an angle that goes like a square root.
        for bent, end in ((False, 0.8), (True, math.sqrt(1.2 + 12 * self.width))):
            place = end * nodes
            r, step = (0.8 + place**2, 2 * place) if bent else (place, np.ones_like(place))
            kink = -np.arcsin(np.minimum(0.8 / np.maximum(r, 0.8), 1))
            density = np.zeros_like(r)
            for low, high in ((np.full_like(r, -0.5 * np.pi), kink), (kink, np.full_like(r, 0.5 * np.pi))):
                angle = low[:, None] + (high - low)[:, None] * nodes
                height = np.abs(r[:, None] * np.sin(angle) + 0.8) - 1.2
                density += 2 * (high - low) * (np.exp(-0.5 * (height / self.width) ** 2) @ weights)
            total += end * float(weights @ (step * r * np.exp(-0.5 * ((r - 2) / self.width) ** 2) * density))
        self.log_normalizer = math.log(total)

    def density(self, x: Tensor) -> Tensor:
        face = ((length(x) - 2) / self.width) ** 2 + self._height(x) ** 2
        return -0.5 * face - self.log_normalizer

    def draw(self, rows: int, source: Source) -> Tensor:
        def propose(count: int) -> tuple[Tensor, Tensor]:
            ring = _ring(count, 2.0, self.width, source)
            return ring, torch.exp(-0.5 * self._height(ring) ** 2)

        return source.accepted(rows, propose)

    def _height(self, x: Tensor) -> Tensor:
        """Return the distance from the height of the eyes or of the mouth, in widths."""
        return (torch.abs(x[..., 1] + 0.8) - 1.2) / self.width


@dataclass(eq=False, repr=False)
class SineEnergy(Target):
    r"""The energies U2, U3 and U4: a sine, split in two past its middle ("gap") or to the right ("split"), for :math:`|x_1| \le 4`.

    .. math:: U_2 = \frac{1}{2} \Big(\frac{x_2 - w_1}{0.4}\Big)^2, \quad
        e^{-U_3} = e^{-\frac{1}{2} (\frac{x_2 - w_1}{0.35})^2} + e^{-\frac{1}{2} (\frac{x_2 - w_1 + w_2}{0.35})^2}, \quad
        e^{-U_4} = e^{-\frac{1}{2} (\frac{x_2 - w_1}{0.4})^2} + e^{-\frac{1}{2} (\frac{x_2 - w_1 + w_3}{0.35})^2}

    with :math:`w_1 = \sin \frac{\pi x_1}{2}`, :math:`w_2 = 3 e^{-\frac{1}{2} (\frac{x_1 - 1}{0.6})^2}` and
    :math:`w_3 = 3 / (1 + e^{-(x_1 - 1) / 0.3})`. Over the whole plane their integrals diverge; cut off where the paper's pictures end,
    they are normals or mixtures of two given the first feature, and that is uniform.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015), table 1.

    Args:
        kind: ``"sine"`` (U2), ``"gap"`` (U3) or ``"split"`` (U4).

    >>> SineEnergy("gap").sample((3,)).shape
    torch.Size([3, 2])
    """

    kind: str = "sine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("sine", "gap", "split"):
            raise ValueError(f"SineEnergy: expected kind to be 'sine', 'gap' or 'split', got {self.kind!r}")
        self.widths = {"sine": (0.4,), "gap": (0.35, 0.35), "split": (0.4, 0.35)}[self.kind]
        self.log_normalizer = math.log(8 * math.sqrt(2 * math.pi) * math.fsum(self.widths))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.cat([constraints.interval(-4.0, 4.0), constraints.real], -1)

    def _means(self, x: Tensor) -> list[Tensor]:
        """Return the means of the second feature given the first one."""
        wave = torch.sin(0.5 * math.pi * x)
        if self.kind == "gap":
            return [wave, wave - 3 * torch.exp(-0.5 * ((x - 1) / 0.6) ** 2)]
        return [wave, wave - 3 * torch.sigmoid((x - 1) / 0.3)] if self.kind == "split" else [wave]

    def density(self, x: Tensor) -> Tensor:
        first, second = x.unbind(-1)
        inside = torch.abs(first) <= 4
        # The wave of what is outside is never looked at, but its gradient would be.
        means = self._means(torch.where(inside, first, 0.0))
        parts = [-0.5 * ((second - mean) / width) ** 2 for mean, width in zip(means, self.widths, strict=True)]
        return torch.where(inside, torch.logsumexp(torch.stack(parts), 0) - self.log_normalizer, -math.inf)

    def draw(self, rows: int, source: Source) -> Tensor:
        first = 8 * source.uniform(rows) - 4
        chosen = source.chosen(self.widths, rows)
        mean = torch.take_along_dim(torch.stack(self._means(first), -1), chosen[:, None], -1)[:, 0]
        width = torch.tensor(self.widths, dtype=source.dtype, device=source.device)[chosen]
        return torch.stack([first, mean + width * source.normal(rows)], -1)
