"""The page docs/fit-quality.md, from the figures of `quality.py`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""Of a job and seed."""

LOOPS = ("0.001", "0.003")
CLASSICAL = ("normal", "mixture")
OURS = (*(f"{way}, {rate}" for rate in LOOPS for way in ("pushforward", "pushforward from a mixture")), "pushforward, fit")
SEEDS = 3
"""Of each job."""
PROTOCOL, TRIED = (Path(__file__).with_name(name) for name in ("protocol.md", "tried.md"))
OTHERS = ("wide.md", "more_peers.md", "round_trips.md", "few_rows.md")
"""What other commands have measured; each says which."""


def page(data: dict[str, Any], tools: str = "") -> str:
    """Return the page, with the section on other people's tools."""
    jobs = {name: list(data["jobs"][name].values()) for name in data["all"] if data["jobs"].get(name)}
    densities = {name: cells for name, cells in jobs.items() if cells[0]["best"] is not None}
    tables = {name: cells for name, cells in jobs.items() if cells[0]["best"] is None}
    units = [one["unit"] for cells in jobs.values() for one in cells]
    protocol, tried = (path.read_text(encoding="utf-8") for path in (PROTOCOL, TRIED))
    for word, value in {
        "STEPS_OF_DENSITIES": f"{data['steps']['density']:,}",
        "STEPS_OF_TABLES": str(data["steps"]["table"]),
        "LEAST": f"{min(units):.1f}",
        "MOST": f"{max(units):.1f}",
    }.items():
        protocol, tried = protocol.replace(word, value), tried.replace(word, value)
    parts = [protocol, missing(data)]
    parts += ["## What it shows\n", *summary(densities, tables, data["choosing"])]
    if densities:
        parts += ["## Exact densities: nats above the entropy\n", grid(densities, data["choosing"], excess=True)]
    if tables:
        parts += ["## Real tables: nats\n", sizes(tables, data["choosing"]), grid(tables, data["choosing"], excess=False)]
    parts += ["## Ours less the best peer, and less the better of normal and mixture\n", BEHIND, behind(jobs)]
    parts += ["## Time to reach what the best peer reaches\n", REACH, reached(jobs)]
    others = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in OTHERS]
    return "\n".join([*parts, "## Other measurements\n", *others, *([tools] if tools else []), tried]).rstrip("\n") + "\n"


BEHIND = """Below zero ours is ahead. Behind by more than one standard error is in bold.
"""
REACH = """The share of the time after which held-out rows are scored at least as well as the best peer scores them in the end, looked at
after each tenth; "-" is never. All are our flow in the plain loop.
"""


def missing(data: dict[str, Any]) -> str:
    """Return what the protocol asks for and the figures do not have."""
    absent = {name: SEEDS - len(data["jobs"].get(name, {})) for name in data["all"]}
    none, some = (", ".join(name for name, count in absent.items() if test(count)) for test in (SEEDS.__eq__, range(1, SEEDS).__contains__))
    told = [f"no figures yet of {none}" if none else "", f"fewer than {SEEDS} seeds of {some}" if some else ""]
    versions = ", ".join(f"{name} {version}" for name, version in data["setting"].items())
    lacking = "; ".join(text for text in told if text)
    return (
        f"Measured with {versions}."
        + (f"\n\n**Not measured yet:** {lacking}. The command goes on where it ended." if lacking else "")
        + "\n"
    )


def short(ours: str) -> str:
    """Return what sets a way of ours apart from the others."""
    return ours.removeprefix("pushforward").lstrip(", ")


def nats(cells: Iterable[Figures], method: str) -> list[float]:
    """Return the figures of a method, above the entropy where that is known."""
    return [one["found"][method]["nats"] + (one["best"] or 0.0) for one in cells]


def median(cells: Sequence[Figures], method: str) -> float:
    return statistics.median(nats(cells, method))


def peers(one: Figures) -> list[str]:
    """Return the loops of other libraries."""
    return [name for name in one["found"] if name not in OURS and name not in CLASSICAL]


def best(one: Figures, methods: Iterable[str]) -> str:
    """Return the best of some methods."""
    return min(methods, key=lambda name: float(one["found"][name]["nats"]))


def gap(cells: Sequence[Figures], ours: str, others: str) -> tuple[float, float]:
    """Return how far ours is behind the best of ``others`` (``peers`` or ``classical``), by the median, with its standard error."""
    return middle(one["behind"][ours][best(one, peers(one) if others == "peers" else CLASSICAL)] for one in cells)


def middle(pairs: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Return the difference in the middle, the smaller of two, with its error."""
    ordered = sorted(pairs)
    mean, error = ordered[(len(ordered) - 1) // 2]
    return mean, error


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def named(job: str, cells: Sequence[Figures], choosing: Sequence[str], mark: bool = True) -> str:
    """Return the name of a job, with a mark if it is there for choosing."""
    return job + ("*" if mark and job in choosing else "")


def grid(jobs: dict[str, list[Figures]], choosing: Sequence[str], excess: bool) -> str:
    """Return a row a job and a column a method; the best is bold."""
    methods = list(next(iter(jobs.values()))[0]["found"])
    rows = []
    for job, cells in jobs.items():
        medians = {name: median(cells, name) for name in methods}
        least = min(medians.values())
        digits = 3 if max(abs(value) for value in medians.values()) < 100 else 2
        line = [named(job, cells, choosing), str(len(cells))]
        for name in methods:
            values = nats(cells, name)
            text = f"{medians[name]:.{digits}f}"
            text = f"**{text}**" if medians[name] == least else text
            line.append(text + (f" ({min(values):.{digits}f}, {max(values):.{digits}f})" if len(values) > 1 else ""))
        rows.append(line)
    if excess:
        rows.append(["mean", "", *(f"{statistics.mean(median(cells, name) for cells in jobs.values()):.3f}" for name in methods)])
    return table(["job (* for choosing)", "seeds", *methods], rows)


def sizes(jobs: dict[str, list[Figures]], choosing: Sequence[str]) -> str:
    """Return a line that tells of the tables."""
    told = [f"{named(job, c, choosing)} ({c[0]['rows'] + c[0]['scored']:,} x {c[0]['columns']})" for job, c in jobs.items()]
    return "Rows and columns, * for choosing: " + ", ".join(told) + ".\n"


def behind(jobs: dict[str, list[Figures]]) -> str:
    """Return our distances to the best of the others, a row a job."""
    head = ["job", *(f"{short(name)}, to the {others}" for name in OURS for others in ("peer", "classical"))]
    rows = []
    for job, cells in jobs.items():
        line = [job]
        for name in OURS:
            for others in ("peers", "classical"):
                mean, error = gap(cells, name, others)
                text = f"{mean:.3f} ± {error:.3f}"
                line.append(f"**{text}**" if mean > error else text)
        rows.append(line)
    return table(head, rows)


def reached(jobs: dict[str, list[Figures]]) -> str:
    """Return the shares of the time after which our loops are where the best peer ends."""
    rows = []
    for job, cells in jobs.items():
        line = [job]
        for name in OURS[:-1]:
            shares = [share(one, name) for one in cells]
            line.append(", ".join(f"{value:.1f}" if value is not None else "-" for value in shares))
        rows.append(line)
    return table(["job", *(f"{short(name)}, each seed" for name in OURS[:-1])], rows)


def share(one: Figures, ours: str) -> float | None:
    """Return the share of the time after which the held-out rows are scored as well as the best peer's best weights score them."""
    goal = min(min(one["found"][name]["curve"]) for name in peers(one))
    curve = one["found"][ours]["curve"]
    return next(((place + 1) / 10 for place, value in enumerate(curve) if value <= goal), None)


def summary(densities: dict[str, list[Figures]], tables: dict[str, list[Figures]], choosing: Sequence[str]) -> list[str]:
    """Return what the figures come to, in counts."""
    lines = []
    if densities:
        methods = list(next(iter(densities.values()))[0]["found"])
        means = {name: statistics.mean(median(cells, name) for cells in densities.values()) for name in methods}
        told = ", ".join(f"{name} {value:.3f}" for name, value in sorted(means.items(), key=lambda pair: pair[1]))
        lines.append(f"- **Densities**, mean nats above the entropy: {told}.")
        flat = [one["found"]["pushforward, fit"] for name, cells in densities.items() if name != "funnel" for one in cells]
        off = [abs(fit["integral"] - 1) for fit in flat if "integral" in fit]
        if off:
            lines.append(f"- Densities of two features that `fit` made integrate to 1 within {max(off):.1g} on a grid, {len(off)} of them.")
    parts = ["\n".join(lines) + "\n"] if lines else []
    groups = {"all tables": tables, "for confirming": {name: cells for name, cells in tables.items() if name not in choosing}}
    rows = []
    for words, jobs in groups.items():
        for name in OURS if jobs else ():
            rate = name.rpartition(", ")[2]
            rivals = [f"{library}, {rate}" for library in ("nflows", "zuko")] if rate in LOOPS else None
            won, lost, classical = wins(jobs, name, rivals)
            whom = f"nflows and Zuko at {rate}" if rivals else "the best peer"
            rows.append([words, short(name), whom, f"{len(won)} of {len(jobs)}", ", ".join(lost) or "none", ", ".join(classical) or "none"])
    head = ["tables", "ours", "beside", "ahead on", "behind by more than one standard error on", "so behind normal or mixture on"]
    return [*parts, table(head, rows)]


def wins(jobs: dict[str, list[Figures]], ours: str, rivals: Sequence[str] | None) -> tuple[list[str], list[str], list[str]]:
    """Return the jobs on which ours is ahead by the median, behind by more than a standard error, and so behind the classical."""
    won, lost, classical = [], [], []
    for job, cells in jobs.items():
        mean, error = middle(one["behind"][ours][best(one, rivals or peers(one))] for one in cells)
        won += [job] * (mean < 0)
        lost += [job] * (mean > error)
        mean, error = gap(cells, ours, "classical")
        classical += [job] * (mean > error)
    return won, lost, classical
