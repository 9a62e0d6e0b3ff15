"""Directions: the mixture of von Mises-Fisher distributions under which unit vectors are most likely, from clusters on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.bases.em import BLOCK, ROWS, STEPS
from pushforward.bases.sphere import log_top, unit

GAIN = 1e-4
"""Nats a row that a step gains at least; one that gains less is the last. Steps cost little here, and places have many narrow peaks."""
SHRUNK = 0.02
"""Rows of a typical component that count beside a component's own: one of two equal rows is a hundred times as narrow as a typical one."""
NEWTON = 20
"""Steps to a concentration; they converge quadratically."""
LEAST, MOST = 1e-3, 1e8
"""The least and the largest concentration: of less the density is level, and of more no row has the digits."""

Parts = tuple[Tensor, Tensor, Tensor]
"""Shares ``(K)``, mean directions ``(K, 3)`` and concentrations ``(K)``."""


def maximised_directions(rows: Tensor, found: Tensor, count: int) -> Parts:
    """Return the parts of a mixture after steps of expectation maximisation.

    To the spread of each component some of a typical one's is added, so that none shrinks to a point.
    Source: Clustering on the Unit Hypersphere using von Mises-Fisher Distributions (Banerjee et al., 2005).

    Args:
        rows: Unit vectors ``(rows, 3)``.
        found: The cluster that each row begins in, ``(rows)``.
        count: How many there are, K.

    >>> x = unit(torch.tensor([[0.0, 0.1, 1.0], [0.0, -0.1, 1.0], [1.0, 0.1, 0.0], [1.0, -0.1, 0.0]]).double())
    >>> maximised_directions(x, torch.tensor([0, 0, 1, 1]), 2)[1].round().abs()
    tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=torch.float64)
    """
    every = -(-len(rows) // ROWS)
    some, first = rows[::every], found[::every]
    # A cluster may have none of its rows among them.
    weights = torch.nn.functional.one_hot(first, count).to(some) + 1e-3 / count
    weights = weights / weights.sum(-1, keepdim=True)
    parts, before = _parts(weights.sum(0), weights.T @ some), -math.inf
    for _ in range(STEPS):
        likelihood, sums = _step(some, *parts)
        if not likelihood - before > GAIN:
            break
        before, parts = likelihood, _parts(*sums)
    return parts


def concentration(away: Tensor) -> Tensor:
    r"""Return the concentrations at which rows are on average so far below the top: :math:`1 - \coth \kappa + 1 / \kappa = a`.

    Args:
        away: ``(K)`` in (0, 1].
    """
    away = away.clamp(1 / MOST, 1 - LEAST / 3)
    length = 1 - away
    # By Banerjee et al., and from there by Newton's method.
    kappa = length * (3 - length.square()) / (away * (1 + length))
    for _ in range(NEWTON):
        off = 1 / kappa - 2 / torch.expm1(2 * kappa) - away
        slope = 1 / torch.sinh(kappa.clamp(max=300)).square() - 1 / kappa.square()
        kappa = (kappa - off / slope).clamp(min=0.5 * kappa, max=2 * kappa)
    return kappa


def _parts(counts: Tensor, sums: Tensor) -> Parts:
    """Return the parts whose rows weigh ``(K)`` together, and add up to ``(K, 3)`` by their weights."""
    apart = counts - torch.linalg.vector_norm(sums, dim=-1)
    pooled = apart.sum() / counts.sum()
    return counts / counts.sum(), unit(sums), concentration((apart + SHRUNK * pooled) / (counts + SHRUNK))


def _step(rows: Tensor, shares: Tensor, directions: Tensor, concentrations: Tensor) -> tuple[float, tuple[Tensor, Tensor]]:
    """Return the mean log-density of rows, and the sums from which the next parts come, a block of rows at a time."""
    level = shares.log() + log_top(concentrations) - concentrations
    total, counts, sums = 0.0, torch.zeros_like(shares), torch.zeros_like(directions)
    for part in rows.split(BLOCK):
        joint = level + part @ (concentrations.unsqueeze(-1) * directions).T
        density = torch.logsumexp(joint, -1, keepdim=True)
        weights = torch.exp(joint - density)
        total += density.sum().item()
        counts, sums = counts + weights.sum(0), sums + weights.T @ part
    return total / len(rows), (counts, sums)
