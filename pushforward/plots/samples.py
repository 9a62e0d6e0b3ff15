"""Data against samples: marginals, joints and pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.core.extras import require
from pushforward.plots import regions, style
from pushforward.plots.rows import Array, Columns, bins, limits, positive, read_both, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MOST_COLUMNS = 12
Range = tuple[float, float]


def compare(
    data: Any, samples: Any, columns: Columns = None, *, max_rows: int = 3000, written: Mapping[str, style.Written] | None = None
) -> Figure:
    """Draw data against samples: the joint and both marginals of two columns, or the marginal of one.

    Axes leave out far outliers, and rows that are not finite are not drawn; the foot of the picture counts both. As many data rows
    as samples are drawn in the joint, in mixed order, so that neither hides the other; marginals are of all rows.

    Args:
        data: Rows ``(rows, columns)`` or ``(rows,)``: a tensor, an array, or a table (pandas, polars, Arrow, a dict of columns).
        samples: Rows with the same columns.
        columns: Columns of tables by name, of arrays by position; names for the columns of arrays.
        max_rows: Most rows of each in the joint; a random choice, always the same, when there are more.
        written: Columns whose numbers stand for something else, by name: the names of 0, 1, 2, ..., or ``"date"`` for seconds since 1970.

    Returns:
        The figure; its axes are the joint, the marginal above and the marginal beside, or the one marginal.

    Raises:
        ValueError: Not one or two columns, data and samples that differ in columns, no finite rows, or values that are no numbers.
        ImportError: matplotlib is not installed.

    >>> import torch
    >>> figure = compare(torch.randn(500, 2), torch.randn(500, 2), columns=["height", "weight"])
    >>> figure.axes[0].get_xlabel()
    'height'
    """
    first, second = read_both(data, samples, columns)
    a, b, names = first.values, second.values, [style.short(name, 40) for name in second.names]
    how = _written("compare", written, second.names)
    notes = first.note("data") + second.note("samples")
    if len(names) > 2:
        raise ValueError(
            f"compare: expected one or two columns, got {len(names)}: {list(second.names)}; choose with columns=, or draw pairs()"
        )
    if len(names) == 1:
        figure = style.new_figure(5.6, 3.4)
        axes = style.add_axes(figure, style.new_grid(figure, [1], [1])[0, 0])
        span = _span(a[:, 0], b[:, 0], how[0])
        _marginal(axes, a[:, 0], b[:, 0], span, how[0])
        axes.set_xlim(span)
        if how[0] is not None:
            style.written_ticks(axes.xaxis, span, how[0], 8)
        style.label(axes, names[0], "share" if _is_named(how[0]) else "density")
        style.legend(axes, _handles(area=True))
        style.note(figure, notes + _beyond(a, b, [span]))
        return figure
    figure = style.new_figure(5.6, 5.6)
    places = style.new_grid(figure, [1, 4], [4, 1])
    joint = style.add_axes(figure, places[1, 0])
    above = style.add_axes(figure, places[0, 0], "bottom", sharex=joint)
    beside = style.add_axes(figure, places[1, 1], "left", sharey=joint)
    spans = [_span(a[:, i], b[:, i], how[i]) for i in range(2)]
    count = min(len(a), len(b), positive("max_rows", max_rows))
    points = np.concatenate([some(a, count), some(b, count)])
    order = np.random.default_rng(0).permutation(2 * count)
    colors = np.where(order < count, style.DATA, style.SAMPLES)
    style.dots(joint, points[order], colors.tolist(), "data and samples")
    _marginal(above, a[:, 0], b[:, 0], spans[0], how[0])
    _marginal(beside, a[:, 1], b[:, 1], spans[1], how[1], upright=False)
    for axis, span, way in zip((joint.xaxis, joint.yaxis), spans, how, strict=True):
        if way is not None:
            style.written_ticks(axis, span, way, 6)
    above.tick_params(bottom=False, labelbottom=False)
    beside.tick_params(left=False, labelleft=False)
    joint.set(xlim=spans[0], ylim=spans[1])
    style.label(joint, *names)
    corner = style.add_axes(figure, places[0, 1], "")
    style.legend(corner, _handles(area=False), loc="center", borderaxespad=0)
    if count < max(len(a), len(b)):
        notes.append(f"joint: {count:,} of {len(a):,} rows of data and of {len(b):,} samples, chosen at random")
    style.note(figure, notes + _beyond(a, b, spans))
    return figure


def pairs(
    data: Any, samples: Any, columns: Columns = None, *, max_rows: int = 50_000, written: Mapping[str, style.Written] | None = None
) -> Figure:
    """Draw data against samples for every column and every pair of columns.

    On the diagonal the marginals; below it, regions that hold 25, 50, 70 and 90 % of the rows: of the data as shades, of the samples as
    lines. Where the samples are right, the lines run along the edges of the shades. Axes leave out far outliers, and rows that are not
    finite are not drawn; the foot of the picture counts both.

    Args:
        data: Rows ``(rows, columns)``: a tensor, an array, or a table (pandas, polars, Arrow, a dict of columns).
        samples: Rows with the same columns.
        columns: Columns of tables by name, of arrays by position; names for the columns of arrays. At most 12.
        max_rows: Most rows of each that are used; a random choice, always the same, when there are more.
        written: Columns whose numbers stand for something else, as in `compare`.

    Returns:
        The figure; its axes are the lower triangle, row by row.

    Raises:
        ValueError: Too many columns, data and samples that differ in columns, no finite rows, or values that are no numbers.
        ImportError: matplotlib is not installed.

    >>> import torch
    >>> len(pairs(torch.randn(500, 3), torch.randn(500, 3)).axes)
    6
    """
    first, second = read_both(data, samples, columns)
    count, how = len(second.names), _written("pairs", written, second.names)
    if count > MOST_COLUMNS:
        raise ValueError(f"pairs: expected at most {MOST_COLUMNS} columns, got {count}: {list(second.names)}; choose with columns=")
    most = positive("max_rows", max_rows)
    a, b = some(first.values, most), some(second.values, most)
    notes = first.note("data") + second.note("samples")
    for what, all_rows in (("data", first.values), ("samples", second.values)):
        if len(all_rows) > most:
            notes.append(f"{what}: {most:,} of {len(all_rows):,} rows, chosen at random")
    spans = [_span(a[:, i], b[:, i], how[i]) for i in range(count)]
    side = min(1.2 + 1.55 * count, 12.0) if count > 1 else 3.6
    figure = style.new_figure(side, side)
    places = style.new_grid(figure, [1] * count, [1] * count, space=0.0)
    names = [style.short(name, int(11 * side / count)) for name in second.names]
    tops: list[Axes] = []
    for row, column in ((i, j) for i in range(count) for j in range(i + 1)):
        shared = tops[column] if column < row else None
        axes = style.add_axes(figure, places[row, column], "bottom" if shared is None else "left bottom", sharex=shared)
        if shared is None:
            tops.append(axes)
            _marginal(axes, a[:, row], b[:, row], spans[row], how[row])
            _ticks(axes.xaxis, spans[column], how[column])
        else:
            _joint(axes, a[:, [column, row]], b[:, [column, row]], [spans[column], spans[row]])
            _ticks(axes.yaxis, spans[row], how[row])
            axes.set_ylim(spans[row])
        axes.set_xlim(spans[column])
        last, first_of_row = row == count - 1, column == 0 and row > 0
        axes.tick_params(labelbottom=last, labelleft=first_of_row)
        style.label(axes, names[column] if last else "", names[row] if first_of_row else "")
    figure.align_labels()
    if count > 1:
        style.legend(figure, _handles(area=True), loc="upper right", borderaxespad=1.0)
        shares = ", ".join(f"{100 * share:.0f}" for share in sorted(regions.SHARES))
        notes.insert(0, f"shades and lines: regions that hold {shares} % of the rows")
    else:
        style.legend(tops[0], _handles(area=True))
    style.note(figure, notes + _beyond(a, b, spans))
    return figure


def _written(owner: str, given: Mapping[str, style.Written] | None, names: Sequence[str]) -> list[style.Written | None]:
    """Return how each column is written, None for those that are numbers; raise ValueError for what is no way, or of no column."""
    for name, how in (given or {}).items():
        if name not in names:
            raise ValueError(f"{owner}: expected written to be of columns among {list(names)}, got {name!r}")
        if how != "date" and (isinstance(how, str) or not how or not all(isinstance(word, str) for word in how)):
            raise ValueError(f"{owner}: expected written[{name!r}] to be 'date' or the names of 0, 1, 2, ..., got {how!r}")
    return [(given or {}).get(name) for name in names]


def _is_named(how: style.Written | None) -> bool:
    return how is not None and not isinstance(how, str)


def _span(data: Array, samples: Array, how: style.Written | None) -> Range:
    """Return the ends of an axis: of names all of them."""
    return (-0.6, len(how) - 0.4) if how is not None and not isinstance(how, str) else limits(data, samples)


def _ticks(axis: Axis, span: Range, how: style.Written | None) -> None:
    """Set the few ticks for which a panel among others has room."""
    if how is None:
        style.inner_ticks(axis, span)
    else:
        margin = 0.0 if _is_named(how) else 0.2 * (span[1] - span[0])  # dates are long
        style.written_ticks(axis, (span[0] + margin, span[1] - margin), how, 4 if _is_named(how) else 2)


def _marginal(axes: Axes, data: Array, samples: Array, span: Range, how: style.Written | None = None, upright: bool = True) -> None:
    """Draw the histogram of the data as an area and that of the samples as a line, on the same bins: of names one each."""
    edges = bins(data, span)
    if how is not None and not isinstance(how, str):
        edges = np.linspace(-0.5, len(how) - 0.5, len(how) + 1)
    way: style.Way = "vertical" if upright else "horizontal"
    style.area(axes, data, edges, "data", way)
    style.outline(axes, samples, edges, "samples", way)
    axes.set(ylim=(0, None)) if upright else axes.set(xlim=(0, None))


def _joint(axes: Axes, data: Array, samples: Array, spans: list[Range]) -> None:
    """Draw the regions that hold given shares: of the data as shades, of the samples as lines."""
    edges = [np.linspace(*span, 65) for span in spans]
    middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    # One smoothing for both, so that they can be compared.
    rows = min(len(data), len(samples))
    widths = [regions.bandwidth(data[:, i], edges[i][1] - edges[i][0], rows) for i in range(2)]
    mass = regions.smooth(data, edges, widths)
    cuts = regions.heights(mass, regions.SHARES)
    if cuts:
        axes.contourf(*middles, mass.T, levels=[*cuts, 2 * mass.max()], colors=style.DATA_SHADES[-len(cuts) :])
    mass = regions.smooth(samples, edges, widths)
    if cuts := regions.heights(mass, regions.SHARES):
        axes.contour(*middles, mass.T, levels=cuts, colors=[style.SAMPLES], linewidths=1.0)


def _handles(area: bool) -> list[Any]:
    """Return the keys of the legend, in the shapes in which data and samples are drawn."""
    patches, lines = require("matplotlib.patches", "plots"), require("matplotlib.lines", "plots")
    if area:
        return [
            patches.Patch(facecolor=style.DATA_SHADES[1], edgecolor=style.DATA, linewidth=0.7, label="data"),
            lines.Line2D([], [], color=style.SAMPLES, linewidth=1.5, label="samples"),
        ]
    look = {"marker": "o", "markersize": 5, "linestyle": "none"}
    return [lines.Line2D([], [], color=color, label=name, **look) for name, color in (("data", style.DATA), ("samples", style.SAMPLES))]


def _beyond(data: Array, samples: Array, spans: list[Range]) -> list[str]:
    """Say how many rows the axes do not show, if any."""
    shares = []
    for what, rows in (("data", data), ("samples", samples)):
        low, high = np.array(spans).T
        count = int(((rows < low) | (rows > high)).any(1).sum())
        if count:
            shares.append(f"{count:,} of {len(rows):,} {'rows of data' if what == 'data' else what}")
    return ["beyond the axes: " + " and ".join(shares)] if shares else []
