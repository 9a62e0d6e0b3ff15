"""Mixtures of few rows: how many components they get, and what these say of rows that none has seen.

``python benchmarks/fits/few_mixtures.py`` prints for six tables of some hundred rows the components and the nats of the mixture that a
fit may begin as, medians of the seeds: chosen by one tenth that is held out; by every tenth in turn; and by every tenth, where components
with few rows also have more of the typical covariance, which is how it is.
"""

from __future__ import annotations

import argparse
import os
import statistics

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from real_tables import TABLES

import pushforward as pf
from pushforward.bases import em
from pushforward.flow import mixture_start

JOBS = ("cancer", "diabetes", "wine", "midwest", "stocks", "penguins")
WAYS = {"one tenth": (0, 0.0), "every tenth": (mixture_start.FEW, 0.0), "and a firmer prior": (mixture_start.FEW, em.SCARCE)}


def measured(job: str, seed: int) -> tuple[int, float]:
    """Return how many components a flow begins with, and the nats of rows that it has not seen."""
    rows, unseen = TABLES[job].rows(seed)
    flow = pf.NSF(rows.shape[1])
    flow.standardize(rows, whiten=True, mixture=None)
    with torch.no_grad():
        return getattr(flow.base.plan, "components", 1), -flow.log_prob(unseen).double().mean().item()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="splits (default: 0 1 2)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| job | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for job in JOBS:
        cells = []
        for few, scarce in WAYS.values():
            mixture_start.FEW, em.SCARCE = few, scarce
            found = [measured(job, seed) for seed in given.seeds]
            counts = ", ".join(str(count) for count, _ in found)
            cells.append(f"{statistics.median(nats for _, nats in found):.3f} ({counts})")
        print(f"| {job} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
