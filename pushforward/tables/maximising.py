"""Maximising: classes in which columns are independent, by expectation maximisation with priors whose sizes the data chooses."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PRIOR = 0.5
"""Rows of all together that are added to the moments of a class, and to its share."""
SIZES = tuple(0.25 * 4.0**at for at in range(8))
"""Sizes of a prior among which evidence chooses, in rows."""
EVERY = 5
"""Rounds from one choice of them to the next."""
FLOOR = 0.01
"""Share of the marginal in a class's prior of bins, so that no bin is as good as impossible."""


class Layout(NamedTuple):
    """Which tokens there are: the cases of each column, block by block, and after them the bins of each number.

    Args:
        block: The block of each token, ``(tokens)``.
        shares: The marginal's probabilities of tokens, which are 1 together in each block, ``(tokens)``.
        scores: Normal scores of the edges of bins, ``(numbers, B + 1)``.
    """

    block: Tensor
    shares: Tensor
    scores: Tensor

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self.block[-1]) + 1


class Found(NamedTuple):
    """Classes.

    Args:
        weights: Logs of their shares, ``(K)``.
        logs: The log-probability of each token in each of them, ``(tokens, K)``.
        sizes: The rows that these are quotients by, those of the prior among them: of each block, and last of the share,
            ``(blocks + 1, K)``.
    """

    weights: Tensor
    logs: Tensor
    sizes: Tensor


def likelihoods(found: Found, index: Tensor) -> Tensor:
    """Return the log of each row's probability together with each class ``(n, K)``, of rows of tokens ``(n, blocks)``, -1 for none."""
    there = (index >= 0).to(found.logs.dtype)
    return found.weights + F.embedding_bag(index.clamp(min=0), found.logs, per_sample_weights=there, mode="sum")


def maximised(layout: Layout, index: Tensor, weights: Tensor, own: Tensor, rounds: int) -> tuple[Found, Tensor]:
    r"""Return classes after some rounds, and the posterior of each row.

    In each round classes have the probabilities :math:`(c_{tk} + a_b q_{tk}) / (\sum_t c_{tk} + a_b)` of tokens, with counts c by the
    posterior. The prior's mean q is for cases the marginal, for bins a normal of the marginal's score with the moments of the class; its
    size a is for each block that under which the counts are the most probable, so that classes differ in what tells them apart alone.
    Source: Estimating a Dirichlet Distribution (Minka, 2000).

    Args:
        layout: The tokens.
        index: Rows, ``(n, blocks)``, -1 where there is none.
        weights: Of rows, ``(n)``.
        own: The posterior to begin with, ``(n, K)``.
        rounds: How many.
    """
    sizes = torch.ones(layout.blocks, dtype=own.dtype, device=own.device)
    for at in range(rounds):
        heavy = weights.unsqueeze(1) * own
        counts = counted(layout, index, heavy)
        prior = priors(layout, counts)
        if at % EVERY == EVERY - 1:
            sizes = sizes_of(layout, counts, prior)
        number = heavy.sum(0) + PRIOR
        whole = summed(layout, counts) + sizes.unsqueeze(1)
        logs = torch.log((counts + sizes[layout.block].unsqueeze(1) * prior) / whole[layout.block])
        found = Found(torch.log(number / number.sum()), logs, torch.cat([whole, number.unsqueeze(0)]))
        own = torch.softmax(likelihoods(found, index), 1)
    return found, own


def counted(layout: Layout, index: Tensor, heavy: Tensor) -> Tensor:
    """Return how often each token is in each class, ``(tokens, K)``."""
    total = len(layout.block)
    counts = heavy.new_zeros(total + 1, heavy.shape[1])
    for tokens in index.T:
        counts.index_add_(0, torch.where(tokens < 0, total, tokens), heavy)
    return counts[:total]


def summed(layout: Layout, values: Tensor) -> Tensor:
    """Return the sums of values ``(tokens, K)`` in each block, ``(blocks, K)``."""
    return values.new_zeros(layout.blocks, values.shape[1]).index_add_(0, layout.block, values)


def priors(layout: Layout, counts: Tensor) -> Tensor:
    """Return the means of the priors of tokens, ``(tokens, K)``."""
    prior = layout.shares.unsqueeze(1).expand_as(counts).clone()
    numbers, edges = layout.scores.shape
    first = len(counts) - numbers * (edges - 1)
    if numbers:
        own = normals(prior[first:, 0].unflatten(0, (numbers, -1)), layout.scores, counts[first:].unflatten(0, (numbers, -1)))
        prior[first:] = own.flatten(0, 1)
    return prior


def normals(shares: Tensor, scores: Tensor, counts: Tensor) -> Tensor:
    """Return the probabilities of bins ``(numbers, B, K)`` of normals of the marginal's score, which have the moments of counts.

    Args:
        shares: The marginal's, ``(numbers, B)``.
        scores: Of edges, ``(numbers, B + 1)``.
        counts: ``(numbers, B, K)``.
    """
    density = torch.exp(-scores.square() / 2) / math.sqrt(2 * math.pi)
    moved = torch.where(torch.isfinite(scores), scores, 0.0) * density
    there = shares > 0
    middle, square = (-part.diff() / torch.where(there, shares, 1.0) for part in (density, moved))
    total = counts.sum(1) + PRIOR
    mean = (middle.unsqueeze(1) @ counts).squeeze(1) / total
    square = (((1 + square) * there).unsqueeze(1) @ counts).squeeze(1)
    spread = torch.sqrt(((square + PRIOR) / total - mean.square()).clamp(min=1e-6))
    place = (scores.unsqueeze(2) - mean.unsqueeze(1)) / spread.unsqueeze(1)
    # From the nearer tail, in which differences keep their digits.
    below, above = torch.special.ndtr(place), torch.special.ndtr(-place)
    mass = torch.where(place[:, :-1] > 0, -above.diff(dim=1), below.diff(dim=1))
    return (1 - FLOOR) * mass * there.unsqueeze(2) + FLOOR * shares.unsqueeze(2)


def sizes_of(layout: Layout, counts: Tensor, prior: Tensor) -> Tensor:
    """Return for each block the size of a Dirichlet prior with these means under which the counts are the most probable, ``(blocks)``."""
    total = summed(layout, counts)
    # What is nowhere says nothing.
    seen = (counts.sum(1) > 0).nonzero().squeeze(1)
    counts, prior, part = counts[seen], prior[seen], layout._replace(block=layout.block[seen])
    evidence = []
    for size in SIZES:
        each = torch.lgamma(counts + size * prior) - torch.lgamma(size * prior)
        whole = math.lgamma(size) - torch.lgamma(total + size)
        evidence.append((whole.index_add(0, part.block, each)).sum(1))
    return counts.new_tensor(SIZES)[torch.stack(evidence).argmax(0)]
