"""What models of a table are worth, beside the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def nats(comparison: Any) -> Figure:
    """Draw how many nats a row each model has more than the best on rows held out, with two standard errors of that difference.

    Args:
        comparison: What `pushforward.compare` returned.

    Returns:
        The figure.

    Raises:
        TypeError: It is no comparison.
        ImportError: matplotlib is not installed.

    >>> from pushforward.train.comparison import Compared, Comparison
    >>> rows = (Compared("TableFlow", 7.0, 0.0, 30.0, 1000), Compared("independent columns", 8.0, 0.1, 0.1, 10))
    >>> [text.get_text() for text in nats(Comparison(rows, 200, {})).axes[0].get_yticklabels()]
    ['TableFlow', 'independent columns']
    """
    rows = getattr(comparison, "rows", None)
    if not isinstance(rows, tuple) or not rows:
        raise TypeError(f"nats: expected a Comparison, as pushforward.compare returns it, got a {type(comparison).__name__}")
    figure = style.new_figure(6.4, 1.1 + 0.34 * len(rows))
    axes = style.add_axes(figure, style.new_grid(figure, [1], [1])[0, 0], frame="bottom")
    places = np.arange(len(rows))
    more = np.array([row.nats - rows[0].nats for row in rows])
    errors = np.array([row.error for row in rows])
    axes.axvline(0, color=style.RULE, linewidth=0.8, zorder=0)
    axes.hlines(places, more - 2 * errors, more + 2 * errors, color=style.DATA, linewidth=1.4, label="two standard errors")
    axes.plot(more[1:], places[1:], "o", color=style.DATA, markersize=5)
    axes.plot(more[:1], places[:1], "o", color=style.SAMPLES, markersize=6)
    axes.set_yticks(places, labels=[style.short(row.name, 32) for row in rows], color=style.INK, fontsize=style.LABEL)
    axes.tick_params(axis="y", left=False, labelleft=True)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    reach = float(np.nanmax(np.where(np.isfinite(more), more + 2 * errors, np.nan), initial=0.0)) or 1.0
    axes.set_xlim(min(-0.03 * reach, float(np.nanmin(more - 2 * errors, initial=0.0))), 1.05 * reach)
    held = f"{comparison.held:,} rows held out"
    style.label(
        axes, "nats a row more than the best, with two standard errors", title=f"{rows[0].name}: {rows[0].nats:.3f} nats a row, {held}"
    )
    return figure
