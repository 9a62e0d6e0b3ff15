"""Univariate: the conditional of one column as a distribution, its probabilities, quantiles and mean, in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.tables.events import first_in
from pushforward.tables.heads import case_logs, column_knots
from pushforward.tables.model import Model
from pushforward.tables.network import Hidden
from pushforward.tables.spline import FAR, HALVINGS, Knots, inverse, log_slope, shares
from pushforward.tables.variable import VALUE, Variable

CELLS = 20_000
"""Cells of a grid over which a mean is summed, at most; of more it is that of the density between."""
BEYOND = 40
"""How far out a mean looks: a share of exp(-40)."""


class Univariate:
    """One column given what a row of hidden units says.

    Args:
        model: The model.
        variable: The column.
        h: ``(k, width)``, the last hidden layer; of several rows the column is a mixture.
        weights: Of these, ``(k)``; None for equal ones.
        between: The least and the largest value of a number that is known to lie between; None where it may be any.
    """

    def __init__(
        self, model: Model, variable: Variable, h: Hidden, weights: Tensor | None = None, between: tuple[float, float] | None = None
    ) -> None:
        self.variable, self.column = variable, variable.column
        masses = torch.exp(case_logs(model.network, variable, h))
        share = masses.new_full((len(masses),), 1 / len(masses)) if weights is None else weights.to(masses)
        self.masses: list[float] = (share @ masses).tolist()
        # Of values: a component counts by how likely it has one.
        self.share = share * masses[:, VALUE] / max(self.masses[VALUE], 1e-300) if variable.number is not None else share
        self.number = variable.number is not None
        if self.number:
            self.chart, grid = model.chart_of(variable), model.grid_of(variable)
            assert grid is not None
            self.grid = grid
            self.knots = column_knots(model.network, variable, h)
            self.device = h.units.device
        self.before, self.within = 0.0, 1.0
        if between is not None:
            self.before = self._up_to(self._just_below(between[0]))
            self.within = self._up_to(between[1]) - self.before

    def _just_below(self, low: float) -> float:
        """Return a number up to which there is all that is less than another."""
        if not self.grid.step or not math.isfinite(low):
            return math.nextafter(low, -math.inf)
        first = float(first_in(self.grid, torch.tensor(low, dtype=torch.float64)))
        return self.grid.origin + self.grid.step * (first - 0.5)

    @property
    def missing(self) -> float:
        """The probability of a missing value."""
        return float(self.masses[self.variable.missing]) if self.variable.may_be_missing else 0.0

    def probabilities(self) -> dict[Any, float]:
        """Return the probability of each category, or of each atom and of ``"value"``, all others; of None for a missing one."""
        if not self.number:
            found: dict[Any, float] = dict(zip(self.column.categories, self.masses, strict=False))
        else:
            inside = self._of_atoms()
            found = {atom: self.masses[at] + inside[atom] for at, atom in enumerate(self.variable.atoms, 1)}
            found["value"] = self.masses[VALUE] - sum(inside.values())
        return found | ({None: self.missing} if self.variable.may_be_missing else {})

    def _of_atoms(self) -> dict[float, float]:
        """Return the probability of each atom as one of the values of a grid."""
        if not self.grid.step:
            return dict.fromkeys(self.variable.atoms, 0.0)
        half, atoms = self.grid.step / 2, np.array(self.variable.atoms)
        return {
            atom: self.masses[VALUE] * inside * (self._among_values(place + half) - self._among_values(place - half))
            for atom, place, inside in zip(self.variable.atoms, self.grid.wrapped(atoms).tolist(), self.grid.holds(atoms), strict=True)
        }

    def _among_values(self, x: float) -> float:
        """Return the share of values up to x, atoms left out."""
        if math.isinf(x):
            return float(x > 0)
        place = self.chart(torch.tensor([x], dtype=torch.float64, device=self.device))
        return self._sides(place.below, place.above)[0]

    def _sides(self, below: Tensor, above: Tensor) -> tuple[float, float]:
        """Return the shares of values below and above by those of the marginal ``(1)``."""
        near, left = shares(self.knots, *(side.expand(len(self.share)) for side in (below, above)))
        under, over = torch.where(left, near, 1 - near), torch.where(left, 1 - near, near)
        return float(self.share @ under), float(self.share @ over)

    def cdf(self, x: float) -> float:
        """Return the probability of at most x, given that the value is not missing."""
        return min(max((self._up_to(x) - self.before) / self.within, 0.0), 1.0)

    def _up_to(self, x: float) -> float:
        """Return what `cdf` does of a value that may be any."""
        edge = x
        if self.grid.step and math.isfinite(x):
            edge = self.grid.origin + self.grid.step * (math.floor((x - self.grid.origin) / self.grid.step + 1e-6) + 0.5)
        low, high = self.grid.ends
        inside = 0.0 if low is not None and edge <= low else 1.0 if high is not None and edge >= high else self._among_values(edge)
        atoms = sum(mass for atom, mass in zip(self.variable.atoms, self.masses[1:], strict=False) if atom <= x)
        return (self.masses[VALUE] * inside + atoms) / (1 - self.missing)

    def quantile(self, q: float) -> float:
        """Return the least value up to which there is a share q of what is not missing; of ordered categories the place of one."""
        wanted = (self.before + q * self.within) * (1 - self.missing)
        if not self.number:
            sums = np.cumsum(self.masses[: len(self.column.categories)])
            return float(min(int(np.searchsorted(sums, wanted * (1 - 1e-12))), len(sums) - 1))
        before, value = 0.0, self.masses[VALUE]
        for atom, mass in sorted(zip(self.variable.atoms, self.masses[1:], strict=False)):
            half = self.grid.step / 2  # on a grid an atom is one of its values as well
            if wanted < before + value * self._among_values(atom - half):
                break
            if wanted <= before + mass + value * self._among_values(atom + half):
                return atom
            before += mass
        return self._settled(self.value_at((wanted - before) / value))

    def value_at(self, share: float) -> float:
        """Return the number up to which a share of the values lies, atoms left out."""
        share = min(max(share, 2.0**-60), 1 - 2.0**-53)
        below = torch.tensor([share], dtype=torch.float64, device=self.device)
        if len(self.share) == 1:
            return float(self.chart.inverse(*inverse(self.knots, below, 1 - below)))
        low, high = -FAR, FAR
        for _ in range(HALVINGS):
            logit = torch.tensor([(low + high) / 2], dtype=torch.float64, device=self.device)
            under, over = self._sides(torch.sigmoid(logit), torch.sigmoid(-logit))
            short = under < share if share <= 0.5 else over > 1 - share
            low, high = ((low + high) / 2, high) if short else (low, (low + high) / 2)
        logit = torch.tensor([(low + high) / 2], dtype=torch.float64, device=self.device)
        return float(self.chart.inverse(torch.sigmoid(logit), torch.sigmoid(-logit)))

    def _settled(self, x: float) -> float:
        return float(self.grid.settle(np.array([x]))[0])

    def mean(self) -> float:
        """Return the mean of what is not missing; on a circle that of the directions."""
        x, mass = self.points()
        x = np.append(x, self.variable.atoms)
        mass = np.append(self.masses[VALUE] * mass, self.masses[1 : 1 + len(self.variable.atoms)]) / (1 - self.missing)
        if not self.grid.circular:
            return float((x * mass).sum())
        assert self.column.period is not None
        turn = 2 * math.pi / self.column.period
        low = self.column.low or 0.0
        angle = math.atan2(float((np.sin(turn * (x - low)) * mass).sum()), float((np.cos(turn * (x - low)) * mass).sum()))
        return low + (angle % (2 * math.pi)) / turn

    def points(self) -> tuple[Any, Any]:
        """Return values and shares of them, atoms left out, over which sums are means: the cells of a grid, or Gauss-Legendre nodes."""
        if self.grid.step:
            ends = [self._settled(self.value_at(share)) for share in (1e-9, 1 - 1e-9)]
            first, last = (round((end - self.grid.origin) / self.grid.step) for end in ends)
            if 0 <= last - first <= CELLS:
                x = self.grid.origin + self.grid.step * np.arange(first, last + 1.0)
                at = torch.from_numpy(x).to(self.device)
                return x, sum(share * self._cells(at, knots) for share, knots in self._components())
        found = [(x, share * mass) for share, knots in self._components() for x, mass in [self._quadrature(knots)]]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]

    def _components(self) -> list[tuple[float, Knots]]:
        """Return the parts of the mixture of values that count, each with its share."""
        each = [torch.tensor([at], device=self.device) for at in range(len(self.share))]
        return [(float(share), self.knots.take(at)) for share, at in zip(self.share, each, strict=True) if share > 0]

    def _quadrature(self, knots: Knots) -> tuple[Any, Any]:
        """Return nodes and their shares of the values of one component."""
        below, above, weights = (part.to(self.device) for part in self._nodes(knots))
        wide = knots.repeated(len(below))
        mass = weights * torch.exp(log_slope(wide, below, above, wide.steps.log_slope(below, above) if wide.steps else 0.0))
        # What quadrature is off counts by how far values are from one another, not from 0.
        return self.chart.inverse(below, above).cpu().numpy(), (mass / mass.sum()).cpu().numpy()

    def _cells(self, x: Tensor, knots: Knots) -> Any:
        edges = torch.cat([x - self.grid.step / 2, x[-1:] + self.grid.step / 2])
        place = self.chart(edges)
        wide = knots.repeated(len(edges))
        near, left = shares(wide, place.below, place.above)
        low, high = near[:-1], near[1:]
        mass = torch.where(left[1:], high - low, torch.where(left[:-1], 1 - high - low, low - high))
        return (mass / mass.sum()).cpu().numpy()

    def _nodes(self, knots: Knots) -> tuple[Tensor, Tensor, Tensor]:
        """Return nodes between all bends of chart and spline as shares of the marginal below and above, with their weights."""
        nodes, weights = np.polynomial.legendre.leggauss(8)
        left, right = (part.cpu() for part in self.chart.edges())
        # A conditional that is narrow bends between its own quantiles.
        own = torch.linspace(0, 1, 4 * BEYOND + 1, dtype=torch.float64, device=self.device)
        wide = knots.repeated(len(own))
        bends = torch.cat([left, inverse(wide, own, 1 - own)[0].cpu(), torch.tensor([1.0], dtype=torch.float64)]).unique()
        low_tail, high_tail = float(left[0]), float(right[-1])
        if knots.steps is not None:
            bends = torch.cat([bends, knots.steps.edges[0, 0].cpu()]).unique()
        bends = bends[(bends >= low_tail) & (bends <= 1 - high_tail)]
        a, b = bends[:-1, None], bends[1:, None]
        below = ((a + b) / 2 + (b - a) / 2 * torch.from_numpy(nodes)).flatten()
        above, mass = 1 - below, ((b - a) / 2 * torch.from_numpy(weights)).flatten()
        # In a tail by the log of the share, in which values are smooth.
        at = torch.arange(BEYOND, dtype=torch.float64)[:, None]
        logs = (at + 0.5 + torch.from_numpy(nodes) / 2).flatten()
        thin = torch.exp(-logs)
        counts = thin * (torch.from_numpy(weights) / 2).repeat(BEYOND)
        parts = [(below, above, mass)]
        if low_tail > 0:
            parts.append((low_tail * thin, 1 - low_tail * thin, low_tail * counts))
        if high_tail > 0:
            parts.append((1 - high_tail * thin, high_tail * thin, high_tail * counts))
        found = [torch.cat(group) for group in zip(*parts, strict=True)]
        return found[0], found[1], found[2]

    def interval(self, p: float) -> tuple[float, float]:
        """Return two values between which a share p of what is not missing lies, as much below as above; on a circle around the mean."""
        if not self.grid.circular or self.variable.atoms:
            return self.quantile((1 - p) / 2), self.quantile((1 + p) / 2)
        assert self.column.period is not None
        opposite = self.mean() + self.column.period / 2
        opposite -= self.column.period * (self.column.high is not None and opposite >= self.column.high)
        cut = self._among_values(float(self.grid.wrapped(np.array([opposite]))[0]))
        low, high = (self._settled(self.value_at((cut + part) % 1.0)) for part in ((1 - p) / 2, (1 + p) / 2))
        return low, high
