"""A flow that starts where a guide should: as a normal of a given location and scale, and sampled in one step a layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from pushforward.bases import StandardNormal
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.numerics import soft_clamp_inverse
from pushforward.flow.flow import Flow
from pushforward.kernels.affine import Affine
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.standardize import Standardize

Plans: TypeAlias = Bijector | Sequence[Bijector]

BOUND = 10.0
"""Largest absolute log-scale of the last layer: posteriors may be narrow."""


def started(given: Plans | Callable[[int], Flow | Plans], loc: Tensor, scale: float) -> Flow:
    """Return a new flow of these layers that starts as a normal of this location and scale."""
    made = given(len(loc)) if callable(given) else given
    base: Base = made.base.plan if isinstance(made, Flow) else StandardNormal()
    plan = made.plan if isinstance(made, Flow) else made
    parts = plan.bijectors if isinstance(plan, Compose) else [plan] if isinstance(plan, Bijector) else plan
    # The last layer stands for the standardisation of named flows, which learns nothing and has no data to measure.
    layers = [_turned(part) for part in parts if not isinstance(part, Standardize)]
    flow = Flow(base, [*layers, Affine(BOUND)], len(loc)).to(loc.device, loc.dtype)
    start = flow.transform.layers[-1].parameters_of  # type: ignore[index,union-attr]
    with torch.no_grad():
        named = start.named(start.offset)
        named["loc"].copy_(loc)
        named["log_scale"].copy_(soft_clamp_inverse(torch.full_like(loc, math.log(scale)), BOUND))
    return flow


def _turned(plan: Bijector) -> Bijector:
    """Return a plan whose autoregressive layers sample in one step."""
    if isinstance(plan, Compose):
        return Compose([_turned(part) for part in plan.bijectors])
    if isinstance(plan, Autoregressive):
        return InverseAutoregressive(plan.kernel, plan.order, plan.adjacency, plan.net, plan.solve)
    return plan
