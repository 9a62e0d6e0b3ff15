"""Expectation maximisation: the mixture of normals under which rows are most likely, from the better of two beginnings."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.bases.clusters import clusters

STEPS, FEW, SOON = 100, 10, 3
"""Steps with all components, at most; before, between two splits and of each beginning; and those that tell which split is the better."""
GAIN = 1e-3
"""Nats a row that a step gains at least; one that gains less is the last."""
FIRM, SCARCE = 10.0, 3.0
"""To each covariance the typical one is added: as if it were that of so many rows divided by the component's, and of one at most; or of as
many as there are columns, where a component has no more than so many times that, and by the square of its rows fewer where it has more.
"""
POINT = 1e-8
"""Least variance of a component in any direction, by that of all rows."""
APART = 0.6
"""How far the halves of a component are from its mean, in standard deviations along an axis."""
ROWS, BEGIN, BLOCK = 2**15, 2**12, 2**10
"""Rows that are looked at, at most, of more some that are evenly spread; those of them that all but the last steps see; and together, since
each has D numbers for each component.
"""

Moments = tuple[Tensor, Tensor, Tensor]
"""Shares ``(K)``, means ``(K, D)`` and covariances ``(K, D, D)``, or one covariance ``(1, D, D)`` for all."""


def maximised(rows: Tensor, count: int, covariance: str, tied: bool, seed: int = 0) -> Moments:
    """Return the moments of a mixture's components after steps of expectation maximisation.

    There are two beginnings, of which some steps show the better one. Clusters by k-means are round, and see what lies apart. Or
    there is one component to begin with; each is split along its longest axis, or the one along which it looks most like two, as some steps
    show; the heaviest are, where not all are, until there are as many as asked for: that finds long and narrow parts. To each covariance
    some of a typical component's is added, so that none shrinks to a point.

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
    few = _some(some)
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
    few, held = _some(rows) - middle, held - middle
    for _, moments in _splits(few, len(few), "full", False):
        yield len(moments[0]), torch.cat([torch.logsumexp(joint, -1) for _, joint in _joint(held, *moments)])


def _some(rows: Tensor) -> Tensor:
    """Return those rows that most steps see."""
    return rows[:: -(-len(rows) // BEGIN)]


def _splits(rows: Tensor, count: int, covariance: str, tied: bool) -> Iterator[tuple[float, Moments]]:
    """Yield mixtures that begin as one component, which is split, each with the mean log-density of rows; the last has all components."""
    sums = _sums(rows, torch.ones_like(rows[:, :1]))
    found = -math.inf, moments_of(sums, covariance, tied)
    yield found
    while (there := len(sums[0])) < count:
        moments = moments_of(sums, "full", False)
        chosen = moments[0].argsort(descending=True)[: min(there, count - there)]
        steps = [_longest(moments, chosen)]
        if rows.shape[1] > 1:
            steps.append(_flattest(rows, found[1], moments, chosen))
        begun = (_improved(rows, _split(moments, chosen, step, covariance, tied), covariance, tied, SOON) for step in steps)
        found = _improved(rows, max(begun, key=lambda one: one[0])[1], covariance, tied, FEW - SOON)
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


def _longest(moments: Moments, chosen: Tensor) -> Tensor:
    """Return the longest axis of each component that is chosen, ``(n, D)``, as long as its standard deviation."""
    lengths, axes = torch.linalg.eigh(moments[2][chosen])
    found: Tensor = axes[..., -1] * lengths[:, -1:].clamp(min=0).sqrt()
    return found


def _flattest(rows: Tensor, mixture: Moments, moments: Moments, chosen: Tensor) -> Tensor:
    r"""Return the axis of each component along which it looks most like two, as long as its standard deviation.

    In the units in which its covariance is one, the mean of :math:`|z|^2 z z^T` is the smallest along an axis whose values are in two
    places, since these have few far out; a normal has no such axis. Unlike the longest axis it is the same in all units.
    Source: Source Separation Using Higher Order Moments (Cardoso, 1989), for that matrix.
    """
    _, means, covariances = (part[chosen] for part in moments)
    factors = torch.linalg.cholesky(covariances)
    found = []
    for part, joint in _joint(rows, *mixture):
        weights = torch.exp(joint - torch.logsumexp(joint, -1, keepdim=True))[:, chosen]
        z = torch.linalg.solve_triangular(factors, (part.unsqueeze(1) - means).permute(1, 2, 0), upper=False)
        found.append((z * (weights.mT * z.square().sum(1)).unsqueeze(1)) @ z.mT)
    axes = torch.linalg.eigh(torch.stack(found).sum(0))[1][..., :1]
    long: Tensor = (factors @ axes).squeeze(-1)
    return long


def _split(moments: Moments, chosen: Tensor, axes: Tensor, covariance: str, tied: bool) -> Moments:
    """Return a mixture in which some components are halved along axes of a standard deviation; each keeps its mean and spread."""
    shares, means, covariances = moments
    step = APART * axes
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
