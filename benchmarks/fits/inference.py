"""sbi's NPE with its own flows and with ours, on simulators whose posteriors are known; `clients.py` runs it."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from posteriors import TASKS, Task
from sbi.inference import NPE
from torch import Tensor

import pushforward as pf
from pushforward.contrib.sbi import density_estimator

SIMULATIONS, OBSERVATIONS, DRAWS, LEAKED = 10_000, 10, 1000, 10_000
"""Pairs to train on, observations that are scored, exact draws of each, and draws that tell how much leaks out of the prior."""
LIMIT = 16.0
"""Seconds after which sbi's own flows are stopped too, if they have not stopped by themselves."""


class Timed(NPE):  # type: ignore[misc]
    """NPE that stops after so many seconds of CPU time, with the weights that were best by then."""

    def until(self, seconds: float) -> Timed:
        self.ends = time.process_time() + seconds
        return self

    def _converged(self, epoch: int, stop_after_epochs: int) -> bool:
        over = time.process_time() > self.ends
        return super()._converged(epoch, 0 if over else stop_after_epochs)


def trained(task: Task, rows: tuple[Tensor, Tensor], estimator: Any, seconds: float, seed: int, **how: Any) -> tuple[Timed, dict[str, Any]]:
    """Train, and return what was trained with its CPU time and epochs."""
    torch.manual_seed(seed)
    began = time.process_time()
    inference = Timed(task.prior, density_estimator=estimator, show_progress_bars=False).until(seconds)
    inference.append_simulations(*rows).train(**how)
    return inference, {"seconds": round(time.process_time() - began, 2), "epochs": inference.epoch}


@torch.no_grad()
def divergence(inference: Timed, observed: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[float, float]:
    """Return KL(exact | learned), averaged over the observations, and its standard error from one to the other."""
    net = inference._neural_net.eval()
    found = []
    for x, theta, exact in observed:
        learned = net.log_prob(theta[:, None], condition=x[None])[:, 0]
        inside = inference._prior.support.check(net.sample((LEAKED,), condition=x[None])[:, 0])
        found.append((exact - learned).mean() + inside.double().mean().log())  # sbi rejects what leaks
    values = torch.stack(found).double()
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def simulated(task: Task, seed: int) -> tuple[tuple[Tensor, Tensor], list[tuple[Tensor, Tensor, Tensor]]]:
    """Return the pairs to train on, and observations with exact draws and their log-densities."""
    torch.manual_seed(seed)
    theta = task.prior.sample((SIMULATIONS + OBSERVATIONS,))
    x = task.simulate(theta)
    rows = theta[OBSERVATIONS:], x[OBSERVATIONS:]
    return rows, [(one, *task.posterior(one, DRAWS)) for one in x[:OBSERVATIONS]]


RATES = (5e-4, 3e-3)
"""At which sbi trains ours: its own rate, and a larger one."""


JOBS = [f"{task}, {name}" for name in ("NSF", "MAF") for task in TASKS]


def measured(job: str, seed: int) -> dict[str, Any]:
    """Return the figures of a task and flow: sbi's own by its defaults, and ours in half of the time, at both rates."""
    task, name = job.split(", ")
    problem = TASKS[task]
    rows, observed = simulated(problem, seed)
    found: dict[str, Any] = {}

    def put(method: str, estimator: Any, seconds: float, **how: Any) -> None:
        made, told = trained(problem, rows, estimator, seconds, seed, **how)
        value, error = divergence(made, observed)
        found[method] = {"error": round(value, 5), "deviation": round(error, 5), **told}

    put("sbi", name.lower(), LIMIT)
    for rate in RATES:
        put(f"pushforward, {rate:g}", density_estimator(getattr(pf, name)), found["sbi"]["seconds"] / 2, learning_rate=rate)
    return found
