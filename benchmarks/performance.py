"""Measure speed and memory beside the peers and the bare networks, and write docs/performance.md.

``python benchmarks/performance.py`` measures everything anew; ``--reuse --parts times --works "D = 16"`` some of it, the other figures
being kept as docs/performance.json has them; ``--reuse --parts`` writes the page alone; ``--quick`` takes few rounds, to try it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from speed import works
from speed.driver import LIBRARIES, TORCH, Group, SlowError, Worker, tell
from speed.page import page
from speed.picture import draw

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = ROOT / "docs" / "performance.json", ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance-growth.png"
PACKAGES = ("pyro-ppl", "zuko", "nflows", "normflows", "flowtorch", "flowjax", "jax")


class Run:
    """What is measured: libraries, works, threads, and how often."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.libraries = [name for name in LIBRARIES if name in arguments.libraries]
        self.threads = arguments.threads
        self.quick = arguments.quick
        self.rounds, self.target, self.limit = (1, 0.01, 4.0) if self.quick else (7, 0.05, 10.0)
        self.texts = arguments.works

    def chosen(self, some: Any) -> list[works.Work]:
        return [work for work in some if not self.texts or any(text in work.name for text in self.texts)]

    def group(self, threads: int, **changes: Any) -> Group:
        given = {"rounds": self.rounds, "target": self.target, "limit": self.limit, **changes}
        return Group(given.pop("libraries", self.libraries), threads, **given)


Figures = Iterator[tuple[tuple[str, ...], Any]]


def times(run: Run) -> Figures:
    """Measure every work, all libraries in turn."""
    for threads in run.threads:
        table = works.WORKS.values() if threads == 1 else works.TWO_THREADS
        with run.group(threads) as group:
            for work in run.chosen(table):
                tell(f"times, {threads} thread{'s' * (threads > 1)}: {work.name}")
                for library, found in group.measure(work).items():
                    yield ("times", str(threads), work.name, library), found


def compiled(run: Run) -> Figures:
    """Measure the training step of the main works with `torch.compile` of the loss: a peer is taken at its best."""
    libraries = [name for name in run.libraries if name in TORCH and name != "bare"]
    for work in run.chosen(works.MAIN):
        tell(f"torch.compile: {work.name}")
        work = works.replace(work, actions=("train",))
        # A cache from an earlier run would hide what compiling costs.
        limit = 5.0 if run.quick else 150.0
        with tempfile.TemporaryDirectory() as cache, run.group(1, libraries=libraries, limit=limit, cache=cache) as group:
            found = dict(side_by_side(libraries, lambda name: group.begin(name, work)))  # noqa: B023 (it is over when the loop goes on)
            for name, _ in side_by_side(libraries, lambda name: group.warm(found, name, "train")):  # noqa: B023
                tell(f"torch.compile: {work.name}: {name}")
            group.repeat(found, "train")
        for library in libraries:
            yield ("compiled", work.name, library), found[library]


def side_by_side(libraries: list[str], ask: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Ask for each library, as many at once as there are cores: for what is not timed, or takes too long otherwise."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(libraries, pool.map(ask, libraries), strict=True)


def fresh(run: Run) -> Figures:
    """Measure fresh processes: build, first step, later steps, peak memory; one at a time."""
    for work in run.chosen(works.MAIN):
        for threads in run.threads:
            for library in run.libraries:
                if threads > 1 and library not in ("bare", "ours"):
                    continue
                tell(f"fresh process, {threads} thread{'s' * (threads > 1)}: {work.name}: {library}")
                rows = works.MEMORY_ROWS if threads == 1 else 0
                yield ("fresh", str(threads), work.name, library), once(library, work, "fresh", threads, rows=rows)
    for bins in works.MEMORY_BINS if run.chosen(works.MAIN[:1]) and 1 in run.threads else ():
        for library in (name for name in run.libraries if name in works.MEMORY_LIBRARIES):
            tell(f"memory, {bins} bins: {library}")
            yield ("memory", str(bins), library), once(library, works.replace(works.MAIN[0], bins=bins), "fresh", rows=works.MEMORY_ROWS)


def once(library: str, work: works.Work, do: str, threads: int = 1, **question: Any) -> dict[str, Any]:
    """Ask a process of its own one question about a work."""
    with Group([library], threads, 1, 0.0, 600.0) as group:
        return ask(group.workers[library], work, do, **question)


def ask(worker: Worker, work: works.Work, do: str, **question: Any) -> dict[str, Any]:
    """Let a worker build a work and answer one question about it."""
    try:
        built = worker.build(work)
        return built if "cannot" in built else {**built, **worker.ask(do, 900.0, **question)}
    except SlowError:
        return {"cannot": "took longer than fifteen minutes"}


def operators(run: Run) -> Figures:
    """Count operator calls of the torch libraries, and profile ours."""
    libraries = [name for name in run.libraries if name in TORCH]
    tell("operator calls")
    for library, counts in all_of(run, libraries, [*works.MAIN, *works.JOBS], "count"):
        for work, found in counts.items():
            yield ("calls", work, library), found
    for work in run.chosen(works.MAIN) if "ours" in libraries else ():
        tell(f"profile: {work.name}")
        yield ("profile", work.name), once("ours", work, "profile")


def losses(run: Run) -> Figures:
    """Run the tutorials' jobs to their end: the loss that stands beside the time of a step."""
    tell("the whole jobs, two libraries at a time")
    jobs = [works.replace(job, steps=50) for job in works.JOBS] if run.quick else works.JOBS
    for library, ends in all_of(run, [name for name in run.libraries if name != "bare"], jobs, "losses"):
        tell(f"the whole jobs: {library}")
        for job, found in ends.items():
            yield ("losses", job, library), found


def all_of(run: Run, libraries: list[str], some: Any, do: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ask one question about many works, side by side: for what is not timed."""
    with run.group(1, libraries=libraries) as group:
        yield from side_by_side(libraries, lambda name: {work.name: ask(group.workers[name], work, do) for work in run.chosen(some)})


def growth(run: Run) -> Figures:
    """Measure how one action grows with D, layers, batch and bins."""
    libraries = [name for name in run.libraries if name in works.GROWTH_LIBRARIES]
    with run.group(1, libraries=libraries, rounds=2 if run.quick else 3) as group:
        for axis, (action, _, _, sizes) in works.GROWTH.items():
            for size in sizes[:2] if run.quick else sizes:
                work = works.grown(axis, size)
                tell(f"growth: {work.name}")
                for library, found in group.measure(work).items():
                    yield ("growth", axis, library, str(size)), found if "cannot" in found else found["actions"][action]


PARTS: dict[str, Callable[[Run], Figures]] = {
    "times": times, "compiled": compiled, "fresh": fresh, "operators": operators, "losses": losses, "growth": growth,
}  # fmt: skip


def setting() -> dict[str, Any]:
    """Tell what the figures were measured with."""
    import torch
    from numerics import installed, setting

    versions = {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)}
    found = {**setting(), **versions, "torch": torch.__version__}
    found.pop("threads")
    return {**found, "cores": os.cpu_count()}


def put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        data = data.setdefault(key, {})
    data[path[-1]] = value


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure speed and memory, and write docs/performance.md.")
    parser.add_argument("--works", action="append", metavar="TEXT", help="works whose name has the text (may be repeated)")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES, help="default: all")
    parser.add_argument("--threads", nargs="+", type=int, choices=(1, 2), default=(1, 2), help="default: one and two")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=tuple(PARTS), help="what to measure (default: all)")
    parser.add_argument("--reuse", action="store_true", help="keep the figures of docs/performance.json that are not measured again")
    parser.add_argument("--quick", action="store_true", help="few rounds and short limits, to try it")
    parser.add_argument("--out", type=Path, default=FIGURES.parent, help="folder of the page and its figures (default: docs)")
    arguments = parser.parse_args()
    whole = not arguments.works and len(arguments.libraries) == len(LIBRARIES) and len(arguments.threads) == 2
    if not (whole and len(arguments.parts) == len(PARTS)) and not arguments.reuse:
        parser.error("a choice leaves figures out: add --reuse to keep the others as docs/performance.json has them")
    figures, began = arguments.out / FIGURES.name, time.time()
    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8")) if arguments.reuse and figures.exists() else {}
    run = Run(arguments)
    if arguments.parts:
        data["setting"] = setting()
        data["rounds"], data["target"], data["limit"] = run.rounds, run.target, run.limit
    for name in arguments.parts:
        started = time.time()
        for path, value in PARTS[name](run):
            put(data, path, value)
            save(data, figures)
        put(data, ("minutes", name), (time.time() - started) / 60)
        write(data, arguments.out)
    write(data, arguments.out)
    tell(f"wrote {PAGE.name} in {time.time() - began:.0f} s")


def save(data: dict[str, Any], path: Path) -> None:
    """Write the figures, which are safe as soon as they are measured."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write(data: dict[str, Any], folder: Path) -> None:
    """Write figures, picture and page."""
    save(data, folder / FIGURES.name)
    draw(data, folder / "images" / PICTURE.name)
    (folder / PAGE.name).write_text(page(data), encoding="utf-8")


if __name__ == "__main__":
    main()
