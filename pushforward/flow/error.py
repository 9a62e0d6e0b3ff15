"""Error: the flow by which another one's log-densities are held."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward.core import numerics
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


def of_probes(flow: Flow, value: Tensor, context: Tensor | None) -> Tensor | float:
    r"""Return how far a log-density may be off that random probes estimate: two standard errors, and more of few probes; 0 of none.

    It is scored by parts of the probes alone. Their mean is what is stated, and how far they are apart tells how far that is off:
    :math:`t \, s / \sqrt{k} \sqrt{1 - m / D}` of k parts, with the quantile t of Student's distribution that 95 % are within, and m of the
    D directions of a frame whose mean would be exact: they are drawn without replacement.
    Source of the last factor: Sampling Techniques (Cochran, 1977), 2.6.
    """
    other = copy.deepcopy(flow)
    layers = [module for module in other.modules() if isinstance(module, Layer) and module.probes]
    if not layers:
        return 0.0
    parts = min(layer.probes for layer in layers)
    found = []
    for part in range(parts):
        for layer in layers:
            layer.probe(part, parts)
        found.append(numerics.finer(other.log_prob(value, context)))
    left = max(1 - layer.probes / math.prod(layer.event_shape) for layer in layers)
    return student(parts - 1) * torch.std(torch.stack(found), 0) * math.sqrt(left / parts)


def student(freedom: int) -> float:
    """Return what 95 % of Student's distribution are within, for 3 degrees of freedom and more, to 1 %.

    Source: Handbook of Mathematical Functions (Abramowitz, Stegun, 1964), 26.7.5.

    >>> round(student(3), 1), round(student(15), 2)
    (3.2, 2.13)
    """
    z = 1.959964
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return float(sum(term / freedom**power for power, term in enumerate(terms)))
