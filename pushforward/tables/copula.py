"""Copula: normal scores and indicators of cases with common factors, so that any cells of a row say where the others are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pushforward.tables.events import FEATURES, Events
from pushforward.tables.variable import VALUE, Variable

RANK = 32
"""Common factors, at most."""
ROUNDS = 30
"""Steps of expectation maximisation."""
LEAST = 1e-4
"""The least variance of a coordinate of its own."""
SHOWN = 4.0
"""How many times the variance of chance a squared correlation has to be, so that what is independent stays so."""

BITS = 32
"""Coordinates that one whole number says of a row whether they are known."""


class Evidence(NamedTuple):
    """What is known of the factors of rows, in float64.

    Rows of which the same coordinates are known have the same precision, which is there once: most rows of a table are such.

    Args:
        precision: Each precision that there is, ``(p, r, r)``.
        group: Which of them that of a row is, ``(n)``.
        linear: Of each row its precision times the mean, ``(n, r)``.
    """

    precision: Tensor
    group: Tensor
    linear: Tensor

    def take(self, index: Tensor) -> Evidence:
        """Return that of some of the rows, as a mask says."""
        return Evidence(*_used(self.precision, self.group[index]), self.linear[index])

    def where(self, chosen: Tensor, other: Evidence) -> Evidence:
        """Return the other's for the rows that are chosen ``(n)``, and its own for those that are not."""
        both = torch.cat([self.precision, other.precision])
        group = torch.where(chosen, other.group + len(self.precision), self.group)
        return Evidence(*_used(both, group), torch.where(chosen.unsqueeze(1), other.linear, self.linear))


def _used(precision: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Return the precisions that rows have, and which of them that of a row is."""
    used, place = torch.unique(group, return_inverse=True)
    return precision[used], place


def _numbered(key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of each row's key ``(n)`` among those that there are, and of each of them a row that has it."""
    used, group = torch.unique(key, return_inverse=True)
    return group, torch.zeros_like(used).scatter_(0, group, torch.arange(len(key), device=key.device))


def _alike(there: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same of rows ``(n, count)`` of 0 and 1: those that are alike have one number."""
    group = first = torch.zeros(len(there), dtype=torch.long, device=there.device)
    for bits in there.long().split(BITS, 1):
        place = torch.arange(bits.shape[1], device=there.device)
        group, first = _numbered((group << BITS) + (bits << place).sum(1))
    return group, first


class Factors(NamedTuple):
    """What the evidence says of the factors: means ``(n, r)``, each covariance that there is ``(p, r, r)``, and which a row has ``(n)``."""

    means: Tensor
    spread: Tensor
    group: Tensor


class Copula(nn.Module):
    r"""Coordinates with common factors, :math:`x = \Lambda f + \epsilon` with :math:`f \sim N(0, I), \epsilon_i \sim N(0, \psi_i)`.

    A number has its normal score for a coordinate, an angle sine and cosine, and each of a few cases whether it is so. What is known of the
    factors is a sum over known coordinates, so that any of them may be known, and what they say of a number is the same in whatever order
    they were learnt. It is measured, in float64, and not trained.
    Source: Bayesian Gaussian Copula Factor Models for Mixed Data (Murray, Dunson, Carin, Lucas, 2013).

    Args:
        variables: The columns.
    """

    loadings: Tensor
    noise: Tensor
    centers: Tensor
    spreads: Tensor

    def __init__(self, variables: Sequence[Variable]) -> None:
        super().__init__()
        # Of each coordinate its column, and either its place among the features or the case that it tells of.
        numbers = [
            (variable.index, FEATURES * variable.number + at)
            for variable in variables
            if variable.number is not None
            for at in range(2 if variable.column.kind == "circular" else 1)
        ]
        indicators = [(variable.index, case) for variable in variables if not variable.large for case in range(1, variable.cases)]
        self.numeric = len(numbers)
        self.columns = [column for column, _ in numbers + indicators]
        self.features, self.cases = [place for _, place in numbers], [case for _, case in indicators]
        # Of each number the coordinate that is its score; an angle has none.
        straight = [v for v in variables if v.number is not None and v.column.kind != "circular"]
        self.scores = {variable.index: self.columns.index(variable.index) for variable in straight}
        self.rank = min(len(self.columns), RANK)
        for name, value in (("loadings", torch.zeros(len(self.columns), self.rank)), ("noise", torch.ones(len(self.columns)))):
            self.register_buffer(name, value.double())
        for name, number in (("centers", 0.0), ("spreads", 1.0)):
            self.register_buffer(name, torch.full((len(self.columns),), number, dtype=torch.float64))

    def _apply(self, fn: Any, recurse: bool = True) -> Copula:
        # As of charts: what is moved to another precision is the network.
        super()._apply(lambda t: t.to(fn(t).device), recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def sound(self) -> bool:
        """Whether it is a distribution: what a file says may be anything."""
        finite = all(bool(torch.isfinite(part).all()) for part in self.buffers())
        size = self.loadings.square().sum(1) + self.noise
        return finite and bool((self.noise > 0).all() and (self.spreads > 0).all() and ((size - 1).abs() < 1e-6).all())

    def coordinates(self, cases: Tensor, features: Tensor, known: Tensor, places: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return the coordinates ``(n, count)`` of rows, 0 where a cell is not known or is no value, and where they are; all, or some."""
        some = range(len(self.columns)) if places is None else places
        numbers, others = ([at for at in some if (at < self.numeric) == numeric] for numeric in (True, False))
        columns = [[self.columns[at] for at in part] for part in (numbers, others)]
        there = torch.cat([cases[:, columns[0]] == VALUE, cases[:, columns[1]] >= 0], 1) & known[:, columns[0] + columns[1]]
        which = torch.tensor([self.cases[at - self.numeric] for at in others], dtype=torch.long, device=cases.device)
        own = features.flatten(1)[:, [self.features[at] for at in numbers]]
        x = torch.cat([own.double(), (cases[:, columns[1]] == which).double()], 1)
        centers, spreads = self.centers[list(some)], self.spreads[list(some)]
        return torch.where(there, (x - centers) / spreads, 0.0), there.double()

    def evidence(self, events: Events, known: Tensor) -> Evidence:
        """Return what rows tell of the factors where ``known (n, columns)`` is so."""
        n, rank = len(known), self.rank
        one = torch.eye(rank, dtype=torch.float64, device=known.device)
        group = torch.zeros(n, dtype=torch.long, device=known.device)
        found = Evidence(one.unsqueeze(0), group, one.new_zeros(n, rank))
        # Where nothing is known there is nothing to multiply.
        if not bool(known.any()):
            return found
        if bool((known == known[:1]).all()):
            for column in known[0].nonzero().flatten().tolist():
                found = self.added(found, column, events)
            return found
        x, there = self.coordinates(*events.met, known)
        group, first = _alike(there)
        precision = one + (there[first] @ self._products(slice(None))).unflatten(1, (rank, rank))
        return Evidence(precision, group, (x / self.noise) @ self.loadings)

    def added(self, evidence: Evidence, column: int, events: Events) -> Evidence:
        """Return what is known when one more column is, of all rows."""
        places = [at for at, other in enumerate(self.columns) if other == column]
        if not places:
            return evidence
        known = torch.zeros(events.cases.shape, dtype=torch.bool, device=events.cases.device)
        known[:, column] = True
        x, there = self.coordinates(*events.met, known, places)
        # Of one column how many coordinates are known says which: all, those of its cases, or none.
        key = evidence.group * (len(places) + 1) + there.sum(1).long()
        group, first = _numbered(key)
        more = (there[first] @ self._products(places)).unflatten(1, (self.rank, self.rank))
        precision = evidence.precision[evidence.group[first]] + more
        return Evidence(precision, group, evidence.linear + (x / self.noise[places]) @ self.loadings[places])

    def _products(self, places: Any) -> Tensor:
        """Return what coordinates add to the precision when they are known, ``(count, r * r)``."""
        load, noise = self.loadings[places], self.noise[places]
        return (load.unsqueeze(2) * load.unsqueeze(1) / noise[:, None, None]).flatten(1)

    def factors(self, evidence: Evidence) -> Factors:
        """Return what the evidence says of the factors."""
        precision, group, linear = evidence
        spread = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        if len(spread) == 1:
            return Factors(linear @ spread[0], spread, group)
        if 2 * len(spread) > len(linear):
            return Factors(torch.bmm(spread[group], linear.unsqueeze(-1)).squeeze(-1), spread, group)
        order = torch.argsort(group)
        parts = linear[order].split(torch.bincount(group, minlength=len(spread)).tolist())
        means = torch.cat([part @ own for part, own in zip(parts, spread, strict=True)])
        return Factors(torch.empty_like(means).index_copy_(0, order, means), spread, group)

    def place(self, factors: Factors, variable: Variable) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the score of a number, ``(n)`` each."""
        means, spreads = self._places(factors, [variable.index])
        return means[:, 0], spreads[:, 0]

    def places(self, factors: Factors, variables: Sequence[Variable]) -> tuple[Tensor, Tensor]:
        """Return those of several numbers, ``(n, numbers)`` each; 0 and 1 of angles."""
        return self._places(factors, [variable.index for variable in variables])

    def _places(self, factors: Factors, columns: Sequence[int]) -> tuple[Tensor, Tensor]:
        none = [column not in self.scores for column in columns]
        at = [self.scores.get(column, 0) for column in columns]
        load, noise = self.loadings[at], self.noise[at]
        means = factors.means @ load.T
        spreads = torch.sqrt(((load @ factors.spread) * load).sum(-1) + noise)[factors.group]
        without = torch.tensor(none, device=means.device)
        return torch.where(without, 0.0, means), torch.where(without, 1.0, spreads)

    @torch.no_grad()
    def measure(self, events: Events, weights: Tensor) -> None:
        """Measure the correlations of coordinates from rows with weights ``(n)``, pair by pair where both are, and their factors."""
        if not self.columns:
            return
        self.centers.zero_()
        self.spreads.fill_(1.0)
        known = torch.ones(events.cases.shape, dtype=torch.bool, device=events.cases.device)
        x, there = self.coordinates(*events.met, known)
        heavy = weights.unsqueeze(1) * there
        total = heavy.sum(0).clamp(min=1e-9)
        means = (heavy * x).sum(0) / total
        spreads = torch.sqrt((heavy * (x - means) ** 2).sum(0) / total).clamp(min=1e-3)
        # Scores are standard whatever the sample; of indicators the shares say what is.
        self.centers[self.numeric :] = means[self.numeric :]
        self.spreads[self.numeric :] = spreads[self.numeric :]
        x, there = self.coordinates(*events.met, known)
        both = heavy.T @ there
        products = (weights.unsqueeze(1) * x).T @ x
        own = torch.sqrt((products.diagonal() / total).clamp(min=1e-9))
        # One row without correlations is added: of columns that nearly repeat one another, little is known of how nearly.
        r = products / (both + 1) / (own.unsqueeze(1) * own)
        r = r * (1 - (SHOWN / (both * r.square()).clamp(min=SHOWN)).square())
        r.fill_diagonal_(1.0)
        self._decompose(r)

    @torch.no_grad()
    def forget(self) -> None:
        """Take all coordinates for independent."""
        self.loadings.zero_()
        self.noise.fill_(1.0)

    def _decompose(self, correlations: Tensor) -> None:
        """Find loadings and variances by expectation maximisation, from principal components."""
        # Pairs that were measured on different rows may be together what no correlations are.
        values, vectors = torch.linalg.eigh(correlations)
        s = vectors * values.clamp(min=LEAST) @ vectors.T
        size = s.diagonal().sqrt()
        s = s / (size.unsqueeze(1) * size)
        values, vectors = torch.linalg.eigh(s)
        rest = values[: len(values) - self.rank]
        floor = max(float(rest.mean() if len(rest) else values[0]), LEAST)
        load = vectors[:, -self.rank :] * torch.sqrt((values[-self.rank :] - floor).clamp(min=0))
        noise = (1 - load.square().sum(1)).clamp(min=LEAST)
        one = torch.eye(self.rank, dtype=s.dtype, device=s.device)
        for _ in range(ROUNDS if len(rest) else 0):
            means = torch.linalg.solve(load @ load.T + torch.diag(noise), load).T
            load = torch.linalg.solve(one - means @ load + means @ s @ means.T, means @ s).T
            noise = (1 - (load @ means @ s).diagonal()).clamp(min=LEAST)
        size = load.square().sum(1) + noise
        self.loadings.copy_(load / size.sqrt().unsqueeze(1))
        self.noise.copy_(noise / size)
