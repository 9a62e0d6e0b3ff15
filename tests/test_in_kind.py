"""The schema stays with a flow of numbers: kept in its file, held against new data, and samples are what the columns can have."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import pushforward as pf
from pushforward.__main__ import main
from pushforward.data import Column, Schema
from pushforward.data.reading import open_table
from pushforward.data.schema.settling import settled

KINDS = {
    "count": Column("x", "count", "integer", low=0, step=1, origin=0),
    "whole numbers, any": Column("x", "real", "integer"),
    "whole numbers from 0": Column("x", "positive", "integer", low=0),
    "positive": Column("x", "positive", low=0),
    "positive, on a grid off 0": Column("x", "positive", low=0, step=0.1, origin=0.05),
    "interval": Column("x", "interval", low=0, high=100),
    "interval, on a grid": Column("x", "interval", low=-1, high=1, step=0.25, origin=0),
    "interval, a grid that ends before it": Column("x", "interval", low=0, high=1, step=0.3, origin=0.1),
    "circular": Column("x", "circular", low=-180, high=180),
    "circular, on a grid": Column("x", "circular", low=0, high=360, step=10, origin=0),
    "hours": Column("x", "circular", "integer", low=0, high=24, step=1, origin=0),
    "binary": Column("x", "binary", "integer", categories=(0, 1)),
    "truth values": Column("x", "binary", "boolean", categories=(False, True)),
    "ordered numbers": Column("x", "ordered", "float", categories=(1, 2.5, 7)),
    "real": Column("x", "real"),
    "real, on a grid": Column("x", "real", step=5, origin=2),
}
values = st.lists(st.floats(-1e6, 1e6) | st.floats(-5, 5) | st.integers(-400, 400).map(float), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(x=values)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_settled_a_column_can_have(kind, x):
    column, x = KINDS[kind], np.array(x)
    schema = Schema((column,))
    found = schema.in_kind(x[:, None])
    wrong, problems = schema.outside(found)
    assert not wrong.any(), problems
    np.testing.assert_array_equal(schema.in_kind(found), found)
    y = found[:, 0]
    if column.whole:
        np.testing.assert_array_equal(y, np.rint(y))
    if column.origin is not None:
        steps = (y - column.origin) / column.step
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    if column.period:
        turns = (x - y) / column.period
        assert np.abs(turns - np.rint(turns)).max() * column.period <= column.step / 2 + 1e-6
        assert ((y >= column.low) & (y < column.high)).all()
    else:
        # The nearest: what lies a step inside the bounds moves by half a step at most.
        step = column.step or float(column.whole)
        low, high = (-np.inf if column.low is None else column.low + step), (np.inf if column.high is None else column.high - step)
        inside = (x >= low) & (x <= high) & (column.kind not in ("binary", "ordered"))
        assert (np.abs(x - y)[inside] <= step / 2 * (1 + 1e-9) + 1e-9).all()


def test_values_of_the_data_stay_as_they_are():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "tenths": random.integers(0, 70, 400) * 0.1,
            "single": (random.integers(0, 70, 400) * 0.1).astype("float32"),
            "odd": random.integers(0, 70, 400) * 0.25 + 0.1,
            "people": random.integers(0, 10**7, 400),
            "humidity": random.integers(20, 101, 400),
            "wind_dir": random.integers(0, 36, 400) * 10,
            "again": random.choice(random.normal(size=40), 400),
            "yes": random.random(400) < 0.5,
        }
    )
    schema = Schema.find(frame)
    rows = frame.to_numpy(np.float64)
    np.testing.assert_allclose(schema.in_kind(rows), rows, rtol=1e-7)
    assert [column.origin for column in schema] == [0, 0, 0.1, None, 0, 0, None, None]
    assert schema.in_kind([[0.2999, 0.12, 0.3, 17.5, 117, 361, 0.5, 0.7]]).tolist() == [[0.3, 0.1, 0.35, 18, 100, 0, 0.5, 1]]


def test_what_has_no_numbers_is_refused():
    with pytest.raises(ValueError, match=r"column 'x': expected numbers, since a density gives no others, got a column that is text"):
        settled(Column("x", "text", "string"), np.zeros(2))
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, 1\), a number for each column, got \(2,\)"):
        Schema((Column("x", "real"),)).in_kind([1.0, 2.0])
    with pytest.raises(ValueError, match="column 'x': expected no origin of a grid, since it has no step"):
        Column("x", "real", origin=1.0)


# fit and files


def small(features, context=0):
    return pf.NSF(features, context, transforms=1, widths=(8,), bins=4)


def people(n=300):
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "income": random.lognormal(8, 1, n).round(2),
            "humidity": 100 * random.beta(4, 1, n),
            "age": random.integers(0, 90, n),
            "wind_dir": random.uniform(0, 360, n),
        }
    )


QUIET = {"epochs": 1, "progress": False}


@pytest.mark.filterwarnings("ignore:fit. columns on a grid")
def test_fit_finds_the_schema_of_a_frame_and_a_file_keeps_it(tmp_path):
    frame, flow = people(), small(3, 1)
    pf.fit(flow, frame, context_columns=["wind_dir"], schema={"humidity": "interval:0:110"}, **QUIET)
    assert flow.schema.names == ("income", "humidity", "age", "wind_dir")
    assert [column.kind for column in flow.schema] == ["positive", "interval", "count", "circular"]
    assert flow.schema["humidity"].high == 110
    flow.save(tmp_path / "m")
    again = pf.load(tmp_path / "m")
    assert again.schema == flow.schema
    again.save(tmp_path / "n")
    assert (tmp_path / "n").read_bytes() == (tmp_path / "m").read_bytes()
    # Rows of an array have the columns of the fit before.
    pf.fit(again, frame.to_numpy()[:, :3], frame.to_numpy()[:, 3:], **QUIET)
    assert again.schema == flow.schema
    told = Schema.find(frame, {"income": "real"})
    pf.fit(again, frame, schema=told, **QUIET)
    assert again.schema["income"].kind == "real"
    assert pf.load(tmp_path / "m").schema["income"].kind == "positive"


def test_a_flow_of_an_array_has_no_schema_and_its_file_is_as_ever(tmp_path):
    flow = small(2)
    pf.fit(flow, torch.randn(100, 2), **QUIET)
    assert flow.schema is None
    flow.save(tmp_path / "m")
    with safe_open(tmp_path / "m", "pt") as file:
        assert "schema" not in json.loads(file.metadata()["pushforward"])
    assert pf.load(tmp_path / "m").schema is None


def test_a_schema_is_one_of_the_columns(tmp_path):
    frame = people()[["income", "humidity"]]
    flow = small(2)
    with pytest.raises(ValueError, match=r"column 'income': expected at most 1, got .* in rows 0, 1, 2"):
        pf.fit(flow, frame, schema=Schema.find(frame / 1e6, {"income": "interval:0:1"}), **QUIET)
    with pytest.raises(ValueError, match="expected kinds of columns that are fitted, got one of 'age'"):
        pf.fit(flow, frame, schema={"age": "count"}, **QUIET)
    with pytest.raises(ValueError, match="expected DataFrames, of whose columns a schema tells, got ndarray"):
        pf.fit(flow, frame.to_numpy(), schema={"age": "count"}, **QUIET)
    with pytest.raises(TypeError, match="expected schema to be a Schema or kinds by column, got 'count'"):
        pf.fit(flow, frame, schema="count", **QUIET)
    assert flow.schema is None
    pf.fit(flow, frame, **QUIET)
    flow.columns = ("a", "b")
    with pytest.raises(ValueError, match=r"save: expected a schema of the columns \('a', 'b'\), got one of \('income', 'humidity'\)"):
        flow.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"version": 9}, "the schema in .* is none: Schema: expected a mapping with version 1"),
        ([1], "the schema in .* is none"),
        (
            {"version": 1, "columns": [{"name": "a", "kind": "real"}]},
            r"expected a schema of the columns \('a', 'b'\) in .*, got one of \('a',\)",
        ),
        ({"version": 1, "columns": [{"name": "a", "kind": "real"}, {"name": "b", "kind": 3}]}, "a kind among|as its kind"),
    ],
)
def test_a_file_with_another_schema_is_refused(tmp_path, schema, words):
    class Written:
        names = ("a", "b")

        def to_dict(self):
            return schema

    flow = small(2)
    flow.columns, flow.schema = ("a", "b"), Written()
    flow.save(tmp_path / "m")
    with pytest.raises(ValueError, match=words):
        pf.load(tmp_path / "m")


# The commands

QUICK = ["--epochs", "1", "--transforms", "1", "--widths", "8", "--bins", "4", "-q"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("in_kind") / "people.csv"
    people().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(table):
    path = table.with_name("m")
    assert main(["fit", str(table), "-o", str(path), "--dequantize", "--kind", "wind_dir=circular:360", *QUICK]) == 0
    return path


def samples_of(model, target, *options):
    assert main(["sample", str(model), "-n", "2000", "--seed", "1", "-o", str(target), *options]) == 0
    return target


def test_samples_come_in_kind(model, tmp_path):
    found = pq.read_table(samples_of(model, tmp_path / "s.parquet"))
    assert found.column_names == ["income", "humidity", "age", "wind_dir"]
    assert [str(kind) for kind in found.schema.types] == ["float", "float", "int64", "float"]
    frame = found.to_pandas()
    assert frame["income"].min() == 0
    assert frame["humidity"].max() == 100
    assert frame["age"].min() == 0
    assert frame["wind_dir"].between(0, 360, inclusive="left").all()
    text = samples_of(model, tmp_path / "s.csv").read_text().splitlines()
    assert all(line.split(",")[2].isdecimal() for line in text[1:])
    rows = open_table(samples_of(model, tmp_path / "s.npy")).read()
    np.testing.assert_array_equal(rows, frame.to_numpy())
    assert not pf.load(model).schema.outside(rows)[0].any()


def test_new_data_is_held_against_the_schema(table, model, tmp_path, capsys):
    frame = people(20)
    frame.loc[[3, 7], "humidity"] = [101.5, 120]
    frame.loc[5, "age"] = -2
    frame.loc[9, "income"] = np.nan
    frame.to_csv(tmp_path / "new.csv", index=False)
    for argv in (
        ["score", str(model), str(tmp_path / "new.csv")],
        ["plot", str(model), str(tmp_path / "new.csv"), "-o", str(tmp_path / "p.png")],
    ):
        assert main(argv) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "column 'humidity': expected at most 100, got 101.5 in rows 4, 8; column 'age': expected at least 0, got -2 in row 6" in said
        assert "correct these values, or give the column another kind" in said
    assert main(["score", str(model), str(tmp_path / "new.csv"), "--outside", "-o", str(tmp_path / "s.npy")]) == 0
    scores = np.load(tmp_path / "s.npy")
    assert np.flatnonzero(np.isneginf(scores)).tolist() == [3, 5, 7]
    assert np.flatnonzero(np.isnan(scores)).tolist() == [9]


def test_the_rows_of_a_later_part_are_those_of_the_file(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pushforward.data.table.Table.chunks.__defaults__", (None, 4))
    frame = people(10)
    frame.loc[9, "humidity"] = 120
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert main(["score", str(model), str(tmp_path / "new.csv")]) == 1
    assert "got 120 in row 10" in capsys.readouterr().err


def test_a_density_may_end_at_the_bounds(table, tmp_path):
    model = tmp_path / "m"
    assert main(["fit", str(table), "-o", str(model), "--support", "--dequantize", *QUICK]) == 0
    flow = pf.load(model)
    x = flow.sample((2000,), generator=torch.Generator().manual_seed(0)).numpy()
    names = list(flow.columns)
    assert x[:, names.index("humidity")].min() >= 0
    assert x[:, names.index("humidity")].max() <= 100
    assert x[:, names.index("income")].min() >= 0
    # That of a grid ends with the cell around its last value, so a spread 0 is inside.
    assert -0.5 <= x[:, names.index("age")].min() < 0.5
    assert main(["score", str(model), str(table), "-o", str(tmp_path / "s.npy")]) == 0
    assert np.isfinite(np.load(tmp_path / "s.npy")).all()


def test_describe_tells_the_schema(model, capsys):
    assert main(["describe", str(model)]) == 0
    assert "\nage       count                       whole numbers from 0 to 89" in capsys.readouterr().out
    assert main(["describe", str(model), "--json"]) == 0
    assert Schema.from_dict(json.loads(capsys.readouterr().out)["schema"]) == pf.load(model).schema
