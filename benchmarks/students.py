"""How much faster than its teacher a student is, and what it loses: continuous flows and the one-pass flows that `distill` fits to them.

    python benchmarks/students.py [--jobs ...] [--steps 1440] [--student 2000] [--rows 1 1000 10000] [--tolerances 1e-3 1e-5 1e-7]

The teacher is a `CNF` that flow matching trains on 20,000 rows of a density whose entropy is known (those of `benchmarks/matching.py`).
The first table has held-out nats above the entropy of the teacher and its students, and what `distill` says that a student loses to its
teacher, with the standard error. The second has the milliseconds that the student takes to score and to draw so many rows, and as how many
times as long the teacher takes at a tolerance: medians of ten calls in turn, seconds of the processor, one thread, float32, no gradients.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from matching import JOBS, ROWS, UNSEEN
from matching_ways import at, taught
from torch import Tensor

import pushforward as pf

CALLS = 10
STUDENTS: dict[str, Callable[[int], pf.Flow]] = {
    "NSF": pf.NSF,
    "NSF, two layers": lambda features: pf.NSF(features, transforms=2),
    "RealNVP": lambda features: pf.RealNVP(features, transforms=8),
}


def milliseconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the medians of calls in turn."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(CALLS + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:  # the first warms up
                found[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(each) for name, each in found.items()}


@torch.no_grad()
def speeds(students: dict[str, pf.Flow], teachers: dict[str, pf.Flow], x: Tensor) -> None:
    """Print a row of the second table for each student."""
    every = {**students, **teachers}
    score = milliseconds({name: lambda flow=flow: flow.log_prob(x) for name, flow in every.items()})
    draw = milliseconds({name: lambda flow=flow: flow.sample((len(x),)) for name, flow in every.items()})
    for name in students:
        cells = [f"{took[name]:.2f} ms | " + " | ".join(f"{took[t] / took[name]:.0f}x" for t in teachers) for took in (score, draw)]
        print(f"| {name} | {len(x)} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=["two moons", "eight Gaussians", "six features"])
    parser.add_argument("--steps", type=int, default=1440, help="of the teacher")
    parser.add_argument("--student", type=int, default=2000, help="steps of a student")
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=[*STUDENTS])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 1000, 10000])
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-3, 1e-5, 1e-7])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.jobs:
        job, generator = JOBS[name], torch.Generator().manual_seed(1000)
        rows, unseen = job.draw(ROWS, generator), job.draw(UNSEEN, generator)
        entropy = -job.log_prob(unseen.double()).mean().item()

        def above(flow: pf.Flow, unseen: Tensor = unseen, entropy: float = entropy) -> float:
            with torch.no_grad():
                return -flow.log_prob(unseen).double().mean().item() - entropy

        teacher = taught(rows, given.steps)
        print(
            f"\n{name}\n\n| | nats above the entropy | lost to the teacher |\n|---|---|---|\n| teacher | {above(teacher):.3f} | |",
            flush=True,
        )
        students = {}
        for kind in given.students:
            torch.manual_seed(0)
            students[kind] = STUDENTS[kind](job.features)
            told = pf.distill(teacher, students[kind], steps=given.student, draws=100_000, progress=False)
            value, error = told.forward_kl[told.best_epoch]
            print(f"| {kind} | {above(students[kind]):.3f} | {value:.3f} +- {error:.3f} |", flush=True)
        teachers = {f"{tolerance:g}": at(teacher, tolerance) for tolerance in given.tolerances}
        head = " | ".join(["score", *teachers, "draw", *teachers])
        print(f"\n| | rows | {head} |\n|---|---|" + "---|" * (2 * len(teachers) + 2), flush=True)
        for count in given.rows:
            speeds(students, teachers, unseen[torch.arange(count) % len(unseen)])


if __name__ == "__main__":
    main()
