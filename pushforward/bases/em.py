"""Expectation maximisation: the mixture of normals under which rows are most likely, from the better of two beginnings."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.bases.clusters import clusters

STEPS, FEW = 100, 10
"""Steps with all components, at most; and before, between two splits and of each beginning."""
GAIN = 1e-3
"""Nats a row that a step gains at least; one that gains less is the last."""
FIRM, SCARCE = 10.0, 3.0
"""To each covariance the typical one is added: as if it were that of so many rows divided by the component's, and of one at most; or of as
many as there are columns, where a component has no more than so many times that, and by the square of its rows fewer where it has more.
"""
POINT = 1e-8
"""Least variance of a component in any direction, by that of all rows."""
APART = 0.6
"""How far the halves of a component are from its mean, in standard deviations along its longest axis."""
ROWS, BEGIN, BLOCK = 2**15, 2**12, 2**10
"""Rows that are looked at, at most, of more some that are evenly spread; those of them that all but the last steps see; and together, since
each has D numbers for each component.
"""

Moments = tuple[Tensor, Tensor, Tensor]
"""Shares ``(K)``, means ``(K, D)`` and covariances ``(K, D, D)``, or one covariance ``(1, D, D)`` for all."""


def maximised(rows: Tensor, count: int, covariance: str, tied: bool, seed: int = 0) -> Moments:
    """Return the moments of a mixture's components after steps of expectation maximisation.

    There are two beginnings, of which some steps show the better one. Clusters by k-means are round, and see what lies apart. Or
    there is one component to begin with; each is split along its longest axis, the heaviest where not all are, and some steps follow,
    until there are as many as asked for: that finds long and narrow parts. To each covariance some of a typical component's is added,
    so that none shrinks to a point.

    Args:
        rows: ``(rows, D)``, finite.
        count: How many components, K.
        covariance: ``"full"``, ``"diagonal"`` or ``"spherical"``.
        tied: Whether all have one covariance.
        seed: Seed of the clusters.

    Source: Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird, Rubin, 1977); SMEM Algorithm for Mixture Models
    (Ueda, Nakano, Ghahramani, Hinton, 2000) for splits.

    >>> x = torch.tensor([[0.0], [0.2], [5.0], [5.2]]).double()
    >>> sorted(round(mean, 2) for mean in maximised(x, 2, "full", False)[1].flatten().tolist())
    [0.1, 5.1]
    """
    some = rows[:: -(-len(rows) // ROWS)]
    middle = some.mean(0)
    some = some - middle  # sums of squares about 0 lose nothing then
    few = some[:: -(-len(some) // BEGIN)]
    begun = [[*_splits(few, count, covariance, tied)][-1]]
    if 1 < count <= len(torch.unique(few, dim=0)):
        found = torch.nn.functional.one_hot(clusters(few, count, "kmeans", seed), count).to(few)
        begun.append(_improved(few, moments_of(_sums(few, found), covariance, tied), covariance, tied, FEW))
    best = max(begun, key=lambda one: one[0])[1]
    best = _improved(few, best, covariance, tied, STEPS)[1]
    if len(few) < len(some):  # most steps need not see all
        best = _improved(some, best, covariance, tied, FEW)[1]
    shares, means, covariances = best
    return shares, means + middle, covariances


def grown(rows: Tensor, held: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield 1, 2, 4, ... components, and the log-density of each of other rows under a mixture of so many with all covariances.

    It is that of the splits of `maximised` after some steps, which tells how many components suit the rows; each time costs no more
    than the last split and its steps, however many there were.

    Args:
        rows: ``(rows, D)``, finite, to fit to.
        held: ``(others, D)``, to be scored.

    >>> x = torch.tensor([[0.0], [0.2], [5.0], [5.2]]).double().repeat(25, 1)
    >>> [count for (count, _), _ in zip(grown(x, x), range(3))]
    [1, 2, 4]
    """
    middle = rows.mean(0)
    few, held = rows[:: -(-len(rows) // BEGIN)] - middle, held - middle
    for _, moments in _splits(few, len(few), "full", False):
        yield len(moments[0]), torch.cat([torch.logsumexp(joint, -1) for _, joint in _joint(held, *moments)])


def _splits(rows: Tensor, count: int, covariance: str, tied: bool) -> Iterator[tuple[float, Moments]]:
    """Yield mixtures that begin as one component, which is split, each with the mean log-density of rows; the last has all components."""
    sums = _sums(rows, torch.ones_like(rows[:, :1]))
    yield -math.inf, moments_of(sums, covariance, tied)
    while (there := len(sums[0])) < count:
        begun = _split(moments_of(sums, "full", False), min(there, count - there), covariance, tied)
        found = _improved(rows, begun, covariance, tied, FEW)
        yield found
        sums = _step(rows, *found[1])[1]


def _improved(rows: Tensor, moments: Moments, covariance: str, tied: bool, steps: int) -> tuple[float, Moments]:
    """Return a mixture after so many steps, and the mean log-density of rows before the last; after `FEW` all have to gain something."""
    before = -math.inf
    for step in range(steps):
        likelihood, sums = _step(rows, *moments)
        if step >= FEW and not likelihood - before > GAIN:
            break
        before, moments = likelihood, moments_of(sums, covariance, tied)
    return before, moments


def moments_of(sums: Moments, covariance: str, tied: bool) -> Moments:
    """Return the moments of components from the sums of weights, of weighted rows, and of their outer products."""
    counts, first, second = sums
    counts = counts.clamp(min=1e-3)  # of a row: all may have left one
    means = first / counts[:, None]
    within = second - first.unsqueeze(-1) * means.unsqueeze(-2)
    pooled = within.sum(0) / counts.sum()
    shares = counts / counts.sum()
    # Of the typical covariance few rows need some, lest they shrink to a point; many would no longer be as narrow as they are.
    width = first.shape[1]
    scarce = (SCARCE * width / counts).clamp(max=1.0)
    prior = torch.maximum((FIRM / counts).clamp(max=1.0), width * scarce * scarce)[:, None, None]
    return shares, means, _shaped((within + prior * pooled) / (counts[:, None, None] + prior), shares, means, covariance, tied)


def _shaped(covariances: Tensor, shares: Tensor, means: Tensor, covariance: str, tied: bool) -> Tensor:
    """Return covariances as a mixture has them: of one for all, or of fewer numbers each."""
    found = (shares[:, None, None] * covariances).sum(0, keepdim=True) if tied else covariances
    variance = found.diagonal(dim1=-2, dim2=-1)
    if covariance == "spherical":
        variance = variance.mean(-1, keepdim=True).expand(variance.shape)
    # A column that others determine has no part of its own; and where values come again, a component may be one of them.
    weights, middle = shares[:, None], (shares[:, None] * means).sum(0)
    spread = (weights * (covariances.diagonal(dim1=-2, dim2=-1) + (means - middle).square())).sum(0).mean()
    least = 1e-6 * variance.mean(-1, keepdim=True) + POINT * spread + torch.finfo(spread.dtype).tiny
    least = torch.diag_embed(least.expand(variance.shape))
    return (found if covariance == "full" else torch.diag_embed(variance)) + least


def _split(moments: Moments, count: int, covariance: str, tied: bool) -> Moments:
    """Return a mixture in which so many of the heaviest components are halved along their longest axes; each kept its mean and spread."""
    shares, means, covariances = moments
    chosen = shares.argsort(descending=True)[:count]
    lengths, axes = torch.linalg.eigh(covariances[chosen])
    step = APART * axes[..., -1] * lengths[:, -1:].clamp(min=0).sqrt()
    halves = covariances[chosen] - step.unsqueeze(-1) * step.unsqueeze(-2)
    shares = shares.index_put((chosen,), shares[chosen] / 2)
    means, covariances = means.index_put((chosen,), means[chosen] + step), covariances.index_put((chosen,), halves)
    shares = torch.cat([shares, shares[chosen]])
    covariances = torch.cat([covariances, halves])
    means = torch.cat([means, means[chosen] - 2 * step])
    return shares, means, _shaped(covariances, shares, means, covariance, tied)


def _step(rows: Tensor, shares: Tensor, means: Tensor, covariances: Tensor) -> tuple[float, Moments]:
    """Return the mean log-density of rows, and the sums from which the next moments come, a block of rows at a time."""
    total, found = 0.0, []
    for part, joint in _joint(rows, shares, means, covariances):
        density = torch.logsumexp(joint, -1, keepdim=True)
        total += density.sum().item()
        found.append(_sums(part, torch.exp(joint - density)))
    counts, first, second = (torch.stack(each).sum(0) for each in zip(*found, strict=True))
    return total / len(rows), (counts, first, second)


def _joint(rows: Tensor, shares: Tensor, means: Tensor, covariances: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of rows, and the log-density of each row and component, ``(rows, K)``."""
    count, width = means.shape
    factors = torch.linalg.cholesky(covariances)
    whitening = torch.linalg.solve_triangular(factors, torch.eye(width).to(rows), upper=False).expand(count, -1, -1)
    centre = (whitening @ means.unsqueeze(-1)).squeeze(-1)
    log_scale = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * width * math.log(2 * math.pi)
    for part in rows.split(BLOCK):
        noise = (part @ whitening.reshape(-1, width).T).reshape(-1, count, width) - centre
        yield part, shares.log() - log_scale - 0.5 * noise.square().sum(-1)


def _sums(rows: Tensor, weights: Tensor) -> Moments:
    """Return the sums of weights ``(n, K)``, of rows ``(n, D)`` by their weights, and of their outer products."""
    parts = []
    for part, weight in zip(rows.split(BLOCK), weights.split(BLOCK), strict=True):
        weighted = (weight.unsqueeze(-1) * part.unsqueeze(-2)).flatten(1)
        parts.append((weight.sum(0), weighted.sum(0), weighted.T @ part))
    counts, first, second = (torch.stack(each).sum(0) for each in zip(*parts, strict=True))
    return counts, first.unflatten(0, (weights.shape[1], -1)), second.unflatten(0, (weights.shape[1], -1))
