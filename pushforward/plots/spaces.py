"""What is drawn of a flow: its distribution for one context, ends of axes, and values on a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pushforward.core.base import BaseModule
from pushforward.core.draws import Drawing
from pushforward.core.layer import Shape
from pushforward.flow.conditioned import ConditionedFlow
from pushforward.flow.flow import Flow
from pushforward.plots.rows import Array, limits

Range = tuple[float, float]
CHUNK = 8192
DRAWN = 4000
"""Samples from which the ends of axes are found."""


def one_context(context: Any, shape: Shape | None, dtype: torch.dtype, device: torch.device | str, owner: str) -> Tensor | None:
    """Return one context as a tensor ``(*context)``, or raise ValueError when it does not fit."""
    if shape is None:
        if context is not None:
            raise ValueError(f"{owner}: expected no context, since nothing here is conditional, got one")
        return None
    if context is None:
        raise ValueError(f"{owner}: expected one context of shape {tuple(shape)}, got none; give context=")
    given = torch.as_tensor(context, dtype=dtype, device=device).detach()
    if given.dim() == len(shape) + 1 and len(given) == 1:
        given = given[0]
    if tuple(given.shape) != tuple(shape):
        raise ValueError(f"{owner}: expected one context of shape {tuple(shape)}, got {tuple(given.shape)}; draw one picture for each")
    return given


def distribution(flow: Any, context: Any, owner: str) -> Distribution:
    """Return the distribution of a flow for one context; any other distribution is itself."""
    if isinstance(flow, Flow):
        given = one_context(context, flow.context_shape, flow.dtype, flow.device, owner)
        flow = flow if given is None else flow.condition(given)
    elif not isinstance(flow, Distribution):
        raise ValueError(f"{owner}: expected a flow or a distribution, got a {type(flow).__name__}")
    elif context is not None:
        raise ValueError(f"{owner}: expected no context for a {type(flow).__name__}, got one")
    if tuple(flow.batch_shape):
        raise ValueError(
            f"{owner}: expected one distribution, got a batch of {tuple(flow.batch_shape)}; give one context, or build the flow with "
            "event_shape, so that the batch of its base is part of the event"
        )
    found: Distribution = flow
    return found


def inner_context(flow: Flow, context: Tensor | None) -> Tensor | None:
    """Return a context in the units in which the flow's layers take it."""
    if context is None or flow.context_units is None:
        return context
    with torch.no_grad():
        inner: Tensor = flow.context_units.inverse(context)[0]
    return inner


def place(source: Any) -> tuple[torch.dtype, Any]:
    """Return the precision and the device of a flow, of a module or of what a distribution draws."""
    if isinstance(source, ConditionedFlow):
        source = source.flow
    if isinstance(source, Flow):
        return source.dtype, source.device
    if isinstance(source, torch.nn.Module):
        first = next((t for t in (*source.parameters(), *source.buffers()) if t.is_floating_point()), torch.zeros(()))
        return first.dtype, first.device
    drawn = draw(source, 1)
    return drawn.dtype, drawn.device


def draw(source: Distribution | BaseModule, count: int, context: Tensor | None = None) -> Tensor:
    """Draw ``(count, *event)``, always the same, and leave the random numbers of the program as they are."""
    with Drawing(0), torch.no_grad():
        return source.draw(torch.Size([count]), context) if isinstance(source, BaseModule) else source.sample(torch.Size([count]))


def ranges(extent: Any, count: int, owner: str) -> list[Range]:
    """Read ends of ``count`` axes: one pair for all, or a pair for each."""
    given = np.asarray(extent, dtype=np.float64)
    if given.shape == (2,):
        given = np.tile(given, (count, 1))
    if given.shape != (count, 2) or not np.isfinite(given).all() or not (given[:, 0] < given[:, 1]).all():
        each = "(low, high)" if count == 1 else "(low, high) or ((low, high), (low, high))"
        raise ValueError(f"{owner}: expected extent to be {each} with low < high, got {extent!r}")
    return [(float(low), float(high)) for low, high in given]


def spans(source: Distribution, extent: Any, data: Array | None, owner: str) -> list[Range]:
    """Return the ends of the axes: as given, or those of data, or of samples; within the support."""
    count = source.event_shape.numel()
    if extent is not None:
        return ranges(extent, count, owner)
    drawn = draw(source, DRAWN).detach().cpu().double().reshape(DRAWN, count).numpy()
    if not np.isfinite(drawn).all():
        raise ValueError(f"{owner}: expected finite samples of the flow, from which the axes are found, got others; give extent=")
    return [limits(drawn[:, i]) if data is None else limits(data[:, i], drawn[:, i]) for i in range(count)]


def names(source: Any, count: int) -> tuple[str, ...] | None:
    """Return the names of the columns to which a flow was fitted, if there are."""
    flow = source.flow if isinstance(source, ConditionedFlow) else source
    columns = getattr(flow, "columns", None)
    return tuple(columns) if columns is not None and len(columns) == count else None


def chunked(function: Callable[[Tensor], Tensor], points: Tensor) -> Array:
    """Evaluate a function of points ``(n, ...)`` in parts, without gradients."""
    with torch.no_grad():
        values = torch.cat([function(part) for part in points.tensor_split(-(-len(points) // CHUNK))])
    return np.asarray(values.detach().cpu().double().numpy(), dtype=np.float64)


def log_density(source: Distribution, middles: Sequence[Array], owner: str) -> Array:
    """Return the log density on a grid of points, ``(len(x),)`` or ``(len(x), len(y))``; raise ValueError where it is NaN."""
    grid = np.stack(np.meshgrid(*middles, indexing="ij"), -1)
    dtype, device = place(source)
    points = torch.as_tensor(grid, dtype=dtype, device=device).reshape(-1, *source.event_shape)
    values = chunked(lambda part: _scored(source, part), points).reshape(grid.shape[:-1])
    bad = int(np.isnan(values).sum())
    if bad or not np.isfinite(values).any():
        got = f"NaN at {bad} of {values.size} points" if bad else "zero everywhere; give another extent="
        raise ValueError(f"{owner}: expected a density on the axes, got {got}")
    return values


def _scored(source: Distribution, points: Tensor) -> Tensor:
    # Points outside the support are no mistake in a picture: the density there is zero.
    support: Any = source.support
    inside = support.check(points)
    scores = torch.full(points.shape[:1], -torch.inf, dtype=points.dtype, device=points.device)
    if bool(inside.any()):
        scores[inside] = source.log_prob(points[inside]).to(points.dtype)
    return scores
