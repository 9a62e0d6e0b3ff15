"""Read text tables that packages carry as pandas reads them, and say where the two differ.

    python -m scripts.tables FOLDER ...        (a line a difference, and the counts)

Each table is read by `open_table`, which finds how it is written, and by pandas: as pandas reads it unless told, and, where something
else was found, told that. Every file whose columns or values differ is printed with the first difference.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from pushforward.data import Schema
from pushforward.data.delimited import Delimited
from pushforward.data.reading import TableError, open_table

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
MOST = 30_000_000  # bytes


def files(folders):
    """Give each different file once."""
    seen = set()
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and path.is_file() and path.stat().st_size <= MOST:
                key = hashlib.sha256(path.read_bytes()).digest()
                if key not in seen:
                    seen.add(key)
                    yield path


def by_pandas(path, table=None):
    """Read a file with pandas: as it does unless told, or told how the table is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if table is None:
            return pd.read_csv(path, sep="\t" if ".tsv" in path.name.lower() else ",")
        dialect = table.dialect
        told = {"sep": r"\s+" if dialect.delimiter == " " else dialect.delimiter, "decimal": dialect.decimal, "encoding": dialect.encoding}
        return pd.read_csv(
            path,
            header=0 if dialect.header else None,
            skiprows=dialect.comments,
            thousands="." if dialect.decimal == "," else ",",
            skipinitialspace=True,
            index_col=False,
            na_values=["?", "-", "--", ".", ".."],
            names=list(table.dialect.names) if len(set(table.dialect.names)) == len(table.dialect.names) else None,
            **told,
        )


def difference(table, frame):
    """Say how what is read differs from a frame; None if it does not."""
    names = ["" if str(name).startswith("Unnamed: ") else str(name).strip() for name in frame.columns]
    kept = [i for i, name in enumerate(names) if name or not frame.iloc[:, i].isna().all()]
    frame = frame.iloc[:, kept]
    names = [names[i] for i in kept]
    ours = ["" if name.startswith("column ") else name for name in table.columns]
    if names != ours:
        return f"names: {ours[:8]}, pandas {names[:8]}"
    numeric = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    for place, (name, is_number) in enumerate(zip(table.columns, numeric, strict=True)):
        column = frame.iloc[:, place]
        if is_number and name not in table.numeric:
            if table.left_out[name] == "it has no name" or column.isna().all():
                continue
            return f"column {name!r}: left out ({table.left_out[name]}), pandas has {column.dtype}"
        if not is_number and name in table.numeric:
            odd = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
            return f"column {name!r}: numbers, pandas has {column.dtype}, such as {odd.iloc[0] if len(odd) else None!r}"
    columns = [name for name in table.columns if name in table.numeric]
    if not columns:
        return None
    values = table.read(columns)
    wanted = np.column_stack([frame.iloc[:, table.columns.index(name)].to_numpy(float, na_value=np.nan) for name in columns])
    if values.shape != wanted.shape:
        return f"{values.shape} values, pandas {wanted.shape}"
    # pandas' fast reader of numbers is wrong in the last bits.
    close = np.isclose(values, wanted, rtol=1e-14, atol=0, equal_nan=True)
    if not close.all():
        row, column = np.argwhere(~close)[0]
        return f"row {row + 1}, column {columns[column]!r}: {values[row, column]!r}, pandas {wanted[row, column]!r}"
    return None


def look(path):
    """Return what became of a file, and the words for it."""
    try:
        table = open_table(path)
        table.read() if table.numeric else None
    except TableError as error:
        table = str(error)
    except Exception as error:  # a fault of ours, whatever it is
        return "fault", f"{type(error).__name__}: {error}"
    try:
        frame = by_pandas(path)
    except Exception as error:  # whatever a reader raises that was given any file
        frame = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if isinstance(table, str):
        return ("refused by both", "") if isinstance(frame, str) else ("refused, read by pandas", f"{table}; pandas {frame.shape}")
    assert isinstance(table, Delimited)
    with contextlib.suppress(TableError):
        try:
            str(Schema.find(table))
        except TableError:
            raise
        except Exception as error:  # a fault of ours, whatever it is
            return "fault", f"schema: {type(error).__name__}: {error}"
    found = "pandas refuses it" if isinstance(frame, str) else difference(table, frame)
    if found is None:
        return "same as pandas", ""
    try:
        told = difference(table, by_pandas(path, table))
    except Exception as error:
        told = f"pandas cannot: {error}"
    notes = "; ".join(table.notes)
    if told is None:
        return "same as pandas, told what was found", f"{found} [{notes or 'no note'}]"
    return "other than pandas", f"{told} [{notes or 'no note'}]"


def main(folders):
    """Print a line for each file that is not read as pandas reads it unless told, and the counts."""
    counts = Counter()
    try:
        for path in files(folders):
            outcome, words = look(path)
            counts[outcome] += 1
            if words:
                print(f"{outcome}: {path}: {' '.join(words.split())[:300]}", flush=True)
    finally:
        for outcome, count in counts.most_common():
            print(f"{count:6d}  {outcome}")


if __name__ == "__main__":
    main(sys.argv[1:])
