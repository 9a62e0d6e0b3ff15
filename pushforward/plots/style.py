"""The one look of all pictures, given as arguments and never through rcParams."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pushforward.core.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec
    from matplotlib.patches import StepPatch

    from pushforward.plots.rows import Array

# Blue and orange stay apart for every kind of colour vision, and in grey: the blue is the darker one.
DATA = "#33587d"
SAMPLES = "#e0780a"
DATA_SHADES = ("#e3eaf2", "#bccbdd", "#8ba6c4", "#5b80a8")
INK = "#24292f"
MUTED = "#6a727c"
RULE = "#b8bec6"

Way = Literal["vertical", "horizontal"]
Written = Sequence[str] | Literal["date"]
"""How the numbers of a column are written: names of 0, 1, 2, ..., or as the moments that are so many seconds after 1970 began."""
DAY, FIRST_DAY, LAST_DAY = 86400.0, -719162.0, 2932896.0
"""Seconds of a day, and the days that the calendar has, counted from 1970."""
_FORMS = ((1000.0, "%Y"), (100.0, "%Y-%m"), (2.0, "%Y-%m-%d"), (-1.0, "%m-%d %H:%M"))
"""How moments are written on an axis that is longer than so many days."""
LABEL, TICK, NOTE = 9.5, 8.5, 7.5
"""Sizes of text, in points."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that is in no global list of figures."""
    require("matplotlib.figure", "plots")
    from pushforward.plots.picture import Picture

    return Picture(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")


def new_grid(figure: Figure, rows: Sequence[float], columns: Sequence[float], space: float = 0.02) -> GridSpec:
    """Divide a figure into panels whose heights and widths are in the given proportions."""
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.04, h_pad=0.04, wspace=space, hspace=space)
    return figure.add_gridspec(len(rows), len(columns), height_ratios=list(rows), width_ratios=list(columns))


def add_axes(figure: Figure, place: Any, frame: str = "left bottom", ticks: int = 6, **options: Any) -> Axes:
    """Add a panel in the common style; ``frame`` names the sides that are drawn. A side without a line has no ticks."""
    ticker = require("matplotlib.ticker", "plots")
    axes: Axes = figure.add_subplot(place, facecolor="none", **options)
    axes.grid(visible=False)
    for side, spine in axes.spines.items():
        spine.set(visible=side in frame, color=RULE, linewidth=0.8)
    left, bottom = "left" in frame, "bottom" in frame
    axes.tick_params(labelsize=TICK, colors=MUTED, color=RULE, width=0.8, length=3, direction="out", top=False, right=False, which="both")
    axes.tick_params(left=left, labelleft=left, bottom=bottom, labelbottom=bottom, which="both")
    for axis in (axes.xaxis, axes.yaxis):
        # A shared axis keeps the locator of the panel that it is shared with.
        if not (options.get("sharex") and axis is axes.xaxis) and not (options.get("sharey") and axis is axes.yaxis):
            axis.set_major_locator(ticker.MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
            formatter: Any = axis.get_major_formatter()
            formatter.set_powerlimits((-4, 5))
        axis.get_offset_text().set(fontsize=TICK - 1, color=MUTED)
    return axes


def inner_ticks(axis: Axis, span: tuple[float, float]) -> None:
    """Set few ticks, none of them near the ends, where its text would meet that of the next panel."""
    ticker = require("matplotlib.ticker", "plots")
    low, high = span[0] + 0.1 * (span[1] - span[0]), span[1] - 0.1 * (span[1] - span[0])
    inner: list[float] = []
    for count in range(3, 12):
        if len(inner) < 2:
            inner = [tick for tick in ticker.MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(*span) if low <= tick <= high]
    inner = inner[::2] if len(inner) > 3 else inner
    # As many digits as tell the ticks apart, and no common factor: there is no place for one between panels.
    size = max((abs(tick) for tick in inner), default=0.0)
    whole = len(str(int(size))) if size < 1e5 else 2  # numbers of up to five digits are written out
    digits = next((d for d in range(max(2, whole), 17) if len({f"{tick:.{d}g}" for tick in inner}) == len(inner)), 17)
    names = [re.sub(r"e([+-])0*", r"e\1", f"{tick:.{digits}g}").replace("e+", "e").replace("-", "\u2212") for tick in inner]
    axis.set_ticks(inner, labels=names)


def written_ticks(axis: Axis, span: tuple[float, float], how: Written, most: int) -> None:
    """Set ticks of a column whose numbers stand for something else: names of 0, 1, 2, ..., of many some; or moments."""
    if isinstance(how, str):
        dates = require("matplotlib.dates", "plots")
        low, high = (min(max(end / DAY, FIRST_DAY), LAST_DAY) for end in span)
        days = [day for day in dates.AutoDateLocator().tick_values(*dates.num2date([low, high])).tolist() if low <= day <= high]
        days = days[:: -(-len(days) // most) or 1]
        form = next(form for length, form in _FORMS if high - low > length)
        axis.set_ticks([DAY * day for day in days], labels=[day.strftime(form) for day in dates.num2date(days)])
        return
    places = range(0, len(how), -(-len(how) // most))
    axis.set_ticks([float(place) for place in places], labels=[short(how[place], 12) for place in places])


def label(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Write what the axes show."""
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    if title:
        axes.set_title(title, fontsize=LABEL, color=INK, loc="left", pad=6)


def legend(owner: Any, handles: Sequence[Any], **options: Any) -> None:
    """Write a legend without a frame, above the axes unless ``options`` place it."""
    if not options:
        options = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(handles), "borderaxespad": 0.2}
    look = {"frameon": False, "fontsize": LABEL, "labelcolor": INK, "handlelength": 1.2, "handletextpad": 0.5, "columnspacing": 1.4}
    owner.legend(handles=handles, **look, **options)


def area(axes: Axes, values: Array, edges: Array, name: str, way: Way = "vertical") -> StepPatch:
    """Draw a histogram of data as an area with an outline; heights are densities of all values, also of those beyond the edges."""
    heights = _heights(values, edges)
    return axes.stairs(heights, edges, orientation=way, fill=True, facecolor=DATA_SHADES[1], edgecolor=DATA, linewidth=0.7, label=name)


def outline(axes: Axes, values: Array, edges: Array, name: str, way: Way = "vertical") -> StepPatch:
    """Draw a histogram of samples as a line."""
    return axes.stairs(_heights(values, edges), edges, orientation=way, color=SAMPLES, linewidth=1.5, baseline=None, label=name)


def dots(axes: Axes, values: Array, color: str | list[str], name: str) -> None:
    """Draw rows as dots: the more of them, the smaller."""
    size = float(np.clip(6000 / len(values), 4, 12))
    axes.scatter(values[:, 0], values[:, 1], s=size, c=color, alpha=0.65, linewidths=0, rasterized=len(values) > 1000, label=name)


def scale(figure: Figure, axes: Axes, image: Any, name: str) -> None:
    """Draw the scale of the colours beside the axes."""
    beside = axes.inset_axes((1.03, 0.0, 0.04, 1.0))  # an inset, so that the panel keeps its place in the row
    bar = figure.colorbar(image, cax=beside)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=TICK, colors=MUTED, color=RULE, width=0.8, length=3)
    bar.set_label(name, fontsize=LABEL, color=INK)


def _heights(values: Array, edges: Array) -> Array:
    return np.histogram(values, edges)[0] / (len(values) * np.diff(edges))


def note(figure: Figure, lines: Sequence[str]) -> None:
    """Write at the foot what the reader has to know about the picture."""
    if lines:
        text = textwrap.fill("; ".join(lines) + ".", max(int(figure.get_figwidth() * 18), 20))
        figure.supxlabel(text[0].upper() + text[1:], x=0.01, ha="left", fontsize=NOTE, color=MUTED)


def short(name: str, width: int = 18) -> str:
    """Return a name in at most two lines, without what matplotlib would take for mathematics; x1 and y2 get subscripts."""
    if re.fullmatch(r"[xy]\d+", name):
        return f"${name[0]}_{{{name[1:]}}}$"
    spaced = name.replace("_", "_ ")  # so that lines break behind underscores, too
    lines = textwrap.wrap(spaced, width, max_lines=2, placeholder=" …") or [name]
    return "\n".join(lines).replace("_ ", "_").replace("$", r"\$")


def shades() -> Colormap:
    """Return the colours of a density of a flow, from nothing (white) to its peak."""
    colors = require("matplotlib.colors", "plots")
    stops = [(0.0, "#ffffff"), (0.12, "#fde6c8"), (0.4, "#f3ab58"), (0.65, SAMPLES), (0.85, "#8a3f00"), (1.0, "#4a1d00")]
    made: Colormap = colors.LinearSegmentedColormap.from_list("density", stops)
    return made


def steps(count: int) -> list[str]:
    """Return colours for several things of one kind, at most eight."""
    return [DATA, SAMPLES, "#3b9c96", "#8c5fa8", "#b5921d", "#a3333d", "#7f8790", "#5aa5de"][:count]
