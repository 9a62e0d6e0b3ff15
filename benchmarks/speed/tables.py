"""The tables of the page docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .picture import NAMES
from .works import ACTIONS, Work


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """Return a table of Markdown; columns of numbers are flush right."""
    rule = ["---" if column in text else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)) + "\n"


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three digits."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(found: dict[str, Any]) -> str:
    """Return the median with its quartiles, or why there is none."""
    if "median" in found:
        return f"{milliseconds(found['median'])} ({milliseconds(found['low'])}–{milliseconds(found['high'])})"
    if "limit" in found:
        return f"> {found['limit']:.0f} s"
    return "–"


def reasons(notes: dict[str, int], found: dict[str, Any]) -> str:
    """Return the number of a reason, which is listed once."""
    text = found.get("cannot", "no figure").replace("`", "'").replace("|", "/")[:160]
    return f"({notes.setdefault(text, len(notes) + 1)})"


def shape(work: Work) -> str:
    """Return a work in words."""
    if work.kind == "job":
        return f"D = 2, {work.batch} rows, {work.steps} steps of Adam at {work.rate:g}, as in the tutorial."
    kernel = f", {work.bins} bins" if work.kernel == "spline" else ""
    given = f", one context of {work.context} features" if work.context else ""
    nets = "×".join(map(str, work.widths))
    return f"{work.layers} layers{kernel}, networks of {nets} with ReLU, {work.batch:,} rows{given}; {work.parameters:,} parameters."


def work_tables(work: Work, libraries: dict[str, Any]) -> list[str]:
    """Return the heading, the table of all libraries, and beneath it what is different and who cannot."""
    actions = [name for name in ACTIONS if any(name in found.get("actions", {}) for found in libraries.values())]
    bare = libraries.get("bare", {}).get("actions", {})
    rows, notes = [], []
    for library, found in libraries.items():
        name = NAMES[library]
        if "cannot" in found:
            notes.append(f"{name}: {found['cannot']}.")
            continue
        difference = found["parameters"] - found["stated"]
        row = [name, f"{found['parameters']:,}" + (f" ({difference:+,})" if difference else "")]
        for action in actions:
            one = found["actions"].get(action, {})
            row.append(cell(one))
            if "cannot" in one and library != "bare":
                notes.append(f"{name}, {ACTIONS[action]}: {one['cannot']}.")
            if action == "train":
                row.append(
                    f"{one['median'] / bare['train']['median']:.2f}" if "median" in one and "median" in bare.get("train", {}) else "–"
                )
        if library == "flowjax":
            compiling = [one["compile"] for one in found["actions"].values() if one.get("compile")]
            notes.append(f"{name} compiles for {max(compiling):.1f} s an action, at most.") if compiling else None
        if found["note"]:
            notes.append(f"{name}: {found['note']}.")
        rows.append(row)
    header = ["ms", "parameters"]
    for action in actions:
        header += [ACTIONS[action], "× bare"] if action == "train" else [ACTIONS[action]]
    beneath = ["\n".join(f"- {note}" for note in notes) + "\n"] if notes else []
    return [f"### {work.name[0].upper()}{work.name[1:]}\n", shape(work) + "\n", table(header, rows), *beneath]


def job_table(data: dict[str, Any]) -> str:
    rows = []
    for job, libraries in data.get("losses", {}).items():
        for library, found in libraries.items():
            if "cannot" in found:
                continue
            step = data.get("times", {}).get("1", {}).get(job, {}).get(library, {}).get("actions", {}).get("train", {})
            each = ", ".join(f"{mean:.3f}" for mean in found.get("means", [found["mean"]]))
            losses = [*(f"{found[key]:.4f}" for key in ("first", "mean", "last")), each]
            rows.append([job, NAMES[library], f"{found['parameters']:,}", cell(step), *losses])
    header = [
        "job",
        "library",
        "parameters",
        "ms a step, one thread",
        "first loss",
        "loss, mean of the last hundred",
        "last loss",
        "each start",
    ]
    return table(header, rows, text=(0, 1))


def fresh_table(data: dict[str, Any], work: str) -> list[str]:
    rows = []
    for threads, works in data.get("fresh", {}).items():
        for library, found in works.get(work, {}).items():
            if "cannot" in found:
                continue
            times = [milliseconds(found[key]) for key in ("build", "first", "later")]
            excess = f"{1e3 * (found['first'] - found['later']):.0f}"
            compiling = f"{found['compile']:.1f}" if "compile" in found else "–"
            memory = f"{found['memory'] / 2**20:,.0f}" if "memory" in found else "–"
            rows.append([NAMES[library], threads, *times, excess, compiling, memory])
    header = ["library", "threads", "build, ms", "first step, ms", "later step, ms", "first − later, ms", "compiling, s", "peak memory, MB"]
    return [f"### Fresh: {work}\n", table(header, rows)] if rows else []


def operator_table(data: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    notes: dict[str, None] = {}
    for work, libraries in data.get("calls", {}).items():
        for library, found in libraries.items():
            if "step" in found:
                layer = f"{found['layer']:.0f}" if "layer" in found else "–"
                rows.append([work, NAMES[library], *(f"{found[key]}" for key in ("forward", "backward", "optimizer", "step")), layer])
            elif "Error" in found.get("cannot", ""):
                rows.append([work, NAMES[library], *["–"] * 5])
                notes.setdefault(f"{NAMES[library]} fails while it is counted: `{found['cannot'][:140]}`.", None)
    beneath = "".join(f"\n- {note}" for note in notes)
    return (
        table(["work", "library", "forward", "backward", "optimizer", "step", "a layer"], rows, text=(0, 1)) + beneath + "\n" * bool(notes)
    )


def profile_table(work: str, found: dict[str, Any]) -> list[str]:
    if "top" not in found:
        return []
    rows = [
        [
            f"`{one['operator'].replace('|', '/')[:60]}`",
            one["group"],
            f"{one['milliseconds']:.2f}",
            f"{one['calls']:.0f}",
            f"{100 * one['share']:.0f} %",
        ]
        for one in found["top"]
    ]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["shares"].items() if share > 0.005)
    text = f"{found['milliseconds']:.1f} ms a step under the profiler: {shares}.\n"
    return [f"### Profile: {work}\n", text, table(["operator", "is", "ms a step", "calls a step", "share"], rows, text=(0, 1))]
