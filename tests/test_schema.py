"""The schema: what columns are found to be and why, told otherwise, written as JSON, and held against new data."""

import datetime as dt
import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.data import Column, Schema
from pushforward.data.reading import open_table
from pushforward.data.schema.column import DISCRETE, KINDS, NUMERIC

RANDOM = np.random.default_rng(0)
N = 400


def kind(values, name="x", told=None):
    schema = Schema.find(pd.DataFrame({name: values}), None if told is None else {name: told})
    return schema.columns[0]


REALS = RANDOM.normal(size=N)
SPIKED = np.where(RANDOM.random(N) < 0.3, 0.0, RANDOM.lognormal(size=N))
# Values, the column's name, and the words of what they are found to be.
FOUND = [
    (REALS, "x", "real"),
    (RANDOM.lognormal(9, 1, N), "income", "positive"),
    (SPIKED, "rain", f"positive, atom 0 ({100 * np.mean(SPIKED == 0):.2g} %)"),
    (np.where(REALS < 0.5, REALS, 0.5), "x", f"real, atom 0.5 ({100 * np.mean(REALS >= 0.5):.2g} %)"),
    (RANDOM.normal(1013, 5, N), "pressure", "real"),
    (RANDOM.poisson(4, N), "children", "count"),
    (RANDOM.integers(17, 90, N), "age", "count"),
    (RANDOM.integers(1980, 2020, N), "year", "real, step 1"),
    (np.round(RANDOM.normal(20, 3, N), 1), "temp", "real, step 0.1"),
    (RANDOM.integers(0, 36, N) * 10, "windDir", "circular 0 to 360, step 10"),
    (RANDOM.uniform(-math.pi, math.pi, N), "phi", f"circular {-math.pi:g} to {math.pi:g}"),
    (RANDOM.integers(0, 24, N), "hour", "circular 0 to 24, step 1"),
    (RANDOM.uniform(0, 30, N), "angle", "positive"),
    (RANDOM.integers(15, 101, N), "rel_humidity", "interval 0 to 100, step 1"),
    (RANDOM.random(N), "share", "interval 0 to 1"),
    (RANDOM.random(N), "x", "interval 0 to 1"),
    (RANDOM.integers(0, 2, N), "smoker", "binary: 0, 1"),
    (RANDOM.integers(0, 2, N) > 0, "smoker", "binary: False, True"),
    (["yes", "no"] * 9, "smoker", "binary: 'no', 'yes'"),
    (["f", "m"] * 9, "sex", "categorical: 'f', 'm'"),
    (["high", "low", "medium"] * 3, "risk", "ordered: 'low' < 'medium' < 'high'"),
    ([f"name {i}" for i in range(N)], "name", "text"),
    ([f"city {i // 4}" for i in range(N)], "city", "categorical, 100 values: 'city 0', 'city 1', 'city 10', 'city 11', ..."),
    ([[1], [2]] * 9, "lists", "text"),
    ([None] * 9, "x", "empty"),
    ([np.nan] * 9, "x", "empty"),
    ([2.5] * 9, "x", "real, atom 2.5 (100 %)"),
    (pd.Categorical(["b", "a"] * 5, ["c", "b", "a"]), "x", "categorical: 'c', 'b', 'a'"),
    (pd.Categorical(["b", "a"] * 5, ["c", "b", "a"], ordered=True), "x", "ordered: 'c' < 'b' < 'a'"),
    (pd.Categorical([3, 1, 2] * 5), "x", "categorical: 1, 2, 3"),
    (pd.array([1, 2, None] * 20, "Int64"), "x", "count"),
    (pd.array([True, None] * 9, "boolean"), "x", "binary: False, True"),
    (pd.array(["a", None] * 9, "string"), "x", "categorical: 'a'"),
    (pd.date_range("2020-01-01", periods=9), "x", "datetime"),
    (pd.date_range("2020-01-01", periods=9, tz="Europe/Berlin"), "x", "datetime, zone Europe/Berlin"),
    ([dt.date(2020, 1, day) for day in range(1, 9)], "x", "datetime, days"),
]


@pytest.mark.parametrize(("values", "name", "words"), FOUND, ids=[f"{name}: {words}" for _, name, words in FOUND])
def test_kinds_are_found(values, name, words):
    assert kind(values, name).told() == words


def test_frames_of_any_library_have_the_same_schema(tmp_path):
    frame = pd.DataFrame({"x": REALS, "n": RANDOM.poisson(4, N), "sex": ["f", "m"] * (N // 2), "ok": [True, None] * (N // 2)})
    frame["ok"] = frame["ok"].astype("boolean")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    wanted = [column.told() for column in Schema.find(frame)]
    assert wanted == ["real", "count", "categorical: 'f', 'm'", "binary: False, True"]
    sources = [
        table,
        tmp_path / "t.parquet",
        str(tmp_path / "t.csv"),
        open_table(tmp_path / "t.csv"),
        {name: list(frame[name]) for name in "xn"},
    ]
    for source in sources:
        schema = Schema.find(source)
        assert [column.told() for column in schema] == wanted[: len(schema)]
        assert [column.missing for column in schema] == [0, 0, 0, 0.5][: len(schema)]
        schema.check(source)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert [column.told() for column in Schema.find(polars.from_arrow(table))] == wanted


def test_whole_numbers_beyond_what_a_double_has_are_rounded():
    table = pa.table({"id": pa.array([2**63 + 1, 2**53 + 1, 7], pa.uint64())})
    assert Schema.find(table)["id"].kind == "positive"
    Schema.find(table).check(table)


def test_an_array_has_columns_by_number():
    schema = Schema.find(np.column_stack([REALS, np.arange(N)]))
    assert [(column.name, column.kind) for column in schema] == [("0", "real"), ("1", "count")]
    assert Schema.find(REALS).names == ("0",)
    with pytest.raises(ValueError, match=r"expected an array \(n, columns\) of numbers"):
        Schema.find(np.zeros((2, 2, 2)))


def test_a_value_that_may_mean_a_missing_one_is_asked_about():
    values = RANDOM.uniform(1, 5, N)
    values[:40] = -999
    assert "-999 is far from all others: does it mean a missing value?" in kind(values).why
    assert kind(values).atoms == ((-999.0, 0.1),)


TOLD = [
    ([1, 2, 3], "count", "count"),
    ([0.5, 2, 3], "positive", "positive"),
    ([0.5, 90], "interval:0:100", "interval 0 to 100"),
    ([10, 350], "circular:360", "circular 0 to 360"),
    ([-10, 170], "circular:-180:180", "circular -180 to 180"),
    ([1, 2, 2], "categorical", "categorical: 1, 2"),
    ([1, 2, 2], "ordered:2:1", "ordered: 2 < 1"),
    (["m", "s", "m"], "ordered:s:m:l", "ordered: 's' < 'm' < 'l'"),
    (["a", "b"], "binary", "binary: 'a', 'b'"),
    (["a", "b"], "text", "text"),
    (["a", "b"], "categorical", "categorical: 'a', 'b'"),
]


@pytest.mark.parametrize(("values", "told", "words"), TOLD)
def test_what_is_told_is_taken(values, told, words):
    found = kind(values, told=told)
    assert (found.told(), found.why) == (words, "as told")


WRONG = [
    (
        [1, 2],
        "number",
        "binary, datetime, text, or between and one of these, got 'number'",
    ),
    ([1, 2.5], "count", "column 'x': expected whole numbers, got 2.5 in row 1"),
    ([1, -2], "count", "column 'x': expected at least 0, got -2 in row 1"),
    ([1, -2], "positive", "expected at least 0, got -2 in row 1"),
    ([1, 200], "interval:0:100", "expected at most 100, got 200 in row 1"),
    ([1, 2], "interval", "expected interval:0:100, got interval"),
    ([1, 2], "interval:5:5", "a lower bound under the upper one"),
    ([1, 2], "circular:a", "expected circular:360 or circular:-180:180, got circular:a"),
    ([1, 2], "real:5", "expected real, got real:5"),
    (["a", "b"], "count", "expected numbers, since it is told to be count, got string values"),
    (["a", "b"], "datetime", "expected dates, since it is told to be datetime, got string values"),
    (["a", "b", "c"], "binary", "expected two categories, since it is binary, got 3"),
    (["a", "b", "c"], "ordered:a:b", "expected one of 'a', 'b', got 'c' in row 2"),
    ([1, math.inf], "real", "expected finite numbers, got inf in row 1"),
]


@pytest.mark.parametrize(("values", "told", "words"), WRONG, ids=[f"{told}: {words[:40]}" for _, told, words in WRONG])
def test_what_is_told_must_be_true(values, told, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        kind(values, told=told)


def test_names_that_are_not_there_are_named():
    frame = pd.DataFrame({"a": [1, 2], " b ": [3, 4]})
    assert Schema.find(frame, {"b": "count"}, ["b"]).names == (" b ",)
    assert Schema.find(frame, exclude=["b"]).names == ("a",)
    for options in ({"kinds": {"c": "count"}}, {"columns": ["c"]}, {"exclude": ["c"]}):
        with pytest.raises(ValueError, match=r"no column 'c'; there are 'a', ' b '"):
            Schema.find(frame, **options)
    with pytest.raises(ValueError, match="kinds of columns that are in it, got one of 'a'"):
        Schema.find(frame, {"a": "count"}, ["b"])
    with pytest.raises(KeyError, match="no column 'c'"):
        Schema.find(frame)["c"]


# New data

DATA = pd.DataFrame({"age": [31, 44, 27, 52], "city": ["Bonn", "Ulm"] * 2, "share": [0.5, None, 0.1, 0.9], "x": [0.5, -1.5, 2.0, 3.0]})
NEW = [
    ({"age": [31, 44.5]}, "column 'age': expected whole numbers, got 44.5 in row 1; round them"),
    ({"age": [-3, -1]}, "column 'age': expected at least 0, got -3 in rows 0, 1"),
    ({"age": [31, None]}, "column 'age': expected no missing value, as before, got one in row 1; drop these rows, or fill them in"),
    ({"age": ["a", "b"]}, "column 'age': expected numbers, got texts"),
    (
        {"city": ["Bonn", "Rom"]},
        "column 'city': expected one of 'Bonn', 'Ulm', got 'Rom' in row 1; correct these values, leave these rows out",
    ),
    ({"city": [1, 2]}, "expected one of 'Bonn', 'Ulm', got 1 in rows 0, 1"),
    ({"share": [0.5, 1.5]}, "column 'share': expected at most 1, got 1.5 in row 1"),
    ({"x": [math.inf, 1]}, "column 'x': expected finite numbers, got inf in row 0"),
    ({"age": [1.5, 2], "city": ["Rom", "Bonn"]}, "column 'age': expected whole numbers, got 1.5 in row 0; column 'city': expected one of"),
]


@pytest.mark.parametrize(("change", "words"), NEW, ids=[words[:50] for _, words in NEW])
def test_new_data_is_held_against_the_schema(change, words):
    schema = Schema.find(DATA)
    good = DATA.iloc[:2]
    schema.check(good.assign(more=1)[["more", "x", "share", "city", "age"]])
    with pytest.raises(ValueError, match=re.escape(words)):
        schema.check(good.assign(**change))


def test_missing_columns_are_named_with_the_nearest(tmp_path):
    schema = Schema.find(DATA)
    with pytest.raises(
        ValueError, match=r"column 'age': expected in the data, which does not have it \(there is 'Age'\); column 'city'.*add it"
    ):
        schema.check(DATA.rename(columns={"age": "Age"}).drop(columns="city"))
    DATA.assign(age=[31, 44, -1, 5]).rename(columns={"x": " x "}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"got -1 in row 3;"):
        schema.check(tmp_path / "t.csv")


def test_many_rows_and_problems_are_counted():
    with pytest.raises(ValueError, match=r"in rows 0, 1, 2, 3, 4, ... \(1,000 in all\)"):
        Schema.find({"x": [1, 2]}).check({"x": -np.arange(1.0, 1001)})
    many = {f"c{i}": [0, 1, 2, 5] for i in range(9)}
    with pytest.raises(ValueError, match="and 4 more"):
        Schema.find(many).check({name: [-1] for name in many})


# The value

FLOATS = st.floats(-1e9, 1e9)
NAMES = st.text(max_size=8)
CATEGORIES = st.lists(st.one_of(st.text(max_size=5), st.integers(2, 99), st.floats(0.1, 0.9)), min_size=2, max_size=5, unique=True).map(
    tuple
)


@st.composite
def columns(draw):
    kind = draw(st.sampled_from(list(KINDS)))
    told = {"name": draw(NAMES), "kind": kind, "why": draw(NAMES), "missing": draw(st.floats(0, 1))}
    if kind in ("interval", "circular"):
        told["low"], told["high"] = sorted(draw(st.lists(FLOATS, min_size=2, max_size=2, unique=True)))
    if kind in ("positive", "count"):
        told["low"] = 0
    if kind in DISCRETE:
        told["categories"] = draw(CATEGORIES)[: 2 if kind == "binary" else None]
        told["storage"] = draw(st.sampled_from(["string", "integer", "float"]))
    if kind in NUMERIC:
        told["step"] = 1 if kind == "count" else draw(st.floats(0, 10))
        told["atoms"] = tuple((value, 0.1) for value in draw(st.lists(FLOATS, max_size=3, unique=True)))
    if kind == "datetime":
        told.update(storage="datetime", zone=draw(st.sampled_from(["", "UTC", "Europe/Berlin"])))
    return Column(**told)


@settings(max_examples=150, deadline=None)
@given(st.lists(columns(), max_size=4, unique_by=lambda column: column.name))
def test_a_schema_survives_json(found):
    schema = Schema(tuple(found))
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict(), allow_nan=False)))
    assert again == schema
    assert [[type(one) for one in column.categories] for column in again] == [[type(one) for one in column.categories] for column in schema]
    assert len(str(schema).splitlines()) == len(schema) + 1


CELLS = {
    "floats": st.floats(-1e6, 1e6),
    "holes": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "whole": st.integers(-(10**6), 10**6),
    "texts": st.one_of(st.none(), st.sampled_from("abc"), st.text(max_size=3)),
    "flags": st.one_of(st.none(), st.booleans()),
    "moments": st.one_of(st.none(), st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))),
}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.fixed_dictionaries({name: st.lists(cell, min_size=n, max_size=n) for name, cell in CELLS.items()})
    )
)
def test_a_frame_is_what_its_schema_says(data):
    frame = pd.DataFrame(data).astype({"flags": "boolean", "moments": "datetime64[us]"})
    schema = Schema.find(frame)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    schema.check(frame)
    for column in schema:
        assert column.missing == frame[column.name].isna().mean()
        assert column.why


BAD = [
    ({"kind": "number"}, "a kind among real"),
    ({"kind": "real", "storage": "bytes"}, "a storage among float"),
    ({"kind": "real", "low": 0}, "no bounds, since it is real"),
    ({"kind": "interval", "low": 0}, "two bounds, since it is interval"),
    ({"kind": "interval", "low": 0, "high": math.inf}, "a finite number as its high"),
    ({"kind": "positive"}, "the bound 0 and no other"),
    ({"kind": "count", "low": 0}, "a step of 1"),
    ({"kind": "real", "step": -1}, "a step of at least 0"),
    ({"kind": "real", "missing": 2}, "between 0 and 1"),
    ({"kind": "real", "missing": "2"}, "a finite number as its missing"),
    ({"kind": "categorical"}, "categories, since it is categorical, got none"),
    ({"kind": "categorical", "categories": ["a", "a"]}, "each category once"),
    ({"kind": "categorical", "categories": [["a"]]}, "texts or numbers"),
    ({"kind": "categorical", "categories": "ab"}, "a list as its categories"),
    ({"kind": "real", "categories": ["a"]}, "no categories, since it is real"),
    ({"kind": "binary", "categories": ["a"]}, "two categories"),
    ({"kind": "real", "atoms": [[0, 2]]}, "shares of atoms up to 1"),
    ({"kind": "real", "atoms": [[0, 0.1], [0, 0.1]]}, "each atom once"),
    ({"kind": "real", "atoms": [[0]]}, "atoms (value, share)"),
    ({"kind": "text", "atoms": [[0, 0.1]]}, "no atoms, since it is text"),
    ({"kind": "real", "zone": "UTC"}, "no time zone, since it is real"),
    ({"kind": "real", "more": 1}, "a column as a mapping with name and kind"),
    ({}, "a column as a mapping with name and kind"),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[words for _, words in BAD])
def test_a_column_that_is_none_is_refused(fields, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Schema.from_dict({"version": 1, "columns": [{"name": "x", **fields}]})


def test_what_is_no_schema_is_refused():
    for data in ({}, {"version": 2, "columns": []}, {"version": 1, "columns": "x"}, [1]):
        with pytest.raises(ValueError, match="a mapping with version 1"):
            Schema.from_dict(data)
    with pytest.raises(ValueError, match="each name once, got 'x' twice"):
        Schema((Column("x", "real"), Column("x", "text")))
    with pytest.raises(ValueError, match="columns of class Column"):
        Schema(("x",))


def test_the_table_has_a_line_for_each_column_and_says_why():
    lines = str(Schema.find(DATA)).splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "why"]
    assert lines[1].split(maxsplit=2) == ["age", "count", "whole numbers from 27 to 52"]
    assert "25 %" in lines[3]
    assert str(Schema.find(pd.DataFrame({"a\nb": [1.5, 2]}))).count("\n") == 1
