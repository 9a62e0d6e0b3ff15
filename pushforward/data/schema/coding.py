"""Coding: a table of any kind as an array of numbers by its schema, checked on the way."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from pushforward.data.schema.checking import say
from pushforward.data.schema.column import DISCRETE, REFUSED, Column
from pushforward.data.schema.schema import Schema
from pushforward.data.values import Values

Array = np.ndarray[Any, np.dtype[np.float64]]
OUTSIDE = np.inf
"""What stands for a value that the schema does not allow."""
DAY = 86400.0
_EPOCH = dt.datetime(1970, 1, 1)
_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def encode(schema: Schema, data: Any, unseen: str = "raise") -> Array:
    """Return a table as float64 numbers ``(n, columns)``, in the order of the schema.

    A category is its place among the schema's categories, a date or moment its seconds since 1970 (of one with a zone, in UTC), a missing
    value NaN, and a number itself.

    Args:
        schema: What the columns are.
        data: As for `Schema.find`; columns that the schema does not know are not looked at.
        unseen: What becomes of categories never seen and of numbers out of range: ``"raise"``, or ``"outside"``: infinity.

    Raises:
        ValueError: A column is absent, has values of another type or, unless they are to be outside, values that the schema does not
            allow; columns and rows are named, and what to do.

    >>> schema = Schema.find({"city": ["Bonn", "Ulm", "Bonn", "Ulm"], "age": [40, 31, 27, 35]})
    >>> encode(schema, {"city": ["Ulm", "Rom"], "age": [33, 4]}, unseen="outside")
    array([[ 1., 33.],
           [inf,  4.]])
    """
    if unseen not in ("raise", "outside"):
        raise ValueError(f"encode: expected unseen to be 'raise' or 'outside', got {unseen!r}")
    if refused := [column for column in schema if column.kind in REFUSED]:
        raise ValueError(f"encode: expected columns with a density or a probability, got {refused[0].name!r}, which is {refused[0].kind}")
    if absent := schema.absent(data):
        raise ValueError(f"encode: {say(absent)}")
    first = schema.first_row(data)
    columns, wrong = [], []
    for column, values, found in schema.compared(data):
        fatal = [problem for problem in found if unseen == "raise" or not problem.rows]
        wrong += fatal
        if fatal:
            continue
        outside = np.zeros(len(values.values), bool)
        for problem in found:
            outside[np.asarray(problem.rows) - first] = True
        columns.append(np.where(outside, OUTSIDE, _coded(column, values)))
    if wrong:
        raise ValueError(f"encode: {say(wrong)}")
    lengths = {column.name: len(values) for column, values in zip(schema, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        (one, rows), (other, others) = next(iter(lengths.items())), next(pair for pair in lengths.items() if pair[1] != len(columns[0]))
        raise ValueError(f"encode: expected columns of one length, got {rows} values of {one!r} and {others} of {other!r}")
    return np.stack(columns, 1) if columns else np.empty((0, 0))


def _coded(column: Column, values: Values) -> Array:
    if column.kind in DISCRETE:
        place = {category: float(index) for index, category in enumerate(column.categories)}
        missing = values.missing
        return np.array([np.nan if none else place.get(one, OUTSIDE) for one, none in zip(values.values, missing, strict=True)], np.float64)
    if column.kind == "datetime":
        return np.array([np.nan if one is None else seconds_of(one) for one in values.values], np.float64)
    return np.asarray(values.values, np.float64)


def seconds_of(moment: Any) -> float:
    """Return the seconds from 1970 to a date or a moment.

    >>> seconds_of(dt.date(1970, 1, 2)), seconds_of(dt.datetime(1970, 1, 1, 0, 0, 0, 500000))
    (86400.0, 0.5)
    """
    if not isinstance(moment, dt.datetime):
        return float(DAY * (moment - _EPOCH.date()).days)
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    return float(since.total_seconds())
