"""Quantiles: distribution function and quantiles of one number, a base that knows its own through a map that rises or falls."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core import numerics, sets
from pushforward.core.base import BaseModule
from pushforward.core.layer import Layer

ODDS = (2.0, 20.0, 200.0)
"""Log-odds of the points of the base, either side of its middle, at which a map is asked whether it rises."""


def missing(transform: Layer, base: BaseModule) -> str | None:
    """Return in words why the distribution function is not known, or None where it is."""
    if math.prod(base.event_shape) != 1 or math.prod(transform.out_shape) != 1:
        return f"a flow of one number, got events of shape {tuple(transform.out_shape)}"
    if not base.facts.has_tails:
        return f"a base whose distribution function is known, got {base.plan!r}"
    if sets.bounds(transform.image(base.support)) is None:
        return f"a support that is an interval, got {sets.name(transform.image(base.support))}"
    if any(part.plan.wraps for part in transform.modules() if isinstance(part, Layer)):
        return "a map that rises or falls, got one that wraps angles"
    return None


def cdf(transform: Layer, base: BaseModule, value: Tensor, context: Tensor | None, batch: torch.Size) -> Tensor:
    """Return P(Y <= value) for values ``(*batch, *event)``, as ``(*batch)``."""
    y = numerics.working(value)
    x = transform.pull(y, context)[0]
    # Where the map falls, what lies below a value comes from above.
    lower, upper = (tail.reshape(tail.shape[: tail.dim() - len(base.event_shape)]) for tail in base.tails_at(x, context))
    inside = torch.exp(torch.where(_rises(transform, base, y, context, batch), lower, upper)).to(y.dtype)
    (low, high), number = _ends(transform, base), y.reshape(y.shape[: y.dim() - len(transform.out_shape)])
    inside = torch.where(number <= low, 0.0, torch.where(number >= high, 1.0, inside))
    return torch.where(torch.isnan(number), math.nan, inside)


def icdf(transform: Layer, base: BaseModule, probability: Tensor, context: Tensor | None, batch: torch.Size) -> Tensor:
    """Return the values ``(*batch, *event)`` below which probabilities ``(*batch)`` lie."""
    p = numerics.working(probability)
    p = p.expand(torch.broadcast_shapes(p.shape, batch))
    inner = numerics.finer(torch.where((p > 0) & (p < 1), p, 0.5))
    odds = torch.log(inner) - torch.log1p(-inner)
    odds = torch.where(_rises(transform, base, p, context, batch), odds, -odds)
    x = base.value_at(odds.reshape(*p.shape, *base.event_shape), context).to(p.dtype)
    (low, high), p = _ends(transform, base), p.reshape(*p.shape, *transform.out_shape)
    y = sets.leave(transform.push(x, context)[0], (low, high))
    y = torch.where(p <= 0, low, torch.where(p >= 1, high, y))
    return torch.where(torch.isnan(p), math.nan, y).to(probability.dtype)


def _rises(transform: Layer, base: BaseModule, like: Tensor, context: Tensor | None, batch: torch.Size) -> Tensor:
    """Return where the map rises, ``(*batch)``: one of an interval that is continuous and has an inverse does so all along, or falls."""
    odds = numerics.constant([[-far for far in ODDS], ODDS], like)
    points = odds.reshape(2, len(ODDS), *(1 for _ in (*batch, *base.event_shape))).expand(2, len(ODDS), *batch, *base.event_shape)
    low, high = transform.push(base.value_at(points, context).to(like.dtype), context)[0]
    # Points that rounding makes one say nothing, and others all say the same.
    rises: Tensor = (low < high).any(0).reshape(batch)
    return rises


def _ends(transform: Layer, base: BaseModule) -> tuple[float, float]:
    ends = sets.bounds(transform.image(base.support))
    assert ends is not None
    return ends
