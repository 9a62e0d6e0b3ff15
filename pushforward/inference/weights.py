"""Weights of draws: how many draws they are worth, and how heavy their tail is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_TAIL = 5
"""Weights that a tail is fitted to at least."""


def log_mean_exp(values: Tensor) -> Tensor:
    """Return the log of the mean of the exponentials of ``(n,)``."""
    return torch.logsumexp(values, 0) - math.log(max(len(values), 1))


def effective_size(log_weights: Tensor) -> Tensor:
    r"""Return :math:`(\sum w)^2 / \sum w^2`: how many equal weights are as good as these.

    >>> effective_size(torch.tensor([0.0, 0.0, -1e9]))
    tensor(2.)
    """
    return torch.exp(2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0)).nan_to_num(0.0)


def pareto_k(log_weights: Tensor) -> float:
    r"""Return the shape k of a generalised Pareto distribution fitted to the largest weights.

    Those are the largest :math:`\min(n / 5, 3 \sqrt{n})`. Weights have about :math:`1 / k` finite moments, so that below 0.5 their mean has
    a finite variance, and above 0.7 hardly any number of draws is enough. -inf if the largest weights are all alike, NaN if there
    are fewer than 21.
    Sources: A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang, Stephens, 2009), with the weak prior
    of Pareto Smoothed Importance Sampling (Vehtari et al., 2024).

    Args:
        log_weights: ``(n,)``, up to a constant.

    >>> pareto_k(torch.zeros(1000))
    -inf
    """
    n = len(log_weights)
    size = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    if size < SMALLEST_TAIL:
        return math.nan
    top = torch.topk(log_weights.double(), size + 1).values
    weights = torch.exp(top - top[0])
    excess = (weights[:-1] - weights[-1]).flip(0)
    excess = excess[excess > 0]
    count = len(excess)
    if count < SMALLEST_TAIL:
        return -math.inf
    # The profile likelihood of b = -k / scale on a grid that the data chooses; its mean over the grid stands for the best b.
    grid = 30 + int(math.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    steps = torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device)
    b = 1 / excess[-1] + (1 - torch.sqrt(grid / (steps - 0.5))) / (3 * quartile)
    shapes = torch.log1p(-b[:, None] * excess).mean(1)
    likelihood = count * (torch.log(-b / shapes) - shapes - 1)
    best = (b * torch.softmax(likelihood, 0)).sum()
    shape = torch.log1p(-best * excess).mean().item()
    return (count * shape + 10 * 0.5) / (count + 10)
