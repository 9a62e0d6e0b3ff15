"""The picture of growth: time and memory over D, layers, batch and bins, on log-log axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .works import GROWTH

COLOURS = {
    "bare": "#888888", "ours": "#d62728", "pyro": "#9467bd", "zuko": "#1f77b4", "nflows": "#2ca02c",
    "normflows": "#8c564b", "flowtorch": "#e377c2", "flowjax": "#ff7f0e",
}  # fmt: skip
NAMES = {
    "bare": "bare networks", "ours": "pushforward", "pyro": "Pyro", "zuko": "Zuko", "nflows": "nflows", "normflows": "normflows",
    "flowtorch": "FlowTorch", "flowjax": "FlowJAX",
}  # fmt: skip


def points(curve: dict[str, Any], key: str = "median") -> tuple[list[float], list[float]]:
    """Return sizes and figures of one curve, without the points that have none."""
    have = sorted((int(size), found[key]) for size, found in curve.items() if key in found)
    return [float(size) for size, _ in have], [figure for _, figure in have]


def slope(curve: dict[str, Any], key: str = "median") -> float | None:
    """Return the log-log slope over the upper half of the sizes, where what is asymptotic shows."""
    x, y = points(curve, key)
    count = max(2, (len(x) + 1) // 2)
    if len(x) < 2:
        return None
    return float(np.polyfit(np.log(x[-count:]), np.log(y[-count:]), 1)[0])


def memory_curves(data: dict[str, Any]) -> dict[str, Any]:
    """Return library -> bins -> figure from the measures of memory, in megabytes."""
    curves: dict[str, Any] = {}
    for bins, libraries in data.get("memory", {}).items():
        for library, found in libraries.items():
            if "memory" in found:
                curves.setdefault(library, {})[bins] = {"median": found["memory"] / 2**20}
    return curves


def draw(data: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {axis: (data.get("growth", {}).get(axis, {}), f"{GROWTH[axis][0]}, milliseconds", 1e3) for axis in GROWTH}
    panels["bins, memory"] = (memory_curves(data), "peak memory of a training step, MB", 1.0)
    for axes, (axis, (curves, label, scale)) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        for library, colour in COLOURS.items():
            x, y = points(curves.get(library, {}))
            if x:
                front = library == "ours"
                axes.loglog(x, np.array(y) * scale, "o-", color=colour, label=NAMES[library], ms=3, lw=2 if front else 1, zorder=2 + front)
        sizes = sorted({int(size) for curve in curves.values() for size in points(curve)[0]})
        if not sizes:
            continue
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(axis, fontsize=9)
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    handles = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=8, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": ""})
