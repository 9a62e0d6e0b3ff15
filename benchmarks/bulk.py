"""Text tables that installed packages carry: read as pandas reads them, fitted for two epochs, and sampled in kind; faults are listed.

    python benchmarks/bulk.py [FOLDER ...] [--files 150] [--rows 500] [--columns 40] [--seconds 900] [--seed 0]

Folders are searched for .csv and .csv.gz files, those of Python's packages unless told; of all that differ, some are drawn. Each is

- opened, and each number that pandas reads with the same delimiter, decimal mark and encoding has to be the same here;
- fitted: `TableFlow` takes the first columns that have a density, of the first rows;
- sampled: 50 rows with the names, types and categories of the table, that its schema allows and to which the model gives a probability.

What stops one of these is one line that says why (a `ValueError`, such as for a table without rows), or a fault, which ends the run with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import site
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pushforward as pf
from pushforward.data import Schema
from pushforward.data.dialect import Dialect
from pushforward.data.reading import open_table
from pushforward.data.values import Values

EPOCHS, DRAWN = 2, 50


def main() -> None:
    """Go through the files and print what became of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(folder) for folder in site.getsitepackages()])
    for name, value in (("files", 150), ("rows", 500), ("columns", 40), ("seconds", 900), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    if min(given.files, given.rows, given.columns, given.seconds) < 1:
        parser.error("expected files, rows, columns and seconds of at least 1")
    paths = different(given.folders)
    chosen = np.random.default_rng(given.seed).permutation(len(paths))[: given.files]
    found: Counter[str] = Counter()
    began = time.process_time()
    for place in chosen:
        if time.process_time() - began > given.seconds:
            print(f"no time for {len(chosen) - sum(found.values())} more")
            break
        kind, why = become_of(paths[place], given.rows, given.columns)
        found[kind] += 1
        if kind != "in kind":
            print(f"{kind}: {paths[place].parent.name}/{paths[place].name}: {why}", flush=True)
    told = ", ".join(f"{count} {kind}" for kind, count in found.most_common())
    print(f"{sum(found.values())} of {len(paths)} files: {told}; {time.process_time() - began:.0f} s")
    sys.exit(found["fault"] > 0)


def different(folders: list[Path]) -> list[Path]:
    """Return the files of folders, of those with one content the first."""
    paths = sorted(
        path for folder in folders for path in folder.rglob("*.csv*") if path.name.endswith((".csv", ".csv.gz")) and path.is_file()
    )
    return list({hashlib.sha256(path.read_bytes()).hexdigest(): path for path in reversed(paths)}.values())


def become_of(path: Path, rows: int, columns: int) -> tuple[str, str]:
    """Return what became of a file, and why."""
    step = "read"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = open_table(path)
            typed = {values.name: values for values in table.typed()}
            if why := unlike_pandas(path, table.dialect, typed):
                return "fault", f"read: {why}"
            step = "fit"
            whole = Schema.find(table)
            kept = [column.name for column in whole if column.kind not in ("text", "empty")][:columns]
            if not kept:
                return "nothing to fit", "; ".join(f"{column.name!r} is {column.kind}" for column in list(whole)[:3])
            frame = pd.DataFrame({name: typed[name].values[:rows] for name in kept})
            schema = Schema.find(frame)
            kept = [column.name for column in schema if column.kind not in ("text", "empty")]
            if not kept:
                return "nothing to fit", f"in the first {rows} rows"
            frame = frame[kept]
            torch.manual_seed(0)
            model = pf.TableFlow(schema.part(kept), widths=(16, 16), bins=8)
            pf.fit(model, frame, epochs=EPOCHS, progress=False, validation=0.2 if len(frame) > 20 else None)
            step = "sample"
            drawn = model.sample(DRAWN, generator=torch.Generator().manual_seed(0))
            if why := out_of_kind(model, frame, drawn):
                return "fault", f"sample: {why}"
    except (ValueError, UnicodeDecodeError) as error:
        line = str(error)
        return ("fault" if "\n" in line or step == "sample" else "one line"), f"{step}: {line}"
    except Exception:  # what else is raised is what this looks for
        return "fault", f"{step}: {traceback.format_exc(limit=-3)}"
    return "in kind", ""


def unlike_pandas(path: Path, dialect: Dialect, typed: dict[str, Values]) -> str:
    """Return which number is another one than pandas reads, or nothing."""
    try:
        theirs = pd.read_csv(
            path,
            sep=r"\s+" if dialect.delimiter == " " else dialect.delimiter,
            decimal=dialect.decimal,
            encoding=dialect.encoding,
            header=0 if dialect.header else None,
            comment="#" if dialect.comments else None,
            float_precision="round_trip",
            low_memory=False,
        )
    except Exception:  # pandas may read less
        return ""
    if len(theirs.columns) != len(typed):
        return ""
    for place, ours in enumerate(typed.values()):
        column = theirs.iloc[:, place]
        if column.dtype.kind not in "iuf" or ours.storage not in ("integer", "float"):
            continue
        if len(column) != len(ours.values):
            return f"{len(ours.values)} rows, of pandas {len(column)}"
        same = np.isclose(column.to_numpy(float), ours.values, rtol=1e-14, atol=0, equal_nan=True)
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            return f"column {ours.name!r}, row {row + 1}: {ours.values[row]}, of pandas {column.iloc[row]}"
    return ""


def out_of_kind(model: pf.TableFlow, frame: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """Return how a sample is none of the table, or nothing."""
    if list(drawn.columns) != list(frame.columns) or len(drawn) != DRAWN:
        return f"columns {list(drawn.columns)[:5]} and {len(drawn)} rows"
    for name in frame:
        asked, got = frame[name].dtype, drawn[name].dtype
        if asked != got and not str(got).lower().startswith(str(asked).rstrip("0123456789").lower()):
            return f"column {name!r}: {got} of {asked}"
    if found := model.schema.problems(drawn):
        return str(found[0])
    if not bool(torch.isfinite(model.log_prob(drawn)).all()):
        return "rows without a probability"
    return ""


if __name__ == "__main__":
    main()
