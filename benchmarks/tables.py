"""Held-out nats of tables: a `TableFlow` beside independent columns and the copula that it starts from.

On numbers alone it stands beside a spline flow and mixtures of normals, too, all in the same seconds of the processor.

    python -m benchmarks.tables --seeds 3

Tables are those that scikit-learn brings. Of each a fifth is left out; figures are the mean log-density of these rows, in the mixed measure
of the page on tables, and the standard deviation over splits. Numbers of the last two have no grid, so a flow has a density there, too.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.externals import _arff
from sklearn.mixture import GaussianMixture

import pushforward as pf
from pushforward.data import Schema

EPOCHS = 100_000
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


def scores() -> pd.DataFrame:
    """1,797 digits: their eight principal components, a number each."""
    pixels, _ = datasets.load_digits(return_X_y=True)
    noise = np.random.default_rng(0).random(pixels.shape)
    return pd.DataFrame(PCA(8).fit_transform(pixels + noise), columns=[f"pc{at}" for at in range(1, 9)])


def within(seconds: float) -> Callable[[pf.History], bool]:
    """Return a callback that ends a fit after so many seconds of the processor."""
    began = time.process_time()
    return lambda _: time.process_time() - began > seconds


def row(table: pd.DataFrame, seed: int, seconds: float) -> dict[str, float]:
    """Return held-out nats of one split, by model."""
    frame = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    cut = len(frame) * 4 // 5
    train, held = frame.iloc[:cut], frame.iloc[cut:]
    schema = Schema.find(frame)
    torch.manual_seed(seed)
    model = pf.TableFlow(schema).measure(train)
    found = {"independent": sum(float(model.log_prob(held, [name]).mean()) for name in model.columns)}
    found["copula"] = float(model.log_prob(held).mean())
    pf.fit(model, train, epochs=EPOCHS, seed=seed, progress=False, callback=within(seconds))
    found["TableFlow"] = float(model.log_prob(held).mean())
    found["disagreement"] = model.disagreement(held, 4, generator=torch.Generator().manual_seed(0)).typical
    if all(column.kind in ("real", "positive") and not column.step and not column.atoms for column in schema):
        flow = pf.NSF(len(schema))
        pf.fit(flow, train, epochs=EPOCHS, seed=seed, progress=False, callback=within(seconds))
        with torch.no_grad():
            found["NSF"] = float(flow.log_prob(torch.tensor(held.to_numpy(), dtype=torch.float32)).mean())
        size = train.std()
        for count in (1, 5, 20):
            mixture = GaussianMixture(count, reg_covar=1e-3, random_state=seed).fit((train / size).to_numpy())
            found[f"{count} normal"] = float(mixture.score((held / size).to_numpy()) - np.log(size).sum())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of the processor, for each fit")
    options = parser.parse_args()
    for make in (titanic, penguins, diabetes, cells, scores):
        rows = pd.DataFrame([row(make(), seed, options.seconds) for seed in range(options.seeds)])
        told = ", ".join(f"{name} {rows[name].mean():.2f} ± {np.std(rows[name]):.2f}" for name in rows)
        print(f"{make.__name__}: {told}", flush=True)


if __name__ == "__main__":
    main()
