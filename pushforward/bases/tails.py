"""Tails: both sides of a distribution function in logarithms, where neither rounds to 0 or 1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.numerics import clamp

Tails = tuple[Tensor, Tensor]
"""log P(X <= x) and log P(X > x)."""


def normal_tails(z: Tensor) -> Tails:
    """Return both tails of the standard normal."""
    return _normal_tail(z), _normal_tail(-z)


def _normal_tail(z: Tensor) -> Tensor:
    # torch.special.log_ndtr is the same, but has no rule for vmap.
    below, above = clamp(-z, min=0) / math.sqrt(2), clamp(z, min=0) / math.sqrt(2)
    inside = torch.log1p(-0.5 * torch.erfc(above))
    return torch.where(z > 0, inside, torch.log(0.5 * torch.special.erfcx(below)) - below * below)


def normal_quantile(odds: Tensor) -> Tensor:
    """Return the value at which the tails of the standard normal differ by ``odds``, with first and second derivatives."""
    lower = odds <= 0
    # The smaller tail says where the value is; the larger one is next to 0.
    tail = F.logsigmoid(torch.where(lower, odds, -odds))
    with torch.no_grad():
        # Far out a tail is exp(-z^2 / 2) / (sqrt(2 pi) |z|), which Newton's steps take to all digits.
        square = clamp(-2 * tail, min=60.0) - math.log(2 * math.pi)
        far = -torch.sqrt(square - torch.log(square))
        z = torch.where(tail > -30, torch.special.ndtri(torch.exp(clamp(tail, min=-30.0))), far)
    for _ in range(2):
        z = _newton(z, tail)
    return torch.where(lower, z, -z)


def _newton(z: Tensor, tail: Tensor) -> Tensor:
    log_tail = _normal_tail(z)
    return z - (log_tail - tail) * torch.exp(log_tail + 0.5 * z * z + 0.5 * math.log(2 * math.pi))


def between(low: Tails, high: Tails) -> Tensor:
    r"""Return the log-probability between two points, :math:`F(b) (1 - F(a)) (1 - e^{t(a) - t(b)})` with t the log-odds of F.

    No two numbers near 1 are subtracted, so a sliver far out in a tail has all its digits.
    """
    return high[0] + low[1] + torch.log(-torch.expm1((low[0] - low[1]) - (high[0] - high[1])))


def mixed(low: Tails, high: Tails, odds: Tensor) -> Tensor:
    """Return the log-odds of a distribution function at the point that divides what is between two others in the ratio ``odds``."""
    start, end = F.logsigmoid(-odds), F.logsigmoid(odds)
    return torch.logaddexp(start + low[0], end + high[0]) - torch.logaddexp(start + low[1], end + high[1])
