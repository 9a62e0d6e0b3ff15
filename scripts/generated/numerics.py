"""The rows of docs/numerics.md that have no figures yet: benchmarks/numerics.py measures them, and no others. It needs no other library."""

from __future__ import annotations

import json
import subprocess
import sys

from scripts.generated.writer import ROOT, Writer

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "benchmarks"))
from cases import CASES
from numerics_page import page

from pushforward.testing import FLOW_LAWS, LAWS

FIGURES, PAGE = ROOT / "docs" / "numerics.json", ROOT / "docs" / "numerics.md"


def stale() -> list[str]:
    """Return the plans without figures, those with figures that are no more, and the page where it is not that of the figures."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    old = "docs/numerics.md" if PAGE.read_text(encoding="utf-8") != page(figures, LAWS, FLOW_LAWS) else None
    return [*CASES.keys() - figures["plans"].keys(), *figures["plans"].keys() - CASES.keys(), *filter(None, [old])]


def write() -> None:
    """Measure what is missing, in processes of its own."""
    if stale():
        subprocess.run([sys.executable, "benchmarks/numerics.py", "--missing"], cwd=ROOT, check=True)


WRITER = Writer(stale, write)
