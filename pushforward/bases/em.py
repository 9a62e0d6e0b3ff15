"""Expectation maximisation: the mixture of normals under which rows are most likely, from clusters on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS = 200
"""Steps, at most."""
GAIN = 1e-4
"""Nats a row that a step gains at least; one that gains less is the last."""
ROWS = 2**16
"""Rows that are looked at, at most: of more, some that are evenly spread."""

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
    weights = torch.nn.functional.one_hot(first, count).to(some)
    # A cluster may have none of its rows among them.
    weights = (weights + 1e-3 / count) / weights.new_tensor(1 + 1e-3)
    before = -math.inf
    moments = moments_of(some, weights, covariance, tied)
    for _ in range(STEPS):
        joint = log_joint(some, *moments)
        total = torch.logsumexp(joint, 0)
        likelihood = total.mean().item()
        if not likelihood - before > GAIN:
            break
        before = likelihood
        moments = moments_of(some, torch.exp(joint - total).T, covariance, tied)
    return moments


def moments_of(rows: Tensor, weights: Tensor, covariance: str, tied: bool) -> Moments:
    """Return the moments of components to which rows ``(n, D)`` belong by weights ``(n, K)``."""
    counts = weights.sum(0)
    means = weights.T @ rows / counts[:, None]
    sums = torch.stack([(weight[:, None] * (rows - mean)).T @ (rows - mean) for weight, mean in zip(weights.T, means, strict=True)])
    pooled = sums.sum(0) / len(rows)
    found = pooled[None] if tied else (sums + pooled) / (counts[:, None, None] + 1)
    variance = found.diagonal(dim1=-2, dim2=-1)
    if covariance == "spherical":
        variance = variance.mean(-1, keepdim=True).expand(variance.shape)
    # A column that others determine has no part of its own.
    least = torch.diag_embed(1e-6 * variance.mean(-1, keepdim=True).expand(variance.shape))
    return counts / len(rows), means, (found if covariance == "full" else torch.diag_embed(variance)) + least


def log_joint(rows: Tensor, shares: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Return the log of share times density of each component at each row, ``(K, n)``."""
    factors = torch.linalg.cholesky(covariances).expand(len(means), -1, -1)
    found = []
    for share, mean, factor in zip(shares, means, factors, strict=True):
        noise = torch.linalg.solve_triangular(factor, (rows - mean).T, upper=False)
        log_scale = factor.diagonal().log().sum()
        found.append(share.log() - log_scale - 0.5 * (noise.square().sum(0) + rows.shape[1] * math.log(2 * math.pi)))
    return torch.stack(found)
