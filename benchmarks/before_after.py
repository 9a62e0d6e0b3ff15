"""How long scoring, a training step and sampling take in two checkouts of this library, turn by turn in one run.

    python benchmarks/before_after.py OLD NEW [--rounds 100] [--rows 512]

Each checkout is a folder with its compiled code in place (``setup.py build_ext --inplace``). Each runs in a process of its own, with one
thread, both on one core; for each work they answer one after the other within milliseconds, in changing order, so that what else the
machine does meets both. Printed are the least times, and the median and quartiles of the ratios of the rounds. A run of one checkout
against itself says what the machine can tell apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES, SIZES, WORKS = ("NSF", "MAF", "RealNVP"), (2, 16, 64), ("log_prob", "step", "sample")
TURNS = 5
"""Calls of a turn, of which the second fastest counts."""


def worker(checkout: str, rows: int) -> None:
    """Answer each line of the input, the number of a work, with its seconds."""
    import torch

    import pushforward as pf

    if not str(pf.__file__).startswith(checkout):
        raise SystemExit(f"expected the package of {checkout}, got {pf.__file__}")
    torch.set_num_threads(1)
    works = []
    for name in NAMES:
        for size in SIZES:
            torch.manual_seed(0)
            flow, x = getattr(pf, name)(size), torch.randn(rows, size)
            optimiser = torch.optim.Adam(flow.parameters(), 1e-4)

            def log_prob(flow=flow, x=x):
                with torch.no_grad():
                    flow.log_prob(x)

            def step(flow=flow, x=x, optimiser=optimiser):
                optimiser.zero_grad()
                (-flow.log_prob(x).mean()).backward()
                optimiser.step()

            def sample(flow=flow):
                flow.sample((rows,))

            works += [log_prob, step, sample]
    for work in works * 20:
        work()
    for line in sys.stdin:
        turns = []
        for _ in range(TURNS):
            start = time.perf_counter()
            works[int(line)]()
            turns.append(time.perf_counter() - start)
        print(json.dumps(sorted(turns)[1]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="+", help="the old one and the new one")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.checkouts[0], given.rows)
        return
    if len(given.checkouts) != 2:
        parser.error(f"expected two checkouts, got {len(given.checkouts)}")
    for checkout in given.checkouts:
        if not list(Path(checkout, "pushforward", "native").glob("_kernels*")):
            parser.error(f"expected a checkout with its compiled code in place, got {checkout}")
    if given.rounds < 2 or given.rows < 1:
        parser.error(f"expected at least 2 rounds and 1 row, got {given.rounds} and {given.rows}")
    labels = [(f"{name}, D = {size}", work) for name in NAMES for size in SIZES for work in WORKS]
    found: list[list[list[float]]] = [[[] for _ in labels] for _ in given.checkouts]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # which the workers inherit
    with tempfile.TemporaryDirectory() as away:
        workers = []
        for checkout in map(os.path.realpath, given.checkouts):
            command = [sys.executable, str(Path(__file__).resolve()), "--worker", "--rows", str(given.rows), checkout]
            settings = os.environ | {"PYTHONPATH": checkout, "OMP_NUM_THREADS": "1"}
            workers.append(subprocess.Popen(command, cwd=away, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for number in range(given.rounds):
            for work in range(len(labels)):
                for index in (0, 1) if (number + work) % 2 else (1, 0):
                    process = workers[index]
                    assert process.stdin is not None
                    assert process.stdout is not None
                    process.stdin.write(f"{work}\n")
                    process.stdin.flush()
                    found[index][work].append(json.loads(process.stdout.readline()))
        for process in workers:
            process.communicate()
    print("| flow | work | before, ms | after, ms | median ratio | quartiles |\n| --- | --- | --- | --- | --- | --- |")
    for index, (flow, work) in enumerate(labels):
        old, new = (each[index] for each in found)
        ratios = [b / a for a, b in zip(old, new, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {flow} | {work} | {1e3 * min(old):.3f} | {1e3 * min(new):.3f} | {statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} |"
        )


if __name__ == "__main__":
    main()
