"""What flow matching and likelihood reach on densities whose entropy is known, here and in other libraries, with one field network.

    python benchmarks/matching.py [--steps 1440] [--solved 180] [--seconds 6] [--jobs ...] [--ways ...] [--tables steps time]

It takes zuko, torchcfm and torchdiffeq, and torchflows where it is installed; a way whose library is missing is left out. The first table
gives each way the same steps: ``--steps`` without a differential equation in them, ``--solved`` with one. The second gives each the
processor time ``--seconds``, measured by some steps before. All fields are perceptrons (64, 64) with SiLU, which see the time as the
cosines and sines of one, two and three half turns (torchflows' own excepted); all get AdamW, batches of 512 of the same 20,000 rows, and
a rate that falls to 0 by a cosine, from 1e-2 for flow matching and from 5e-3 else. A cell has the held-out nats above the exact entropy
(medians of the seeds) and, for two features, what the density sums to over a grid. One thread.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward import targets

ROWS, UNSEEN, BATCH, SHARE = 20_000, 4_000, 512, 0.1
"""Rows, rows to score, rows of a step, and the share of the rows that `fit` holds out."""
RATE, MATCHED = 5e-3, 1e-2
"""The rate at first, and that of flow matching, whose steps are noisier."""
Score = Callable[[Tensor], Tensor]


class Job(NamedTuple):
    """A density: draws of it, and its logarithm."""

    draw: Callable[[int, torch.Generator], Tensor]
    log_prob: Score
    features: int = 2


def of_target(target: targets.Target) -> Job:
    return Job(lambda n, g: target.sample((n,), generator=g), target.log_prob)


def of_six() -> Job:
    """Return two moons, eight Gaussians and a banana side by side, turned so that all columns depend on one another."""
    target = targets.TwoIndependent(targets.TwoIndependent(targets.TwoMoons(), targets.GaussianRing()), targets.Banana())
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    scale = torch.tensor([1.0, 1.0, 0.3, 0.3, 0.5, 0.5], dtype=torch.float64)
    there = (turn * scale).T  # rows times this
    back, ladj = torch.linalg.inv(there), scale.log().sum()
    return Job(
        lambda n, g: (target.sample((n,), generator=g).double() @ there).float(), lambda x: target.log_prob(x.double() @ back) - ladj, 6
    )


JOBS = {
    "checkerboard": of_target(targets.Checkerboard()),
    "eight Gaussians": of_target(targets.GaussianRing()),
    "two moons": of_target(targets.TwoMoons()),
    "rings": of_target(targets.Circles()),
    "six features": of_six(),
}


def fitted(make: Callable[[int], pf.Flow], rows: Tensor, steps: int, rate: float, seed: int, starts: bool = True, **options: Any) -> Score:
    """Return the log-density of a flow that `fit` has trained; ``starts`` as in `Flow.standardize`."""
    torch.manual_seed(seed)
    flow = make(rows.shape[1])
    flow.standardize(rows, starts=starts)
    epochs = max(1, round(steps * BATCH / (len(rows) * (1 - SHARE))))
    pf.fit(flow, rows, epochs=epochs, learning_rate=rate, schedule="cosine", patience=None, seed=seed, progress=False, **options)
    return flow.log_prob


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


def looped(module: nn.Module, loss: Score, rows: Tensor, steps: int, rate: float, seed: int) -> None:
    """Train by steps over batches in random order."""
    optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(rows[torch.randint(len(rows), (BATCH,), generator=generator)]).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        schedule.step()


def standardised(log_prob: Score, rows: Tensor) -> tuple[Tensor, Score]:
    """Return standardised rows, and the log-density before that."""
    mean, scale = rows.mean(0), rows.std(0)
    return (rows - mean) / scale, lambda x: log_prob((x - mean) / scale) - scale.log().sum()


def zuko(rows: Tensor, steps: int, rate: float, seed: int, matching: bool) -> Score:
    """Zuko's CNF; its layer takes data at time 0 to the base at time 1."""
    from zuko.flows import CNF

    torch.manual_seed(seed)
    flow = CNF(rows.shape[1], hidden_features=(64, 64), activation=nn.SiLU)

    def squares(x: Tensor) -> Tensor:
        z, t = torch.randn_like(x), torch.rand(len(x))
        return (flow.transform.f(t, torch.lerp(x, z, t[:, None])) - (z - x)).square().mean()

    x, score = standardised(lambda x: flow().log_prob(x), rows)
    looped(flow, squares if matching else lambda x: -flow().log_prob(x).mean(), x, steps, rate, seed)
    flow.eval()
    return score


def torchcfm(rows: Tensor, steps: int, rate: float, seed: int, optimal: bool) -> Score:
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

    x, score = standardised(log_prob, rows)
    looped(net, squares, x, steps, rate, seed)
    return score


def torchflows(rows: Tensor, steps: int, rate: float, seed: int) -> Score:
    """torchflows' FFJORD with its own defaults but for the network's size: one step of rk4, and one probe that is drawn for each call."""
    from torchflows.bijections.continuous.ffjord import FFJORD
    from torchflows.flows import ContinuousFlow

    torch.manual_seed(seed)
    flow = ContinuousFlow(FFJORD((rows.shape[1],), nn_kwargs={"hidden_size": 64, "n_hidden_layers": 2}))
    x, score = standardised(lambda x: flow.log_prob(x)[0], rows)
    looped(flow, lambda x: -flow.log_prob(x)[0].mean(), x, steps, rate, seed)
    return score


class Way(NamedTuple):
    """A way to a density: ``train(rows, steps, rate, seed)``, whether its steps solve an equation, and what it has to have installed."""

    train: Callable[..., Score]
    solves: bool = False
    rate: float = RATE
    needs: tuple[str, ...] = ()


WAYS = {
    "NSF": Way(partial(fitted, pf.NSF)),
    "CNF, matching": Way(partial(fitted, cnf, objective="flow_matching"), rate=MATCHED),
    "CNF, matching, as drawn": Way(partial(fitted, cnf, starts=False, objective=pf.FlowMatching(times="uniform")), rate=MATCHED),
    "CNF, likelihood": Way(partial(fitted, cnf), solves=True),
    "Zuko, matching": Way(partial(zuko, matching=True), rate=MATCHED, needs=("zuko",)),
    "Zuko, likelihood": Way(partial(zuko, matching=False), solves=True, needs=("zuko",)),
    "torchcfm": Way(partial(torchcfm, optimal=False), rate=MATCHED, needs=("torchcfm", "torchdiffeq")),
    "torchcfm, transport": Way(partial(torchcfm, optimal=True), rate=MATCHED, needs=("torchcfm", "torchdiffeq", "ot")),
    "torchflows, FFJORD": Way(torchflows, solves=True, needs=("torchflows",)),
}


@torch.no_grad()
def whole(score: Score, rows: Tensor, cells: int = 200) -> float:
    """Return the sum of a density of two features over a grid that reaches a spread and a half beyond the rows."""
    low, high = rows.amin(0), rows.amax(0)
    low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    side = [low[d] + (torch.arange(cells) + 0.5) * (high[d] - low[d]) / cells for d in range(2)]
    grid = torch.cartesian_prod(*side)
    total = torch.cat([score(part) for part in grid.split(10_000)]).double().exp().sum()
    return float(total * ((high - low) / cells).double().prod())


def timed(train: Callable[[int], Score], steps: int) -> float:
    """Return seconds of the processor for a step, from so many."""
    start = time.process_time()
    train(steps)
    return (time.process_time() - start) / steps


def measured(job: Job, way: Way, steps: int, seconds: float | None, seed: int, integrate: bool) -> tuple[float, float, int, float]:
    """Return nats above the entropy, the sum over a grid, steps, and seconds of the processor."""
    generator = torch.Generator().manual_seed(1000 + seed)
    rows, unseen = job.draw(ROWS, generator), job.draw(UNSEEN, generator)
    entropy = -job.log_prob(unseen.double()).mean().item()
    if seconds is not None:
        few = 8 if way.solves else 2 * round(ROWS * (1 - SHARE) / BATCH)
        steps = max(1, int(seconds / timed(lambda n: way.train(rows[: round(n * BATCH / (1 - SHARE))], n, way.rate, seed), few)))
    start = time.process_time()
    score = way.train(rows, steps, way.rate, seed)
    took = time.process_time() - start
    with torch.no_grad():
        nats = -torch.cat([score(part) for part in unseen.split(1000)]).double().mean().item()
    return nats - entropy, whole(score, rows) if integrate and job.features == 2 else math.nan, steps, took


def installed(names: list[str]) -> Iterator[str]:
    return (name for name in names if all(find_spec(package) for package in WAYS[name].needs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1440)
    parser.add_argument("--solved", type=int, default=180)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--tables", nargs="+", choices=("steps", "time"), default=["steps", "time"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for table in given.tables:
        told = f"{given.steps} steps, {given.solved} where they solve an equation" if table == "steps" else f"{given.seconds:g} s each"
        print(f"\n{told}\n\n| | " + " | ".join(given.jobs) + " |\n|---|" + "---|" * len(given.jobs), flush=True)
        for name in installed(given.ways):
            way, cells = WAYS[name], []
            for job in given.jobs:
                steps = given.solved if way.solves else given.steps
                each = [
                    measured(JOBS[job], way, steps, given.seconds if table == "time" else None, seed, table == "steps" and not seed)
                    for seed in range(given.seeds)
                ]
                value, total = statistics.median(row[0] for row in each), each[0][1]
                cells.append(f"{value:.3f}" + (f" ({total:.4f})" if math.isfinite(total) else "") + f" [{each[0][2]}, {each[0][3]:.0f} s]")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
