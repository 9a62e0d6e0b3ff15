"""Tables of plain numbers: a `TableFlow`, a spline flow, what `choose` takes, scikit-learn's tuned mixture and pzflow, held-out nats.

    python -m benchmarks.continuous_tables            # seconds of the processor for each that trains, one thread

It prints a table, a row as soon as it is measured. The mixture takes the time that it takes: 1 to 128 components, full covariances, by a
tenth of the rows. pzflow's flow has its defaults (rolling spline couplings) and keeps its best weights by the same tenth; as many epochs as
the time holds once JAX has compiled, which does not count. It needs pzflow, jax and optax; without them it is left out.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
import pandas as pd
import torch
from sklearn.mixture import GaussianMixture

import pushforward as pf
from pushforward.data import Schema
from pushforward.train import limit

sys.path.insert(0, str(Path(__file__).parent / "fits"))
from real_tables import TABLES

JOBS = ("galaxies", "weather", "diamonds")
EPOCHS = 100_000
SHARE = 10
"""Of so many rows one chooses components, or weights of pzflow."""

Scores = Callable[[pd.DataFrame], Any]


def spline_flow(train: pd.DataFrame, seconds: float, seed: int) -> Scores:
    """Return what scores rows by `NSF` as `fit` trains it."""
    torch.manual_seed(seed)
    flow = pf.NSF(train.shape[1])
    pf.fit(flow, train, seconds=seconds, epochs=EPOCHS, seed=seed, progress=False)
    return lambda rows: flow.log_prob(torch.tensor(rows.to_numpy(), dtype=torch.float32)).detach().numpy()


def table_flow(train: pd.DataFrame, seconds: float, seed: int) -> Scores:
    torch.manual_seed(seed)
    model = pf.TableFlow(schema_of(train))
    pf.fit(model, train, seconds=seconds, epochs=EPOCHS, seed=seed, progress=False)
    return lambda rows: model.log_prob(rows).numpy()


def chosen(train: pd.DataFrame, seconds: float, seed: int) -> Scores:
    model, _ = pf.choose(train, schema=schema_of(train), seconds=seconds, seed=seed, progress=False)
    if isinstance(model, pf.TableFlow):
        return lambda rows: model.log_prob(rows).numpy()
    return lambda rows: model.log_prob(torch.tensor(rows.to_numpy(), dtype=model.dtype)).detach().numpy()


def schema_of(train: pd.DataFrame) -> Schema:
    """Return the schema of numbers that may be any, as densities of numbers have them."""
    return Schema.find(train, dict.fromkeys(train.columns, "real"))


def mixture(train: pd.DataFrame, seconds: float, seed: int) -> Scores:
    rows = train.to_numpy()
    cut = len(rows) // SHARE
    found: list[tuple[float, GaussianMixture]] = []
    for count in (1, 2, 4, 8, 16, 32, 64, 128):
        if 4 * count < len(rows) - cut:
            made = GaussianMixture(count, random_state=seed).fit(rows[cut:])
            found.append((-made.score(rows[:cut]), made))
    return min(found, key=lambda one: one[0])[1].score_samples


def pzflow(train: pd.DataFrame, seconds: float, seed: int) -> Scores:
    from pzflow import Flow

    cut = len(train) // SHARE

    def trained(epochs: int) -> tuple[Any, float]:
        flow = Flow(tuple(train.columns), seed=seed)
        began = time.process_time()
        flow.train(train[cut:], train[:cut], epochs=epochs, best_params=True, progress_bar=False, seed=seed)
        return flow, time.process_time() - began

    one, three = trained(1)[1], trained(4)[1]
    flow, _ = trained(max(1, math.floor(seconds / max(1e-3, (three - one) / 3))))
    return lambda rows: np.asarray(flow.log_prob(rows), float)


METHODS = {"NSF by fit": spline_flow, "TableFlow by fit": table_flow, "choose": chosen, "mixture, scikit-learn": mixture, "pzflow": pzflow}


def main() -> None:
    """Write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    limit.clock = time.process_time
    print(f"| table | seed | {' | '.join(given.methods)} |\n| --- | --- |{' --- |' * len(given.methods)}")
    for name in JOBS:
        for seed in given.seeds:
            train, held = (pd.DataFrame(part.double().numpy()).add_prefix("x") for part in TABLES[name].rows(seed))
            told = []
            for method in given.methods:
                try:
                    scores = METHODS[method](train, given.seconds, seed)(held)
                    told.append(f"{-float(np.mean(scores)):.3f}")
                except ImportError:
                    told.append("-")
            print(f"| {name} ({len(train):,} x {train.shape[1]}) | {seed} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
