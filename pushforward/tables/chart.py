"""Chart: a smooth distribution function through a column's quantiles, with bounds or heavy tails, which takes its values to [0, 1]."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward.kernels.spline import quadratic_forward, quadratic_inverse

BINS = 64
"""The most bins of a chart; unused ones have no mass."""


class Place(NamedTuple):
    """Where values are: the share of the marginal below, the share above, the log of the smaller one, and the log-density.

    Both shares are kept, since near 1 the share below has lost the digits that the share above still has.
    """

    below: Tensor
    above: Tensor
    log_near: Tensor
    log_density: Tensor


class Chart(nn.Module):
    r"""The distribution function of a column's marginal, :math:`u = F(x)`, in float64 whatever the precision of the model.

    Between knots it is a monotone rational quadratic through the cumulative shares; beyond an end that is no bound, a generalised Pareto
    tail :math:`1 - F(x) = \tau (1 + \xi (x - x_K) / \sigma)^{-1/\xi}`, in which :math:`\xi` near 0 is an exponential. The density is
    positive and continuous on all of the support.
    Source: Piecewise rational quadratic interpolation to monotonic data (Gregory, Delbourgo, 1982); Statistical Inference Using Extreme
    Order Statistics (Pickands, 1975).
    """

    knots: Tensor
    masses: Tensor
    densities: Tensor
    tails: Tensor
    spacing: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("knots", (BINS + 1,)), ("masses", (BINS,)), ("densities", (BINS + 1,)), ("tails", (2, 3)), ("spacing", (3,))):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    def _apply(self, fn: Any, recurse: bool = True) -> Chart:
        # What is moved to another precision is the network: shares and values need all their digits.
        super()._apply(lambda t: t.to(fn(t).device), recurse)  # type: ignore[no-untyped-call]
        return self

    def set(self, knots: Tensor, masses: Tensor, densities: Tensor, tails: Tensor) -> None:
        """Take knots ``(K + 1)``, masses ``(K)``, densities ``(K + 1)``, and of both tails mass, scale and shape; a bound has mass 0."""
        count = len(masses)
        with torch.no_grad():
            self.knots.copy_(torch.cat([knots, knots[-1:].expand(BINS - count)]))
            self.masses.copy_(torch.cat([masses, masses.new_zeros(BINS - count)]))
            self.densities.copy_(torch.cat([densities, densities[-1:].expand(BINS - count)]))
            self.tails.copy_(tails)

    @property
    def sound(self) -> bool:
        """Whether it is a distribution function: what a file says may be anything."""
        count = self._count
        finite = all(bool(torch.isfinite(part).all()) for part in self.buffers())
        rising = count > 0 and bool((self.masses[:count] > 0).all()) and bool((self.knots[: count + 1].diff() > 0).all())
        positive = bool((self.densities > 0).all()) and bool((self.tails[:, 0] >= 0).all()) and bool((self.tails[:, 1:] > 0).all())
        return finite and rising and positive and abs(float(self.masses.sum() + self.tails[:, 0].sum()) - 1) < 1e-9

    def forward(self, x: Tensor) -> Place:
        """Return where values ``(n)`` are."""
        index, width, mass, left, right = self._bins(x)
        low = self.knots[index]
        place = ((x - low) / width).clamp(0, 1)
        below_half = left + mass / 2 <= 0.5
        rest = ((self.knots[index + 1] - x) / width).clamp(0, 1)
        first, last = self.densities[index], self.densities[index + 1]
        # From the nearer end of the range, so that small shares keep their digits.
        part, log_slope = quadratic_forward(
            torch.where(below_half, place, rest), mass / width, torch.where(below_half, first, last), torch.where(below_half, last, first)
        )
        near = torch.where(below_half, left, right) + mass * part
        below, above = torch.where(below_half, near, 1 - near), torch.where(below_half, 1 - near, near)
        found = Place(below, above, torch.log(torch.minimum(below, above)), log_slope)
        for side in (0, 1):
            found = self._with_tail(found, x, side)
        return found

    def _with_tail(self, found: Place, x: Tensor, side: int) -> Place:
        mass, scale, shape = self.tails[side]
        beyond = self.knots[0] - x if side == 0 else x - self.knots[-1]
        outside = beyond > 0
        if not bool(mass > 0) or not bool(outside.any()):
            return found
        t = torch.where(outside, beyond, 0.0) / scale
        stretched = torch.log1p(shape * t)
        log_near = torch.log(mass) - stretched / shape
        log_density = log_near - torch.log(scale) - stretched
        near = torch.exp(log_near)
        shares = (near, 1 - near) if side == 0 else (1 - near, near)
        new = Place(*shares, log_near, log_density)
        return Place(*(torch.where(outside, theirs, ours) for theirs, ours in zip(new, found, strict=True)))

    def cell(self, x: Tensor, half: float) -> tuple[Place, Place, Place]:
        """Return where cells around values begin, are and end; the middle has the log of the cell's mass in place of a log-density."""
        a, m, b = self(x - half), self(x), self(x + half)
        return a, m._replace(log_density=_log_mass(a, m, b, x.new_tensor(2 * half))), b

    def between(self, a: Tensor, b: Tensor) -> tuple[Place, Place, Tensor]:
        """Return where intervals ``(n)`` begin and end, which may be infinite, and the log of the mass in each."""
        begin, end = self(a), self(b)
        middle = torch.where(torch.isfinite(a) & torch.isfinite(b), (a + b) / 2, self.knots[0])
        return begin, end, _log_mass(begin, self(middle), end, b - a)

    def inverse(self, below: Tensor, above: Tensor) -> Tensor:
        """Return the values at shares."""
        count = self._count
        left, right = self._sums()
        from_left = (below.unsqueeze(-1) >= left[1:count]).sum(-1)
        from_right = count - 1 - (above.unsqueeze(-1) >= right[: count - 1]).sum(-1)
        index = torch.where(below <= 0.5, from_left, from_right)
        mass, width = self.masses[index], self.knots[index + 1] - self.knots[index]
        place = ((below - left[index]) / mass).clamp(0, 1)
        rest = ((above - right[index]) / mass).clamp(0, 1)
        nearer = place <= rest
        first, last = self.densities[index], self.densities[index + 1]
        part, _ = quadratic_inverse(
            torch.where(nearer, place, rest), mass / width, torch.where(nearer, first, last), torch.where(nearer, last, first)
        )
        x = torch.where(nearer, self.knots[index] + width * part, self.knots[index + 1] - width * part)
        for side, share in ((0, below), (1, above)):
            tail, scale, shape = self.tails[side]
            t = scale / shape * torch.expm1(-shape * torch.log((share / tail).clamp(1e-300, 1)))
            x = torch.where(share < tail, self.knots[0] - t if side == 0 else self.knots[-1] + t, x)
        return x

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return the shares below and above each knot, ``(bins + 1)``."""
        count = self._count
        left, right = self._sums()
        return torch.cat([left[:count], 1 - self.tails[1, :1]]), torch.cat([1 - self.tails[0, :1], right[:count]])

    @property
    def _count(self) -> int:
        return int((self.masses > 0).sum())

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Return the shares to the left and to the right of each bin."""
        left = self.tails[0, 0] + torch.cumsum(self.masses, 0) - self.masses
        right = self.tails[1, 0] + self.masses.flip(0).cumsum(0).flip(0) - self.masses
        return left, right

    def _bins(self, x: Tensor) -> tuple[Tensor, ...]:
        count = self._count
        index = torch.searchsorted(self.knots[1:count].contiguous(), x.contiguous(), right=True)
        left, right = self._sums()
        return index, self.knots[index + 1] - self.knots[index], self.masses[index], left[index], right[index]


def _log_mass(a: Place, m: Place, b: Place, width: Tensor) -> Tensor:
    """Return the log of the mass between two places, of a narrow one by the density in the middle."""
    low, high = a.below <= 0.5, b.below <= 0.5
    smaller, larger = torch.where(high, a.log_near, b.log_near), torch.where(high, b.log_near, a.log_near)
    apart = larger - smaller
    # Both ends in one half: a difference of logs; the middle of the range between: what is left of 1.
    same = larger + torch.log(-torch.expm1(-apart.clamp(min=1e-300)))
    across = torch.log((1 - a.below - b.above).clamp(min=1e-300))
    narrow = (low == high) & (apart < 1e-7)
    return torch.where(narrow, m.log_density + torch.log(width), torch.where(low & ~high, across, same))
