"""The command with random options and files: an exit code, one line for an error, whole outputs, inputs as they were."""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import pushforward
from pushforward.__main__ import main
from pushforward.data.reading import open_table
from pushforward.data.writing import write_table

SHORT = 20

VALUES = [
    "0",
    "1",
    "2",
    "-1",
    "3",
    "2.5",
    "nan",
    "inf",
    "1e9",
    "x",
    "",
    "a",
    "a,b",
    "a,zz",
    '"a',
    "é",
    str(2**70),
    "--",
    "MAF",
    "NSF",
    "nsf-ar",
]
OPTIONS = {
    "fit": ["--columns", "--context", "--flow", "--transforms", "--widths", "--bins", "--batch-size", "--learning-rate", "--validation",
            "--patience", "--seed", "--dequantize", "--drop-missing", "-q"],
    "sample": ["-n", "--seed", "--given", "--context-table"],
    "score": [],
    "describe": ["--batch", "--json"],
    "plot": ["--columns", "--rows", "--seed"],
}  # fmt: skip
FLAGS = {"--dequantize", "--drop-missing", "-q", "--json"}
OUTPUTS = ["new", "new.csv", "new.npy", "new.parquet", "new.csv.gz", "new.png", "new.xls", "no/new.csv", "t.csv", "m", "folder", "", "."]


def case(random: random.Random, folder: Path) -> str | None:
    """Run one command on files of which some are broken."""
    _files(random, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    argv = _argv(random)
    if random.random() < 0.05:
        done = subprocess.run(
            [sys.executable, "-m", "pushforward", *argv], cwd=folder, capture_output=True, text=True, timeout=50, check=False
        )
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = _in_process(argv, folder)
    said = f"{argv}: exit code {code}, standard error {err!r}"
    if code not in (0, 1, 2):
        return f"expected exit code 0, 1 or 2: {said}"
    lines = err.splitlines()
    if code and (not lines or not lines[-1].startswith("pushforward: error: ") or sum("error:" in line for line in lines) != 1):
        return f"expected one line of error: {said}"
    if "Traceback" in err or "Traceback" in out:
        return f"a traceback: {said}"
    after = {path.name: path for path in folder.iterdir() if path.is_file()}
    output = argv[argv.index("-o") + 1] if "-o" in argv else None
    for name, content in before.items():
        if name not in after or (after[name].read_bytes() != content and (name != output or code)):
            return f"{name} was changed: {said}"
    new = set(after) - set(before)
    if new - {output} or (new and code):
        return f"{sorted(new)} was left: {said}"
    return f"{output} is not whole: {said}" if new and not _whole(after[str(output)], argv[0]) else None


def _in_process(argv: list[str], folder: Path) -> tuple[int, str, str]:
    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            return main(argv), out.getvalue(), err.getvalue()
    finally:
        os.chdir(here)


def _files(random: random.Random, folder: Path) -> None:
    draw = np.random.default_rng(random.randrange(2**32))
    values = draw.normal(size=(random.choice([1, 3, 40]), 3)) * 10.0 ** draw.integers(-3, 4)
    if random.random() < 0.3:
        values[0, random.randrange(3)] = random.choice([np.nan, np.inf, 1e300, 0.0])
    if random.random() < 0.1:
        values[:, 0] = 1.0
    for ending in ("csv", "npy", "parquet"):
        with write_table(folder / f"t.{ending}", ["a", "b", "c"]) as append:
            append(values)
    (folder / "bytes.csv").write_bytes(random.randbytes(random.choice([0, 10, 1000])))
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (folder / "folder").mkdir()
    generator = torch.random.get_rng_state()
    for name, context in (("m", 0), ("given", 1)):
        flow = pushforward.MAF(2, context, transforms=1, widths=(4,))
        flow.columns, flow.context_columns = ("a", "b"), ("c",) if context else None
        flow.save(folder / name)
    torch.random.set_rng_state(generator)
    content = bytearray((folder / "m").read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    (folder / "broken").write_bytes(content[: random.choice([len(content), len(content) // 2])])


def _argv(random: random.Random) -> list[str]:
    command = random.choice([*OPTIONS] * 9 + ["bend", "--version", "--help"])
    table = random.choice(["t.csv", "t.csv", "t.npy", "t.parquet", "bytes.csv", "ragged.csv", "none.csv", "folder", "m"])
    model = random.choice(["m", "m", "m", "given", "given", "broken", "t.csv", "none", "folder"])
    argv = [command]
    if command in ("sample", "score", "describe", "plot"):
        argv.append(model)
    if command in ("fit", "score", "plot"):
        argv.append(table)
    if command == "fit":  # short, whatever else is asked for
        argv += ["--epochs", "1", "--transforms", "1", "--widths", "4"]
    if command == "sample" and random.random() < 0.8:
        argv += ["-n", random.choice(["1", "7"])]
        argv += random.choice([[], [], ["--given", "c=1"], ["--context-table", "t.csv"]])
    if command in ("fit", "plot", "sample", "score") and random.random() < 0.9:
        argv += ["-o", {"fit": "new", "plot": "new.png"}.get(command, "new.csv") if random.random() < 0.6 else random.choice(OUTPUTS)]
    for option in random.sample(OPTIONS.get(command, []), min(len(OPTIONS.get(command, [])), random.choice([0, 0, 1, 2]))):
        argv += [option] if option in FLAGS else [option, random.choice(VALUES)]
    if random.random() < 0.05:
        argv.insert(random.randrange(len(argv) + 1), random.choice(VALUES))
    # Work without an end is what it is asked for there, and no fault.
    return [
        "7" if value in ("1e9", str(2**70)) and argv[i - 1] in ("-n", "--rows", "--transforms") else value for i, value in enumerate(argv)
    ]


def _whole(path: Path, command: str) -> bool:
    """Tell whether an output can be read."""
    if command == "fit":
        flow = pushforward.load(path)
        context = None if flow.context_columns is None else torch.zeros(len(flow.context_columns), dtype=flow.dtype)
        return bool(torch.isfinite(flow.sample((2,), context)).all())
    if command == "plot":
        return path.stat().st_size > 1000
    return bool(open_table(path).read().size)
