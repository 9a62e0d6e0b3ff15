"""Flows of this library in other people's tools, beside the tools' own, where the answer is known: a section of docs/fit-quality.md.

``python benchmarks/fits/clients.py`` runs what docs/fit-clients.json does not have yet, writes each job and seed there as soon as it is
measured, and the page at the end. It takes sbi, Pyro, Zuko, nessai and pocoMC (tests/interop/requirements.txt).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import evidence
import inference
import torch
import variational
from clients_page import section
from evidence import PROBLEMS
from models import MODELS
from quality_page import page

FOLDER = Path(__file__).parents[2] / "docs"
CLIENTS = {"sbi": (inference, inference.JOBS), "Pyro": (variational, MODELS), "samplers": (evidence, PROBLEMS)}
"""For each group of tools what measures a job, and the jobs."""
PACKAGES = ("torch", "sbi", "nflows", "pyro-ppl", "zuko", "nessai", "pocomc")


def setting() -> dict[str, Any]:
    """Tell what the figures were measured with, and for how long."""
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    return {
        "versions": versions,
        "LIMIT": inference.LIMIT,
        "OBSERVATIONS": inference.OBSERVATIONS,
        "SECONDS": variational.SECONDS,
        "PARTICLES": variational.PARTICLES,
    }


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    jobs = [job for _, named in CLIENTS.values() for job in named]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=jobs, default=jobs, metavar="JOB", help="jobs to measure (default: all; none: the page alone)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="starts (default: 0)")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the page and its figures (default: docs)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = given.out / "fit-clients.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    data = {"setting": setting(), "clients": data.get("clients", {})}
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch imports its compiler with its first optimiser
    for seed in given.seeds:
        for client, (tool, named) in CLIENTS.items():
            for job in named:
                cells = data["clients"].setdefault(client, {}).setdefault(job, {})
                if job in given.only and (given.again or str(seed) not in cells):
                    with away(), contextlib.redirect_stdout(io.StringIO()):
                        cells[str(seed)] = tool.measured(job, seed)
                    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
                    print(f"{client}, {job}, seed {seed}: {sum(one['seconds'] for one in cells[str(seed)].values()):.0f} s", flush=True)
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    quality = json.loads((FOLDER / "fit-quality.json").read_text(encoding="utf-8"))
    (given.out / "fit-quality.md").write_text(page(quality, section(data)), encoding="utf-8")


@contextlib.contextmanager
def away():  # type: ignore[no-untyped-def]
    """Work in a folder that is thrown away: sbi writes its logs where it runs."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


if __name__ == "__main__":
    main()
