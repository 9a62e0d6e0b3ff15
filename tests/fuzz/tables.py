"""Tables, right and broken: what is read is what pandas or NumPy reads, and all else is one line that names the file."""

from __future__ import annotations

import gzip
import io
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pushforward.data import Schema
from pushforward.data.reading import TableError, open_table

SHORT = 60
CELLS = (
    "1",
    "-2.5",
    "1e300",
    "1e-320",
    "0",
    "-0.0",
    " 3 ",
    "",
    "NA",
    "nan",
    "inf",
    "-inf",
    "1_000",
    "0x10",
    "x",
    "1,5",
    "é",
    '"',
    "1e999",
    "+4",
)
NAMES = ("a", "b", "c d", "é", "1", "", "x" * 300, "a", 'q"', "d,e", "\t", "nan")


def case(random: random.Random, folder: Path) -> str | None:
    """Write a table or something like one, perhaps damage it, and read it."""
    kind = random.choice([".csv", ".tsv", ".csv.gz", ".parquet", ".npy"])
    path = folder / f"table{kind}"
    make = {".parquet": _parquet, ".npy": _npy}.get(kind, _text)
    content, expected = make(random, kind)
    if damaged := random.random() < 0.4:
        content, expected = _damaged(random, content), None
    path.write_bytes(content)
    try:
        table = open_table(path)
        columns = random.sample(table.columns, random.randint(1, len(table.columns))) if table.columns and random.random() < 0.5 else None
        read = np.concatenate(list(table.chunks(columns, random.choice([1, 7, 8192]))))
        schema = Schema.find(table)
        wrong = [problem for problem in schema.problems(table) if "finite" not in problem.what]
        if Schema.from_dict(schema.to_dict()) != schema or wrong:
            return f"a table that its own schema does not allow: {wrong}"
    except TableError as error:
        text = str(error)
        if path.name not in text or not text.isprintable() or len(text) > 3000:
            return f"expected one line that names the file, got {text!r}"
        if expected is not None and not damaged and columns_are_good(expected):
            return f"a good table of {expected.shape} was refused: {text}"
        return None
    if path.read_bytes() != content:
        return "the table was changed by reading it"
    if expected is None:
        return None
    chosen = expected if columns is None else expected[list(columns)]
    if columns is None:
        chosen = chosen[list(table.numeric)]
    wanted = np.column_stack([pd.to_numeric(chosen[name], errors="coerce").to_numpy(float, na_value=math.nan) for name in chosen])
    # Text that is no number is refused by both or by neither, so what is read has numbers alone.
    if not np.array_equal(read, wanted, equal_nan=True):
        return f"expected {wanted[:3]!r} of {chosen.shape}, got {read[:3]!r} of {read.shape}"
    return None


def columns_are_good(frame: pd.DataFrame) -> bool:
    """Tell whether every column holds plain finite numbers under a name of its own."""
    numbers = all(kind.kind in "iuf" for kind in frame.dtypes if isinstance(kind, np.dtype))
    return len(frame) > 0 and frame.shape[1] > 0 and numbers and all(isinstance(kind, np.dtype) for kind in frame.dtypes)


def _numbers(random: random.Random) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(random.randrange(2**32))
    return draw.normal(size=(random.randint(1, 30), random.randint(1, 4))) * 10.0 ** draw.integers(-30, 30)


def _text(random: random.Random, kind: str) -> tuple[bytes, pd.DataFrame | None]:
    delimiter = "\t" if kind == ".tsv" else ","
    end = random.choice(["\n", "\r\n"])
    if random.random() < 0.5:  # what every reader reads alike
        values = _numbers(random)
        frame = pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])
        text = frame.to_csv(index=False, sep=delimiter, lineterminator=end)
        frame = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str).astype(float)
        return _packed(kind, text.encode()), frame
    names = random.sample(NAMES, random.randint(1, 4))
    rows = [[random.choice(CELLS) for _ in names] for _ in range(random.randint(0, 6))]
    if rows and random.random() < 0.3:
        random.choice(rows).append("9")
    quoted = lambda cell: f'"{cell}"' if delimiter in cell and random.random() < 0.8 else cell  # noqa: E731
    text = end.join(delimiter.join(map(quoted, row)) for row in [names, *rows])
    return _packed(kind, text.encode(random.choice(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]))), None


def _packed(kind: str, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if kind.endswith(".gz") else content


def _parquet(random: random.Random, kind: str) -> tuple[bytes, pd.DataFrame | None]:
    values = _numbers(random)
    columns: dict[str, Any] = {f"c{i}": column for i, column in enumerate(values.T)}
    odd = random.random() < 0.5
    if odd:
        count = len(values)
        columns["odd"] = random.choice(
            [
                pa.array([None] * count, pa.float64()),
                pa.array(["x"] * count),
                pa.array([[1.0]] * count),
                pa.array([True] * count),
                pa.array(range(count), pa.int8()),
                pa.array([2**63 + 1] * count, pa.uint64()),
                pa.array([b"\xff"] * count),
                pa.array([None, *range(count - 1)], pa.int32()),
            ]
        )
    stream = io.BytesIO()
    table = pa.table(columns)
    pq.write_table(table, stream, compression=random.choice(["snappy", "gzip", "none", "zstd"]), row_group_size=random.choice([1, 5, None]))
    return stream.getvalue(), None if odd else table.to_pandas()


def _npy(random: random.Random, kind: str) -> tuple[bytes, pd.DataFrame | None]:
    values = np.zeros(random.choice([(), (0, 2), (2, 0), (2, 2, 2)]))
    if random.random() < 0.8:
        with np.errstate(all="ignore"):
            values = _numbers(random).astype(random.choice([">f4", "<f8", "f2", "i4", "u1", "c16", "bool", "f8"]), casting="unsafe")
    values = np.asfortranarray(values) if random.random() < 0.3 else values
    stream = io.BytesIO()
    np.save(stream, values)
    plain = values.ndim == 2 and values.size and values.dtype.kind in "fiu"
    frame = pd.DataFrame(values.astype(float), columns=[str(i) for i in range(values.shape[1])]) if plain else None
    return stream.getvalue(), frame


def _damaged(random: random.Random, content: bytes) -> bytes:
    """Return bytes cut, changed, longer, or others altogether."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed) + 1)
        what = random.randrange(5)
        if what == 0:
            del changed[place:]
        elif what == 1:
            changed[place:place] = random.randbytes(random.choice([1, 8, 100]))
        elif what == 2 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif what == 3:
            del changed[place : place + random.choice([1, 10])]
        else:
            changed[place : place + 4] = random.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b'"', b"\n", b"\r", b",,,"])
    return bytes(changed)
