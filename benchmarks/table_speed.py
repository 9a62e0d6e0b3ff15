"""Rows a second and memory of a `TableFlow`, a plain spline flow and CTGAN on a drawn table of 20 columns of all kinds.

    python -m benchmarks.table_speed                        # 10,000 and 1,000,000 rows; needs ctgan for its part
    python -m benchmarks.table_speed --rows 10000 --models TableFlow

Each model and size has a process of its own, on one thread. It finds the schema and prepares the rows, trains for one epoch, scores and
draws rows (of a large table a part), and tells rows a second of CPU time, and how much more memory it took at its peak than the table
and the imports did. The spline flow takes the same cells as numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

import pushforward as pf
from pushforward.data import Schema

SCORED = 50_000
"""Rows of a table that are scored and drawn, at most."""
MODELS = ("TableFlow", "NSF", "CTGAN")


def drawn_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return a table: numbers with and without a grid, counts, categories, a date, an atom and missing cells, all with one common cause."""
    random = np.random.default_rng(seed)
    common = random.standard_normal(rows)

    def noisy(share: float) -> np.ndarray[Any, Any]:
        return share * common + np.sqrt(1 - share**2) * random.standard_normal(rows)

    found: dict[str, Any] = {f"real {at}": noisy(0.1 * at + 0.2) for at in range(6)}
    found |= {f"price {at}": np.exp(noisy(0.5) + at).round(2) for at in range(3)}
    found |= {f"count {at}": random.poisson(np.exp(0.5 * noisy(0.5) + at)) for at in range(3)}
    for at, cases in enumerate((2, 3, 5, 12, 50)):
        found[f"case {at}"] = np.array([f"c{case}" for case in range(cases)])[np.floor(cases * (1 + np.tanh(noisy(0.7))) / 2).astype(int)]
    found["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.floor(1500 * (1 + np.tanh(noisy(0.3))) / 2), unit="D")
    found["missing"] = np.where(noisy(0.6) > 0.5, np.nan, noisy(0.4))
    found["rain"] = np.maximum(noisy(0.5), 0.0)
    return pd.DataFrame(found)


def peak() -> float:
    """Return the most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the CPU time that it took."""
    began = time.process_time()
    made = run()
    return made, time.process_time() - began


def table_flow(table: pd.DataFrame, part: pd.DataFrame) -> dict[str, float]:
    schema, finding = timed(lambda: Schema.find(table))
    model = pf.TableFlow(schema)
    _, measuring = timed(lambda: model.measure(table))
    _, fitting = timed(lambda: pf.fit(model, table, epochs=1, standardize=None, validation=None, progress=False))
    _, scoring = timed(lambda: model.log_prob(part))
    _, drawing = timed(lambda: model.sample(len(part)))
    return {"prepare": finding + measuring, "fit": fitting, "score": scoring, "draw": drawing}


def spline_flow(table: pd.DataFrame, part: pd.DataFrame) -> dict[str, float]:
    def numbers(rows: pd.DataFrame) -> torch.Tensor:
        numeric = rows.select_dtypes("number").fillna(0.0).to_numpy(float)
        codes = [column.factorize(sort=True)[0] for _, column in rows.select_dtypes(exclude="number").items()]
        array = np.column_stack([numeric, *codes])
        return torch.tensor(
            (array - array.mean(0)) / array.std(0) + 1e-3 * np.random.default_rng(0).random(array.shape), dtype=torch.float32
        )

    rows, preparing = timed(lambda: numbers(table))
    flow = pf.NSF(rows.shape[1])
    _, fitting = timed(lambda: pf.fit(flow, rows, epochs=1, validation=None, progress=False))
    some = numbers(part)
    with torch.no_grad():
        _, scoring = timed(lambda: [flow.log_prob(block) for block in some.split(4096)])
        _, drawing = timed(lambda: [flow.sample((min(4096, len(part)),)) for _ in range(0, len(part), 4096)])
    return {"prepare": preparing, "fit": fitting, "score": scoring, "draw": drawing}


def ctgan(table: pd.DataFrame, part: pd.DataFrame) -> dict[str, float]:
    import ctgan as package
    import ctgan.synthesizers.ctgan as inner

    table = table.assign(date=table["date"].astype("int64") / 86400e9, missing=table["missing"].fillna(0.0))
    discrete = [name for name in table if str(name).startswith("case")]
    model = package.CTGAN(epochs=1, enable_gpu=False)
    began: list[float] = []

    def marked(them: Any, **_: Any) -> Any:
        began.append(time.process_time())  # rows are prepared, and the first epoch begins
        yield from them

    inner.tqdm = marked
    _, whole = timed(lambda: (began.append(time.process_time()), model.fit(table, discrete)))
    preparing = began[1] - began[0]
    _, drawing = timed(lambda: model.sample(len(part)))
    return {"prepare": preparing, "fit": whole - preparing, "draw": drawing}


def measure(name: str, rows: int) -> dict[str, float]:
    """Return the figures of a model, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    table = drawn_table(rows)
    part = table.iloc[:SCORED]
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch imports its compiler with its first optimiser
    before = peak()
    run = {"TableFlow": table_flow, "NSF": spline_flow, "CTGAN": ctgan}[name]
    spent = run(table, part)
    size = {"prepare": rows, "fit": rows, "score": len(part), "draw": len(part)}
    return {**{part: size[part] / seconds for part, seconds in spent.items()}, "table": before, "more": peak() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.models[0], given.rows[0])))
        return
    print("| rows | model | prepare | fit | score | draw | memory beside the table, MB |\n| --- | --- | --- | --- | --- | --- | --- |")
    for rows in given.rows:
        for name in given.models:
            command = [sys.executable, "-m", "benchmarks.table_speed", "--child", "--rows", str(rows), "--models", name]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = json.loads(out.splitlines()[-1])
            told = [f"{found[part]:,.0f}" if part in found else "-" for part in ("prepare", "fit", "score", "draw", "more")]
            print(f"| {rows:,} | {name} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
