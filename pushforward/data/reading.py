"""Reading tables from files in chunks of rows, so that they may be larger than memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.core.extras import require
from pushforward.data.cells import number
from pushforward.data.delimited import Delimited
from pushforward.data.dialect import Format
from pushforward.data.from_frames import columns_of_frame
from pushforward.data.table import ROWS, Array, Table, TableError, line_of, short
from pushforward.data.values import NUMBERS, Values

__all__ = ["ENDINGS", "ROWS", "Array", "Format", "Table", "TableError", "ending_of", "open_table"]

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npy")


def open_table(path: str | os.PathLike[str], form: Format | None = None) -> Table:
    """Open a table by the ending of its file name: .csv, .tsv (both also with .gz), .parquet or .npy.

    Of a text table it is found how it is written, unless it is said. The columns of an array, and of a text without a header, are named
    ``"0"``, ``"1"``, ...

    Args:
        path: The file.
        form: What is known of a text table; of another only the marks for missing values mean something.

    Raises:
        FileNotFoundError: There is no such file.
        TableError: The ending is unknown, or the file is not what its ending says.

    >>> open_table("weather.csv")
    Traceback (most recent call last):
    FileNotFoundError: no file weather.csv
    """
    source, form = Path(path), form or Format()
    ending = ending_of(source)
    if not source.is_file():
        raise FileNotFoundError(f"{source} is a folder, not a table" if source.is_dir() else f"no file {source}")
    if ending in (".parquet", ".npy"):
        told = [name for name in ("delimiter", "decimal", "encoding", "header") if getattr(form, name) is not None]
        if told:
            raise TableError(f"{source}: only a text table has a {told[0]}; a file that ends in {ending} says itself how it is written")
        return _NPY(source, form.missing) if ending == ".npy" else _Parquet(source, form.missing)
    return Delimited(source, form, "\t" if ending.startswith(".tsv") else ",")


class _Parquet(Table):
    def __init__(self, path: Path, missing: Sequence[str]) -> None:
        arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
        try:
            with parquet.ParquetFile(path) as file:
                kinds = [(field.name, field.type) for field in file.schema_arrow]
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: not a Parquet file: {line_of(error)}") from error
        self.kinds = dict(kinds)
        super().__init__(path, [name for name, _ in kinds], [name for name, kind in kinds if _is_number(arrow, kind)], missing)
        self.left_out = {name: f"values of type {kind}" for name, kind in kinds if name not in self.numeric}

    @contextmanager
    def _file(self) -> Iterator[Any]:
        """Open the file, and turn whatever goes wrong while it is open into a TableError."""
        arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"{self.path}: cannot be read: {line_of(error)}") from error

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        arrow = require("pyarrow", "table")
        for name in columns:
            if name not in self.numeric:
                raise TableError(f"{self.path}: column {name!r}: expected numbers, got {self.kinds[name]}: {self._first(name)} in row 1")
        with self._file() as file:
            for batch in file.iter_batches(rows, columns=list(columns)):
                arrays = [batch.column(name).cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False) for name in columns]
                yield _unmarked(np.stack(arrays, axis=1), self.marks)

    def typed(self, columns: Sequence[str] | None = None, rows: int | None = None, texts: Collection[str] = ()) -> Iterator[Values]:
        wanted = self.columns if columns is None else self.known(columns)
        arrow = require("pyarrow", "table")
        with self._file() as file:
            parts, count = [], 0
            for batch in file.iter_batches(ROWS, columns=list(wanted)):
                parts.append(batch)
                count += len(batch)
                if rows is not None and count >= rows:
                    break
            table = arrow.Table.from_batches(parts, file.schema_arrow if not parts else parts[0].schema)
        for values in columns_of_frame(table if rows is None else table.slice(0, rows), wanted):
            yield replace(values, values=_unmarked(values.values, self.marks)) if values.storage in NUMBERS else values

    def _first(self, name: str) -> str:
        with self._file() as file:
            return short(next((batch.column(name)[0].as_py() for batch in file.iter_batches(1, columns=[name])), None))


class _NPY(Table):
    def __init__(self, path: Path, missing: Sequence[str]) -> None:
        array = self._open(path)
        if array.dtype.kind not in "fiu":
            raise TableError(f"{path}: expected an array of real numbers, got one of {array.dtype}")
        if array.ndim not in (1, 2):
            raise TableError(f"{path}: expected an array of shape (rows,) or (rows, columns), got {array.shape}")
        names = [str(index) for index in range(1 if array.ndim == 1 else array.shape[1])]
        super().__init__(path, names, names, missing)

    @staticmethod
    def _open(path: Path) -> Array:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # NumPy reads the header as Python's own text, of which anything may come
            raise TableError(f"{path}: not an array that can be read: {line_of(error)}") from error

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        array = self._open(self.path)
        array = array[:, None] if array.ndim == 1 else array
        for start in range(0, len(array), rows):
            # A NaN whose bits ask for a signal is a NaN, and no more to be said of it.
            with np.errstate(invalid="ignore"):
                values = array[start : start + rows, [int(name) for name in columns]].astype(np.float64)
            yield _unmarked(values, self.marks)

    def typed(self, columns: Sequence[str] | None = None, rows: int | None = None, texts: Collection[str] = ()) -> Iterator[Values]:
        wanted = self.columns if columns is None else self.known(columns)
        storage = "float" if self._open(self.path).dtype.kind == "f" else "integer"
        values = self.read(wanted)[:rows]
        for index, name in enumerate(wanted):
            yield Values(name, storage, values[:, index])


def ending_of(path: Path) -> str:
    """Return the ending of a table's file name, or raise TableError with those there are."""
    found = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if found is None:
        raise TableError(f"{path}: expected a file name that ends in {', '.join(ENDINGS)}")
    return found


def _is_number(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_decimal(kind))


def _unmarked(values: Array, marks: frozenset[str]) -> Array:
    """Return values with NaN for those that mean a missing one."""
    return np.where(np.isin(values, _meant(marks)), np.nan, values) if marks else values


def _meant(marks: frozenset[str]) -> list[float]:
    """Return the numbers among marks for missing values."""
    found = (number(mark) for mark in marks)
    return [value[0] for value in found if value is not None]
