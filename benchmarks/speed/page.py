"""The page docs/performance.md, written from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bars import Bar, all_bars
from .missed import missed
from .picture import NAMES, memory_curves, slope
from .tables import fresh_table, job_table, operator_table, profile_table, reasons, table, work_tables
from .works import GROWTH, MAIN, MEMORY_ROWS, WORKS

INTRO = """# Performance

Written by `make bench`; not by hand. The same architectures, with the same number of parameters, in this library and in others: their
widths, bins, layers and data are the same, and so is the optimizer. *Bare networks* are the limit: the same linear layers and activations
on the same inputs, unmasked, with no bijection at all.
"""
POINTS = (
    "A training step costs little more than that of the bare networks.",
    "Sampling an autoregressive flow costs little more than scoring it, gradients included.",
    "The founding tutorials' jobs run at least eight times as fast, at equal or lower loss after the same steps.",
    "No warm-up: the first step is within 50 ms of a later one.",
    "Training a spline flow takes half of the peers' memory.",
    "Operator calls are counted, and a profile says what is left: both stand below.",
)
LIST = "\n".join(f"{number}. {text}" for number, text in enumerate(POINTS, 1)) + "\n"
MEASURED = """Libraries run in processes of their own, which are asked in turn: one measurement of each, round after round, so that
what disturbs the machine disturbs all alike. Times are wall time, as medians, with quartiles in brackets. A measurement repeats the call
until it lasts {target:.0f} ms; there are {rounds} rounds, thrice as many of training steps, three for calls over 0.2 s and one for
calls over a second. One thread is `OMP_NUM_THREADS=1` and `torch.set_num_threads(1)`, and for JAX one processor.

- *train step*: `zero_grad`, loss, backward, and a step of Adam, fused for every torch library, by optax for JAX.
- *`log_prob`* and *`sample`* run without gradients, on as many rows as the work has; *`rsample_and_log_prob`* with its backward.
- *`log_prob` + backward* and *`rsample` + backward* compute the gradients of all parameters, without a step.
- *× bare* is the ratio to the bare networks; for those, sampling and scoring are one pass of the networks.
- *> {limit:.0f} s* means that one call took longer than the limit of one measurement, and was ended.
- JAX runs compiled, and what compiling takes stands apart; torch runs as its users run it, and with `torch.compile` in a table of its own.
"""
FAIR = """A peer is taken at its best: fused Adam, no checks that can be left out, autoregressive layers run in the direction that scores in
one pass, caches emptied only where a stale answer would come back, the better of with and without `torch.compile` in the list above.
"""
UNMEASURED = """## What is not measured

No GPU was at hand: there is no figure for one, nor for half precision, nor for more than two threads. Times of works below a millisecond
are those of Python and of torch's dispatch more than of arithmetic. Two threads are measured where a bar asks for them.
"""


def page(data: dict[str, Any]) -> str:
    """Return the page."""
    shown = all_bars(data)
    parts = [INTRO, *setting(data), "## What it must show\n", bars(shown), *missed(shown)]
    parts += ["## How it was measured\n", measured(data), FAIR]
    parts += disturbed(data)
    parts += earlier(data)
    for threads, words in (("1", "One thread"), ("2", "Two threads")):
        times = data.get("times", {}).get(threads, {})
        if times:
            parts.append(f"## {words}\n")
            parts += [part for work in WORKS if work in times for part in work_tables(WORKS[work], times[work])]
    parts += compiled(data)
    parts += ["## The tutorials' jobs, run to their end\n", JOBS, job_table(data)]
    parts += ["## First step and memory, in fresh processes\n", FRESH.format(rows=MEMORY_ROWS)]
    parts += [part for work in MAIN for part in fresh_table(data, work.name)]
    parts += growth(data)
    parts += ["## Operator calls\n", CALLS, operator_table(data)]
    parts += ["## What a training step is made of\n", PROFILE]
    parts += [part for work, found in data.get("profile", {}).items() for part in profile_table(work, found)]
    parts.append(UNMEASURED)
    return "\n".join(parts).rstrip("\n") + "\n"


JOBS = """The same data, batch, steps and learning rate; the network, the box and the bins of the tutorial, with the same number of
parameters. The loss of the last hundred steps stands beside that of the last, which is noisy; where the batch is always the same
the loss may leap at any time, so each job of Pyro's runs from three starts, and the median stands here.
"""
FRESH = """A process that has done nothing yet: how long the flow takes to build, its first training step and a later one, without
`torch.compile`; what JAX takes to compile stands apart. Memory is the peak that one training step on {rows:,} rows adds to what the process
held before it, where activations outweigh all else.
"""
CALLS = """Operators that torch dispatches in one training step; *a layer* is what one more layer adds to forward and backward.
"""
PROFILE = """Own time of each operator, from `torch.profiler`, with one thread. Matrix products are the networks, the limit; the optimizer
is torch's.
"""


def measured(data: dict[str, Any]) -> str:
    return MEASURED.format(target=1e3 * data.get("target", 0.05), rounds=data.get("rounds", 9), limit=data.get("limit", 10.0))


def setting(data: dict[str, Any]) -> list[str]:
    found = data.get("setting", {})
    if not found:
        return []
    names = [key for key in found if key not in ("date", "python", "cpu", "cores", "numpy")]
    versions = ", ".join(f"{name} {found[name]}" for name in names)
    minutes = sum(data.get("minutes", {}).values())
    machine = f"{found['cpu']}, {found['cores']} cores, Python {found['python']}"
    return [f"Measured on {found['date']} in {minutes:.0f} minutes with {versions}, on {machine}.\n"]


def bars(found: Sequence[Bar]) -> str:
    rows = []
    for bar in found:
        sign = "" if bar.limit is None else f"{'≥' if bar.at_least else '≤'} {bar.limit:{bar.form}}"
        cells = [f"{bar.measured[threads]:{bar.form}}" if threads in bar.measured else "–" for threads in ("1", "2")]
        rows.append([str(bar.point), bar.what, sign or "–", *cells, bar.verdict, bar.peer or "–"])
    header = ["", "figure", "bar", "one thread", "two threads", "", "best peer, one thread"]
    return LIST + "\n" + table(header, rows, text=(0, 1, 5, 6))


def disturbed(data: dict[str, Any]) -> list[str]:
    """Tell where wall and processor time differ by more than a tenth with one thread: something else was running."""
    total, odd = 0, []
    for work, libraries in data.get("times", {}).get("1", {}).items():
        for library, found in libraries.items():
            for name, one in found.get("actions", {}).items():
                if "cpu" in one:
                    total += 1
                    if one["median"] > 1.1 * one["cpu"]:
                        odd.append(f"{work}: {NAMES[library]}, {name}")
    if not total:
        return []
    if not odd:
        return [f"With one thread, wall and processor time agree within a tenth in all {total} measurements: the machine was quiet.\n"]
    some = "; ".join(odd[:6]) + ("; …" if len(odd) > 6 else "")
    return [
        f"**The machine was disturbed**: with one thread, wall time is more than a tenth over processor time in {len(odd)} of {total} "
        f"measurements ({some}).\n"
    ]


def earlier(data: dict[str, Any]) -> list[str]:
    """Name what was kept from a run that was worse than this one; a whole run leaves nothing of it."""
    kept = data.get("earlier", [])
    return [f"**Kept from an earlier run** of few rounds beside other work, so rough: {'; '.join(kept)}.\n"] if kept else []


def compiled(data: dict[str, Any]) -> list[str]:
    works = data.get("compiled", {})
    if not works:
        return []
    notes: dict[str, int] = {}
    rows = []
    for work, libraries in works.items():
        for library, found in libraries.items():
            step = found.get("actions", {}).get("train", found)
            plain = data.get("times", {}).get("1", {}).get(work, {}).get(library, {}).get("actions", {}).get("train", {})
            eager = f"{1e3 * plain['median']:.1f}" if "median" in plain else "–"
            if "median" in step:
                rows.append([work, NAMES[library], eager, f"{1e3 * step['median']:.1f}", f"{step['compile']:.0f}"])
            elif "limit" in step:
                rows.append([work, NAMES[library], eager, f"not compiled in {step['limit']:.0f} s", "–"])
            else:
                rows.append([work, NAMES[library], eager, f"cannot {reasons(notes, step)}", "–"])
    header = ["work", "library", "as it is, ms", "compiled, ms", "compiling, s"]
    return ["## With `torch.compile`\n", "The loss compiled, one thread.\n", table(header, rows, text=(0, 1)), *numbered(notes)]


def numbered(notes: dict[str, int]) -> list[str]:
    return ["\n".join(f"{number}. {text}" for text, number in notes.items()) + "\n"] if notes else []


def growth(data: dict[str, Any]) -> list[str]:
    if "growth" not in data:
        return []
    curves = {**{axis: data["growth"].get(axis, {}) for axis in GROWTH}, "bins, memory": memory_curves(data)}
    libraries = [name for name in NAMES if any(name in curve for curve in curves.values())]
    rows = []
    for axis, curve in curves.items():
        slopes = [slope(curve.get(name, {})) for name in libraries]
        rows.append([axis, *("–" if value is None else f"{value:.2f}" for value in slopes)])
    text = (
        "Slopes on log-log axes over the upper half of the sizes: 1 means twice as much for twice the size, 0 that the size is free.\n"
        "The work is spline coupling at D = 16, and for sampling the spline autoregressive flow on 128 rows.\n"
    )
    picture = "![Time and memory over size, for every library](images/performance-growth.png)\n"
    return ["## Growth\n", text, table(["what grows", *(NAMES[name] for name in libraries)], rows), picture]
