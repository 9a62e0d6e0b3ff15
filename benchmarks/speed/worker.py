"""A process that builds and measures works of one library; asked for over a pipe, one line of JSON a question.

``python -m speed.worker <library> <threads> [compiled]``, from the folder benchmarks. The parent sets the environment.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import statistics
import sys
import time
import traceback
import warnings
from typing import Any

import numpy as np

from .works import Work

PREFIX = "speed.libraries."
STARTS = 3
"""From how many starts a job runs to its end."""


class Worker:
    """The measured state: one work at a time."""

    def __init__(self, library: str, threads: int, compiled: bool) -> None:
        self.library, self.compiled = library, compiled
        if library == "flowjax":
            if threads == 1:
                # XLA has no setting for its threads; one processor is one thread.
                os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        else:
            import torch

            torch.set_num_threads(threads)
            # Checks of arguments that a library makes by default, and lets its users leave out.
            torch.distributions.Distribution.set_default_validate_args(False)
        self.module = importlib.import_module(PREFIX + library)
        self.actions: Any = None
        self.calls: dict[str, int] = {}

    def make(self, work: Work, start: int = 0) -> Any:
        if self.library == "flowjax":
            actions = self.module.Actions(work)
            self.built = time.perf_counter()
            return actions
        import torch

        from .libraries.torched import Actions

        torch.manual_seed(start)
        built = self.module.build(work)
        # What torch.optim imports when the first optimizer is made is no part of building a flow.
        self.built = time.perf_counter()
        return Actions(work, built, self.compiled)

    def build(self, work: dict[str, Any]) -> dict[str, Any]:
        self.actions, self.calls = None, {}
        gc.collect()
        self.work = Work(**{key: tuple(value) if isinstance(value, list) else value for key, value in work.items()})
        began = time.perf_counter()
        self.actions = self.make(self.work)
        return {"parameters": self.actions.count, "note": self.actions.note, "build": self.built - began}

    def prepare(self, action: str) -> dict[str, Any]:
        self.actions.prepare(action)
        return {}

    def warm(self, action: str, target: float) -> dict[str, Any]:
        """Run an action until it is warm, and settle how many calls make one measurement."""
        run = getattr(self.actions, action)
        began = time.perf_counter()
        run()
        first = time.perf_counter() - began
        # A compiled function is compiled again where sizes changed.
        again = 8 if self.compiled else 0 if first > 0.5 else 3
        times = [first]
        for _ in range(again):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        self.calls[action] = max(1, round(target / min(times)))
        compiling = self.actions.compile_seconds.get(action) if self.library == "flowjax" else first - min(times)
        return {"calls": self.calls[action], "first": first, "call": min(times), "compile": compiling}

    def time(self, action: str) -> dict[str, Any]:
        run, calls = getattr(self.actions, action), self.calls[action]
        gc.collect()
        gc.disable()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        gc.enable()
        return {"wall": wall / calls, "cpu": cpu / calls}

    def fresh(self, rows: int) -> dict[str, Any]:
        """Measure a process that has done nothing yet: first step, later steps, then memory of a step on many rows."""
        steps = []
        for _ in range(12):
            began = time.perf_counter()
            self.actions.train()
            steps.append(time.perf_counter() - began)
        found = {"first": steps[0], "second": steps[1], "later": statistics.median(steps[2:])}
        if self.library == "flowjax":
            found["compile"] = self.actions.compile_seconds["train"]
            found["first"] -= found["compile"]
        if rows:
            found["memory"] = self.memory(rows)
        return found

    def memory(self, rows: int) -> int:
        """Return the bytes that a training step takes above what there was before it, at its peak."""
        self.actions.resize(rows)
        self.actions.prepare("train")
        gc.collect()
        before = status("VmRSS")
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("5")
        self.actions.train()
        return status("VmHWM") - before

    def losses(self) -> dict[str, Any]:
        """Run a job to its end from each start, and return the one whose loss is the median.

        The last loss of one batch is noisy, so it is the mean of the last hundred; a loss may leap just there, so there are three starts,
        where the batch is always the same one.
        """
        again = self.work.name == "FlowTorch's job"
        runs = []
        for start in range(1 if again or self.library == "flowjax" else STARTS):
            if start:
                self.actions = self.make(self.work, start)
            found = np.empty(self.work.steps)
            for step in range(self.work.steps):
                if again:
                    self.actions.new_batch()
                found[step] = float(self.actions.train())
            runs.append({"first": found[0], "last": found[-1], "mean": found[-100:].mean(), "lowest": found.min()})
        runs.sort(key=lambda run: run["mean"])
        return {**runs[len(runs) // 2], "means": [run["mean"] for run in runs]}

    def count(self) -> dict[str, Any]:
        from .operators import count

        work = self.work
        found = count(self.actions)
        if work.kind != "job":
            deeper = self.make(Work(**{**work.__dict__, "layers": work.layers + 2}))
            found["layer"] = (sum(count(deeper)[part] for part in ("forward", "backward")) - found["forward"] - found["backward"]) / 2
        return found

    def profile(self) -> dict[str, Any]:
        from .operators import profile

        return profile(self.actions)


def status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    worker = Worker(sys.argv[1], int(sys.argv[2]), "compiled" in sys.argv)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(worker, question.pop("do"))(**question)
        except Exception as error:
            if type(error).__name__ == "CannotError":
                answer = {"cannot": str(error)}
            else:
                traceback.print_exc()
                # The first line tells which error it is; paths of this machine are nobody's business.
                text = re.sub(r"\S*/\S+", "…", next(iter(str(error).splitlines()), ""))
                answer = {"cannot": f"{type(error).__name__}: {text}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
