"""Coding: a table of any kind as an array of numbers by its schema, checked on the way."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pushforward.data.schema.checking import say
from pushforward.data.schema.column import DISCRETE, REFUSED, Column
from pushforward.data.schema.schema import Schema
from pushforward.data.values import Values, seconds_of

Array = np.ndarray[Any, np.dtype[np.float64]]
OUTSIDE = np.inf
"""What stands for a value that the schema does not allow."""


class Coded(NamedTuple):
    """A table as numbers.

    Args:
        numbers: ``(n, columns)``, NaN for a missing cell, and for one that is known between two values alone.
        bounds: The least and the largest value of these, ``(n, columns, 2)``, NaN elsewhere; None where there are none.
    """

    numbers: Array
    bounds: Array | None


def encode(schema: Schema, data: Any, unseen: str = "raise") -> Array:
    """Return a table as float64 numbers ``(n, columns)``, in the order of the schema.

    A category is its place among the schema's categories, a date or moment its seconds since 1970 (of one with a zone, in UTC), a missing
    value NaN, and a number itself.

    Args:
        schema: What the columns are.
        data: As for `Schema.find`; columns that the schema does not know are not looked at.
        unseen: What becomes of categories never seen and of numbers out of range: ``"raise"``, or ``"outside"``: infinity.

    Raises:
        ValueError: A column is absent, has values of another type, some of which two values alone are known between which they lie or,
            unless they are to be outside, values that the schema does not allow; columns and rows are named, and what to do.

    >>> schema = Schema.find({"city": ["Bonn", "Ulm", "Bonn", "Ulm"], "age": [40, 31, 27, 35]})
    >>> encode(schema, {"city": ["Ulm", "Rom"], "age": [33, 4]}, unseen="outside")
    array([[ 1., 33.],
           [inf,  4.]])
    """
    numbers, bounds = encode_all(schema, data, unseen)
    if bounds is not None:
        rows, places = np.nonzero(~np.isnan(bounds[:, :, 0]))
        row, name = int(rows[0]) + schema.first_row(data), schema.names[places[0]]
        raise ValueError(
            f"encode: column {name!r}: expected values here, got in row {row} one that is known between two alone; TableFlow scores and "
            "fits such cells; here give a value, or a missing one"
        )
    return numbers


def encode_all(schema: Schema, data: Any, unseen: str = "raise") -> Coded:
    """Return a table as `encode` does, with the ends of cells that are known between two values alone."""
    if unseen not in ("raise", "outside"):
        raise ValueError(f"encode: expected unseen to be 'raise' or 'outside', got {unseen!r}")
    if refused := [column for column in schema if column.kind in REFUSED]:
        raise ValueError(f"encode: expected columns with a density or a probability, got {refused[0].name!r}, which is {refused[0].kind}")
    if absent := schema.absent(data):
        raise ValueError(f"encode: {say(absent)}")
    first = schema.first_row(data)
    columns, ends, wrong = [], [], []
    for column, values, found in schema.compared(data):
        fatal = [problem for problem in found if unseen == "raise" or not problem.rows]
        wrong += fatal
        if fatal:
            continue
        outside = np.zeros(len(values.values), bool)
        for problem in found:
            outside[np.asarray(problem.rows) - first] = True
        columns.append(np.where(outside, OUTSIDE, _coded(column, values)))
        nothing = np.full((len(outside), 2), np.nan)
        ends.append(nothing if values.bounds is None else np.where(outside[:, None], np.nan, values.bounds))
    if wrong:
        raise ValueError(f"encode: {say(wrong)}")
    lengths = {column.name: len(values) for column, values in zip(schema, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        (one, rows), (other, others) = next(iter(lengths.items())), next(pair for pair in lengths.items() if pair[1] != len(columns[0]))
        raise ValueError(f"encode: expected columns of one length, got {rows} values of {one!r} and {others} of {other!r}")
    if not columns:
        return Coded(np.empty((0, 0)), None)
    bounds = np.stack(ends, 1)
    return Coded(np.stack(columns, 1), None if np.isnan(bounds).all() else bounds)


def _coded(column: Column, values: Values) -> Array:
    if column.kind in DISCRETE:
        place = {category: float(index) for index, category in enumerate(column.categories)}
        missing = values.missing
        return np.array([np.nan if none else place.get(one, OUTSIDE) for one, none in zip(values.values, missing, strict=True)], np.float64)
    if column.kind == "datetime":
        return np.array([np.nan if one is None else seconds_of(one) for one in values.values], np.float64)
    return np.asarray(values.values, np.float64)
