"""Writing tables to files or to standard output, chunk by chunk."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pushforward.core.extras import require
from pushforward.data.reading import Array, TableError, ending_of
from pushforward.io import replacing

Writer = Callable[[Array], None]


@contextmanager
def write_table(
    path: str | os.PathLike[str] | None, columns: Sequence[str], dtype: Any = np.float64, whole: Sequence[str] = ()
) -> Iterator[Writer]:
    """Open a table for writing, and give a function that appends an array of shape (rows, columns).

    The file has its name only once it is whole; one that is there stays until then.

    Args:
        path: A file name with an ending that `open_table` knows, or None for CSV on standard output.
        columns: Names of the columns; an array (NPY) has none, and one axis if there is one column.
        dtype: Of the values in the file.
        whole: Columns whose values are whole numbers, which are int64 in the file; an array (NPY) has one dtype for all.

    Raises:
        TableError: The ending is unknown, or standard output is closed.
        OSError: The folder does not exist or is full, the file may not be written.

    >>> with write_table(None, ["a", "b"]) as append:
    ...     append(np.array([[1.5, 2.0]]))
    a,b
    1.5,2
    """
    kind = np.dtype(dtype)
    kinds = [np.dtype(np.int64) if name in whole else kind for name in columns]
    if path is None:
        if sys.stdout is None:
            raise TableError("standard output is closed; expected the name of a file")
        with _csv_writer(lambda content: sys.stdout.write(content.decode()), columns, kinds, ",") as append:
            yield append
        return
    target = check_target(path)
    ending = ending_of(target)
    with replacing(target) as part, part.open("wb") as raw:
        if ending == ".npy":
            with _npy_writer(raw, len(columns), kind) as append:
                yield append
        elif ending == ".parquet":
            parquet = require("pyarrow.parquet", "table")
            schema = _schema(columns, kinds)
            with parquet.ParquetWriter(raw, schema) as writer:
                yield lambda rows: writer.write_table(_as_arrow(rows, schema))
        else:
            delimiter = "\t" if ending.startswith(".tsv") else ","
            packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if ending.endswith(".gz") else nullcontext(raw)
            with packed as stream, _csv_writer(stream.write, columns, kinds, delimiter) as append:
                yield append


@contextmanager
def write_frames(path: str | os.PathLike[str] | None) -> Iterator[Callable[[Any], None]]:
    """Open a table for writing, and give a function that appends an Arrow table; all have the same columns.

    Args:
        path: A file name with an ending of a text or Parquet table, or None for CSV on standard output.

    Raises:
        TableError: The ending is another, or standard output is closed.
        OSError: The folder does not exist or is full, the file may not be written.
    """
    if path is None:
        if sys.stdout is None:
            raise TableError("standard output is closed; expected the name of a file")
        yield _text_writer(lambda content: sys.stdout.write(content.decode()), ",")
        return
    target = check_target(path)
    ending = ending_of(target)
    if ending == ".npy":
        raise TableError(f"{target}: an array has no columns of several kinds; write .csv, .tsv or .parquet")
    with replacing(target) as part, part.open("wb") as raw:
        if ending == ".parquet":
            parquet = require("pyarrow.parquet", "table")
            writers: list[Any] = []

            def append(frame: Any) -> None:
                if not writers:
                    writers.append(parquet.ParquetWriter(raw, frame.schema))
                writers[0].write_table(frame)

            yield append
            for writer in writers:
                writer.close()
        else:
            packed = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if ending.endswith(".gz") else nullcontext(raw)
            with packed as stream:
                yield _text_writer(stream.write, "\t" if ending.startswith(".tsv") else ",")


def _text_writer(write: Callable[[bytes], Any], delimiter: str) -> Callable[[Any], None]:
    first = True

    def append(frame: Any) -> None:
        nonlocal first
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        if first:
            writer.writerow(frame.column_names)
        first = False
        writer.writerows(zip(*([_said(value) for value in column.to_pylist()] for column in frame.columns), strict=True))
        write(text.getvalue().encode())

    return append


def _said(value: Any) -> Any:
    """Return a value as it stands in a text table: a moment as ISO 8601 has it, a missing one empty."""
    return value.isoformat(" ") if isinstance(value, datetime) else value


def check_target(path: str | os.PathLike[str], ending: bool = True) -> Path:
    """Return the path of a file to be written, or raise for what can be known before the work: no such folder, unknown ending.

    Args:
        path: The file's name.
        ending: Whether it must be the ending of a table.
    """
    target = Path(path)
    if ending:
        ending_of(target)
    if target.is_dir():
        raise IsADirectoryError(f"expected a file name, got the folder {target}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"no permission to write in the folder {target.parent}")
    return target


@contextmanager
def _csv_writer(write: Callable[[bytes], Any], columns: Sequence[str], kinds: Sequence[Any], delimiter: str) -> Iterator[Writer]:
    writer = require("pyarrow.csv", "table")
    schema = _schema(columns, kinds)
    options = writer.WriteOptions(include_header=False, delimiter=delimiter)
    names = io.StringIO()
    csv.writer(names, delimiter=delimiter, lineterminator="\n").writerow(columns)
    # Not before the first rows are there, so that a command that fails on its input writes nothing.
    header = names.getvalue().encode()

    def append(rows: Array) -> None:
        nonlocal header
        content = io.BytesIO()
        writer.write_csv(_as_arrow(rows, schema), content, options)
        write(header + content.getvalue())
        header = b""

    yield append
    write(header)


@contextmanager
def _npy_writer(raw: BinaryIO, columns: int, kind: np.dtype[Any]) -> Iterator[Writer]:
    count = 0

    def header() -> None:
        shape = (count,) if columns == 1 else (count, columns)
        np.lib.format.write_array_header_1_0(raw, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape})

    def append(rows: Array) -> None:
        nonlocal count
        count += len(rows)
        raw.write(np.ascontiguousarray(rows, kind).tobytes())

    header()
    yield append
    # NumPy pads the header for a first axis of any length, so this one fits where the first was.
    raw.seek(0)
    header()


def _schema(columns: Sequence[str], kinds: Sequence[Any]) -> Any:
    arrow = require("pyarrow", "table")
    return arrow.schema([(name, arrow.from_numpy_dtype(kind)) for name, kind in zip(columns, kinds, strict=True)])


def _as_arrow(rows: Array, schema: Any) -> Any:
    arrow = require("pyarrow", "table")
    kinds = [np.dtype(kind.to_pandas_dtype()) for kind in schema.types]
    columns = [_as(np.ascontiguousarray(column), kind) for column, kind in zip(rows.T, kinds, strict=True)]
    # Of buffers, since for arrays Arrow imports pandas, which takes half a second.
    made = [arrow.Array.from_buffers(of, len(rows), [None, arrow.py_buffer(each)]) for of, each in zip(schema.types, columns, strict=True)]
    return arrow.Table.from_arrays(made, schema=schema)


def _as(values: Array, kind: np.dtype[Any]) -> Array:
    if kind.kind == "i" and values.dtype.kind == "f":
        # Beyond the ends of int64 NumPy gives any number.
        values = np.clip(np.rint(values), -(2.0**63), 2.0**63 - 1024)
    return values.astype(kind, copy=False)
