"""Data for training: what users hold becomes checked tensors; grids are found and filled with noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.extras import require
from pushforward.data.from_frames import columns_of_frame, floats, frame_of, is_table
from pushforward.data.grids import repeats
from pushforward.data.rows import Rows
from pushforward.data.schema.finding import find_column
from pushforward.data.schema.schema import Schema
from pushforward.data.values import Values
from pushforward.data.weights import relative
from pushforward.flow.flow import Flow


def read_rows(
    flow: Flow,
    data: Any,
    context: Any = None,
    columns: Sequence[str] | None = None,
    context_columns: Sequence[str] | None = None,
    weights: Any = None,
    part: str = "",
    schema: Schema | Mapping[str, str] | None = None,
) -> Rows:
    """Return data, context and weights of any kind as `Rows` that fit a flow in shape.

    Args:
        flow: The flow for which the rows are; its event and context shapes are what is expected.
        data: A tensor, an array, a list or a DataFrame of n rows; one axis will do for a flow of one feature. The columns of an array are
            called what those of an earlier fit were.
        context: The same for the context, or None.
        columns: The columns of a DataFrame that are data (None: those of an earlier fit, else all that are not context).
        context_columns: The columns of the DataFrame ``data`` that are context, in place of ``context``.
        weights: ``(n,)`` weights, at least 0; only their ratios matter.
        part: What the rows are, in front of data and context in error messages, such as ``"validation "``.
        schema: What the columns of a DataFrame are, or the kinds of some; None to find out.

    Raises:
        ValueError: Shapes, numbers of rows or names do not fit, or a column holds no numbers.
        TypeError: The values are not numbers that torch can compute with.
    """
    names, context_names = (None if value is None else tuple(map(str, value)) for value in (columns, context_columns))
    if is_table(data):
        frame = frame_of(data)
        context_names = context_names or (flow.context_columns if context is None else None)
        rest = tuple(name for name in frame.columns if name not in (context_names or ()))
        names = names or flow.columns or rest
        if context_names:
            if context is not None:
                raise ValueError("fit: expected context or context_columns, got both")
            context = frame.select(_known(frame, context_names))
        data = frame.select(_known(frame, names))
    elif names or context_names:
        raise ValueError(f"fit: expected a DataFrame, from which columns are chosen by name, got {type(data).__name__}")
    else:
        names = flow.columns
    if is_table(context):
        frame = frame_of(context)
        context = frame.select(_known(frame, context_names or tuple(frame.columns)))
        context_names = tuple(context.columns)
    if schema is not None and not (is_table(data) and (context is None or is_table(context))):
        raise ValueError(f"fit: expected DataFrames, of whose columns a schema tells, got {type(data).__name__}")
    context_names = context_names or flow.context_columns
    x = _shaped(_numbers(data, f"{part}data"), flow.event_shape, f"{part}data")
    c = None
    if flow.context_shape is None:
        if context is not None:
            raise ValueError(f"fit: expected no {part}context, since the flow was built without one, got one; build it with context=...")
    elif context is None:
        size = ", ".join(map(str, flow.context_shape))
        raise ValueError(f"fit: expected a {part}context of shape (n, {size}), since the flow is conditional, got none")
    else:
        c = _same_rows(_shaped(_numbers(context, f"{part}context"), flow.context_shape, f"{part}context"), x, f"{part}context")
    rows = Rows(x, c, None, names, context_names if c is not None else None)
    if not part and is_table(data) and (context is None or is_table(context)):
        rows.schema = _schema(data, context, schema)
    return rows if weights is None else _weighted(rows, weights)


def tables(
    owner: str, data: Any, context: Any = None, columns: Sequence[str] | None = None, context_columns: Sequence[str] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return data and context of any kind as they are, ``(n, features)`` and ``(n, context)``, before there is a flow to say their shapes.

    Raises:
        ValueError: Rows that are no vectors, none at all, columns that are not there, both a context and context columns.
        TypeError: The values are not numbers that torch can compute with.
    """
    if is_table(data):
        frame = frame_of(data)
        beside = tuple(map(str, context_columns or ()))
        if beside and context is not None:
            raise ValueError(f"{owner}: expected context or context_columns, got both")
        context = frame.select(_known(frame, beside)) if beside else context
        data = frame.select(_known(frame, tuple(map(str, columns)) if columns else [name for name in frame.columns if name not in beside]))
    elif columns or context_columns:
        raise ValueError(f"{owner}: expected a DataFrame, from which columns are chosen by name, got {type(data).__name__}")
    found = [_vectors(owner, value, what) for value, what in ((data, "data"), (context, "context")) if value is not None]
    if not found or data is None:
        raise TypeError(f"{owner}: expected rows of data, got None")
    return found[0], found[1] if len(found) > 1 else None


def _vectors(owner: str, value: Any, what: str) -> Tensor:
    rows = _numbers(value, what, owner)
    rows = rows[:, None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or not rows.numel():
        raise ValueError(f"{owner}: expected {what} of shape (n, columns), got {tuple(rows.shape)}")
    return rows


def _weighted(rows: Rows, weights: Any) -> Rows:
    """Return the rows with their weights."""
    w = _numbers(weights, "weights")
    w = relative("fit", w.squeeze(-1) if is_table(weights) and w.shape[1:] == (1,) else w)
    return replace(rows, weights=_same_rows(w, rows.x, "weights"))


def _schema(data: Any, context: Any, told: Schema | Mapping[str, str] | None) -> Schema | None:
    """Return what the columns of data and context are, where both are tables whose columns have different names."""
    frames = [frame_of(one) for one in (data, context) if one is not None]
    names = [name for frame in frames for name in frame.columns]
    if isinstance(told, Schema):
        for frame in frames:
            told.part(frame.columns).check(frame)
        return told.part(names)
    kinds = dict(told or {})
    if unknown := [name for name in kinds if name not in names]:
        raise ValueError(f"fit: expected kinds of columns that are fitted, got one of {unknown[0]!r}; there are {names}")
    if len(set(names)) < len(names):
        return None
    found = [Schema.find(frame, {name: kind for name, kind in kinds.items() if name in frame.columns}) for frame in frames]
    return Schema(tuple(column for each in found for column in each))


def _same_rows(value: Tensor, x: Tensor, what: str) -> Tensor:
    if len(value) != len(x):
        raise ValueError(f"fit: expected as many rows of {what} as of data, {len(x)}, got {len(value)}")
    return value


def _shaped(value: Tensor, shape: Sequence[int], what: str) -> Tensor:
    """Return ``(n, *shape)``; a flow of one feature takes ``(n,)`` too."""
    if value.dim() == 1 and tuple(shape) == (1,):
        value = value[:, None]
    if value.dim() != len(shape) + 1 or tuple(value.shape[1:]) != tuple(shape):
        wanted = ", ".join(["n", *map(str, shape)]) + "," * (not shape)
        raise ValueError(f"fit: expected {what} of shape ({wanted}), as the flow was built, got {tuple(value.shape)}")
    if not len(value):
        raise ValueError(f"fit: expected rows of {what}, got none")
    return value


def _known(frame: Any, names: Sequence[str]) -> list[str]:
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(f"fit: expected the columns {missing}, got a table with {list(frame.columns)}")
    return list(names)


def _numbers(value: Any, what: str, owner: str = "fit") -> Tensor:
    """Return real numbers of any kind as a tensor; what cannot be shared with torch is copied."""
    if isinstance(value, Tensor):
        if odd := _oddity(value):
            raise TypeError(f"{owner}: expected {what} to be a dense tensor of real numbers, got {odd}")
        return value.detach() if value.is_floating_point() else value.double()
    if is_table(value):
        frame, nw = frame_of(value), require("narwhals", "table")
        if text := [name for name in frame.columns if not (frame[name].dtype.is_numeric() or frame[name].dtype == nw.Boolean)]:
            kinds = "; ".join(f"{name!r} ({frame[name].dtype}) is {find_column(values).told()}" for name, values in _of(frame, text))
            raise ValueError(
                f"{owner}: expected columns of numbers, got others: {kinds}; leave them out with columns=..., or encode them as numbers"
            )
        single = {frame[name].dtype for name in frame.columns} == {nw.Float32}
        arrays = [frame[name].to_numpy().astype(np.float32) if single else floats(frame[name]) for name in frame.columns]
        return torch.from_numpy(np.column_stack(arrays))
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(float), np.nan)
    try:
        array = np.asarray(value)
    except Exception as error:  # what an object does that is asked for its numbers, is its own affair
        rows = " with rows of different lengths" if isinstance(value, list | tuple) else ""
        raise TypeError(f"{owner}: expected {what} to be numbers, got {type(value).__name__}{rows}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: expected {what} to be numbers, got {type(value).__name__} of {array.dtype}")
    native = array.dtype.newbyteorder("=") if array.dtype.kind == "f" and array.dtype.itemsize <= 8 else np.dtype(float)
    array = np.ascontiguousarray(array.astype(native, copy=False))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _of(frame: Any, names: Sequence[str]) -> Iterator[tuple[str, Values]]:
    return zip(names, columns_of_frame(frame, names), strict=True)


def _oddity(value: Tensor) -> str | None:
    """Return in words why a tensor is not one of numbers in memory, each with a place and a value, or None."""
    if value.is_nested:
        return "a nested one; fill its rows up to one length, or drop what is too long"
    if value.layout != torch.strided:
        return f"one of layout {value.layout}; convert it with .to_dense()"
    if value.is_quantized:
        return "a quantized one; convert it with .dequantize()"
    if value.is_complex():
        return f"one of {value.dtype}; take its real and imaginary parts as columns: torch.view_as_real"
    if value.device.type == "meta":
        return "one on the meta device, which has no values"
    return None


def few(rows: Sequence[int]) -> str:
    """Return the first few row numbers in words."""
    return ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def dequantize(x: Any, generator: torch.Generator | None = None) -> tuple[Any, np.ndarray[Any, np.dtype[np.float64]]]:
    """Add uniform noise as wide as a grid's step to each column that lies on a grid.

    A density of values on a grid has no best value: a flow may put ever higher spikes on them. With noise ``(-step/2, step/2)`` the
    density, averaged over a cell of the grid, is the probability of its value. The columns are those of which `fit` warns.
    Source: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016).

    Args:
        x: ``(n, columns)`` or ``(n,)`` finite numbers: a tensor or an array of any type.
        generator: Where the noise is drawn from.

    Returns:
        A tensor or an array like ``x``, float32 if ``x`` was float32, else float64; and the steps ``(columns,)``, 0 for no grid.

    >>> y, steps = dequantize(np.arange(100) % 7, torch.Generator().manual_seed(0))
    >>> steps, bool(np.all(np.rint(y) == np.arange(100) % 7))
    (array([1.]), True)
    """
    values = _numbers(x, "x", "dequantize")
    if values.dim() not in (1, 2) or not bool(torch.isfinite(values).all()):
        raise ValueError(f"dequantize: expected finite values of shape (n, columns) or (n,), got shape {tuple(values.shape)}, or NaN, inf")
    dtype = torch.float32 if values.dtype == torch.float32 else torch.float64
    flat = values.reshape(len(values), -1)
    steps = torch.tensor([repeats(column).step for column in flat.T], dtype=torch.float64)
    place = flat.device if generator is None else generator.device
    noise = torch.rand(flat.shape, generator=generator, dtype=torch.float64, device=place).to(flat.device) - 0.5
    y = (flat.double() + noise * steps.to(flat.device)).reshape(values.shape).to(dtype)
    return (y if isinstance(x, Tensor) else y.numpy()), steps.numpy()
