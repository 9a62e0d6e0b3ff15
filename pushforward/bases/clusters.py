"""Clusters of rows by their means, which a mixture starts from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STEPS = 100
"""Steps of k-means, at most."""


def clusters(rows: Tensor, count: int, how: str, seed: int, owner: str = "MixtureOfNormals") -> Tensor:
    """Return for each row the cluster that it is in, ``(rows)``; none is empty.

    Args:
        rows: ``(rows, D)``, finite.
        count: How many clusters, K.
        how: Where they begin: ``"rows"`` takes K rows at random, ``"kmeans++"`` rows far from one another, and ``"kmeans"`` goes on from
            there, moving each centre to the mean of its cluster until no row changes its own.
        seed: Seed of what is random.
        owner: Whose clusters they are, for errors.

    Raises:
        ValueError: Fewer different rows than clusters, or a value that is not finite.

    Source: k-means++: The Advantages of Careful Seeding (Arthur, Vassilvitskii, 2007).

    >>> clusters(torch.tensor([[0.0], [5.0], [0.1], [5.1]]), 2, "kmeans", seed=0).unique(return_counts=True)[1]
    tensor([2, 2])
    """
    check_rows(rows, count, owner)
    random = np.random.default_rng(seed)
    centres = _seeds(rows, count, random, far=how != "rows")
    found = _nearest(rows, centres)
    for _ in range(STEPS if how == "kmeans" else 0):
        centres = torch.stack([rows[found == index].mean(0) for index in range(count)])
        moved = _filled(rows, centres, _nearest(rows, centres))
        if torch.equal(moved, found):
            break
        found = moved
    return found


def check_rows(rows: Tensor, count: int, owner: str = "MixtureOfNormals") -> None:
    """Refuse rows of which no mixture of so many components can start."""
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(f"{owner}: expected finite values to start from, got others")
    different = len(torch.unique(rows, dim=0)) if len(rows) else 0
    if different < count:
        raise ValueError(f"{owner}: expected at least {count} different rows to start from, one a component, got {different}")


def _seeds(rows: Tensor, count: int, random: np.random.Generator, far: bool) -> Tensor:
    """Return rows no two of which are equal; ``far``: each at random by the square of its distance from those before."""
    chosen = [int(random.integers(len(rows)))]
    nearest = ((rows - rows[chosen[0]]) ** 2).sum(-1)
    for _ in range(count - 1):
        weight = (nearest if far else (nearest > 0).to(nearest)).cpu().numpy()
        chosen.append(int(random.choice(len(rows), p=weight / weight.sum())))
        nearest = torch.minimum(nearest, ((rows - rows[chosen[-1]]) ** 2).sum(-1))
    return rows[chosen]


def _nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """Return the centre nearest to each row, one at a time: all distances at once would be a table of rows times centres."""
    found, least = torch.zeros(len(rows), dtype=torch.long, device=rows.device), torch.full((len(rows),), torch.inf).to(rows)
    for index, centre in enumerate(centres):
        distance = ((rows - centre) ** 2).sum(-1)
        closer = distance < least
        found, least = torch.where(closer, index, found), torch.where(closer, distance, least)
    return found


def _filled(rows: Tensor, centres: Tensor, found: Tensor) -> Tensor:
    """Return the clusters with each that is empty given the row farthest from its centre among clusters of several."""
    for index in range(len(centres)):
        counts = torch.bincount(found, minlength=len(centres))
        if not counts[index]:
            distance = ((rows - centres[found]) ** 2).sum(-1)
            farthest = int(torch.where(counts[found] > 1, distance, -1).argmax())
            found = found.clone()
            found[farthest] = index
    return found


def moments(rows: Tensor, found: Tensor, count: int, tied: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return share ``(K)``, mean ``(K, D)`` and covariance ``(K, D, D)`` of each cluster, or that of all ``(1, D, D)`` if ``tied``.

    To each covariance that of a row of a typical cluster is added, so that a cluster of few rows is no point.
    """
    counts = torch.bincount(found, minlength=count).to(rows)
    means = torch.zeros(count, rows.shape[1]).to(rows).index_add(0, found, rows) / counts[:, None]
    centred = rows - means[found]
    pooled = centred.mT @ centred / len(rows)
    if tied:
        return counts / len(rows), means, pooled[None]
    sums = torch.stack([centred[found == index].mT @ centred[found == index] for index in range(count)])
    return counts / len(rows), means, (sums + pooled) / (counts[:, None, None] + 1)
