"""Frames of any library made of coded numbers: names, order, types, categories and dates as they came."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pushforward.core.extras import require
from pushforward.data.from_frames import frame_of, is_table
from pushforward.data.schema.column import DISCRETE, REFUSED, Column
from pushforward.data.schema.schema import Schema

LIBRARIES = ("pandas", "polars", "pyarrow")
PLAIN = "dict"
"""Instead of a library: names with lists of values, None where one is missing."""
_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_EVER = (-62135596800.0, 253402300799.0)
"""Seconds from 1970 to the first and to the last second that a date of Python can have."""
_NANOSECONDS = (-9223372036.0, 9223372036.0)
"""The same of moments that are stored in nanoseconds."""
_DAY = 86400.0


def library_of(data: Any) -> str:
    """Return the name of the library of a frame, `PLAIN` for what is none."""
    if not is_table(data) or isinstance(data, Mapping):
        return PLAIN
    name = str(frame_of(data).implementation.value)
    return name if name in LIBRARIES else "pandas"


def types_of(data: Any) -> dict[str, str]:
    """Return how each column of a frame is stored: in pandas' own words, else in those of narwhals."""
    library = library_of(data)
    if library == PLAIN:
        return {}
    frame = frame_of(data)
    return {name: str(frame[name].to_native().dtype if library == "pandas" else frame[name].dtype) for name in frame.columns}


def decode(schema: Schema, array: Any, library: str = "pandas", types: Mapping[str, str] | None = None) -> Any:
    """Return what `encode` made numbers of: a table with names, order, types, categories and dates.

    Args:
        schema: What the columns are.
        array: ``(n, columns)`` as `encode` gives them: places of categories, seconds, numbers, NaN for a missing value.
        library: ``"pandas"``, ``"polars"`` or ``"pyarrow"``, or ``"dict"`` for names with lists.
        types: How columns were stored in a frame of this library, by `types_of`; a type of pandas that has no missing values becomes
            the one that does where there are some. None: the usual ones. A number or a moment beyond what a type holds, such as 130
            of an int8, becomes the last one that it holds.

    Raises:
        ValueError: The array does not fit the schema, has a place of a category that there is not, or a column is text.
        ImportError: The library is not installed.

    >>> schema = Schema.find({"city": ["Bonn", "Ulm", "Bonn", "Ulm"], "age": [40, 31, 27, 35]})
    >>> decode(schema, [[1.0, 33.0]], "dict")
    {'city': ['Ulm'], 'age': [33]}
    """
    numbers = np.asarray(array, np.float64)
    if library not in (*LIBRARIES, PLAIN):
        raise ValueError(f"decode: expected library to be one of {', '.join((*LIBRARIES, PLAIN))}, got {library!r}")
    if numbers.ndim != 2 or numbers.shape[1] != len(schema):
        raise ValueError(f"decode: expected an array (n, {len(schema)}), got shape {numbers.shape}")
    if refused := [column for column in schema if column.kind in REFUSED]:
        raise ValueError(f"decode: expected columns that have a code, got {refused[0].name!r}, which is {refused[0].kind}")
    stored = {column.name: PLAIN if library == PLAIN else (types or {}).get(column.name, "") for column in schema}
    plain = {
        column.name: values_of(column, held(column, values, stored[column.name])) for column, values in zip(schema, numbers.T, strict=True)
    }
    if library == PLAIN:
        return plain
    if importlib.util.find_spec(library) is None:
        raise ImportError(f"{library} is needed for such a table and not installed: pip install {library}; or ask for another library")
    if library == "pandas":
        return _pandas(schema, plain, stored)
    nw = require("narwhals", "table")
    made = {column.name: _type(nw, column, stored[column.name]) for column in schema}
    return nw.from_dict(plain, schema=made, backend=library).to_native()


def held(column: Column, numbers: Any, asked: str) -> Any:
    """Return the numbers of a column of numbers or dates as far as a type holds them, what is beyond as the nearest that it holds.

    >>> held(Column("age", "count", "integer", low=0, step=1), np.array([30.0, 130.0]), "int8")
    array([ 30., 127.])
    """
    x = np.asarray(numbers, np.float64)
    if column.kind == "datetime":
        spare = _DAY if column.zone else 0.0  # a zone may be on another day than UTC
        low, high = _NANOSECONDS if re.match(r"(datetime64|timestamp)\[ns|Datetime\(.*'ns'", asked) else _EVER
        return _within(x, low + spare, high - spare, column.step or _DAY)
    if column.kind in DISCRETE:
        return x
    whole = re.match(r"(u?)int(\d+)", asked.lower() or ("int64" if column.storage == "integer" else ""))
    if whole:
        bits = int(whole[2])
        low, high = (0.0, 2.0**bits) if whole[1] else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1))
        # The last whole number, or the last number of float64 that is none beyond it.
        return _within(x, low, high - 1 if bits < 53 else float(np.nextafter(high, 0)), column.step)
    name = {"halffloat": "float16", "float": "float32"}.get(asked.lower().removesuffix("[pyarrow]"), asked.lower())
    if name in ("float16", "float32"):
        most = float(np.finfo(name).max)
        return _within(x, -most, most, column.step)
    return x


def _within(x: Any, low: float, high: float, step: float) -> Any:
    """Return numbers between two bounds, those beyond moved by whole steps where there are any, so that they stay on their grid."""
    if step:
        x = np.where(x > high, x - step * np.ceil((x - high) / step), x)
        x = np.where(x < low, x + step * np.ceil((low - x) / step), x)
    return np.clip(x, low, high)


def values_of(column: Column, numbers: Any) -> list[Any]:
    """Return coded numbers of one column as plain values, None where one is missing.

    Raises:
        ValueError: There is no such category, or a number is infinite.
    """
    some = np.asarray(numbers, np.float64)
    if np.isinf(some).any():
        raise ValueError(f"decode: expected finite numbers in column {column.name!r}, got infinite ones")
    if column.kind in DISCRETE:
        there = some[~np.isnan(some)]
        bad = (there != np.rint(there)) | (there < 0) | (there >= len(column.categories))
        if bad.any():
            raise ValueError(
                f"decode: expected places of {len(column.categories)} categories in column {column.name!r}, got {there[bad][0]:g}"
            )
        return [None if one != one else column.categories[int(one)] for one in some.tolist()]
    if column.kind == "datetime":
        return [None if one != one else moment_of(column, one) for one in some.tolist()]
    whole = column.storage == "integer"
    return [None if one != one else round(one) if whole else one for one in some.tolist()]


def moment_of(column: Column, seconds: float) -> dt.date | dt.datetime:
    """Return the date or the moment of so many seconds since 1970, of Python's years 1 to 9999 the nearest."""
    spare = _DAY if column.zone else 0.0  # a zone may be on another day than UTC
    seconds = min(max(seconds, _EVER[0] + spare), _EVER[1] - spare)
    moment = _EPOCH_UTC + dt.timedelta(microseconds=round(seconds * 1e6))
    if column.storage == "date":
        return moment.date()
    return moment.astimezone(zone_of(column.zone)) if column.zone else moment.replace(tzinfo=None)


def zone_of(name: str) -> dt.tzinfo:
    """Return a zone by its name, or by its distance from UTC, such as +02:00."""
    import zoneinfo  # not at once, since it asks the system for its paths

    if name.upper() == "UTC":
        return dt.timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        offset = dt.datetime.strptime(name.removeprefix("UTC"), "%z").tzinfo
        assert offset is not None
        return offset


def _type(nw: Any, column: Column, asked: str) -> Any:
    """Return narwhals' type of a column that was stored as is asked."""
    numbers = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)] + ["Float32", "Float64", "Boolean"]
    if asked in numbers:
        return getattr(nw, asked)
    if asked.startswith("Enum"):
        return nw.Enum([str(one) for one in column.categories])
    if asked.startswith("Categorical"):
        return nw.Categorical
    if column.kind in DISCRETE:
        kinds = {type(one) for one in column.categories}
        plain = {frozenset({bool}): nw.Boolean, frozenset({int}): nw.Int64}.get(frozenset(kinds))
        return plain or (nw.Float64 if kinds <= {int, float} else nw.String)
    if column.kind == "datetime":
        unit = re.search(r"'(ns|us|ms)'", asked)
        # Arrow calls a fixed distance from UTC by the distance alone.
        zone = column.zone if column.zone.upper() == "UTC" else column.zone.removeprefix("UTC")
        return nw.Date if column.storage == "date" else nw.Datetime(unit[1] if unit else "us", zone or None)
    return nw.Int64 if column.storage == "integer" else nw.Float64


_NULLABLE = {"int": "Int", "uint": "UInt", "bool": "boolean"}


def _pandas(schema: Schema, plain: dict[str, list[Any]], types: Mapping[str, str]) -> Any:
    pandas = importlib.import_module("pandas")
    made = {}
    for column in schema:
        values, asked = plain[column.name], types.get(column.name, "")
        none = any(one is None for one in values)
        if asked == "category":
            content = pandas.Categorical(values, list(column.categories), ordered=column.kind == "ordered")
            made[column.name] = pandas.Series(content)
            continue
        wanted = asked or _plain_type(column)
        if none:
            wanted = _with_missing(wanted)
        series = pandas.Series(values, dtype=object)
        if wanted.startswith("datetime64") and column.zone:
            series = pandas.to_datetime(series, utc=True).dt.tz_convert(column.zone)
        made[column.name] = series.astype(wanted) if wanted != "object" else series
    return pandas.DataFrame(made, columns=list(schema.names))


def _plain_type(column: Column) -> str:
    """Return how pandas stores a column of which nobody has said it."""
    if column.kind == "datetime":
        return "object" if column.storage == "date" else f"datetime64[us, {column.zone}]" if column.zone else "datetime64[us]"
    if column.kind in DISCRETE:
        kinds = frozenset(type(one) for one in column.categories)
        plain = {frozenset({bool}): "bool", frozenset({int}): "int64", frozenset({float}): "float64", frozenset({int, float}): "float64"}
        return plain.get(kinds, "object")
    return "int64" if column.storage == "integer" else "float64"


def _with_missing(wanted: str) -> str:
    """Return the type of pandas that a type without missing values becomes with some."""
    letters = wanted.rstrip("0123456789")
    if letters not in _NULLABLE:
        return wanted
    return _NULLABLE[letters] + wanted[len(letters) :]
