"""The density of a flow of one or two numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch.distributions import Distribution

from pushforward.plots import regions, spaces, style
from pushforward.plots.rows import Array, Columns, Finite, bins, positive, read, some

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.9, 0.5)
"""Shares of the probability inside the lines on a map."""


def density(
    flow: Distribution,
    extent: Any = None,
    context: Any = None,
    *,
    data: Any = None,
    columns: Columns = None,
    points: int = 200,
    max_rows: int = 2000,
) -> Figure:
    """Draw the density of a flow of two numbers as a map, or of one number as a curve; data, if given, on top.

    Lines on the map enclose 50 and 90 % of the probability. The foot of the picture says how much probability its axes hold, a check of
    the density itself: far from 100 %, the axes are too narrow, the points too few or the density is wrong.

    Args:
        flow: A flow, a conditioned flow, or any `torch.distributions.Distribution` of one or two numbers without a batch.
        extent: Ends of the axes, ``(low, high)`` or a pair for each (None: those of data and samples).
        context: One context ``(*context)``, for a conditional flow.
        data: Rows to draw on top, ``(rows, 2)`` or ``(rows,)``: a tensor, an array or a table.
        columns: Columns of the data, as in `compare`, or names for the axes (None: those that the flow was fitted to).
        points: Number of points along each axis.
        max_rows: Most rows of data in the map; a random choice, always the same, when there are more.

    Raises:
        ValueError: Not one or two numbers, a wrong context or extent, data that does not fit, or a density that is NaN.
        ImportError: matplotlib is not installed.

    >>> from pushforward.flows import NSF
    >>> density(NSF(2), extent=(-3, 3)).axes[0].get_xlabel()
    '$x_{1}$'
    """
    source = spaces.distribution(flow, context, "density")
    count = source.event_shape.numel()
    if len(source.event_shape) > 1 or count > 2:
        raise ValueError(
            f"density: expected a flow of one or two numbers, got events of shape {tuple(source.event_shape)}; draw pairs() of its samples"
        )
    positive("points", points, 2)
    names = spaces.names(flow, count) if columns is None else columns
    rows = read(np.zeros((1, count)) if data is None else data, names)
    if rows.values.shape[1] != count:
        raise ValueError(f"density: expected data of {count} columns, as the flow has, got {rows.values.shape[1]}")
    labels, shown = [style.short(name, 40) for name in rows.names], None if data is None else rows
    spans = spaces.spans(source, extent, None if shown is None else shown.values, "density")
    edges = [np.linspace(*span, points + 1) for span in spans]
    height = np.exp(spaces.log_density(source, [0.5 * (edge[1:] + edge[:-1]) for edge in edges], "density"))
    return _map(height, edges, labels, shown, max_rows) if count == 2 else _curve(height, edges[0], labels[0], shown)


def _map(height: Array, edges: list[Array], labels: list[str], rows: Finite | None, max_rows: int) -> Figure:
    """Draw a density of two numbers."""
    figure = style.new_figure(6.0, 5.0)
    axes = style.add_axes(figure, style.new_grid(figure, [1], [1])[0, 0])
    ends = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    image = axes.imshow(
        height.T,
        origin="lower",
        extent=ends,
        aspect="auto",
        cmap=style.shades(),
        vmin=0.0,
        vmax=float(height.max()) or 1.0,
        interpolation="bilinear",
    )
    style.scale(figure, axes, image, "density")
    cell = (edges[0][1] - edges[0][0]) * (edges[1][1] - edges[1][0])
    mass = height * cell
    if cuts := regions.heights(mass, SHARES):
        middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
        axes.contour(*middles, mass.T, levels=cuts, colors=[style.INK], linewidths=0.7, alpha=0.7)
    axes.set(xlim=ends[:2], ylim=ends[2:])
    style.label(axes, *labels)
    notes = [_held(mass)]
    if rows is not None:
        shown = some(rows.values, positive("max_rows", max_rows))
        style.dots(axes, shown, style.DATA, "data")
        if len(shown) < len(rows.values):
            notes.append(f"{len(shown):,} of {len(rows.values):,} rows of data, chosen at random")
        notes += rows.note("data")
    style.note(figure, notes)
    return figure


def _curve(height: Array, edges: Array, name: str, rows: Finite | None) -> Figure:
    """Draw a density of one number."""
    figure = style.new_figure(5.6, 3.4)
    axes = style.add_axes(figure, style.new_grid(figure, [1], [1])[0, 0])
    handles: list[Any] = []
    notes = [_held(height * (edges[1] - edges[0]))]
    if rows is not None:
        handles.append(style.area(axes, rows.values[:, 0], bins(rows.values[:, 0], (edges[0], edges[-1])), "data"))
        notes += rows.note("data")
    handles += axes.plot(0.5 * (edges[1:] + edges[:-1]), height, color=style.SAMPLES, linewidth=1.8, label="flow")
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    style.label(axes, name, "density")
    if rows is not None:
        style.legend(axes, handles)
    style.note(figure, notes)
    return figure


def _held(mass: Array) -> str:
    return f"the axes hold {100 * float(mass.sum()):.2f} % of the probability"
