"""Coding: tables as numbers by their schema, and back as they came."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.data import Schema
from pushforward.data.schema.coding import encode
from pushforward.data.to_frames import decode, library_of, types_of
from tests.table_cases import KINDS, frame_of, schema_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_pandas_frame_comes_back_as_it_was(kind):
    frame = frame_of(kind)
    schema = schema_of(frame)
    back = decode(schema, encode(schema, frame), "pandas", types_of(frame))
    pd.testing.assert_frame_equal(back, frame)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pandas_frame_of_which_nobody_says_how_it_was_stored_has_its_values(kind):
    frame = frame_of(kind)
    schema = schema_of(frame)
    back = decode(schema, encode(schema, frame), "pandas")
    assert [None if pd.isna(one) else one for one in back[kind]] == [None if pd.isna(one) else one for one in frame[kind]]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "Int32", "float32", "Float64", "string", "object", "boolean", "category"])
@pytest.mark.parametrize("missing", [False, True])
def test_types_of_pandas_are_kept_or_become_those_that_have_missing_values(dtype, missing):
    values = {"string": ["a", "b"], "object": ["a", "b"], "boolean": [True, False], "category": ["x", "y"]}.get(dtype, [1, 3])
    frame = pd.DataFrame({"c": pd.Series([*values, values[0]] * 9, dtype=dtype)})
    told = {"c": "count"} if dtype.lower().rstrip("0123456789") in ("int", "uint", "float") else {}
    holed = frame.astype({"c": {"int8": "Int8", "uint16": "UInt16"}.get(dtype, dtype)})
    holed.loc[0, "c"] = None
    schema = Schema.find(holed, told)
    given_ = holed if missing else frame
    back = decode(schema, encode(schema, given_), "pandas", types_of(frame))
    pd.testing.assert_frame_equal(back, given_)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("odd step",)])
def test_an_arrow_table_comes_back_as_it_was(kind):
    table = pa.Table.from_pandas(frame_of(kind), preserve_index=False).replace_schema_metadata(None)
    schema = schema_of(table.to_pandas()) if kind in ("interval", "circular") else Schema.find(table)
    assert library_of(table) == "pyarrow"
    back = decode(schema, encode(schema, table), "pyarrow", types_of(table))
    assert back.column_names == table.column_names
    assert back.to_pylist() == table.to_pylist()
    if not pa.types.is_dictionary(table.schema.types[0]) and not pa.types.is_timestamp(table.schema.types[0]):
        wanted = {pa.large_string(): pa.string()}.get(table.schema.types[0], table.schema.types[0])
        assert {pa.large_string(): pa.string()}.get(back.schema.types[0], back.schema.types[0]) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_plain_values_come_back_as_they_were(kind):
    frame = frame_of(kind)
    schema = schema_of(frame)
    plain = decode(schema, encode(schema, frame), "dict")
    again = encode(schema, plain)
    np.testing.assert_array_equal(again, encode(schema, frame))


def test_numbers_are_what_the_docstring_says():
    frame = pd.DataFrame(
        {
            "city": pd.Categorical(["Ulm", None, "Bonn"], ["Bonn", "Köln", "Ulm"]),
            "day": [dt.date(1970, 1, 2), dt.date(1969, 12, 31), None],
            "at": pd.to_datetime(["1970-01-01 01:00", None, "1970-01-01 00:00"]).tz_localize("Europe/Berlin"),
        }
    )
    coded = encode(Schema.find(frame), frame)
    np.testing.assert_array_equal(coded, [[2, 86400, 0], [np.nan, -86400, np.nan], [0, np.nan, -3600]])


WRONG = [
    ({"city": ["Rom"], "age": [3]}, "column 'city': expected one of 'Bonn', 'Ulm', got 'Rom' in row 0"),
    ({"city": ["Bonn", "Ulm"], "age": [3, -1]}, "column 'age': expected at least 0, got -1 in row 1"),
    ({"city": ["Bonn"], "age": [2.5]}, "column 'age': expected whole numbers, got 2.5 in row 0"),
    ({"city": ["Bonn"], "age": [None]}, "column 'age': expected no missing value"),
    ({"city": ["Bonn"], "age": [np.inf]}, "column 'age': expected finite numbers"),
    ({"city": ["Bonn"], "age": ["old"]}, "column 'age': expected numbers, got texts"),
    ({"city": ["Bonn"], "Age": [3]}, "column 'age': expected in the data, which does not have it"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_what_the_schema_does_not_allow_is_refused(data, message):
    schema = Schema.find({"city": ["Bonn", "Ulm"] * 9, "age": [31, 44] * 9}, {"age": "count"})
    with pytest.raises(ValueError, match=message):
        encode(schema, data)
    fatal = "texts" in message or "does not have" in message
    if fatal:
        with pytest.raises(ValueError, match=message):
            encode(schema, data, "outside")
    else:
        assert np.isinf(encode(schema, data, "outside")).sum() == 1


def test_wrong_options_are_refused():
    schema = Schema.find({"a": [1.5, 2.7, 2.9]})
    text = Schema.find({"t": [f"name {i}" for i in range(30)]})
    for call, message in [
        (lambda: encode(schema, {"a": [1.0]}, "ignore"), "unseen to be 'raise' or 'outside'"),
        (lambda: encode(text, {"t": ["x"]}), "'t', which is text"),
        (lambda: decode(text, [[1.0]], "dict"), "'t', which is text"),
        (lambda: decode(schema, [[1.0]], "excel"), "library to be one of"),
        (lambda: decode(schema, [[1.0, 2.0]]), r"an array \(n, 1\), got shape \(1, 2\)"),
        (lambda: decode(schema, [[np.inf]]), "finite numbers in column 'a'"),
        (lambda: decode(Schema.find({"c": ["x", "y"] * 5}), [[2.0]]), "places of 2 categories in column 'c', got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e9, 1e9)),
            st.one_of(st.none(), st.sampled_from(["x", "y", "z"])),
            st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))),
            st.one_of(st.none(), st.integers(-(2**52), 2**52)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_values_come_back(rows):
    names = ("number", "text", "truth", "moment", "whole")
    first = {"number": 0.5, "text": "x", "truth": True, "moment": dt.datetime(2000, 1, 1), "whole": 3}
    data = {name: [first[name], None, *[row[at] for row in rows]] for at, name in enumerate(names)}
    types = {"number": "float64", "text": "object", "truth": "boolean", "moment": "datetime64[us]", "whole": "Int64"}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object).astype(types[name]) for name, values in data.items()})
    told = {"text": "categorical:x:y:z", "number": "real", "whole": "real"}
    schema = Schema.find(frame, told)
    back = decode(schema, encode(schema, frame), "dict")
    for name in names:
        assert back[name] == data[name], name


def test_moments_in_columns_of_objects_have_their_zone():
    berlin = dt.timezone(dt.timedelta(hours=2))
    moments = [dt.datetime(2022, 3, 20, 11, 0, tzinfo=berlin) + dt.timedelta(hours=at) for at in range(30)]
    for table in (pd.DataFrame({"t": pd.Series(moments, dtype=object)}), {"t": moments}):
        schema = Schema.find(table)
        assert (schema["t"].kind, schema["t"].zone) == ("datetime", "UTC+02:00")
        schema.check(table)
        assert encode(schema, table)[0, 0] == moments[0].timestamp()
    mixed = {"t": [*moments, dt.datetime(2022, 3, 20)]}
    assert Schema.find(mixed)["t"].kind == "text"
