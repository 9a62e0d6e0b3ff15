"""The section of docs/fit-quality.md on other people's tools, from the figures of `clients.py`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quality_page import table

Figures = dict[str, dict[str, Any]]
"""Of a job and seed: for each method its ``error``, the ``deviation`` of that, its ``seconds``, and more."""

PROTOCOL, AFTER = (Path(__file__).with_name(name) for name in ("clients.md", "clients_after.md"))
TITLES = {
    "sbi": "KL from the exact posterior to the learned one, nats",
    "Pyro": "KL from the learned posterior to the exact one, nats",
    "samplers": "Log-evidence less the exact one (stated error)",
}


def kept_section(folder: Path) -> str:
    """Return the section of the figures in a folder; nothing where there are none."""
    path = folder / "fit-clients.json"
    return section(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ""


def section(data: dict[str, Any]) -> str:
    """Return the section."""
    protocol, after = (path.read_text(encoding="utf-8") for path in (PROTOCOL, AFTER))
    for word, value in data["setting"].items():
        if word.isupper():
            protocol, after = (text.replace(word, f"{value:g}") for text in (protocol, after))
    versions = ", ".join(f"{name} {version}" for name, version in data["setting"]["versions"].items())
    parts = [protocol, f"Measured with {versions}.\n"]
    for client, title in TITLES.items():
        jobs = {job: [*cells.values()] for job, cells in data["clients"].get(client, {}).items() if cells}
        if jobs:
            parts += [f"### {title}\n", grid(jobs, signed=client == "samplers")]
    return "\n".join([*parts, after])


def grid(jobs: dict[str, list[Figures]], signed: bool) -> str:
    """Return a table, a row a method, with the best figure of each job in bold where less is better."""
    methods = list(next(iter(jobs.values()))[0])
    head = ["", *(f"{job}{seeds(cells)}" for job, cells in jobs.items()), "seconds"]
    rows = []
    for method in methods:
        line = [method]
        for cells in jobs.values():
            value, deviation = (median(cells, method, key) for key in ("error", "deviation"))
            text = f"{value:.3f} ({deviation:.3f})" if signed else f"{value:.3f} ± {deviation:.3f}"
            line.append(f"**{text}**" if not signed and method == best(cells) else text)
        line.append(", ".join(f"{median(cells, method, 'seconds'):.0f}" for cells in jobs.values()))
        rows.append(line)
    return table(head, rows)


def seeds(cells: Sequence[Figures]) -> str:
    return f" ({len(cells)} seeds)" if len(cells) > 1 else ""


def median(cells: Sequence[Figures], method: str, key: str) -> float:
    return statistics.median(one[method][key] for one in cells)


def best(cells: Sequence[Figures]) -> str:
    """Return the method of the least error."""
    return min(cells[0], key=lambda method: median(cells, method, "error"))
