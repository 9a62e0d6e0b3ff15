"""Expectation maximisation: the mixture of normals under which rows are most likely, from clusters on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS = 100
"""Steps, at most."""
GAIN = 1e-3
"""Nats a row that a step gains at least; one that gains less is the last."""
ROWS, BLOCK = 2**15, 2**12
"""Rows that are looked at, at most, of more some that are evenly spread; and together, since each has D numbers for each component."""

Moments = tuple[Tensor, Tensor, Tensor]
"""Shares ``(K)``, means ``(K, D)`` and covariances ``(K, D, D)``, or one covariance ``(1, D, D)`` for all."""


def maximised(rows: Tensor, found: Tensor, count: int, covariance: str, tied: bool) -> Moments:
    """Return the moments of a mixture's components after steps of expectation maximisation.

    To each covariance that of a row of a typical component is added, so that none shrinks to a point.

    Args:
        rows: ``(rows, D)``, finite.
        found: The cluster that each row begins in, ``(rows)``; none is empty.
        count: How many there are, K.
        covariance: ``"full"``, ``"diagonal"`` or ``"spherical"``.
        tied: Whether all have one covariance.

    Source: Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird, Rubin, 1977).

    >>> x = torch.tensor([[0.0], [0.2], [5.0], [5.2]]).double()
    >>> [round(mean, 2) for mean in maximised(x, torch.tensor([0, 0, 1, 1]), 2, "full", False)[1].flatten().tolist()]
    [0.1, 5.1]
    """
    every = -(-len(rows) // ROWS)
    some, first = rows[::every], found[::every]
    middle = some.mean(0)
    some = some - middle  # sums of squares about 0 lose nothing then
    # A cluster may have none of its rows among them.
    weights = torch.nn.functional.one_hot(first, count).to(some) + 1e-3 / count
    moments = moments_of(_sums(some, weights / weights.sum(-1, keepdim=True)), covariance, tied)
    before = -math.inf
    for _ in range(STEPS):
        likelihood, sums = _step(some, *moments)
        if not likelihood - before > GAIN:
            break
        before, moments = likelihood, moments_of(sums, covariance, tied)
    shares, means, covariances = moments
    return shares, means + middle, covariances


def moments_of(sums: Moments, covariance: str, tied: bool) -> Moments:
    """Return the moments of components from the sums of weights, of weighted rows, and of their outer products."""
    counts, first, second = sums
    means = first / counts[:, None]
    within = second - first.unsqueeze(-1) * means.unsqueeze(-2)
    pooled = within.sum(0) / counts.sum()
    found = pooled[None] if tied else (within + pooled) / (counts[:, None, None] + 1)
    variance = found.diagonal(dim1=-2, dim2=-1)
    if covariance == "spherical":
        variance = variance.mean(-1, keepdim=True).expand(variance.shape)
    # A column that others determine has no part of its own.
    least = torch.diag_embed(1e-6 * variance.mean(-1, keepdim=True).expand(variance.shape))
    return counts / counts.sum(), means, (found if covariance == "full" else torch.diag_embed(variance)) + least


def _step(rows: Tensor, shares: Tensor, means: Tensor, covariances: Tensor) -> tuple[float, Moments]:
    """Return the mean log-density of rows, and the sums from which the next moments come, a block of rows at a time."""
    count, width = means.shape
    factors = torch.linalg.cholesky(covariances)
    whitening = torch.linalg.solve_triangular(factors, torch.eye(width).to(rows), upper=False).expand(count, -1, -1)
    centre = (whitening @ means.unsqueeze(-1)).squeeze(-1)
    log_scale = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * width * math.log(2 * math.pi)
    total, found = 0.0, []
    for part in rows.split(BLOCK):
        noise = (part @ whitening.reshape(-1, width).T).reshape(-1, count, width) - centre
        joint = shares.log() - log_scale - 0.5 * noise.square().sum(-1)
        density = torch.logsumexp(joint, -1, keepdim=True)
        total += density.sum().item()
        found.append(_sums(part, torch.exp(joint - density)))
    counts, first, second = (torch.stack(each).sum(0) for each in zip(*found, strict=True))
    return total / len(rows), (counts, first, second)


def _sums(rows: Tensor, weights: Tensor) -> Moments:
    """Return the sums of weights ``(n, K)``, of rows ``(n, D)`` by their weights, and of their outer products."""
    parts = []
    for part, weight in zip(rows.split(BLOCK), weights.split(BLOCK), strict=True):
        weighted = (weight.unsqueeze(-1) * part.unsqueeze(-2)).flatten(1)
        parts.append((weight.sum(0), weighted.sum(0), weighted.T @ part))
    counts, first, second = (torch.stack(each).sum(0) for each in zip(*parts, strict=True))
    return counts, first.unflatten(0, (weights.shape[1], -1)), second.unflatten(0, (weights.shape[1], -1))
