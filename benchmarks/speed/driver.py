"""The parent of the worker processes: asks them in turn, so that what disturbs the machine disturbs all libraries alike."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .works import Work

HERE = Path(__file__).resolve().parent.parent
LIBRARIES = ("bare", "ours", "pyro", "zuko", "nflows", "normflows", "flowtorch", "flowjax")
TORCH = tuple(name for name in LIBRARIES if name != "flowjax")
START = 120.0


class SlowError(Exception):
    """A worker did not answer within the limit, and was ended."""


class Worker:
    """A worker process as the parent sees it; it starts when it is first asked, and anew after it was too slow."""

    def __init__(self, library: str, threads: int, cache: str = "") -> None:
        self.library, self.threads, self.cache = library, threads, cache
        self.process: subprocess.Popen[str] | None = None
        self.work: Work | None = None

    def start(self) -> None:
        count = str(self.threads)
        flags = "--xla_cpu_multi_thread_eigen=false" if self.threads == 1 else ""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
        }
        if self.cache:
            environment["TORCHINDUCTOR_CACHE_DIR"] = self.cache
        command = [sys.executable, "-m", "speed.worker", self.library, count, *(["compiled"] if self.cache else [])]
        errors = None if os.environ.get("BENCH_ERRORS") else subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, cwd=HERE, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        )
        self._answer(START)

    def ask(self, do: str, limit: float = START, **question: Any) -> dict[str, Any]:
        """Ask one question; raise `SlowError` when there is no answer within the limit, in seconds."""
        if self.process is None:
            self.start()
            if self.process is not None and self.work is not None and do != "build":
                self.ask("build", work=dataclasses.asdict(self.work))
        if self.process is None or self.process.stdin is None:
            return {"cannot": "its process does not start"}
        self.process.stdin.write(json.dumps({"do": do, **question}) + "\n")
        return self._answer(limit)

    def build(self, work: Work, limit: float = START) -> dict[str, Any]:
        self.work = work
        return self.ask("build", limit, work=dataclasses.asdict(work))

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.stop()
            raise SlowError
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            return {"cannot": "the process ended"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return median and quartiles of the wall time in seconds, and the median of processor time."""
    wall = [one["wall"] for one in rounds]
    low, median, high = np.quantile(wall, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "low": low, "high": high, "cpu": float(np.median([one["cpu"] for one in rounds])), "rounds": len(wall)}


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


class Group:
    """Workers of several libraries that are asked in turn; with a folder for the cache of its compiler, they use `torch.compile`."""

    def __init__(self, libraries: Sequence[str], threads: int, rounds: int, target: float, limit: float, cache: str = "") -> None:
        self.workers = {name: Worker(name, threads, cache) for name in libraries}
        self.rounds, self.target, self.limit = rounds, target, limit

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.stop()

    def measure(self, work: Work) -> dict[str, Any]:
        """Return for each library its parameters and times, or the reason why there are none."""
        found = {name: self.begin(name, work) for name in self.workers}
        for action in (*work.actions, *work.own):
            for name in self.workers:
                if action in work.actions or name == "ours":
                    self.warm(found, name, action)
            self.repeat(found, action)
        return found

    def begin(self, name: str, work: Work) -> dict[str, Any]:
        """Let a library build a work."""
        try:
            built = self.workers[name].build(work)
        except SlowError:
            built = {"cannot": f"is not built within {START:.0f} s"}
        return built if "cannot" in built else {**built, "stated": work.parameters, "actions": {}}

    def warm(self, found: dict[str, Any], name: str, action: str) -> None:
        """Let a library run an action until it is warm; what it cannot do, or not within the limit, is found here."""
        if "cannot" in found[name]:
            return
        worker, answer = self.workers[name], {"cannot": f"is not compiled within {START:.0f} s"}
        try:
            worker.ask("prepare", action=action)
            answer = {"limit": self.limit}
            answer = worker.ask("warm", self.limit, action=action, target=self.target)
        except SlowError:
            pass
        found[name]["actions"][action] = answer

    def repeat(self, found: dict[str, Any], action: str) -> None:
        """Measure an action of all libraries that can do it, in turn."""
        alive = [name for name in self.workers if "calls" in found[name].get("actions", {}).get(action, {})]
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in alive}
        # What the bars ask of a training step lies closer to one than the noise of a shared machine in a few rounds.
        for number in range(self.rounds * (3 if action == "train" else 1)):
            for name in alive:
                call = found[name]["actions"][action]["call"]
                # What takes seconds is repeated less: its spread is small beside its size.
                if number < 1 or call < 0.2 or (number < 3 and call < 1):
                    answer = self._time(name, action)
                    if "wall" in answer:
                        measured[name].append(answer)
        for name, rounds in measured.items():
            found[name]["actions"][action].update(summary(rounds) if rounds else {"cannot": "got slower than the limit"})

    def _time(self, name: str, action: str) -> dict[str, Any]:
        try:
            return self.workers[name].ask("time", 4 * self.limit, action=action)
        except SlowError:
            return {}
