"""The cells of a tutorial kept as text, run one after the other in one namespace."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

HERE = Path(__file__).parent


def run(name, namespace):
    """Run the cells of a file; return what each printed, by its number."""
    printed = {}
    parts = re.split(r"^# \[(\d+)\]\n", (HERE / name).read_text(), flags=re.MULTILINE)
    for number, code in zip(parts[1::2], parts[2::2], strict=True):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, f"{name} [{number}]", "exec"), namespace)
        printed[int(number)] = out.getvalue()
    return printed


def losses(text):
    """Return the losses that a cell printed, by step."""
    return {int(step): float(loss) for step, loss in re.findall(r"step: (\d+), loss: (\S+)", text)}
