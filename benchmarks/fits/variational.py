"""Guides of Pyro, of Zuko and ours in one loop of SVI, and `fit_target`, on posteriors of known evidence; `clients.py` runs it."""

from __future__ import annotations

import math
import time
from typing import Any

import pyro
import torch
import zuko
from models import MODELS, Model
from pyro.contrib.zuko import ZukoToPyro
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoContinuous, AutoIAFNormal, init_to_median
from torch import nn

import pushforward as pf
from pushforward.contrib.pyro import AutoFlow
from pushforward.train import limit

SECONDS, PARTICLES = 3.0, 32
"""CPU time that each guide has, and draws in a step."""
RATES = (1e-3, 5e-3)
SCORED, ROUNDS = 10_000, 4
"""Draws that are scored together in the end, and how often."""


class ZukoGuide(AutoContinuous):  # type: ignore[misc]
    """Zuko's spline flow, turned to sample in one pass, then scaled and moved to where our guide starts; all of it is learned, as ours."""

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        made = zuko.flows.NSF(self.latent_dim, transforms=3, hidden_features=(64, 64), randperm=True)
        self.flow = zuko.flows.Flow(made.transform.inv, made.base)
        self.loc = nn.Parameter(self._init_loc().detach().clone())
        self.log_scale = nn.Parameter(torch.full_like(self.loc, math.log(0.1)))

    def get_posterior(self, *args: Any, **kwargs: Any) -> Any:
        units = pyro.distributions.transforms.AffineTransform(self.loc, self.log_scale.exp(), event_dim=1)
        flow = self.flow()
        flow = zuko.distributions.NormalizingFlow(zuko.transforms.ComposedTransform(flow.transform, units.inv), flow.base)
        return ZukoToPyro(flow)


def guides(model: Any) -> dict[str, Any]:
    """Return the guides that are compared, which the first call builds."""
    return {
        "Pyro, AutoIAFNormal": AutoIAFNormal(model),
        "Zuko, NSF": ZukoGuide(model, init_loc_fn=init_to_median),
        "pushforward, AutoFlow": AutoFlow(model),
        "pushforward, AutoFlow(NSF)": AutoFlow(model, pf.NSF),
    }


def taught(model: Model, guide: AutoContinuous, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Train a guide for so many seconds of CPU time."""
    pyro.clear_param_store()
    torch.manual_seed(seed)
    elbo = Trace_ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(model.model, guide, pyro.optim.ClippedAdam({"lr": rate, "clip_norm": 10.0}), elbo)
    began, steps = time.process_time(), 0
    while time.process_time() < began + seconds:
        svi.step()
        steps += 1
    return {"seconds": round(time.process_time() - began, 2), "steps": steps}


@torch.no_grad()
def divergence(model: Model, guide: AutoContinuous) -> tuple[float, float]:
    """Return KL(guide | posterior), the evidence less its bound, with its standard error."""
    elbo = Trace_ELBO(num_particles=SCORED, vectorize_particles=True, max_plate_nesting=1)
    found = torch.tensor([elbo.loss(model.model, guide) for _ in range(ROUNDS)])
    return model.log_evidence + found.mean().item(), found.std().item() / ROUNDS**0.5


def by_target(model: Model, seconds: float, seed: int) -> tuple[pf.Flow, dict[str, Any]]:
    """Fit a flow by `fit_target` with its defaults, after rough draws have told of scales."""
    torch.manual_seed(seed)
    began = time.process_time()
    rough = model.rough(1000)
    flow = pf.NSF(rough.shape[1])
    flow.standardize(rough, starts=False)
    history = pf.fit_target(flow, model.log_density, steps=100_000, seconds=seconds, seed=seed, progress=False)
    return flow, {"seconds": round(time.process_time() - began, 2), "steps": 50 * len(history.train)}


@torch.no_grad()
def divergence_of_flow(model: Model, flow: pf.Flow) -> tuple[float, float]:
    """Return KL(flow | posterior) with its standard error."""
    found = []
    for _ in range(ROUNDS):
        x, score = flow.rsample_and_log_prob((SCORED,))
        found.append(score - model.log_density(x))
    values = torch.cat(found).double()
    return model.log_evidence + values.mean().item(), values.std().item() / len(values) ** 0.5


def measured(job: str, seed: int) -> dict[str, Any]:
    """Return the figures of a model: of each guide and rate, and of `fit_target`."""
    model = MODELS[job]
    found: dict[str, Any] = {}

    def put(name: str, value: tuple[float, float], told: dict[str, Any]) -> None:
        found[name] = {"error": round(value[0], 5), "deviation": round(value[1], 5), **told}

    for rate in RATES:
        for name, guide in guides(model.model).items():
            told = taught(model, guide, rate, SECONDS, seed)
            put(f"{name}, {rate:g}", divergence(model, guide), told)
    limit.clock = time.process_time
    flow, told = by_target(model, SECONDS, seed)
    put("pushforward, fit_target", divergence_of_flow(model, flow), told)
    return found
