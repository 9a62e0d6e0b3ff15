"""How long a text table takes to open and to read, beside Arrow's own reader: seconds of CPU, least and median.

    python benchmarks/reading.py [--rows 30000] [--columns 20] [--rounds 7]

Opening finds out how the table is written and which columns are numbers; reading gives them as one array; typed gives each as what it
holds. Arrow alone takes the table for one with commas. All take turns in one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.csv

from pushforward.data.reading import open_table
from pushforward.data.writing import write_table


def main() -> None:
    """Write a table, read it in each way, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    if min(given.rows, given.columns, given.rounds) < 1:
        parser.error(f"expected rows, columns and rounds of at least 1, got {given.rows}, {given.columns} and {given.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        with write_table(path, [f"x{place}" for place in range(given.columns)]) as append:
            append(np.random.default_rng(0).normal(size=(given.rows, given.columns)))
        table = open_table(path)
        ways: dict[str, Callable[[], object]] = {
            "open": lambda: open_table(path),
            "read": table.read,
            "typed": lambda: list(table.typed()),
            "Arrow alone": lambda: pyarrow.csv.read_csv(path),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                began = time.process_time()
                way()
                seconds[name].append(time.process_time() - began)
    for name, found in seconds.items():
        print(f"{name:12} {min(found):.3f} {statistics.median(found):.3f}")


if __name__ == "__main__":
    main()
