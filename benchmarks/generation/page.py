"""The page docs/table-quality.md, from the figures of `generators.py`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, dict[str, dict[str, float]]]
"""Of a table, by seed and method."""

OURS = ("TableFlow by fit", "TableFlow by choose")
STARTS = ("independent columns", "normal copula")
"""What a `TableFlow` starts from: neither a rival nor its result."""
REAL = "real rows"
MEASURES = ("shapes", "trends", "logistic", "c2st", "alpha precision", "beta recall", "utility")
PROTOCOL = Path(__file__).with_name("protocol.md")


def page(data: dict[str, Any]) -> str:
    """Return the page."""
    short = unfinished(data)
    tables = {name: data["tables"][name] for name in data["all"] if name not in short}
    versions = ", ".join(f"{name} {version}" for name, version in data["setting"].items())
    parts = [
        PROTOCOL.read_text(encoding="utf-8").replace("SECONDS", f"{data['seconds']:g}"),
        f"Measured with {versions}.\n",
        *missing(short),
    ]
    if tables:
        scored, drawn = methods_of(tables, "nats"), methods_of(tables, "shapes")
        parts += ["## Nats of rows held out\n", *nats(tables, data["shapes"], scored)]
        parts += ["## Drawn rows\n", DRAWN, means(tables, drawn), *best_means(tables, drawn)]
        for measure, head in HEADS.items():
            parts += [f"### {head}\n", grid(tables, drawn, lambda cells, method, m=measure: middle(cells, method, m), max, data["shapes"])]
    return "\n".join(parts).rstrip("\n") + "\n"


def unfinished(data: dict[str, Any]) -> list[str]:
    """Return the tables that have no figures yet, or not of all methods that another one has."""
    most = max((len(one) for cells in data["tables"].values() for one in cells.values()), default=0)
    return [name for name in data["all"] if not any(len(one) == most for one in data["tables"].get(name, {}).values())]


def missing(short: Sequence[str]) -> list[str]:
    """Return in words that some tables are not there."""
    return [f"**Not measured yet**, or in part: {', '.join(short)}. The command goes on where it ended.\n"] if short else []


DRAWN = """Means over the tables, and seconds of the processor; more is better, and 1 the best. Real rows are those that were fitted to,
what a generator that knows the distribution would have.
"""
HEADS = {"c2st": "Told apart by a forest, by table", "logistic": "Told apart by a linear model, by table"}


def methods_of(tables: dict[str, Figures], figure: str) -> list[str]:
    """Return the methods that have a figure, in the order in which they ran."""
    found: dict[str, None] = {}
    for cells in tables.values():
        for one in cells.values():
            found |= {name: None for name, figures in one.items() if figure in figures}
    return list(found)


def middle(cells: Figures, method: str, figure: str) -> float | None:
    """Return the median over seeds, None where there is none."""
    values = [one[method][figure] for one in cells.values() if figure in one.get(method, {})]
    return statistics.median(values) if values else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def grid(
    tables: dict[str, Figures],
    methods: Sequence[str],
    value: Callable[[Figures, str], float | None],
    best: Callable[[Iterable[float]], float],
    shapes: dict[str, list[int]],
) -> str:
    """Return a row a table and a column a method; the best is bold, real rows aside."""
    rows = []
    for name, cells in tables.items():
        found = {method: value(cells, method) for method in methods}
        there = [x for method, x in found.items() if x is not None and method != REAL]
        line = [f"{name} ({shapes[name][0]:,} x {shapes[name][1]})"]
        for method, x in found.items():
            text = "-" if x is None else f"{x:.2f}"
            line.append(f"**{text}**" if x is not None and method != REAL and text == f"{best(there):.2f}" else text)
        rows.append(line)
    return table(["table", *methods], rows)


def nats(tables: dict[str, Figures], shapes: dict[str, list[int]], methods: Sequence[str]) -> list[str]:
    """Return the table of nats, and on how many ours are ahead."""
    lines = []
    rivals = [method for method in methods if method not in (*OURS, *STARTS)]
    for ours in OURS:
        ahead, behind = compared(tables, ours, rivals, "nats", -1)
        told = f"behind on {', '.join(behind)}" if behind else "behind on none"
        lines.append(
            f"- **{ours}** has the fewest nats on {len(ahead)} of {len(ahead) + len(behind)} tables, beside {', '.join(rivals)}; {told}."
        )
    seeds = {name: len(cells) for name, cells in tables.items()}
    lines.append(f"- Seeds: {min(seeds.values())} of each table at least, {max(seeds.values())} at most; medians where there are several.")
    return ["\n".join(lines) + "\n", grid(tables, methods, lambda cells, method: middle(cells, method, "nats"), min, shapes)]


def compared(tables: dict[str, Figures], ours: str, rivals: Sequence[str], figure: str, sign: int) -> tuple[list[str], list[str]]:
    """Return the tables on which ours is better than all rivals, with the better of them, and those on which it is not."""
    ahead, behind = [], []
    for name, cells in tables.items():
        own = middle(cells, ours, figure)
        others = {rival: sign * x for rival in rivals if (x := middle(cells, rival, figure)) is not None}
        if own is None or not others:
            continue
        first = max(others, key=lambda rival: others[rival])
        if sign * own >= others[first]:
            ahead.append(name)
        else:
            behind.append(f"{name} ({others[first] - sign * own:.2f} to {first})")
    return ahead, behind


def mean(tables: dict[str, Figures], method: str, figure: str) -> float | None:
    """Return the mean over tables, None where a table has none."""
    values = [middle(cells, method, figure) for cells in tables.values()]
    return None if None in values else statistics.mean(value for value in values if value is not None)


def means(tables: dict[str, Figures], methods: Sequence[str]) -> str:
    """Return a row a method and a column a measure, the mean over tables; the best is bold, real rows aside."""
    found = {method: [mean(tables, method, measure) for measure in MEASURES] for method in methods}
    best = [
        max((x for method, row in found.items() if method != REAL and (x := row[at]) is not None), default=0.0)
        for at in range(len(MEASURES))
    ]
    rows = []
    for method, row in found.items():
        texts = ["-" if x is None else f"{x:.3f}" for x in row]
        marked = [f"**{text}**" if method != REAL and text == f"{top:.3f}" else text for text, top in zip(texts, best, strict=True)]
        rows.append([method, *marked, f"{mean(tables, method, 'seconds'):.1f}"])
    return table(["", *MEASURES, "seconds"], rows)


def best_means(tables: dict[str, Figures], methods: Sequence[str]) -> list[str]:
    """Return in words who is best in which measure."""
    rivals = [method for method in methods if method not in (*OURS, *STARTS, REAL)]
    lines = []
    for ours in OURS:
        parts = []
        for measure in HEADS:
            ahead, behind = compared(tables, ours, rivals, measure, 1)
            parts.append(
                f"{measure} on {len(ahead)} of {len(ahead) + len(behind)} tables" + (f" (behind on {', '.join(behind)})" if behind else "")
            )
        lines.append(f"- **{ours}** is harder to tell from real rows than the others by " + ", by ".join(parts) + ".")
    return ["\n".join(lines) + "\n"]
