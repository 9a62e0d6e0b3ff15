"""Error: the flow by which another one's log-densities are held."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from pushforward.core.layer import Layer

if TYPE_CHECKING:
    from pushforward.flow.flow import Flow

MARGIN = 1.5
"""By how much what is stated is more than the difference from the finer flow, which is off itself."""
ROUNDINGS = 64
"""Roundings of float64 that are stated where nothing else is: those of some layers."""


def of_error(flow: Flow) -> Flow:
    """Return a copy in float64, or on a device without it as it is, whose solvers take finer steps than they promise."""
    finer = copy.deepcopy(flow)
    if flow.device.type != "mps":
        finer = finer.to(torch.float64)
    for module in finer.modules():
        if isinstance(module, Layer):
            module.refine()
    return finer
