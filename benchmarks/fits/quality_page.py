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
OURS = ("pushforward, 0.001", "pushforward, 0.003", "pushforward, fit")
TRIED = Path(__file__).with_name("tried.md")

PROTOCOL = """# How well fits go

Written by `python benchmarks/fits/quality.py`; not by hand. Nats are mean negative log-densities of rows that no fit has seen, in the units of the
data: lower is better.

## Protocol

It was written before the results.

- **Jobs.** Eight densities with a formula and exact draws (`benchmarks/fits/densities.py`; 20,000 rows to fit, 10,000 to score), and sixteen real
  tables that packages ship (`benchmarks/fits/real_tables.py`; 20,000 rows at most, four fifths to fit). Six tables and four densities are there to
  choose settings by; on the other ten and four nothing is chosen. Columns on a grid are spread evenly over its steps.
- **Flows.** Coupling splines of five layers with 8 bins on [-5, 5] and nets of two hidden layers of 64. Ours is `NSF(features)` with its defaults after
  `standardize(x)`; nflows' as its examples have it, with residual nets and linear layers, on standardised rows; Zuko's `NSF` with random
  permutations, on standardised rows.
- **Loops.** Adam at 1e-3 and at 3e-3, batches of 256, no schedule, no clipping. A tenth of the rows (1,000 at most) is held out and scored ten times
  in the course of a loop; the best weights count. That is the same for all.
- **Time.** All have the CPU time of one thread that nflows takes for {steps} steps at 1e-3 on that job and seed: {unit} seconds. Scoring what is
  held out is not counted for loops. `fit` has it for all that it does, but for the last scoring of its held-out rows. All take
  turns at each job and seed, in one process, so what disturbs the machine disturbs all alike. That is short: fits that last
  longer come closer to one another. It is what three seeds of 24 jobs allow on two cores.
- **Classical.** One normal distribution with all covariances, and the mixture of 1, 2, 4, ... 32 of them (scikit-learn) that scores the held-out rows
  best; no further one is begun once the time is over.
- **Figures.** Medians over {seeds}; in brackets the least and the largest. Another seed is another start, other draws, and another choice of a table's
  rows. A difference is given with its standard error over the scored rows, of the seed with the median difference. *The best peer* is the better of
  nflows and Zuko, each at the better of its two rates by the rows that are scored, which favours them.
"""


def page(data: dict[str, Any]) -> str:
    """Return the page."""
    jobs = {name: list(cells.values()) for name, cells in data["jobs"].items() if cells}
    densities = {name: cells for name, cells in jobs.items() if cells[0]["best"] is not None}
    tables = {name: cells for name, cells in jobs.items() if cells[0]["best"] is None}
    units = [one["unit"] for cells in jobs.values() for one in cells]
    counts = sorted({len(cells) for cells in jobs.values()})
    seeds = f"{counts[-1]} seed{'s' * (counts[-1] > 1)}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds, as each row tells"
    parts = [PROTOCOL.format(steps=data["steps"], unit=f"{min(units):.1f} to {max(units):.1f}", seeds=seeds)]
    parts += ["## What it shows\n", *summary(densities, tables, data["choosing"])]
    if densities:
        parts += ["## Exact densities: nats above the entropy\n", grid(densities, data["choosing"], excess=True)]
    if tables:
        parts += ["## Real tables: nats\n", sizes(tables, data["choosing"]), grid(tables, data["choosing"], excess=False)]
    parts += ["## Ours less the best peer, and less the better of normal and mixture\n", BEHIND, behind(jobs)]
    parts += ["## Time to reach what the best peer reaches\n", REACH, reached(jobs)]
    return "\n".join([*parts, TRIED.read_text(encoding="utf-8")]).rstrip("\n") + "\n"


BEHIND = """Below zero ours is ahead. Behind by more than one standard error is in bold.
"""
REACH = """The share of the time after which held-out rows are scored at least as well as the best peer scores them in the end, looked at after each tenth;
"-" is never. Both are our flow in the plain loop.
"""


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
    pairs = [one["behind"][ours][best(one, peers(one) if others == "peers" else CLASSICAL)] for one in cells]
    pairs.sort()
    return tuple(pairs[(len(pairs) - 1) // 2])


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
    head = ["job", *(f"{name.partition(', ')[2]}, to the {others}" for name in OURS for others in ("peer", "classical"))]
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
        for name in OURS[:2]:
            shares = [share(one, name) for one in cells]
            line.append(", ".join(f"{value:.1f}" if value is not None else "-" for value in shares))
        rows.append(line)
    return table(["job", *(f"{name.partition(', ')[2]}, each seed" for name in OURS[:2])], rows)


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
        off = [abs(one["found"]["pushforward, fit"]["integral"] - 1) for c in densities.values() for one in c if "integral" in one["found"]["pushforward, fit"]]
        lines.append(f"- Densities of two features that `fit` made integrate to 1 within {max(off):.1g} on a grid, {len(off)} of them.")
    groups = {"all": {**tables}, "for confirming only": {name: cells for name, cells in tables.items() if name not in choosing}}
    for words, jobs in groups.items() if tables else ():
        for name in OURS:
            rate = name.partition(", ")[2]
            rivals = [f"{library}, {rate}" for library in ("nflows", "zuko")] if rate in LOOPS else None
            won, near, classical = wins(jobs, name, rivals)
            whom = f"nflows and Zuko at {rate}" if rivals else "the best peer"
            lines.append(
                f"- **Tables, {words}**, `{rate}`: ahead of {whom} on {won} of {len(jobs)}, more than one standard error behind on {near}; "
                f"ahead of, or within one standard error of, normal and mixture on {classical}."
            )
    return ["\n".join(lines) + "\n"]


def wins(jobs: dict[str, list[Figures]], ours: str, rivals: Sequence[str] | None) -> tuple[int, int, int]:
    """Return on how many tables ours is ahead by the median, more than a standard error behind, and no more than that behind the classical."""
    won = near = classical = 0
    for cells in jobs.values():
        pairs = sorted(one["behind"][ours][best(one, rivals or peers(one))] for one in cells)
        mean, error = pairs[(len(pairs) - 1) // 2]
        won, near = won + (mean < 0), near + (mean > error)
        mean, error = gap(cells, ours, "classical")
        classical += mean <= error
    return won, near, classical
