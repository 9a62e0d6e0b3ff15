"""How good drawn rows are, beside rows that no model has seen: SDMetrics' measures, and those of papers by their definitions."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import balanced_accuracy_score, mean_squared_error, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from benchmarks.generation.synthesizers import KINDS, metadata_of
from pushforward.data import Schema

Array = np.ndarray[Any, Any]

TREES = {"n_estimators": 30, "min_samples_leaf": 5, "max_features": 0.5}
MOST = 1000
"""Rows that a forest learns a column from, at most."""
NEIGHBOURS = 5
"""Of a row, within whose distance it is met, as in the paper's experiments."""


def quality(held: pd.DataFrame, drawn: pd.DataFrame, schema: Schema, seed: int) -> dict[str, float]:
    """Return all measures of drawn rows but `utility`; more is better, 1 the best."""
    both = coordinates([held, drawn], schema)
    return {
        **packaged(held, drawn, schema, seed),
        **logistic(both[0], both[1], seed),
        **told_apart(both[0], both[1], seed),
        **faithful(both[0], both[1]),
    }


def packaged(held: pd.DataFrame, drawn: pd.DataFrame, schema: Schema, seed: int) -> dict[str, float]:
    """Return SDMetrics' Column Shapes and Column Pair Trends."""
    from sdmetrics.reports.single_table import QualityReport

    np.random.seed(seed)  # noqa: NPY002, which the package draws from
    report = QualityReport()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        report.generate(ready(held, schema), ready(drawn, schema), metadata_of(schema), verbose=False)
    scores = report.get_properties().set_index("Property")["Score"]
    return {"shapes": float(scores["Column Shapes"]), "trends": float(scores["Column Pair Trends"])}


def logistic(real: Array, drawn: Array, seed: int) -> dict[str, float]:
    """Return SDMetrics' logistic detection in these coordinates, since its own know no case that real rows do not have."""
    from sdmetrics.single_table import LogisticDetection

    np.random.seed(seed)  # noqa: NPY002
    metadata = {"columns": {str(at): {"sdtype": "numerical"} for at in range(real.shape[1])}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [pd.DataFrame(rows, columns=list(metadata["columns"])) for rows in (real, drawn[: len(real)])]
        return {"logistic": float(LogisticDetection.compute(*tables, metadata))}


def ready(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return a table of types that all packages take."""
    found = {}
    for column in schema:
        values = table[column.name]
        if column.kind == "datetime":
            found[column.name] = values.dt.tz_localize(None) if values.dt.tz is not None else values
        elif KINDS.get(column.kind) == "categorical":
            found[column.name] = values.map(str, na_action="ignore").astype(object)
        else:
            found[column.name] = values.astype(float)
    return pd.DataFrame(found)


def coordinates(tables: list[pd.DataFrame], schema: Schema, without: str | None = None) -> list[Array]:
    """Return tables as numbers, on the scale of the first: normal scores of numbers, cases as 0 and 1, missing cells beside them."""
    parts: list[list[Array]] = [[] for _ in tables]
    for column in schema:
        if column.name == without:
            continue
        values = [table[column.name] for table in tables]
        if KINDS.get(column.kind) == "categorical":
            texts = [value.map(str) for value in values]
            cases = texts[0].value_counts().index[:50]
            for part, text in zip(parts, texts, strict=True):
                # Two rows of different cases are as far apart as numbers that differ by one deviation.
                part.append((text.to_numpy()[:, None] == cases.to_numpy()) / np.sqrt(2))
            continue
        numbers = [as_numbers(value, column.kind) for value in values]
        order = np.sort(numbers[0][~np.isnan(numbers[0])])
        for part, x in zip(parts, numbers, strict=True):
            none = np.isnan(x)
            share = (np.searchsorted(order, x) + np.searchsorted(order, x, "right")) / 2 / max(len(order), 1)
            part.append(np.where(none, 0.0, (share - 0.5) * np.sqrt(12))[:, None])
            if column.missing:
                part.append(none[:, None].astype(float))
    return [np.concatenate(part, 1) for part in parts]


def as_numbers(values: pd.Series, kind: str) -> Array:
    if kind == "datetime":
        plain = values.dt.tz_localize(None) if values.dt.tz is not None else values
        return np.asarray(np.where(plain.isna(), np.nan, plain.astype("datetime64[s]").astype("int64").astype(float)))
    return values.astype(float).to_numpy(float, na_value=np.nan)


def told_apart(real: Array, drawn: Array, seed: int) -> dict[str, float]:
    """Return 1 for rows that a forest tells from real ones no better than chance, 0 where it never errs: 2 (1 - AUC), at most 1.

    Source: Revisiting Classifier Two-Sample Tests (Lopez-Paz, Oquab, 2017).
    """
    drawn = drawn[: len(real)]
    x, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=seed)
    parts = StratifiedKFold(5, shuffle=True, random_state=seed)
    chance = cross_val_predict(forest, x, y, cv=parts, method="predict_proba")[:, 1]
    return {"c2st": float(min(1.0, 2 * (1 - roc_auc_score(y, chance))))}


def faithful(real: Array, drawn: Array) -> dict[str, float]:
    """Return integrated alpha precision and beta recall, of balls around the mean, in these coordinates rather than those of a network.

    Source: How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and Auditing Generative Models (Alaa et al., 2022).
    """
    drawn = drawn[: len(real)]
    levels = np.linspace(0, 1, 31)
    of_real, of_drawn = (np.linalg.norm(x - x.mean(0), axis=1) for x in (real, drawn))
    to_real = np.linalg.norm(drawn - real.mean(0), axis=1)
    precision = np.array([(to_real <= np.quantile(of_real, level)).mean() for level in levels])
    reach = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(real).kneighbors(real)[0][:, -1]
    recall = []
    for level in levels:
        inside = drawn[of_drawn <= np.quantile(of_drawn, level)]
        nearest = NearestNeighbors(n_neighbors=1).fit(inside).kneighbors(real)[0][:, 0]
        recall.append((nearest <= reach).mean())
    return {
        "alpha precision": float(1 - 2 * np.abs(precision - levels).mean()),
        "beta recall": float(1 - 2 * np.abs(np.array(recall) - levels).mean()),
    }


def predictions(train: pd.DataFrame, held: pd.DataFrame, schema: Schema, seed: int) -> dict[str, float]:
    """Return how well each column of rows held out is told by all others, learned from other rows: balanced accuracy, or 1 / error."""
    found = {}
    for column in schema:
        some = train[train[column.name].notna()].iloc[:MOST]
        known = held[held[column.name].notna()]
        if len(some) < 20 or len(known) < 5:
            continue
        x_held, x = coordinates([known, some], schema, column.name)
        if KINDS.get(column.kind) == "categorical":
            y, truth = some[column.name].map(str), known[column.name].map(str)
            told = RandomForestClassifier(**TREES, random_state=seed).fit(x, y).predict(x_held)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[column.name] = float(balanced_accuracy_score(truth, told))
        else:
            y, truth = (as_numbers(rows[column.name], column.kind) for rows in (some, known))
            told = RandomForestRegressor(**TREES, random_state=seed).fit(x, y).predict(x_held)
            found[column.name] = float(1 / max(np.sqrt(mean_squared_error(truth, told)), 1e-9 * truth.std()))
    return found


def utility(real: dict[str, float], drawn: dict[str, float]) -> float:
    """Return the mean over columns of how well drawn rows tell a column, by how well real rows do; one column counts 1 at most.

    Source: TabStruct: Measuring Structural Fidelity of Tabular Data (Jiang et al., 2026), global utility, of nine predictors; here one
    forest.
    """
    ratios = [min(drawn.get(name, 0.0) / real[name], 1.0) for name in real if real[name] > 0]
    return float(np.mean(ratios))
