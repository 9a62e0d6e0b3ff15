"""Writer: something that is written from the code, and how to tell whether it is up to date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Writer:
    """Something that is written from the code."""

    stale: Callable[[], list[str]]
    """What is not as the code has it: a few words for each, none where all is up to date."""
    write: Callable[[], None]
    """Writes what is stale."""


def of_files(texts: Callable[[], dict[Path, str]]) -> Writer:
    """Return the writer of whole files, from a function that gives the text of each."""

    def old() -> dict[Path, str]:
        return {path: text for path, text in texts().items() if not path.is_file() or path.read_text(encoding="utf-8") != text}

    def write() -> None:
        for path, text in old().items():
            path.write_text(text, encoding="utf-8")

    return Writer(lambda: [path.relative_to(ROOT).as_posix() for path in old()], write)


def formatted(text: str, name: str) -> str:
    """Return Python as the formatter leaves it."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", name, "-"]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout
