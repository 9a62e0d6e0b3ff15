"""What is drawn: tensors, arrays and tables of any library as plain arrays, with what had to be left out counted."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.float64]]
Columns = str | int | Sequence[str | int] | None


@dataclass(frozen=True)
class Finite:
    """Finite rows ``(rows, columns)``, the columns' names, and how many rows were left out because they are not finite."""

    values: Array
    names: tuple[str, ...]
    dropped: int

    def note(self, what: str) -> list[str]:
        """Say how many rows were left out, if any were."""
        total = self.dropped + len(self.values)
        return [f"{self.dropped:,} of {total:,} rows of {what} left out: NaN or infinite"] if self.dropped else []


def read(value: Any, columns: Columns = None, what: str = "data") -> Finite:
    """Read one set of rows; ``columns`` picks columns of a table by name or position, and picks or names those of an array."""
    wanted = _listed(columns)
    table = _table(value)
    if table is not None:
        chosen = list(table) if wanted is None else [_lookup(what, table, name) for name in wanted]
        values = np.stack([_numbers(f"column {name!r} of {what}", table[name]).reshape(-1) for name in chosen], 1)
        names = [str(name) for name in chosen]
    else:
        values = _numbers(what, value)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2:
            raise ValueError(f"{what}: expected rows of shape (rows, columns) or (rows,), got {values.shape}")
        values, names = _pick(what, values, wanted)
    if not values.shape[1]:
        raise ValueError(f"{what}: expected at least one column, got none")
    finite = np.isfinite(values).all(1)
    if not finite.any():
        raise ValueError(f"{what}: expected at least one row of finite values, got {len(values)} rows and none of them finite")
    return Finite(values[finite], tuple(names), int((~finite).sum()))


def read_both(data: Any, samples: Any, columns: Columns = None) -> tuple[Finite, Finite]:
    """Read data and samples with the same columns; those of a table are the default, of the data first."""
    if columns is None:
        tables = [table for table in (_table(data), _table(samples)) if table is not None]
        columns = list(tables[0]) if tables else None
    first, second = read(data, columns, "data"), read(samples, columns, "samples")
    if first.values.shape[1] != second.values.shape[1]:
        raise ValueError(f"samples: expected as many columns as the data has, {first.values.shape[1]}, got {second.values.shape[1]}")
    # Positions name the columns of an array; a table knows better.
    return first, second if _table(data) is None and _table(samples) is not None else Finite(second.values, first.names, second.dropped)


def some(values: Array, count: int) -> Array:
    """Return at most ``count`` rows, chosen at random, always the same ones."""
    if len(values) <= count:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), count, replace=False))]


def limits(data: Array, samples: Array | None = None) -> tuple[float, float]:
    """Return the ends of an axis that shows all but far outliers, of the data first of all."""
    low, high = _middle(data)
    if samples is not None:
        # Samples may widen the axis, but samples gone astray must not make the data a dot.
        span, (left, right) = high - low, _middle(samples)
        low, high = max(min(low, left), low - span), min(max(high, right), high + span)
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def bins(values: Array, span: tuple[float, float]) -> Array:
    """Return the edges of the bins of a histogram that cover an axis; the finer of the rules of Freedman-Diaconis and of Rice."""
    inside = values[(values >= span[0]) & (values <= span[1])]
    start, stop = (float(inside.min()), float(inside.max())) if len(inside) else span
    if stop - start < 1e-3 * (span[1] - span[0]):
        return np.linspace(*span, 26)
    low, high = np.quantile(inside, [0.25, 0.75])
    third = len(inside) ** (1 / 3)
    fine = 0.5 * (stop - start) * third / max(high - low, 1e-3 * (stop - start))
    # From the smallest to the largest value, so that no bin reaches below the end of values that have one.
    width = (stop - start) / int(np.clip(max(fine, 2 * third), 12, 50))
    before, after = np.ceil((start - span[0]) / width - 1e-9), np.ceil((span[1] - start) / width - 1e-9)
    return start + width * np.arange(-before, after + 1)


def positive(what: str, value: int, least: int = 1) -> int:
    """Return a whole number, or raise ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what}: expected a whole number of at least {least}, got {value!r}")
    return value


def _middle(values: Array) -> tuple[float, float]:
    """Return the range without what lies far beyond the quantiles 0.005 and 0.995."""
    low, high = (float(q) for q in np.quantile(values, [0.005, 0.995]))
    reach = 0.15 * (high - low)
    low, high = max(low - reach, float(values.min())), min(high + reach, float(values.max()))
    size = abs(low) if abs(low) > 1e-300 else 1.0  # half of a denormal number may be zero
    half = 0.5 * size if high - low <= 1e-12 * max(abs(low), abs(high)) else 0.0
    return low - half, high + half


def _listed(columns: Columns) -> list[str | int] | None:
    if columns is None:
        return None
    wanted = [columns] if isinstance(columns, str | int) else list(columns)
    if not wanted or any(isinstance(name, bool) or not isinstance(name, str | int | np.integer) for name in wanted):
        raise ValueError(f"columns: expected names or positions of columns, got {columns!r}")
    return wanted


def _table(value: Any) -> Mapping[Any, Any] | None:
    """Return a table's columns by name, or None for what has no named columns."""
    if isinstance(value, Mapping):
        return value
    names = getattr(value, "column_names", None)  # Arrow
    names = getattr(value, "columns", None) if names is None else names  # pandas, polars
    if names is None or callable(names):
        return None
    return {name: value[name] for name in names}


def _lookup(what: str, table: Mapping[Any, Any], name: str | int) -> Any:
    if name in table:
        return name
    known = list(table)
    if not isinstance(name, str) and -len(known) <= name < len(known):
        return known[name]
    raise ValueError(f"{what}: expected columns among {[str(k) for k in known]}, got {name!r}")


def _pick(what: str, values: Array, wanted: list[str | int] | None) -> tuple[Array, list[str]]:
    count = values.shape[1]
    if wanted is not None and all(isinstance(name, str) for name in wanted):
        if len(wanted) != count:
            raise ValueError(f"{what}: expected {len(wanted)} columns, named {wanted}, got {count}; pick columns of an array by position")
        return values, [str(name) for name in wanted]
    places = list(range(count)) if wanted is None else wanted
    if any(isinstance(place, str) or not -count <= place < count for place in places):
        raise ValueError(f"{what}: expected columns by position, 0 to {count - 1}, or a name for each of the {count}, got {places}")
    picked = [int(place) % count for place in places]
    return values[:, picked], [f"x{place + 1}" for place in picked]


def _numbers(what: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double().numpy() if not value.is_complex() else value.numpy()
    array = np.asarray(value)
    if array.dtype.kind == "O" and not any(isinstance(entry, str | bytes) for entry in array.flat):
        with contextlib.suppress(TypeError, ValueError):  # what numpy found is in the error below
            array = np.asarray(value, dtype=np.float64)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what}: expected numbers, got values of type {array.dtype}")
    return array.astype(np.float64)
