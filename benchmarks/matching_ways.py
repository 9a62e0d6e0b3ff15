"""The ways in which `matching.py` comes by a density: this library's, and those of other libraries, with one field network.

All fields are perceptrons (64, 64) with SiLU, which see the time as the cosines and sines of one, two and three half turns (torchflows' own
excepted). All get AdamW, batches of 512, and a rate that falls to 0 by a cosine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.layers.continuous import ContinuousModule
from pushforward.train.limit import Limit

BATCH, SHARE = 512, 0.1
"""Rows of a step, and the share of the rows that `fit` holds out."""
RATE, MATCHED = 5e-3, 1e-2
"""The rate at first, and that of flow matching, whose steps are noisier."""
MANY = 10**6
"""Epochs or steps where time is what ends them."""
LENGTHS = 50
"""Steps of one length through a field, where its density is integrated."""
Score = Callable[[Tensor], Tensor]


class Budget(NamedTuple):
    """What a way may take: steps, or seconds of the processor."""

    steps: int
    seconds: float | None = None

    def limit(self) -> Limit:
        return Limit(self.seconds, time.process_time)


class Trained(NamedTuple):
    """A log-density, after how many steps, and where at hand the map from base to data that it comes from, with gradients."""

    score: Score
    steps: int
    push: Score | None = None


def followed(velocity: Callable[[Tensor, Tensor], Tensor], z: Tensor) -> Tensor:
    """Return where a velocity of times ``(n,)`` and places takes points by steps of RK4 of one length: by no solver of a library."""
    h, x = 1 / LENGTHS, z
    for i in range(LENGTHS):
        start, half, end = (torch.full((len(z),), (i + part) * h) for part in (0.0, 0.5, 1.0))
        k1 = velocity(start, x)
        k2 = velocity(half, x + 0.5 * h * k1)
        k3 = velocity(half, x + 0.5 * h * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(end, x + h * k3))
    return x


def mapped(flow: pf.Flow) -> Score:
    """Return the map of a flow of this library; of continuous layers as velocities and nothing else."""

    def push(z: Tensor) -> Tensor:
        for layer in flow.transform.layers:
            z = followed(layer.velocity, z) if isinstance(layer, ContinuousModule) else layer.push(z)[0]
        return z

    return push


def fitted(
    make: Callable[[int], pf.Flow], rows: Tensor, budget: Budget, rate: float, seed: int, starts: bool = True, **options: Any
) -> Trained:
    """Return the log-density of a flow that `fit` has trained; ``starts`` as in `Flow.standardize`."""
    torch.manual_seed(seed)
    flow = make(rows.shape[1])
    flow.standardize(rows, starts=starts)
    each = -(-round(len(rows) * (1 - SHARE)) // BATCH)
    epochs = MANY if budget.seconds else max(1, round(budget.steps / each))
    history = pf.fit(
        flow,
        rows,
        epochs=epochs,
        seconds=budget.limit(),
        learning_rate=rate,
        schedule="cosine",
        patience=None,
        seed=seed,
        progress=False,
        **options,
    )
    return Trained(flow.log_prob, each * len(history.train), mapped(flow))


def taught(rows: Tensor, steps: int) -> pf.Flow:
    """Return a continuous flow that has learned rows by flow matching."""
    torch.manual_seed(0)
    flow = pf.CNF(rows.shape[1])
    epochs = max(1, round(steps * BATCH / (len(rows) * (1 - SHARE))))
    options = {"learning_rate": MATCHED, "schedule": "cosine", "patience": None, "progress": False}
    pf.fit(flow, rows, objective="flow_matching", epochs=epochs, **options)
    return flow


def at(flow: pf.Flow, tolerance: float, **options: Any) -> pf.Flow:
    """Return the same flow whose solver is held to another tolerance, or with other options of its continuous layers."""
    plans = [layer.plan for layer in flow.transform.layers]
    finer = [plan.replace(tolerance=tolerance, **options) if isinstance(plan, pf.bijectors.Continuous) else plan for plan in plans]
    made = pf.Flow(flow.base.plan, finer, flow.event_shape)
    made.load_state_dict(dict(flow.state_dict()))  # a state that names no plan
    return made


def cnf(features: int) -> pf.Flow:
    return pf.CNF(features, tolerance=1e-4)


class Network(nn.Module):
    """The same field as torch builds it, of time and place."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features + 6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, features))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        angles = t.reshape(-1, 1) * (math.pi * torch.arange(1, 4))
        return self.net(torch.cat([x, torch.cat([torch.cos(angles), torch.sin(angles)], -1).expand(len(x), 6)], -1))


def looped(module: nn.Module, loss: Score, rows: Tensor, budget: Budget, rate: float, seed: int) -> int:
    """Train by steps over batches in random order, and return how many."""
    optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.0, fused=True)
    generator, limit, done = torch.Generator().manual_seed(seed), budget.limit(), 0
    while not limit.over and (budget.seconds or done < budget.steps):
        gone = limit.gone if budget.seconds else done / budget.steps
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * gone))
        optimizer.zero_grad()
        loss(rows[torch.randint(len(rows), (BATCH,), generator=generator)]).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        done += 1
    return done


def standardised(log_prob: Score, rows: Tensor) -> tuple[Tensor, Score, Score]:
    """Return standardised rows, the log-density before that, and what takes them back."""
    mean, scale = rows.mean(0), rows.std(0)
    return (rows - mean) / scale, lambda x: log_prob((x - mean) / scale) - scale.log().sum(), lambda x: mean + scale * x


def zuko(rows: Tensor, budget: Budget, rate: float, seed: int, matching: bool) -> Trained:
    """Zuko's CNF; its layer takes data at time 0 to the base at time 1."""
    from zuko.flows import CNF

    torch.manual_seed(seed)
    flow = CNF(rows.shape[1], hidden_features=(64, 64), activation=nn.SiLU)

    def squares(x: Tensor) -> Tensor:
        z, t = torch.randn_like(x), torch.rand(len(x))
        return (flow.transform.f(t, torch.lerp(x, z, t[:, None])) - (z - x)).square().mean()

    x, score, back = standardised(lambda x: flow().log_prob(x), rows)
    steps = looped(flow, squares if matching else lambda x: -flow().log_prob(x).mean(), x, budget, rate, seed)
    flow.eval()
    return Trained(score, steps, lambda z: back(followed(lambda t, x: -flow.transform.f(1 - t, x), z)))


def torchcfm(rows: Tensor, budget: Budget, rate: float, seed: int, optimal: bool) -> Trained:
    """torchcfm's matchers, and the density by torchdiffeq with the trace as its own examples have it."""
    import numpy as np
    from torchcfm import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher
    from torchdiffeq import odeint

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (its plans are drawn there)
    net, matcher = Network(rows.shape[1]), (ExactOptimalTransportConditionalFlowMatcher if optimal else ConditionalFlowMatcher)(sigma=0.0)

    def squares(x: Tensor) -> Tensor:
        t, place, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        return (net(t, place) - velocity).square().mean()

    def log_prob(x: Tensor) -> Tensor:
        def rates(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                place = state[0].detach().requires_grad_()
                v = net(t, place)
                trace = sum(torch.autograd.grad(v[:, d].sum(), place, retain_graph=True)[0][:, d] for d in range(x.shape[-1]))
            return v.detach(), trace

        made, ladj = odeint(rates, (x, torch.zeros(len(x))), torch.tensor([1.0, 0.0]), atol=1e-5, rtol=1e-5, method="dopri5")
        return -0.5 * (made[-1].square().sum(-1) + x.shape[-1] * math.log(2 * math.pi)) + ladj[-1]

    x, score, back = standardised(log_prob, rows)
    steps = looped(net, squares, x, budget, rate, seed)
    return Trained(score, steps, lambda z: back(followed(net, z)))


def torchflows(rows: Tensor, budget: Budget, rate: float, seed: int, kind: str) -> Trained:
    """torchflows' flows with its own defaults but for the size of networks; its continuous ones take one step of rk4."""
    from torchflows import flows
    from torchflows.bijections.continuous.ffjord import FFJORD
    from torchflows.bijections.continuous.otflow import OTFlowBijection
    from torchflows.bijections.finite.residual.architectures import ResFlow

    torch.manual_seed(seed)
    size = (rows.shape[1],)
    if kind == "FFJORD":
        flow: Any = flows.ContinuousFlow(FFJORD(size, nn_kwargs={"hidden_size": 64, "n_hidden_layers": 2}))
    elif kind == "OT-Flow":
        flow = flows.ContinuousFlow(OTFlowBijection(size, time_derivative_kwargs={"hidden_size": 64}))
    else:
        flow = flows.Flow(ResFlow(size))

    def log_prob(x: Tensor) -> Tensor:
        made = flow.log_prob(x)
        return made[0] if isinstance(made, tuple) else made

    def loss(x: Tensor) -> Tensor:
        if kind != "OT-Flow":
            return -log_prob(x).mean()
        made, *costs = flow.log_prob(x, return_aux=True)
        return -made.mean() + flow.regularization(*costs)

    x, score, _ = standardised(log_prob, rows)
    steps = looped(flow, loss, x, budget, rate, seed)
    flow.eval()
    return Trained(score, steps)


class Way(NamedTuple):
    """A way to a density: ``train(rows, budget, rate, seed)``, whether its steps solve an equation, and what it has to have installed."""

    train: Callable[..., Trained]
    solves: bool = False
    rate: float = RATE
    needs: tuple[str, ...] = ()


WAYS = {
    "NSF": Way(partial(fitted, pf.NSF)),
    "CNF, matching": Way(partial(fitted, cnf, objective="flow_matching"), rate=MATCHED),
    "CNF, matching, as drawn": Way(partial(fitted, cnf, starts=False, objective=pf.FlowMatching(times="uniform")), rate=MATCHED),
    "CNF, matching, variance preserving": Way(partial(fitted, cnf, objective=pf.FlowMatching(path="variance_preserving")), rate=MATCHED),
    "CNF, likelihood": Way(partial(fitted, cnf), solves=True),
    "Zuko, matching": Way(partial(zuko, matching=True), rate=MATCHED, needs=("zuko",)),
    "Zuko, likelihood": Way(partial(zuko, matching=False), solves=True, needs=("zuko",)),
    "torchcfm": Way(partial(torchcfm, optimal=False), rate=MATCHED, needs=("torchcfm", "torchdiffeq")),
    "torchcfm, transport": Way(partial(torchcfm, optimal=True), rate=MATCHED, needs=("torchcfm", "torchdiffeq", "ot")),
    "torchflows, FFJORD": Way(partial(torchflows, kind="FFJORD"), needs=("torchflows", "torchdiffeq")),
    "torchflows, OT-Flow": Way(partial(torchflows, kind="OT-Flow"), needs=("torchflows", "torchdiffeq")),
    "torchflows, ResFlow": Way(partial(torchflows, kind="ResFlow"), needs=("torchflows",)),
}


def installed(names: list[str]) -> Iterator[str]:
    return (name for name in names if all(find_spec(package) for package in WAYS[name].needs))
