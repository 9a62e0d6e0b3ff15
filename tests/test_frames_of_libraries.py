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


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_flow_is_the_same_and_its_samples_are_of_the_library(library):
    def measured(data):
        torch.manual_seed(0)
        return pf.TableFlow(data, widths=(8,)).measure(data)

    frame, wanted = library(), measured(ARROW)
    model = measured(frame)
    torch.testing.assert_close(model.log_prob(frame), wanted.log_prob(ARROW))
    drawn = model.sample(20, generator=torch.Generator().manual_seed(0))
    expected = wanted.sample(20, generator=torch.Generator().manual_seed(0))
    Schema.find(ARROW).check(drawn)
    torch.testing.assert_close(wanted.log_prob(drawn), wanted.log_prob(expected))
    if library is polars:
        assert drawn.schema == frame.schema
    (filled,) = model.impute(frame, generator=torch.Generator().manual_seed(0))
    assert Schema.find(filled)["height"].missing == 0


def test_declared_categories_of_polars_come_back():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"size": pl.Series(["s", "m"] * 30, dtype=pl.Enum(["s", "m", "l"])), "x": np.arange(60) % 7 + 0.5})
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    assert model.sample(5).schema == frame.schema
    assert model.schema["size"].categories == ("s", "m", "l")


def test_intervals_may_stand_in_frames_of_any_library():
    cells = pf.data.between([1.0, 2.0, 3.5] * 20, [1.0, 4.0, np.inf] * 20)
    frames = [pd.DataFrame({"t": cells}), {"t": list(cells)}]
    try:
        import polars as pl
    except ImportError:
        pl = None
    frames += [pl.DataFrame({"t": pl.Series(list(cells), dtype=pl.Object)})] if pl else []
    scores = []
    for frame in frames:
        torch.manual_seed(0)
        scores.append(pf.TableFlow(Schema.find(frame, {"t": "positive"}), widths=(8,)).measure(frame).log_prob(frame))
    for score in scores[1:]:
        torch.testing.assert_close(score, scores[0])
