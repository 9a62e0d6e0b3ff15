"""Frames of any library, through narwhals, as columns of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pushforward.core.extras import require
from pushforward.data.between import of_cells
from pushforward.data.table import short
from pushforward.data.values import Values, numbers_of, of_objects


def is_table(value: Any) -> bool:
    """Tell whether a value is a DataFrame or a series of some library (not imported to find out)."""
    # The class is asked: to have the names of its columns told, a lazy frame of polars works, and warns of it.
    names = ("columns", "column_names", "to_frame")
    return not isinstance(value, Tensor | np.ndarray) and any(hasattr(type(value), name) for name in names)


def frame_of(value: Any) -> Any:
    """Return a frame or a series of any library as a narwhals DataFrame with texts as names, or raise TypeError or ValueError."""
    nw = require("narwhals", "table")
    try:
        frame = nw.from_native(value, allow_series=True)
    except nw.exceptions.DuplicateError as error:
        got = " ".join(str(error).split()).rpartition("got: - ")[2]
        raise ValueError(f"fit: expected each name of a column once, got {got}; rename columns first") from error
    except TypeError as error:
        raise TypeError(f"fit: expected a DataFrame that narwhals knows (pandas, polars, pyarrow, ...): {error}") from error
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    frame = frame.to_frame() if isinstance(frame, nw.Series) else frame
    if deep := [name for name in frame.columns if isinstance(name, tuple)]:
        raise ValueError(
            f"fit: expected a name for each column, got names of several levels, such as {deep[0]}; join them first: "
            "df.columns = ['.'.join(map(str, name)) for name in df.columns]"
        )
    if twice := [name for name, count in Counter(map(str, frame.columns)).items() if count > 1]:
        raise ValueError(f"fit: expected each name of a column once, as a text, got {twice[0]!r} more than once; rename columns first")
    return frame if all(isinstance(name, str) for name in frame.columns) else frame.rename({name: str(name) for name in frame.columns})


def columns_of_frame(value: Any, columns: Sequence[str] | None = None) -> Iterator[Values]:
    """Iterate over columns of a frame as what they hold."""
    frame = frame_of(value)
    for name in frame.columns if columns is None else columns:
        yield _values(name, frame[name])


def floats(series: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column of numbers in float64; whole numbers that it does not have are rounded."""
    nw = require("narwhals", "table")
    if series.implementation.is_pyarrow():
        series = nw.from_native(series.to_native().cast("float64", safe=False), series_only=True)
    return np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)


def _values(name: str, series: Any) -> Values:
    nw = require("narwhals", "table")
    kind = series.dtype
    missing = series.is_null().to_numpy().astype(bool)
    declared, ordered = _categories(series) if kind in (nw.Categorical, nw.Enum) else (None, False)
    if kind.is_numeric():
        values = floats(series)
        return Values(name, "integer" if kind.is_integer() else "float", np.where(missing, np.nan, values), note=f"stored as {kind}")
    if kind == nw.Boolean:
        return Values(name, "boolean", _listed(series, missing, bool), note="stored as truth values")
    if declared is not None:
        if odd := [one for one in declared if not isinstance(one, str | bool | int | float)]:
            raise ValueError(
                f"fit: column {name!r}: expected categories that are texts or numbers, got {short(odd[0])}; make texts of them: "
                "column.astype(str)"
            )
        storage = next((of for of, kinds in _PLAIN if declared and all(type(one) in kinds for one in declared)), "string")
        return Values(name, storage, _listed(series, missing), declared, ordered, note="stored as categories")
    if kind in (nw.Date, nw.Datetime):
        storage = "date" if kind == nw.Date else "datetime"
        return Values(name, storage, _listed(series, missing), zone=getattr(kind, "time_zone", None) or "", note=f"stored as {kind}")
    values = _listed(series, missing)
    if (between := of_cells(name, values, f"stored as {kind}")) is not None:
        return between
    if (numbers := numbers_of(values)) is not None:
        whole = all(isinstance(one, int | np.integer) for one in values[~missing])
        return Values(name, "integer" if whole else "float", numbers, note=f"stored as {kind}")
    return of_objects(name, values, f"stored as {kind}")


_PLAIN = (("boolean", (bool,)), ("integer", (int,)), ("float", (int, float)), ("string", (str,)))


def _categories(series: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the categories that a column declares, those without a row included where its library tells, and whether they are ordered."""
    native = series.to_native()
    if series.implementation.is_pandas_like():
        return tuple(_plain(one) for one in native.cat.categories), bool(native.cat.ordered)
    if series.implementation.is_pyarrow():
        found = dict.fromkeys(one for chunk in native.chunks for one in chunk.dictionary.to_pylist())
        return tuple(found), bool(native.type.ordered)
    declared = getattr(series.dtype, "categories", None)
    return tuple(series.drop_nulls().unique().sort().to_list() if declared is None else declared), False


def _listed(series: Any, missing: Any, convert: Any = None) -> Any:
    """Return values as plain Python's, None where one is missing."""
    array = np.empty(len(missing), object)
    array[:] = [None if none else (convert(one) if convert else _plain(one)) for one, none in zip(series.to_list(), missing, strict=True)]
    return array


def _plain(value: Any) -> Any:
    """Return a value of NumPy's as Python's."""
    return value.item() if isinstance(value, np.generic) else value
