"""Tables of several libraries: the same schema, and the same fit, whichever holds them; those that are not installed are passed over."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import pushforward as pf
from pushforward.data import Schema

N = 120
RANDOM = np.random.default_rng(0)
COLUMNS = {
    "age": RANDOM.integers(18, 90, N).tolist(),
    "height": [None if i % 10 == 3 else float(x) for i, x in enumerate(RANDOM.normal(170, 9, N))],
    "smokes": [None if i % 20 == 5 else bool(i % 3) for i in range(N)],
    "risk": [["low", "medium", "high"][i % 3] for i in range(N)],
    "city": [["Bonn", "Köln", None][i % 3] for i in range(N)],
    "born": [dt.date(1950, 1, 1) + dt.timedelta(days=int(x)) for x in RANDOM.integers(0, 9999, N)],
    "seen": [dt.datetime(2020, 1, 1) + dt.timedelta(seconds=int(x)) for x in RANDOM.integers(0, 10**7, N)],
    "share": RANDOM.uniform(0, 1, N).tolist(),
}
WANTED = {
    "age": "count",
    "height": "real",
    "smokes": "binary: False, True",
    "risk": "ordered: 'low' < 'medium' < 'high'",
    "city": "categorical: 'Bonn', 'Köln'",
    "born": "datetime, days",
    "seen": "datetime",
    "share": "interval 0 to 1",
}
ARROW = pa.table(COLUMNS)


def pandas():
    return (
        pd.DataFrame(COLUMNS)
        .astype({"smokes": "boolean", "age": "Int64"})
        .assign(born=pd.Series(COLUMNS["born"]).astype("date32[pyarrow]"))
    )


def pandas_of_arrow():
    return ARROW.to_pandas(types_mapper=pd.ArrowDtype)


def arrow():
    return ARROW


def polars():
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def lazy():
    return polars().lazy()


def duckdb():
    found = pytest.importorskip("duckdb")
    relation = found.connect().from_arrow(ARROW)
    assert len(relation.columns) == len(COLUMNS)
    return relation


LIBRARIES = [pandas, pandas_of_arrow, arrow, polars, lazy, duckdb]


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_schema_is_the_same(library):
    frame = library()
    schema = Schema.find(frame)
    assert {column.name: column.told() for column in schema} == WANTED
    assert [round(column.missing, 3) for column in schema] == [0, 0.1, 0.05, 0, 0.333, 0, 0, 0]
    schema.check(frame)
    with pytest.raises(ValueError, match=r"column 'age': expected at most 50, got .* in rows"):
        Schema.find(pd.DataFrame({"age": [1, 2]}), {"age": "interval:0:50"}).check(frame)


@pytest.mark.filterwarnings("ignore:fit. columns on a grid")
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fit_is_the_same(library):
    def fitted(data):
        torch.manual_seed(0)
        flow = pf.NSF(2, 1, transforms=1, widths=(8,))
        pf.fit(flow, data, columns=["share", "age"], context_columns=["smokes"], epochs=1, progress=False, schema={"age": "interval:0:100"})
        return flow

    kept = [i for i, one in enumerate(COLUMNS["smokes"]) if one is not None]
    expected = fitted(ARROW.take(kept))
    frame = library()
    flow = fitted(whole(library, frame, kept))
    assert flow.columns == ("share", "age")
    assert flow.schema == expected.schema
    assert flow.schema["age"].high == 100
    context = torch.zeros(50, 1)
    drawn = [each.sample((), context, generator=torch.Generator().manual_seed(1)) for each in (flow, expected)]
    torch.testing.assert_close(*drawn)


def whole(library, frame, kept):
    """Return the rows of a frame that have no missing truth value."""
    if library is duckdb:
        return frame.filter("smokes is not null")
    if library in (polars, lazy):
        return frame.filter(__import__("polars").col("smokes").is_not_null())
    return frame.take(kept)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_cannot_be_fitted_is_said(library):
    with pytest.raises(ValueError, match=r"expected columns of numbers, got others: 'city' \(.*\) is categorical: 'Bonn', 'Köln'"):
        pf.fit(pf.NSF(2), library(), columns=["share", "city"], progress=False)
