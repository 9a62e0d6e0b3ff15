"""Held-out nats of tables: a `TableFlow` beside independent columns, and on numbers alone beside a flow.

    python -m benchmarks.tables --seeds 3

Tables are those that scikit-learn brings. Of each a fifth is left out; figures are the mean log-density of these rows, in the mixed measure
of the page on tables, and the standard deviation over splits. Numbers of the last table have no grid, so a flow has a density there, too.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.externals import _arff

import pushforward as pf
from pushforward.data import Schema

ARFF = Path(datasets.__file__).parent / "tests/data/openml"


def of_arff(number: int) -> pd.DataFrame:
    """Return a table that scikit-learn brings for its tests."""
    path = next((ARFF / f"id_{number}").glob("data*.arff.gz"))
    with gzip.open(path, "rt") as file:
        content = _arff.loads(file.read())
    names = [name for name, _ in content["attributes"]]
    return pd.DataFrame(content["data"], columns=names)


def titanic() -> pd.DataFrame:
    """1,309 passengers: counts, categories, prices with spikes, missing ages."""
    return of_arff(40945)[["pclass", "survived", "sex", "age", "sibsp", "parch", "fare", "embarked"]]


def penguins() -> pd.DataFrame:
    """344 penguins: species, islands, sizes on grids, missing cells."""
    return of_arff(42585)


def diabetes() -> pd.DataFrame:
    """442 patients: counts, sizes on grids, atoms."""
    return datasets.load_diabetes(as_frame=True, scaled=False).frame.astype({"sex": "category"})


def cells() -> pd.DataFrame:
    """569 measurements of cells: ten numbers."""
    return datasets.load_breast_cancer(as_frame=True).frame.iloc[:, :10]


def row(table: pd.DataFrame, seed: int, epochs: int) -> dict[str, float]:
    """Return held-out nats of one split, by model."""
    frame = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    cut = len(frame) * 4 // 5
    train, held = frame.iloc[:cut], frame.iloc[cut:]
    schema = Schema.find(frame)
    torch.manual_seed(seed)
    model = pf.TableFlow(schema).measure(train)
    found = {"independent": float(model.log_prob(held).mean())}
    began = time.process_time()
    pf.fit(model, train, epochs=epochs, seed=seed, progress=False)
    found["TableFlow"], found["seconds"] = float(model.log_prob(held).mean()), time.process_time() - began
    found["disagreement"] = model.disagreement(held, 4, generator=torch.Generator().manual_seed(0)).typical
    if all(column.kind in ("real", "positive") and not column.step for column in schema):
        flow = pf.NSF(len(schema))
        began = time.process_time()
        pf.fit(flow, train, epochs=epochs, seed=seed, progress=False)
        x = torch.tensor(held.to_numpy(), dtype=torch.float32)
        with torch.no_grad():
            found["NSF"], found["seconds of NSF"] = float(flow.log_prob(x).mean()), time.process_time() - began
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    for make in (titanic, penguins, diabetes, cells):
        rows = pd.DataFrame([row(make(), seed, options.epochs) for seed in range(options.seeds)])
        told = ", ".join(f"{name} {rows[name].mean():.2f} ± {np.std(rows[name]):.2f}" for name in rows)
        print(f"{make.__name__}: {told}", flush=True)


if __name__ == "__main__":
    main()
