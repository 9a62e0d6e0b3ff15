"""Small tables of every kind, and models of them whose networks are random."""

import datetime as dt

import numpy as np
import pandas as pd
import torch

from pushforward import TableFlow
from pushforward.data import Schema
from pushforward.tables.beginning import begin_with, edges_of, layout_of
from pushforward.tables.maximising import Found, summed


def column_of(kind, n=400, seed=0):
    """Return a column of a kind, and what to call it."""
    random = np.random.default_rng(seed)
    spiked = random.random(n)
    made = {
        "real": lambda: random.normal(1013, 7, n),
        "positive": lambda: random.lognormal(1, 0.8, n),
        "interval": lambda: random.beta(0.7, 1.5, n),
        "circular": lambda: random.vonmises(1, 1, n),
        "count": lambda: random.poisson(3, n),
        "large count": lambda: 20 + random.poisson(60, n),
        "step": lambda: np.round(random.normal(20, 3, n), 1),
        "odd step": lambda: 0.25 + 0.5 * random.integers(-4, 9, n),
        "circular step": lambda: 10 * random.integers(0, 36, n),
        "interval step": lambda: random.integers(0, 101, n),
        "atom": lambda: np.where(spiked < 0.3, 0.0, random.lognormal(1, 1, n)),
        "censored": lambda: np.minimum(random.normal(0, 1, n), 0.5),
        "atom on a grid": lambda: np.where(spiked < 0.3, 7, random.poisson(12, n)),
        "few values": lambda: random.choice([22.0, 22.5, 23.1, 24.7, 30.2], n, p=[0.4, 0.1, 0.2, 0.2, 0.1]),
        "few counts": lambda: random.choice([0, 1, 3, 7, 21, 50], n),
        "marked count": lambda: np.where(spiked < 0.1, -999, 20 + random.poisson(9, n)),
        "marked circle": lambda: np.where(spiked < 0.1, -999, 10 * random.integers(0, 36, n)),
        "marked step": lambda: np.where(spiked < 0.05, -999, np.where(spiked < 0.1, 9999.9, np.round(random.normal(20, 3, n), 1))),
        "missing": lambda: np.where(spiked < 0.2, np.nan, random.normal(0, 1, n)),
        "missing atom": lambda: np.where(spiked < 0.2, np.nan, np.where(spiked < 0.5, 0.0, random.lognormal(0, 1, n))),
        "missing count": lambda: pd.array(np.where(spiked < 0.2, None, random.poisson(3, n)), "Int64"),
        "binary": lambda: random.random(n) < 0.3,
        "numbered": lambda: random.integers(0, 2, n),
        "categorical": lambda: random.choice(["Bonn", "Köln", "Ulm"], n, p=[0.6, 0.3, 0.1]),
        "ordered": lambda: pd.Categorical(random.choice(["low", "medium", "high"], n), ["low", "medium", "high"], ordered=True),
        "missing category": lambda: pd.Categorical(np.where(spiked < 0.2, None, random.choice(["a", "b"], n)), ["a", "b", "never"]),
        "many": lambda: [f"city {i}" for i in random.integers(0, 150, n)],
        "date": lambda: [dt.date(2020, 1, 1) + dt.timedelta(int(d)) for d in random.integers(0, 200, n)],
        "moment": lambda: pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 10**12, n), unit="us"),
        "zone": lambda: pd.Timestamp("2020-01-01", tz="Europe/Berlin") + pd.to_timedelta(random.integers(0, 500, n), unit="h"),
        "whole": lambda: random.permutation(np.arange(1200, 1200 + 7 * n, 7)) + random.integers(0, 6, n),
        "huge count": lambda: random.integers(0, 10**8, n),
        "half hours": lambda: pd.Timestamp("2020-01-01") + pd.to_timedelta(30 * random.integers(0, 300, n), unit="min"),
        "constant": lambda: np.full(n, 2.5),
    }
    return made[kind]()


KINDS = [
    "real", "positive", "interval", "circular", "count", "large count", "step", "odd step", "circular step", "interval step", "atom",
    "censored", "atom on a grid", "few values", "few counts", "marked count", "marked circle", "marked step", "missing",
    "missing atom", "missing count", "binary", "numbered", "categorical", "ordered",
    "missing category", "many", "date", "moment", "zone", "whole", "huge count", "half hours", "constant",
]  # fmt: skip
BEGUN = [*((kind, 0) for kind in KINDS), *((kind, 3) for kind in KINDS)]
"""Each kind of column, in models that begin without latent classes, and with three."""
TOLD = {
    "interval": "interval:0:1",
    "circular": "circular:-3.141592653589793:3.141592653589793",
    "circular step": "circular:360",
    "marked circle": "circular:360",
    "interval step": "interval:0:100",
    "huge count": "count",
}


def frame_of(*kinds, n=400, seed=0):
    return pd.DataFrame({kind: column_of(kind, n, seed + at) for at, kind in enumerate(kinds)})


def schema_of(frame):
    return Schema.find(frame, {kind: TOLD[kind] for kind in frame.columns if kind in TOLD})


def set_classes(model, count=3, seed=0, odds=0.5):
    """Let a model begin with classes whose probabilities are any."""
    edges = edges_of([model.chart_of(variable) for variable in model.numbers], model.grids)
    layout = layout_of(model, edges)
    random = torch.Generator().manual_seed(seed)
    noise = torch.exp(0.5 * torch.randn(len(layout.block), count, generator=random, dtype=torch.float64))
    # Neighbours differ less than ends, in all classes alike, so that distribution functions are others than the marginal's.
    at = torch.arange(len(layout.block), dtype=torch.float64).unsqueeze(1)
    noise = noise * torch.exp(1.5 * torch.sin(at / 8 + 0.3 * torch.arange(count)))
    chances = layout.shares.unsqueeze(1) * noise
    chances = chances / summed(layout, chances)[layout.block]
    weights = torch.log_softmax(torch.randn(count, generator=random, dtype=torch.float64), 0)
    sizes = torch.full((layout.blocks + 1, count), 100.0, dtype=torch.float64)
    begin_with(model, Found(weights, torch.log(chances), sizes), edges, torch.full((len(edges),), odds, dtype=torch.float64))


def model_of(frame, noise=0.5, seed=0, narrow=False, classes=0, **options):
    """Return a model that has met a frame, with noise on its network: conditionals are any, those of numbers ``narrow`` if asked for."""
    torch.manual_seed(seed)
    model = TableFlow(schema_of(frame), **{"widths": (32, 32), "bins": 6, **options}).measure(frame, classes=False)
    if classes:
        set_classes(model.model, classes, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("case_", "spline_", "told", "bias")):
                parameter.add_(noise * torch.randn(parameter.shape))
        if narrow:
            return model
        # Not narrower than sums over twenty thousand points can see.
        model.model.network.spline_weight[:, -2] *= 0.1
        model.model.network.spline_bias[:, -2] *= 0.1
    return model
