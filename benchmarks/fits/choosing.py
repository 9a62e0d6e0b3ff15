"""`choose` beside `fit` with its defaults, and beside the classical densities, at equal time.

``python benchmarks/fits/choosing.py`` prints for each job the nats a row of rows that no fit has seen: of NSF by `fit`, with ``mixture=0``
and as it is; of what `choose` gives in as many seconds of CPU time; and of scikit-learn's mixture of 1 to 32 normals that is best by
the rows held out, however long that takes; and what was chosen. Medians over the seeds, one thread.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from jobs import JOBS as SMALL
from real_tables import TABLES
from sklearn.mixture import GaussianMixture
from starts import nats
from torch import Tensor

import pushforward as pf
from pushforward.train import limit

JOBS = SMALL | {name: TABLES[name].rows for name in ("galaxies", "shuttle", "houses", "counties")}


def mixture(rows: Tensor, unseen: Tensor) -> float:
    """Return the nats of unseen rows under the mixture of normals that is best on a tenth of the rows, in standardised units."""
    mean, deviation = rows.mean(0), rows.std(0)
    rows, unseen = (rows - mean) / deviation, (unseen - mean) / deviation
    cut = len(rows) // 10
    made = [GaussianMixture(count, random_state=0).fit(rows[cut:]) for count in (1, 2, 4, 8, 16, 32) if count < len(rows) // 10]
    return -max(made, key=lambda one: one.score(rows[:cut])).score(unseen) + deviation.log().sum().item()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS], help="which (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="starts (default: 1)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each fit (default: 30)")
    parser.add_argument("--told", action="store_true", help="print what became of each candidate")
    given = parser.parse_args()
    torch.set_num_threads(1)
    limit.clock = time.process_time  # whatever else the machine does
    warnings.simplefilter("ignore")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch imports its compiler with its first optimiser
    print("| job | `fit`, `NSF`, `mixture=0` | `fit`, `NSF` | `choose` | mixture | chosen |\n|---|---|---|---|---|---|")
    for job in given.jobs:
        found, names = [], collections.Counter()
        for seed in range(given.seeds):
            rows, unseen = JOBS[job](seed)
            flows = []
            for components in (0, None):
                torch.manual_seed(seed)
                flows.append(pf.NSF(rows.shape[1]))
                pf.fit(flows[-1], rows, mixture=components, seconds=given.seconds, seed=seed, progress=False)
            chosen, history = pf.choose(rows, seconds=given.seconds, seed=seed, progress=False)
            names[history.candidates[0].name] += 1
            found.append((*(nats(flow, unseen) for flow in flows), nats(chosen, unseen), mixture(rows, unseen)))
            if given.told:
                print("\n".join(f"{one.name}: {one.loss:.3f}, {one.seconds:.1f} s, {one.epochs} epochs" for one in history.candidates))
        cells = [f"{statistics.median(values):.3f}" for values in zip(*found, strict=True)]
        print(f"| {job} | {' | '.join(cells)} | {', '.join(names)} |", flush=True)


if __name__ == "__main__":
    main()
