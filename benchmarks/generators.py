"""Densities and generators of mixed tables: held-out nats in one measure, and how good drawn rows are; docs/table-quality.md.

``python -m benchmarks.generators`` measures what docs/table-quality.json does not have yet, writes each method there as soon as it is
measured, and the page at the end; so it may be stopped and started again. Each method that trains has the same CPU time, on one thread.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

import pushforward as pf
from benchmarks.generation import dequantised, forest, mixture, samples, synthesizers
from benchmarks.generation.cells import cells_of, frame_of, space_of
from benchmarks.generation.page import page
from benchmarks.mixed_tables import TABLES, table
from pushforward.data import Schema
from pushforward.train import limit

FOLDER = Path(__file__).parents[1] / "docs"
SECONDS = 10.0
"""Of the processor, for each method that trains."""
ROUNDS = 2
"""Of the game of arfpy's forests, whose grouping of leaves takes far longer than its trees."""
EPOCHS = 100_000

Scores = np.ndarray[Any, Any]


class Trial:
    """One table and seed: rows to fit to, rows held out, and what is fitted to the former."""

    def __init__(self, name: str, seed: int, seconds: float) -> None:
        whole = table(name)
        self.schema = Schema.find(whole)
        order = np.random.default_rng(seed).permutation(len(whole))
        cut = len(whole) // 5
        self.held, self.train = (whole.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
        self.seed, self.seconds = seed, seconds
        alone = self.measured(False)
        self.space = space_of(alone)
        self.cells, self.unseen = (cells_of(self.space, rows) for rows in (self.train, self.held))
        self.alone = alone.log_prob(self.held).numpy()

    @functools.cached_property
    def told(self) -> dict[str, float]:
        """How well real rows tell each column of rows held out."""
        return samples.predictions(self.train, self.held, self.schema, self.seed)

    def run(self, method: str) -> dict[str, float]:
        """Fit one method, and return its figures."""
        began = time.process_time()
        made = METHODS[method](self)
        found = {"seconds": round(time.process_time() - began, 2)}
        if made.log_prob is not None:
            scores = made.log_prob()
            if made.beside:  # independent columns with a small share, since rows far off have no density else
                scores = np.logaddexp(scores + np.log1p(-mixture.ALONE), self.alone + np.log(mixture.ALONE))
            found["nats"] = -float(scores.mean())
        if made.draw is not None:
            rows = made.draw(len(self.train))
            found |= samples.quality(self.held, rows, self.schema, self.seed)
            found["utility"] = samples.utility(self.told, samples.predictions(rows, self.held, self.schema, self.seed))
        return {name: round(value, 4) for name, value in found.items()}

    def measured(self, correlated: bool) -> pf.TableFlow:
        """Return what a `TableFlow` starts from: independent columns, or their normal copula."""
        torch.manual_seed(self.seed)
        model = pf.TableFlow(self.schema, widths=(8,)).measure(self.train, classes=False)
        if not correlated:
            model.model.network.copula.forget()
        return model

    def fitted(self) -> pf.TableFlow:
        """Return a `TableFlow` that `fit` trained, with its defaults."""
        torch.manual_seed(self.seed)
        model = pf.TableFlow(self.schema)
        pf.fit(model, self.train, seconds=self.seconds, epochs=EPOCHS, seed=self.seed, progress=False)
        return model

    def chosen(self) -> pf.TableFlow:
        """Return what `choose` chose."""
        model, _ = pf.choose(self.train, schema=self.schema, seconds=self.seconds, seed=self.seed, progress=False)
        assert isinstance(model, pf.TableFlow)
        return model


@dataclass
class Made:
    """What was fitted: its log-density of rows held out, what draws rows, and whether independent columns are to stand beside it."""

    log_prob: Callable[[], Scores] | None
    draw: Callable[[int], pd.DataFrame] | None
    beside: bool = False


def ours(trial: Trial, model: pf.TableFlow) -> Made:
    """Return a `TableFlow` as what was made."""
    generator = torch.Generator().manual_seed(trial.seed)
    return Made(lambda: model.log_prob(trial.held).numpy(), lambda n: model.sample(n, generator=generator))


def of_mixture(trial: Trial) -> Made:
    made = mixture.fit(trial.space, trial.cells, trial.seconds, trial.seed)
    return Made(lambda: made.log_prob(trial.unseen), None, True)


def of_forest(trial: Trial) -> Made:
    made = forest.fit(trial.space, trial.cells, ROUNDS, trial.seed)
    random = np.random.default_rng(trial.seed)
    return Made(lambda: made.log_prob(trial.unseen), lambda n: frame_of(trial.space, made.sample(n, random)), True)


def of_nflows(trial: Trial) -> Made:
    made = dequantised.fit(trial.space, trial.cells, trial.seconds, trial.seed)
    return Made(lambda: made.log_prob(trial.unseen), None, True)


def of_sdv(name: str) -> Callable[[Trial], Made]:
    """Return what makes one of SDV's generators."""

    def make(trial: Trial) -> Made:
        model = synthesizers.fitted(name, samples.ready(trial.train, trial.schema), trial.schema, trial.seconds, trial.seed)
        return Made(None, lambda n: synthesizers.drawn(model, n)[list(trial.train.columns)])

    return make


METHODS: dict[str, Callable[[Trial], Made]] = {
    "real rows": lambda trial: Made(None, lambda _: trial.train),
    "independent columns": lambda trial: ours(trial, trial.measured(False)),
    "normal copula": lambda trial: ours(trial, trial.measured(True)),
    "TableFlow by fit": lambda trial: ours(trial, trial.fitted()),
    "TableFlow by choose": lambda trial: ours(trial, trial.chosen()),
    "mixture": of_mixture,
    "arfpy": of_forest,
    "nflows": of_nflows,
    "SDV copula": of_sdv("GaussianCopula"),
    "CTGAN": of_sdv("CTGAN"),
    "TVAE": of_sdv("TVAE"),
}


def setting() -> dict[str, str]:
    """Tell what the figures were measured with."""
    packages = ("torch", "numpy", "scikit-learn", "sdv", "ctgan", "sdmetrics", "arfpy", "nflows")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=list(TABLES), default=list(TABLES), metavar="TABLE", help="tables (none: the page alone)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="splits and starts (default: 0)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the processor, for each method that trains")
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD", help="methods (default: all)"
    )
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the page and its figures (default: docs)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    limit.clock = time.process_time  # whatever else the machine does
    path = given.out / "table-quality.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    data = {
        "setting": setting(),
        "seconds": given.seconds,
        "all": list(TABLES),
        **{part: data.get(part, {}) for part in ("shapes", "tables")},
    }
    for seed, name in itertools.product(given.seeds, given.only):
        cells = data["tables"].setdefault(name, {}).setdefault(str(seed), {})
        trial = Trial(name, seed, given.seconds)
        data["shapes"][name] = [len(trial.train) + len(trial.held), len(trial.schema)]
        for method in given.methods:
            if given.again or method not in cells:
                began = time.process_time()
                cells[method] = trial.run(method)
                path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
                print(f"{name}, seed {seed}, {method}: {time.process_time() - began:.0f} s, {cells[method]}", flush=True)
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (given.out / "table-quality.md").write_text(page(data), encoding="utf-8")


if __name__ == "__main__":
    main()
