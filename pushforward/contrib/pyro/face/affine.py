"""Affine kernels with Pyro's arguments: the bounds of the log-scale, and the gate of the inverse autoregressive flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.numerics import clamp, soft_clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.affine import LOC_BOUND, Affine


def affine(low: float, high: float) -> Affine:
    """Return an affine map whose smooth bound of the log-scale is the larger of Pyro's two clips."""
    if not low < 0 < high:
        raise PlanError(f"expected log_scale_min_clip < 0 < log_scale_max_clip, got {low} and {high}")
    return Affine(max(-low, high))


@dataclass(frozen=True, repr=False)
class _Gated(Affine):
    r"""Gate between value and location, :math:`y = g x + (1 - g) \mu` with :math:`g = \mathrm{sigmoid}(s(\alpha) + a)`.

    s bounds the logit smoothly as in `Affine`; with ``bias`` a = 2 it starts as a scale of 0.88.
    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), section 4.
    """

    bias: float = 2.0

    def code(self) -> None:  # type: ignore[override]
        return None

    def forward(self, x: Tensor, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        logit = soft_clamp(log_scale, self.bound) + self.bias
        return torch.sigmoid(logit) * x + torch.sigmoid(-logit) * clamp(loc, -LOC_BOUND, LOC_BOUND), F.logsigmoid(logit)

    def inverse(self, y: Tensor, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        logit = soft_clamp(log_scale, self.bound) + self.bias
        rest = torch.exp(-logit)
        return (1 + rest) * y - rest * clamp(loc, -LOC_BOUND, LOC_BOUND), -F.logsigmoid(logit)


def gated(low: float, high: float, bias: float) -> Affine:
    """Return the gate, of the bounds of `affine` and with a bias of the logit."""
    return _Gated(affine(low, high).bound, bias)
