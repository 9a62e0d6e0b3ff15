"""nessai and pocoMC with their own flows and with ours, on two likelihoods of known evidence; `clients.py` runs it."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pocomc
import torch
from nessai.flowsampler import FlowSampler
from nessai.livepoint import live_points_to_array
from nessai.model import Model
from scipy.stats import uniform

import pushforward as pf
from pushforward.contrib.nessai import flow_class
from pushforward.contrib.pocomc import to_pocomc

LIVE = 300
"""Live points of nessai."""
SIZES = {"n_effective": 256, "n_active": 128}
DRAWN = {"n_total": 512, "n_evidence": 1024}
"""Particles of pocoMC, and draws by which it weighs its flow in the end."""


class Problem(NamedTuple):
    """A log-likelihood of rows ``(n, features)``, uniform prior on a cube around 0, and the logarithm of the evidence."""

    log_likelihood: Callable[[np.ndarray], np.ndarray]
    features: int
    side: float
    log_evidence: float


COVARIANCE = 0.2 * np.eye(4) + 0.8
"""Of four features that lie close to a line."""


def normal(x: np.ndarray) -> np.ndarray:
    form = np.einsum("...i,ij,...j->...", x, np.linalg.inv(COVARIANCE), x)
    return -0.5 * form - 0.5 * math.log(np.linalg.det(2 * math.pi * COVARIANCE))


def banana(x: np.ndarray) -> np.ndarray:
    """Rosenbrock's: -(1 - x)^2 / 2 - 5 (y - x^2)^2."""
    return -0.5 * (1 - x[..., 0]) ** 2 - 5 * (x[..., 1] - x[..., 0] ** 2) ** 2


def quadrature(log_likelihood: Callable[[np.ndarray], np.ndarray], side: float, points: int = 2000) -> float:
    """Return the log-evidence of two features by the midpoint rule."""
    line = ((np.arange(points) + 0.5) / points - 0.5) * side
    return math.log(np.exp(log_likelihood(np.stack(np.meshgrid(line, line), -1))).mean())


PROBLEMS = {
    "normal, 4-d": Problem(normal, 4, 20.0, -4 * math.log(20.0)),  # but for 1e-20 outside the box
    "banana, 2-d": Problem(banana, 2, 10.0, quadrature(banana, 10.0)),
}


class Boxed(Model):  # type: ignore[misc]
    """A problem as nessai takes it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.names = [f"x{place}" for place in range(problem.features)]
        self.bounds = {name: [-problem.side / 2, problem.side / 2] for name in self.names}

    def log_prior(self, x: Any) -> Any:
        return np.log(self.in_bounds(x), dtype=float) - self.problem.features * math.log(self.problem.side)

    def log_likelihood(self, x: Any) -> Any:
        return self.problem.log_likelihood(live_points_to_array(x, self.names))


def by_nessai(problem: Problem, ours: bool, seed: int) -> tuple[float, float]:
    """Return the log-evidence and its error."""
    config = {"flow": flow_class()} if ours else None
    with tempfile.TemporaryDirectory() as folder:
        sampler = FlowSampler(
            Boxed(problem), output=folder, nlive=LIVE, seed=seed, flow_config=config, resume=False, plot=False, signal_handling=False
        )
        sampler.run(plot=False, save=False)
        return float(sampler.log_evidence), float(sampler.log_evidence_error)


def by_pocomc(problem: Problem, ours: bool, seed: int) -> tuple[float, float]:
    """Return the log-evidence and its error."""
    torch.manual_seed(seed)
    prior = pocomc.Prior([uniform(-problem.side / 2, problem.side)] * problem.features)
    flow = {"flow": to_pocomc(pf.NSF(problem.features))} if ours else {}
    sampler = pocomc.Sampler(prior, problem.log_likelihood, vectorize=True, random_state=seed, **SIZES, **flow)
    sampler.run(**DRAWN, progress=False)
    return sampler.evidence()


SAMPLERS = {"nessai": by_nessai, "pocoMC": by_pocomc}


def measured(job: str, seed: int) -> dict[str, Any]:
    """Return the figures of a problem: of both samplers with their own flows and with ours."""
    logging.disable(logging.WARNING)
    problem = PROBLEMS[job]
    found = {}
    for name, sample in SAMPLERS.items():
        for ours in (False, True):
            began = time.process_time()
            evidence, stated = sample(problem, ours, seed)
            found[f"{name}, {'pushforward' if ours else 'its own flow'}"] = {
                "error": round(float(evidence - problem.log_evidence), 5),
                "deviation": round(float(stated), 5),
                "seconds": round(time.process_time() - began, 2),
            }
    return found
