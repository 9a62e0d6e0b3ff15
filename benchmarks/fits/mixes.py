"""What mixes the features of affine flows, measured in a plain loop of Adam.

``python benchmarks/fits/mixes.py`` prints for each job and flow the nats a row of rows that no fit has seen, for each value of ``mix``,
after ``--steps`` steps of 256 rows: medians over the seeds. One thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from jobs import JOBS
from libraries import Made
from rates import excess, train

import pushforward as pf

MIXES = ("linear", "reverse", "shuffle")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS], help="which (default: all)")
    parser.add_argument("--flows", nargs="+", default=["MAF", "RealNVP"], help="which (default: MAF RealNVP)")
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=MIXES, help="which (default: all)")
    parser.add_argument("--rate", type=float, default=1e-3, help="of Adam (default: 1e-3)")
    parser.add_argument("--steps", type=int, default=1000, help="of each fit (default: 1000)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="starts of each fit (default: 0 1 2)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| job | flow | " + " | ".join(given.mixes) + " |\n|---|---|" + "---|" * len(given.mixes))
    for job in given.jobs:
        for name in given.flows:
            cells = []
            for mix in given.mixes:
                found = []
                for seed in given.seeds:
                    rows, unseen = JOBS[job](seed)
                    torch.manual_seed(seed)
                    flow = getattr(pf, name)(rows.shape[1], mix=mix)
                    flow.standardize(rows)
                    made = Made(flow, flow.log_prob)
                    train(made, rows, given.rate, seed, given.steps)
                    found.append(excess(made, unseen, 0.0))
                cells.append(f"{statistics.median(found):.3f}")
            print(f"| {job} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
