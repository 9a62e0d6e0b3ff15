"""Generalised Pareto tails: of the values beyond a threshold, the maps between them and a normal tail, and the fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core.numerics import clamp

STRAIGHT = 1e-6
"""Shapes below are taken for 0: an exponential tail."""
SHAPES = 1.5
"""The largest shape that a fit gives, so that ten units of the normal variable stay within float32."""
GRID = 100
"""Points of each of the grids on which a likelihood is maximised, one within the best cells of the other."""


def tail_forward(x: Tensor, cut: Tensor, scale: Tensor, shape: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    r"""Map what a normal variable is beyond a cut to how far a generalised Pareto variable is beyond its threshold.

    .. math:: e = \sigma \frac{e^{\xi t} - 1}{\xi}, \qquad t = \frac{x^2 - c^2}{2}

    Args:
        x: At least ``cut``.
        cut: c > 0.
        scale: :math:`\sigma > 0`.
        shape: :math:`\xi \ge 0`; at 0 it is :math:`e = \sigma t`.
        largest: Log of the largest :math:`e / \sigma` to give: what is beyond the floating-point format ends at the end of the range.

    Returns:
        e >= 0 and the log of its slope.
    """
    curved = clamp(shape, min=STRAIGHT)
    t = clamp((x - cut) * (x + cut) / 2, max=math.exp(largest))
    t = torch.minimum(t, largest / curved)
    excess = torch.where(shape < STRAIGHT, t, torch.expm1(curved * t) / curved)
    return scale * excess, torch.log(scale) + shape * t + torch.log(x)


def tail_inverse(excess: Tensor, cut: Tensor, scale: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of `tail_forward` at e >= 0, and the log of its slope."""
    ratio = excess / scale
    curved = clamp(shape, min=STRAIGHT)
    t = torch.where(shape < STRAIGHT, ratio, torch.log1p(curved * ratio) / curved)
    x = torch.sqrt(cut * cut + 2 * t)
    return x, -(torch.log(scale) + shape * t + torch.log(x))


def fit_pareto(excess: Tensor) -> tuple[float, float]:
    r"""Return shape :math:`\xi \in [0, 1.5]` and scale of the generalised Pareto distribution that is most likely.

    For a given :math:`\theta = \xi / \sigma` the best shape is the mean of :math:`\log(1 + \theta e)`, so one dimension is searched.
    Source: Computing Maximum Likelihood Estimates for the Generalized Pareto Distribution (Grimshaw, 1993).

    Args:
        excess: ``(n,)`` values above 0, in float64.
    """
    size = excess.median()
    e = excess / size
    # The exponential distribution is where theta goes to 0.
    best, shape, scale = float(torch.log(e.mean()) + 1), 0.0, e.mean().item()
    low, high = -14.0, 14.0
    for _ in range(3):
        theta = torch.exp(torch.linspace(low, high, GRID, dtype=e.dtype, device=e.device))
        means = torch.log1p(theta[:, None] * e).mean(1)
        shapes = clamp(means, max=SHAPES)
        spread = shapes / theta
        # Also where the shape is cut short, this is minus the likelihood of the pair.
        losses = torch.log(spread) + (1 + 1 / shapes) * means
        index = int(losses.argmin())
        if losses[index].item() < best:
            best, shape, scale = losses[index].item(), shapes[index].item(), spread[index].item()
        width = (high - low) / GRID
        low, high = theta[index].log().item() - width, theta[index].log().item() + width
    return shape, scale * size.item()
