"""Fits and samples that are ended by a signal at a random time: exit code, no file left over, an output that is whole or not there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import pushforward
from pushforward.data.reading import open_table
from pushforward.data.writing import write_table

SHORT = 2
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def case(random: random.Random, folder: Path) -> str | None:
    """Start a command, end it, and look at what it leaves."""
    with write_table(folder / "t.csv", ["a", "b"]) as append:
        append(np.exp(np.random.default_rng(random.randrange(2**32)).normal(size=(300, 2))))
    flow = pushforward.MAF(2, transforms=1, widths=(4,))
    flow.columns = ("a", "b")
    flow.save(folder / "old")
    fitting = random.random() < 0.7
    output = folder / ("m" if fitting else random.choice(["s.csv", "s.npy", "s.parquet", "s.csv.gz"]))
    was = None
    if random.random() < 0.5:
        was = b"what was there before"
        output.write_bytes(was)
    argv = ["fit", "t.csv", "--epochs", "100000", "--patience", "100000", "--transforms", "1", "--widths", "8", "--bins", "4"]
    argv = argv if fitting else ["sample", "old", "-n", "100000000"]
    number = random.choice(NUMBERS)
    command = [sys.executable, "-m", "pushforward", *argv, "-o", output.name]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # From the start of the interpreter, which may be ended by the signal itself, to some way into the work.
    time.sleep(random.choice([random.uniform(0.2, 4), random.uniform(4, 15)]))
    running = process.poll() is None
    process.send_signal(number)
    if random.random() < 0.2:
        time.sleep(random.uniform(0, 0.05))
        process.send_signal(random.choice(NUMBERS))
    out, err = process.communicate(timeout=40)
    said = f"{argv[0]} ended by {number.name}: exit code {process.returncode}, {err[-300:]!r}"
    if not running:
        return f"it ended before: {said}"
    if process.returncode not in {sign * (one if sign < 0 else 128 + one) for one in NUMBERS for sign in (1, -1)}:
        return f"expected 128 and the signal: {said}"
    if "Traceback" in err or out:
        return f"a traceback: {said}"
    names = {path.name for path in folder.iterdir()}
    if names - {"t.csv", "old", output.name}:
        return f"left {sorted(names)}: {said}"
    if not output.exists():
        return f"the old file is gone: {said}" if was else None
    content = output.read_bytes()
    if content == was:
        return None
    if not fitting:
        return f"a part of a table, {len(open_table(output).read())} rows: {said}"
    return None if pushforward.load(output).columns == ("a", "b") else f"another model: {said}"
