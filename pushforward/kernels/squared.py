"""The nonlinear squared map: a line with one bump."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.numerics import clamp, soft_clamp
from pushforward.kernels.affine import LOC_BOUND
from pushforward.kernels.monotonic import Monotone


@dataclass(frozen=True, repr=False)
class NonlinearSquared(Monotone):
    r"""Nonlinear squared map, a line with a bump: :math:`y = a x + b + \frac{c}{1 + (d x + g)^2}`, :math:`a, d > 0`.

    It increases while :math:`|c|\, d / a < 8 / (3 \sqrt 3)`; here that ratio stays within 0.95 of its limit, so no slope is below
    :math:`a / 20`, and the tails are the line. The logs of a and d lie within 3, g within 10. No bump, the identity, at the start.
    Five parameters an element; all real values to all real values.
    Source: Latent Normalizing Flows for Discrete Sequences (Ziegler, Rush, 2019).

    >>> NonlinearSquared().build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    formula = "y = a x + b + c / (1 + (d x + g)^2),  |c| < 0.95 a / d 8 / (3 sqrt(3))"
    size = "5 * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {name: torch.zeros(shape) for name in ("loc", "log_scale", "height", "log_steepness", "shift")}

    def prepare(self, loc: Tensor, log_scale: Tensor, height: Tensor, log_steepness: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        return (
            clamp(loc, -LOC_BOUND, LOC_BOUND),
            soft_clamp(log_scale, LOG_BOUND),
            soft_clamp(height, HEIGHT_BOUND),
            torch.exp(soft_clamp(log_steepness, LOG_BOUND)),
            soft_clamp(shift, SHIFT_BOUND),
        )

    def curve(self, x: Tensor, prepared: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        loc, log_scale, height, steepness, shift = prepared  # height is c d / a
        v = steepness * x + shift
        bump = torch.reciprocal(1 + v * v)
        y = loc + torch.exp(log_scale) * (x + height / steepness * bump)
        return y, log_scale + torch.log1p(-2 * height * (v * bump) * bump)


LOG_BOUND = 3.0
SHIFT_BOUND = 10.0
# Largest c d / a: 2 v / (1 + v²)² is largest, 3 sqrt(3) / 8, at v = 1 / sqrt(3).
HEIGHT_BOUND = 0.95 * 8 / (3 * math.sqrt(3))
