"""Reading tables from files in chunks of rows, so that they may be larger than memory."""

from __future__ import annotations

import csv
import gzip
import os
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.core.extras import require

Array = NDArray[Any]
ROWS = 8192
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npy")
_BLOCK = 1 << 24  # bytes of CSV at a time; one row must fit


class TableError(ValueError):
    """A table that cannot be read or written as asked; the message names the file, the column and the row."""


class Table(ABC):
    """A table in a file. Nothing but its column names is held; rows are counted from 1, after a header.

    Attributes:
        path: The file.
        columns: Names of all columns, in order.
        numeric: Names of those that hold numbers.
    """

    def __init__(self, path: Path, columns: Sequence[str], numeric: Sequence[str]) -> None:
        self.path, self.columns, self.numeric = path, tuple(columns), tuple(numeric)
        twice = sorted({name for name in columns if self.columns.count(name) > 1})
        if twice:
            raise TableError(f"{path}: expected different column names, got {_names(twice)} more than once")

    def chunks(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[Array]:
        """Iterate over the rows, in order, as float64 arrays of shape (at most ``rows``, columns); missing values are NaN.

        Args:
            columns: Names of the columns wanted, in the order wanted; None for all numeric ones.
            rows: The most rows of one chunk.

        Raises:
            TableError: A column is missing or holds text, a row is ragged, or there are no rows.
        """
        if rows < 1:
            raise ValueError(f"chunks: expected at least 1 row a chunk, got {rows}")
        wanted = self.numeric if columns is None else tuple(columns)
        if not wanted:
            raise TableError(f"{self.path}: expected a column of numbers, got {_names(self.columns)}, none of which is")
        missing = [name for name in wanted if name not in self.columns]
        if missing:
            raise TableError(f"{self.path}: no column {_names(missing)}; there are {_names(self.columns)}")
        empty = True
        for batch in self._batches(wanted, rows):
            for start in range(0, len(batch), rows):
                empty = False
                yield batch[start : start + rows]
        if empty:
            raise TableError(f"{self.path}: expected rows, got none")

    def read(self, columns: Sequence[str] | None = None) -> Array:
        """Read all rows at once, as `chunks` would."""
        return np.concatenate(list(self.chunks(columns)))

    @abstractmethod
    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        """Iterate over arrays of any number of rows."""


def open_table(path: str | os.PathLike[str]) -> Table:
    """Open a table by the ending of its file name: .csv, .tsv (both also with .gz), .parquet or .npy.

    The columns of an array are named ``"0"``, ``"1"``, ...

    Raises:
        FileNotFoundError: There is no such file.
        TableError: The ending is unknown, or the file is not what its ending says.

    >>> open_table("weather.csv")
    Traceback (most recent call last):
    FileNotFoundError: no file weather.csv
    """
    source = Path(path)
    ending = ending_of(source)
    if not source.is_file():
        raise FileNotFoundError(f"{source} is a folder, not a table" if source.is_dir() else f"no file {source}")
    if ending == ".npy":
        return _NPY(source)
    return _Parquet(source) if ending == ".parquet" else _CSV(source, "\t" if ending.startswith(".tsv") else ",")


class _CSV(Table):
    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        arrow = require("pyarrow", "table")
        with self._reader() as reader:
            kinds = [(field.name, field.type) for field in reader.schema]
            if next((True for batch in reader if batch.num_rows), False) is False:
                raise TableError(f"{path}: expected rows, got none")
        numbers = [name for name, _ in kinds if _float(name) is not None]
        if len(numbers) == len(kinds) and numbers != [str(i) for i in range(len(numbers))]:
            raise TableError(f"{path}: expected column names in the first row, got the numbers {_names(numbers)}")
        super().__init__(path, [name for name, _ in kinds], [name for name, kind in kinds if name and _is_number(arrow, kind)])

    @contextmanager
    def _reader(self, **convert: Any) -> Iterator[Any]:
        """Open the file, and turn whatever goes wrong while it is open into a TableError."""
        arrow, reader = require("pyarrow", "table"), require("pyarrow.csv", "table")
        try:
            # No Python callback: Arrow's threads would let go of it some time after the reader is closed, and end a process that is
            # shutting down by then.
            with reader.open_csv(
                self.path,
                read_options=reader.ReadOptions(use_threads=False, block_size=_BLOCK),
                parse_options=reader.ParseOptions(delimiter=self.delimiter),
                convert_options=reader.ConvertOptions(**convert),
            ) as stream:
                yield stream
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"{self.path}: {self._ragged() or f'not a table: {_line(error)}'}") from error

    def _ragged(self) -> str | None:
        """Return in words the first row that has another number of values than the header, if that is what is wrong."""
        opened = gzip.open if self.path.name.lower().endswith(".gz") else open
        try:
            with opened(self.path, "rt", encoding="utf-8-sig", newline="") as text:
                rows = (row for row in csv.reader(text, delimiter=self.delimiter) if row)
                wanted = len(next(rows, ()))
                for number, row in enumerate(rows, 1):
                    if len(row) != wanted:
                        return f"row {number}: expected {wanted} values, got {len(row)}: {_short(self.delimiter.join(row))}"
        except (OSError, EOFError, ValueError, csv.Error, zlib.error):
            return None
        return None

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        arrow, compute = require("pyarrow", "table"), require("pyarrow.compute", "table")
        # As text first: Arrow guesses types from the first block only, and its errors do not name the value.
        kinds = dict.fromkeys(columns, arrow.string())
        before = 0
        with self._reader(include_columns=columns, column_types=kinds, strings_can_be_null=True) as reader:
            for batch in reader:
                values = np.empty((batch.num_rows, len(columns)))
                for index, name in enumerate(columns):
                    text = compute.utf8_trim_whitespace(batch.column(index))
                    try:
                        values[:, index] = compute.cast(text, arrow.float64()).to_numpy(zero_copy_only=False)
                    except arrow.ArrowInvalid as error:
                        row, value = next((i, v) for i, v in enumerate(text.to_pylist(), before + 1) if v is not None and _float(v) is None)
                        raise TableError(f"{self.path}: column {name!r}: expected numbers, got {_short(value)} in row {row}") from error
                before += batch.num_rows
                yield values


class _Parquet(Table):
    def __init__(self, path: Path) -> None:
        arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
        try:
            with parquet.ParquetFile(path) as file:
                kinds = [(field.name, field.type) for field in file.schema_arrow]
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: not a Parquet file: {_line(error)}") from error
        self.kinds = dict(kinds)
        super().__init__(path, [name for name, _ in kinds], [name for name, kind in kinds if _is_number(arrow, kind)])

    @contextmanager
    def _file(self) -> Iterator[Any]:
        """Open the file, and turn whatever goes wrong while it is open into a TableError."""
        arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"{self.path}: cannot be read: {_line(error)}") from error

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        arrow = require("pyarrow", "table")
        for name in columns:
            if name not in self.numeric:
                raise TableError(f"{self.path}: column {name!r}: expected numbers, got {self.kinds[name]}: {self._first(name)} in row 1")
        with self._file() as file:
            for batch in file.iter_batches(rows, columns=list(columns)):
                arrays = [batch.column(name).cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False) for name in columns]
                yield np.stack(arrays, axis=1)

    def _first(self, name: str) -> str:
        with self._file() as file:
            return _short(next((batch.column(name)[0].as_py() for batch in file.iter_batches(1, columns=[name])), None))


class _NPY(Table):
    def __init__(self, path: Path) -> None:
        array = self._open(path)
        if array.dtype.kind not in "fiu":
            raise TableError(f"{path}: expected an array of real numbers, got one of {array.dtype}")
        if array.ndim not in (1, 2):
            raise TableError(f"{path}: expected an array of shape (rows,) or (rows, columns), got {array.shape}")
        names = [str(index) for index in range(1 if array.ndim == 1 else array.shape[1])]
        super().__init__(path, names, names)

    @staticmethod
    def _open(path: Path) -> Array:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # NumPy reads the header as Python's own text, of which anything may come
            raise TableError(f"{path}: not an array that can be read: {_line(error)}") from error

    def _batches(self, columns: tuple[str, ...], rows: int) -> Iterator[Array]:
        array = self._open(self.path)
        array = array[:, None] if array.ndim == 1 else array
        for start in range(0, len(array), rows):
            # A NaN whose bits ask for a signal is a NaN, and no more to be said of it.
            with np.errstate(invalid="ignore"):
                values = array[start : start + rows, [int(name) for name in columns]].astype(np.float64)
            yield values


def ending_of(path: Path) -> str:
    """Return the ending of a table's file name, or raise TableError with those there are."""
    found = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if found is None:
        raise TableError(f"{path}: expected a file name that ends in {', '.join(ENDINGS)}")
    return found


def _is_number(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_decimal(kind))


def _float(text: str) -> float | None:
    # Python reads 1_000 as a number; CSV readers do not.
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:30])) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(error: Exception) -> str:
    """Return an error's message in one line of printable characters, some of which may be the file's own."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
