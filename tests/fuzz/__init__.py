"""Fuzzers: random cases, right and wrong, and what each must keep to whatever comes.

A fuzzer is a module of this folder (a name with ``_`` at its start is a helper of theirs) with two names:

- ``case(random, folder)`` does one random case and returns None, or in words what is wrong. ``random`` is a `random.Random` from
  which all choices come, so that a case can be done again; ``folder`` is empty and the case's own. What the case raises is a
  finding as well, and so is a warning, a case that takes longer than `LIMIT`, and one that ends the process.
- ``SHORT`` is the number of cases that are done in each run of the tests.

``make fuzz`` runs all of them for a fixed time; ``python -m tests.fuzz --only NAME --seed S --cases 1`` does one case again.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

LIMIT = 60.0
"""Seconds after which a case is given up, which is a finding; far more than any takes on a busy machine."""


class Slow(BaseException):
    """A case took too long. No `Exception`, so that what catches those lets it through."""


def names() -> list[str]:
    """Return the fuzzers there are."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))


def fuzzer(name: str) -> ModuleType:
    """Return a fuzzer by its name."""
    return importlib.import_module(f"{__name__}.{name}")


def attempt(name: str, seed: int) -> str | None:
    """Do one case of a fuzzer; return what is wrong, or None."""
    case = fuzzer(name).case
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
            found: str | None = case(random.Random(seed), folder)
            return found
    except (Exception, Slow):
        return traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise `Slow` where the block takes longer than the limit."""

    def give_up(number: int, frame: object) -> None:
        raise Slow(f"took longer than {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
