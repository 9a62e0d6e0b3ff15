"""How a fit that begins as a mixture goes on: with and without the rows' covariance, and a warm-up.

``python benchmarks/fits/beginnings.py`` prints for each job the nats of rows that no fit has seen: of NSF where it begins, and after
`fit` has had so many seconds of CPU time, over a mixture of 16 normals, measured with and without ``whiten``, without a warm-up and with
that of `fit`; and of a flow that begins at a standard normal distribution, without a warm-up and with one. One thread.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from quality import rows
from starts import nats

import pushforward as pf
from pushforward.train import limit

JOBS = ("weather", "cancer", "diabetes", "galaxies", "shuttle", "houses", "banana", "funnel")
COMPONENTS = 16
module = importlib.import_module("pushforward.train.fit")
WARMUP = module.WARMUP


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=[*JOBS], help="which (default: six tables and two densities)")
    parser.add_argument("--seconds", type=float, default=7.0, help="of each fit (default: 7)")
    parser.add_argument("--seed", type=int, default=0, help="of rows and first weights (default: 0)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    limit.clock = time.process_time  # whatever else the machine does
    warnings.simplefilter("ignore")
    ways = [(whiten, COMPONENTS) for whiten in (False, True)] + [(False, 0)]
    names = ["mixture", "mixture, whitened", "standard normal"]
    heads = [text for name in names for text in (f"{name}, at the start", "no warm-up", f"{WARMUP} steps")]
    print(f"| job | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for job in given.jobs:
        seen, unseen, _ = rows(job, given.seed)
        cells = []
        for whiten, components in ways:
            for warmup in (0, WARMUP):
                module.WARMUP = warmup
                torch.manual_seed(given.seed)
                flow = pf.NSF(seen.shape[1])
                flow.standardize(seen, whiten=whiten, mixture=components)
                if not warmup:
                    cells.append(f"{nats(flow, unseen):.3f}" if components else "")
                pf.fit(flow, seen, seconds=given.seconds, seed=given.seed, progress=False)
                cells.append(f"{nats(flow, unseen):.3f}")
        print(f"| {job} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
