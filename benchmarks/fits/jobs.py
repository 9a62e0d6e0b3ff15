"""Jobs of the experiments on fits: densities with exact draws, and tables that packages ship, each as rows to fit and rows to score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor

from pushforward import targets
from pushforward.data import dequantize
from pushforward.data.reading import open_table

WEATHER = Path(__file__).parents[2] / "examples/data/weather.csv.gz"
DRAWN, UNSEEN = 4000, 10_000
"""Rows of a density to fit, and to score."""

Job = Callable[[int], tuple[Tensor, Tensor]]


def density(target: targets.Target) -> Job:
    """Return the job of a density: fresh draws for each seed."""

    def rows(seed: int) -> tuple[Tensor, Tensor]:
        drawn = target.sample((DRAWN + UNSEEN,), generator=torch.Generator().manual_seed(seed))
        return drawn[:DRAWN], drawn[DRAWN:]

    return rows


def table(read: Callable[[], np.ndarray]) -> Job:
    """Return the job of a table: another four fifths of its rows for each seed, grids spread evenly over their steps."""

    def rows(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        values = torch.as_tensor(dequantize(read().astype(float), generator)[0])
        shuffled = values[torch.randperm(len(values), generator=generator)].float()
        cut = len(values) * 4 // 5
        return shuffled[:cut], shuffled[cut:]

    return rows


JOBS: dict[str, Job] = {
    "banana": density(targets.Banana()),
    "eight Gaussians": density(targets.GaussianRing(8)),
    "rings": density(targets.Circles()),
    "funnel": density(targets.Funnel()),
    "cancer, 10 columns": table(lambda: datasets.load_breast_cancer().data[:, :10]),
    "diabetes, 7 columns": table(lambda: datasets.load_diabetes(scaled=False).data[:, [2, 3, 4, 5, 6, 8, 9]]),
    "weather, 6 columns": table(lambda: open_table(WEATHER).read()),
}
TABLES = [name for name in JOBS if "columns" in name]
