"""Whether the errors that continuous flows state of their log-densities are true, and how loose they are, on trained flows.

    python benchmarks/stated.py [--jobs ...] [--steps 1440] [--rows 1000] [--tolerances 1e-3 1e-5 1e-7] [--probes 4 5] [--seeds 30]

A `CNF` learns each density of `benchmarks/matching.py` by flow matching. Its `log_prob_and_error` on rows that it has not seen, in both
precisions and at each tolerance, is held against log-densities in float64 at a tolerance of 1e-12. A row has the share of rows that are off
by at most what is stated, the median of what is stated over what is true, and how far rows are off, in the middle and for 95 %. The second
table has the same of traces by random probes, Hutchinson's and Hutch++, against the exact trace, where events have more numbers than there
are probes: of others the trace is exact. Rows of one seed are off together, so each seed has a twentieth of the rows.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from matching import JOBS, ROWS
from matching_ways import at, taught
from torch import Tensor

import pushforward as pf

PART = 20
TINY = 1e-15
"""What a true error is at least, where it is divided by."""


@torch.no_grad()
def stated(flow: pf.Flow, rows: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return stated errors of log-densities, and true ones."""
    value, error = flow.log_prob_and_error(rows.to(flow.dtype))
    return error.double(), (value.double() - true).abs()


def told(error: Tensor, off: Tensor) -> str:
    """Return the cells of a row."""
    share, loose = float((off <= error).double().mean()), float((error / off.clamp(min=TINY)).median())
    return f"{100 * share:.1f} % | {loose:.1f} | {float(off.median()):.1e} | {float(off.quantile(0.95)):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS])
    parser.add_argument("--steps", type=int, default=1440)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-3, 1e-5, 1e-7])
    parser.add_argument("--probes", type=int, nargs="*", default=[4, 5])
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ends = "off by at most the stated | stated over true | off, median | 95 % |"
    print(f"| | precision | tolerance | {ends}\n|" + "---|" * 7, flush=True)
    learnt = {}
    for job in given.jobs:
        generator = torch.Generator().manual_seed(1000)
        flow, unseen = taught(JOBS[job].draw(ROWS, generator), given.steps), JOBS[job].draw(given.rows, generator)
        with torch.no_grad():
            true = at(flow, 1e-12).double().log_prob(unseen.double())
        learnt[job] = flow, unseen, true
        for dtype in (torch.float64, torch.float32):
            for tolerance in given.tolerances:
                cells = told(*stated(at(flow, tolerance).to(dtype), unseen, true))
                print(f"| {job} | {str(dtype)[6:]} | {tolerance:.0e} | {cells} |", flush=True)
    print(f"\n| | trace | probes | {ends}\n|" + "---|" * 7, flush=True)
    for job, (flow, unseen, true) in learnt.items():
        for trace in ("hutchinson", "hutch++"):
            for probes in (count for count in given.probes if count < JOBS[job].features):
                each = []
                for seed in range(given.seeds):
                    part = slice(seed % PART, None, PART)
                    made = at(flow, 1e-5, trace=trace, probes=probes, seed=seed).double()
                    each.append(stated(made, unseen[part], true[part]))
                error, off = (torch.cat(parts) for parts in zip(*each, strict=True))
                print(f"| {job} | {trace} | {probes} | {told(error, off)} |", flush=True)


if __name__ == "__main__":
    main()
