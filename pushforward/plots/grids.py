"""The grid that a map of the plane bends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pushforward.bases import StandardNormal
from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer
from pushforward.flow.conditioned import ConditionedFlow
from pushforward.flow.flow import Flow
from pushforward.plots import spaces, style
from pushforward.plots.rows import Array, limits, positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pushforward.plots.spaces import Range

NATS = 6
"""How far below its peak a log density is drawn."""
POINTS = 400
"""Points along each line of a grid."""


def grid(
    flow: Flow | ConditionedFlow | Bijector | Layer,
    lines: int = 13,
    extent: Any = None,
    context: Any = None,
    *,
    points: int = 160,
) -> Figure:
    """Draw what a flow does to the plane: a grid in base space, the same grid in data space, and contours of the log density there.

    Each cell of the grid keeps its probability, so cells are small where the density is high. A transform has no density, hence two panels.

    Args:
        flow: A flow of two numbers, conditioned or not; or a plan or a built module on events of shape (2,).
        lines: Number of lines each way.
        extent: Ends of the grid in base space, ``(low, high)`` or a pair for each axis (None: where the base has its mass).
        context: One context ``(*context)``, for a conditional flow or transform.
        points: Number of points along each axis at which the density is taken.

    Returns:
        The figure; its axes are the base, the data space and the log density.

    Raises:
        ValueError: Not two numbers, a wrong context or extent, or values that are not finite.
        ImportError: matplotlib is not installed.

    >>> from pushforward.flows import NSF
    >>> len(grid(NSF(2)).axes)
    3
    """
    positive("lines", lines, 2)
    positive("points", points, 2)
    source, base, module, inner, names = _parts(flow, context)
    if module.event_shape != (2,) or module.out_shape != (2,):
        raise ValueError(f"grid: expected a flow of two numbers, got events of shape {tuple(module.out_shape)}")
    spans = spaces.ranges(extent, 2, "grid") if extent is not None else _ends(base, module, inner)
    straight = _lines(spans, lines)
    dtype, device = spaces.place(module)
    flat = torch.as_tensor(straight, dtype=dtype, device=device).reshape(-1, 2)
    values = spaces.chunked(lambda part: torch.cat([(out := module.push(part, inner))[0], out[1][:, None]], 1), flat)
    if not np.isfinite(values).all():
        raise ValueError(f"grid: expected an extent where the map's values are finite, within its domain, got {spans}")
    bent = values[:, :2].reshape(straight.shape)
    figure = style.new_figure(6.6 if source is None else 10.2, 3.6)
    places = style.new_grid(figure, [1], [1, 1] if source is None else [1, 1, 1], space=0.05)
    named = [style.short(name) for name in names]
    before, after = style.add_axes(figure, places[0, 0]), style.add_axes(figure, places[0, 1])
    _draw(before, straight)
    _draw(after, bent)
    margin = [0.03 * (high - low) for low, high in spans]
    before.set(xlim=(spans[0][0] - margin[0], spans[0][1] + margin[0]), ylim=(spans[1][0] - margin[1], spans[1][1] + margin[1]))
    drawn = None if source is None else spaces.draw(source, spaces.DRAWN).detach().cpu().double().numpy()
    ends = [limits(bent[..., i]) if drawn is None else limits(drawn[:, i], bent[..., i]) for i in range(2)]
    after.set(xlim=ends[0], ylim=ends[1])
    style.label(before, style.short("x1"), style.short("x2"), "base")
    style.label(after, named[0], named[1], "data")
    if source is not None:
        beside = style.add_axes(figure, places[0, 2])
        _contours(figure, beside, source, ends, points)
        style.label(beside, named[0], named[1], "log density")
        style.note(figure, [f"contours are one nat apart, down to {NATS} nats below the peak"])
    for axes in figure.axes[:3]:
        axes.set_box_aspect(1)
    return figure


def _parts(flow: Any, context: Any) -> tuple[Distribution | None, Any, Layer, Tensor | None, tuple[str, ...]]:
    """Return the distribution and its base (None for a transform), the map, its context, and the names of the data's columns."""
    if isinstance(flow, Flow | ConditionedFlow):
        source = spaces.distribution(flow, context, "grid")
        whole = flow if isinstance(flow, Flow) else flow.flow
        inner = spaces.inner_context(whole, source.context if isinstance(source, ConditionedFlow) else None)
        return source, whole.base, whole.transform, inner, spaces.names(whole, 2) or ("y1", "y2")
    if isinstance(flow, Bijector | Layer):
        shape = None if context is None else tuple(torch.as_tensor(context).shape)
        module = flow.build((2,), shape) if isinstance(flow, Bijector) else flow
        needed = module.context_shape if module.facts.uses_context else None
        return None, None, module, spaces.one_context(context, needed, *spaces.place(module), "grid"), ("y1", "y2")
    raise ValueError(f"grid: expected a flow, a plan or a built module of two numbers, got a {type(flow).__name__}")


def _ends(base: Any, module: Layer, context: Tensor | None) -> list[Range]:
    """Return the ends of the grid: the domain if it is bounded, else where a standard normal has its mass, or draws of the base are."""
    low, high = sets.bounds(module.domain if base is None else base.support) or (-math.inf, math.inf)
    if math.isfinite(low) and math.isfinite(high):
        # Half a step from open ends, where a map may be infinite.
        step = 0.5 * (high - low) / POINTS
        return [(low + step, high - step)] * 2
    if base is None or isinstance(base.plan, StandardNormal):
        start = low + 0.01 if math.isfinite(low) else -3.0 if math.isinf(high) else high - 4.0
        return [(start, high - 0.01 if math.isfinite(high) else max(start + 4.0, 3.0))] * 2
    drawn = spaces.draw(base, spaces.DRAWN, context).cpu().double().numpy()
    return [limits(drawn[:, i]) for i in range(2)]


def _lines(spans: list[Range], count: int) -> Array:
    """Return the lines of a grid, ``(2, count, points, 2)``: first those along which the second number runs."""
    along = [np.linspace(*span, POINTS) for span in spans]
    at = [np.linspace(*span, count) for span in spans]
    upright = np.stack(np.meshgrid(at[0], along[1], indexing="ij"), -1)
    level = np.stack(np.meshgrid(at[1], along[0], indexing="ij")[::-1], -1)
    return np.stack([upright, level])


def _draw(axes: Axes, lines: Array) -> None:
    for family, color, name in zip(lines, (style.DATA, style.SAMPLES), ("x1", "x2"), strict=True):
        for line in family:
            axes.plot(line[:, 0], line[:, 1], color=color, linewidth=0.9, alpha=0.9, label=f"{name} constant")


def _contours(figure: Figure, axes: Axes, source: Distribution, ends: list[Range], points: int) -> None:
    """Draw contours of a log density, one nat apart."""
    middles = [np.linspace(*span, points) for span in ends]
    height = spaces.log_density(source, middles, "grid")
    top = math.ceil(float(height.max()))
    levels = np.arange(top - NATS, top + 1.0)
    shown = np.maximum(height, levels[0] - 1).T
    image = axes.contourf(*middles, shown, levels=levels, cmap=style.shades())
    axes.contour(*middles, shown, levels=levels[:-1], colors=[style.INK], linewidths=0.5, alpha=0.5, linestyles="solid")
    axes.set(xlim=ends[0], ylim=ends[1])
    style.scale(figure, axes, image, "nats")
