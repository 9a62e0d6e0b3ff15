"""Measure every law on every plan and on the peers' layers, and write docs/numerics.md.

``python benchmarks/numerics.py`` measures everything anew; with ``--reuse --only "any x"`` the laws whose name has the text, the other
figures being kept as docs/numerics.json has them; with ``--reuse --rows spline`` the plans and flows whose name has it; ``--reuse --parts``
writes the page alone; ``--missing`` measures the plans that have no figures yet, as `make generated` does; ``--check`` tells whether each
plan has a row.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from numerics_page import page, rows_missing

from pushforward.testing import FLOW_LAWS, LAWS, Case, accuracy, randomize
from pushforward.testing.case import FlowCase

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = ROOT / "docs" / "numerics.json", ROOT / "docs" / "numerics.md"
PARTS = ("plans", "flows", "peers", "splines")
PEERS = ("zuko", "nflows", "normflows", "pyro-ppl", "flowtorch")


def tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plans and the flows that the tests hold to the laws."""
    from cases import CASES
    from test_flow_laws import FLOWS

    return CASES, FLOWS


def figure(law: Any, case: Any) -> float | str:
    """Return the figure of a law, or the error in words; JSON has no infinity, so that is a word too."""
    try:
        found = float(law.figure(case))
    except Exception as error:
        # The first words tell which error it is; paths of this machine are nobody's business.
        text = re.sub(r"\S*/\S+", "…", " ".join(str(error).split()))[:120] or "no message"
        return f"{type(error).__name__}: {text}"
    return found if math.isfinite(found) else "inf"


def measure_plan(task: tuple[str, frozenset[str]]) -> dict[str, Any]:
    name, wanted = task
    case = Case(*tables()[0][name])
    return {law.name: figure(law, case) for law in LAWS if law.name in wanted}


def measure_flow(task: tuple[str, frozenset[str]]) -> dict[str, Any]:
    name, wanted = task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = tables()[1][name]()
    randomize(flow, 0.3)
    case = FlowCase(flow)
    return {law.name: figure(law, case) for law in FLOW_LAWS if law.name in wanted}


def measure_peer(task: tuple[tuple[str, str], frozenset[str]]) -> dict[str, Any]:
    from peers import Peer, PeerCase, jacobian

    (family, library), wanted = task
    case = PeerCase(Peer(family, library), tables()[0][family][1])
    with mock.patch.object(accuracy, "jacobian", jacobian):
        return {law.name: figure(law, case) for law in LAWS if law.name in wanted}


def start(quiet: bool = True) -> None:
    """Prepare a process: one thread, and no warnings of the peers'."""
    torch.set_num_threads(1)
    if quiet:
        warnings.simplefilter("ignore")


def run(function: Callable[..., dict[str, Any]], names: list[Any], wanted: frozenset[str], jobs: int, what: str) -> dict[Any, Any]:
    """Measure names in processes of their own: importing some peers changes torch for the whole process."""
    began, results = time.time(), {}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, start) as pool:
        for name, result in zip(names, pool.map(function, [(name, wanted) for name in names]), strict=True):
            results[name] = result
            label = name if isinstance(name, str) else ", ".join(name)
            print(f"{time.time() - began:6.0f} s  {what} {len(results)}/{len(names)}: {label}", file=sys.stderr, flush=True)
    return results


def having(table: dict[str, Any], texts: list[str] | None) -> list[str]:
    """Return the names that contain one of the texts; all of them where there are none."""
    return [name for name in table if not texts or any(text in name for text in texts)]


def merge(old: dict[str, Any], new: dict[str, Any], keep: list[str]) -> dict[str, Any]:
    """Return the figures of ``keep``, in that order: the new ones, and old ones where there are none."""
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in keep}


def setting() -> dict[str, str]:
    """Tell what the figures were measured with."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", *PEERS) if installed(name)}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "python": platform.python_version(),
        "cpu": processor(),
        "threads": str(torch.get_num_threads()),
        **versions,
    }


def installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(arguments: argparse.Namespace, old: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all figures after each part: measured now where asked for, as they were elsewhere."""
    known = [law.name for law in (*LAWS, *FLOW_LAWS)]
    chosen = [name for name in known if not arguments.only or any(part in name for part in arguments.only)]
    if not chosen:
        sys.exit(f"numerics: expected --only to name laws, got {arguments.only}; there are {known}")
    wanted, jobs, data = frozenset(chosen), arguments.jobs, dict(old)
    if arguments.parts:
        data["setting"] = setting()
    plans, flows = tables()
    if "plans" in arguments.parts:
        data["plans"] = merge(old.get("plans", {}), run(measure_plan, having(plans, arguments.rows), wanted, jobs, "plan"), list(plans))
    yield data
    if "flows" in arguments.parts:
        data["flows"] = merge(old.get("flows", {}), run(measure_flow, having(flows, arguments.rows), wanted, jobs, "flow"), list(flows))
    yield data
    if "peers" in arguments.parts:
        from peer_layers import LAYERS

        pairs = [(family, library) for family, libraries in LAYERS.items() for library in libraries]
        new = run(measure_peer, pairs, wanted, jobs, "peer")
        before = old.get("peers", {})
        data["peers"] = {
            family: merge(before.get(family, {}), {library: new[family, library] for library in libraries}, list(libraries))
            for family, libraries in LAYERS.items()
        }
    yield data
    if "splines" in arguments.parts and not arguments.only:
        from spline_round_trip import round_trips

        data["splines"] = round_trips()
    yield data


def add_missing(old: dict[str, Any], jobs: int) -> dict[str, Any]:
    """Return all figures with those of the plans that had none, and when these were measured; nothing else is measured."""
    plans, before = tables()[0], old.get("plans", {})
    new = run(measure_plan, [name for name in plans if name not in before], frozenset(law.name for law in LAWS), jobs, "plan")
    since = {name: day for name, day in old.get("since", {}).items() if name in plans}
    return {**old, "plans": merge(before, new, list(plans)), "since": since | dict.fromkeys(new, setting()["date"])}


def write(data: dict[str, Any]) -> None:
    """Write the figures and the page."""
    FIGURES.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(data, LAWS, FLOW_LAWS), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the laws and write docs/numerics.md.")
    parser.add_argument("--check", action="store_true", help="tell whether the page has a row for each plan, and write nothing")
    parser.add_argument(
        "--missing", action="store_true", help="measure the plans that have no figures yet, and keep the others'; needs no peers"
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="laws whose name contains the text (may be repeated)")
    parser.add_argument("--rows", action="append", metavar="TEXT", help="plans and flows whose name contains the text (may be repeated)")
    parser.add_argument("--reuse", action="store_true", help="keep the figures of docs/numerics.json that are not measured again")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes side by side")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that measure
    if arguments.check:
        missing = rows_missing(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", list(tables()[0]))
        sys.exit(f"docs/numerics.md has no row for {missing}; run `make generated`" if missing else 0)
    if (arguments.only or arguments.rows or len(arguments.parts) < len(PARTS)) and not arguments.reuse:
        parser.error("--only, --rows and --parts leave figures out: add --reuse to keep the others as docs/numerics.json has them")
    start(quiet=False)
    began = time.time()
    old = json.loads(FIGURES.read_text(encoding="utf-8")) if (arguments.reuse or arguments.missing) and FIGURES.exists() else {}
    for data in measure(arguments, old) if not arguments.missing else [add_missing(old, arguments.jobs)]:
        write(data)
    print(f"wrote {PAGE.relative_to(ROOT)} and {FIGURES.relative_to(ROOT)} in {time.time() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
