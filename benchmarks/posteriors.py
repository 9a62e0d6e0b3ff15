"""How near neural posteriors come to exact ones: flow matching here and in sbi with one network, and splines, in the same processor time.

    python benchmarks/posteriors.py [--tables stop time] [--seconds 20] [--simulations 10000] [--seeds 1] [--observations 10]
                                    [--problems ...] [--ways ...]

It takes sbi. The problems are the two moons and the linear Gaussian in ten dimensions of its benchmark (Benchmarking Simulation-Based
Inference, Lueckmann et al., 2021), whose posteriors are known. In the first table each way trains until its own early stopping ends it; in
the second for ``--seconds`` of the processor. A cell has the C2ST between 1,000 draws and 1,000 exact ones, 0.5 at best, and the nats by
which exact draws are scored lower than by the exact posterior, KL(exact | learnt): means over observations; in brackets epochs and seconds.
One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from sbi.inference import FMPE, NPE, DirectPosterior
from sbi.neural_nets import posterior_flow_nn
from sbi.utils import BoxUniform
from sbi.utils.metrics import c2st
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

import pushforward as pf
from pushforward.contrib.sbi import as_estimator, density_estimator
from pushforward.train.limit import Limit

OBSERVATIONS, DRAWS = 10, 1000
WIDTHS = (64, 64)
ENOUGH = 10**6
"""Epochs, where something else ends them."""


class Problem(NamedTuple):
    """A prior, a simulator, and of an observation draws of the posterior and its log-density."""

    prior: Any
    simulate: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, int], Tensor]
    log_prob: Callable[[Tensor, Tensor], Tensor]


# Two moons: x = r (cos a, sin a) + (1/4, 0) + m(theta), a uniform on the right half of the circle, r normal.

RADIUS, THICK = 0.1, 0.01


def crescents(count: int) -> Tensor:
    a, r = math.pi * (torch.rand(count) - 0.5), RADIUS + THICK * torch.randn(count)
    return torch.stack([r * torch.cos(a) + 0.25, r * torch.sin(a)], -1)


def moved(theta: Tensor) -> Tensor:
    return torch.stack([-(theta[:, 0] + theta[:, 1]).abs(), theta[:, 1] - theta[:, 0]], -1) / math.sqrt(2)


def sources(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return parameters that an observation may come from, of both signs of their sum, and whether the prior has them."""
    m = x - crescents(count)
    total = -math.sqrt(2) * m[:, 0] * torch.where(torch.rand(count) < 0.5, 1.0, -1.0)
    theta = torch.stack([total - math.sqrt(2) * m[:, 1], total + math.sqrt(2) * m[:, 1]], -1) / 2
    return theta, (m[:, 0] <= 0) & (theta.abs() <= 1).all(-1)


def moons_drawn(x: Tensor, count: int) -> Tensor:
    theta, inside = sources(x, 20 * count)
    return theta[inside][:count]


def moons_density(theta: Tensor, x: Tensor) -> Tensor:
    share = sources(x, 1_000_000)[1].double().mean()
    p = x - moved(theta) - torch.tensor([0.25, 0.0])
    r = p.norm(dim=-1)
    # The two signs have half of the probability each, and the way from theta to x keeps areas.
    density = Normal(RADIUS, THICK).log_prob(r) - torch.log(math.pi * r) - math.log(2) - torch.log(share)
    return torch.where((p[:, 0] >= 0) & (theta.abs() <= 1).all(-1), density, -math.inf)


def two_moons() -> Problem:
    return Problem(
        BoxUniform(-torch.ones(2), torch.ones(2)), lambda theta: crescents(len(theta)) + moved(theta), moons_drawn, moons_density
    )


def gaussian_linear(size: int = 10, variance: float = 0.1) -> Problem:
    def posterior(x: Tensor) -> Any:
        return Independent(Normal(x / 2, math.sqrt(variance / 2)), 1)

    return Problem(
        MultivariateNormal(torch.zeros(size), variance * torch.eye(size)),
        lambda theta: theta + math.sqrt(variance) * torch.randn_like(theta),
        lambda x, count: posterior(x).sample((count,)),
        lambda theta, x: posterior(x).log_prob(theta),
    )


PROBLEMS = {"two moons": two_moons, "Gaussian linear": gaussian_linear}


class Network(nn.Module):
    """The field of `CNF` as sbi takes it, which sees the time as cosines and sines of one, two and three half turns."""

    def __init__(self, size: int, condition: int) -> None:
        super().__init__()
        wide, narrow = WIDTHS
        self.net = nn.Sequential(
            nn.Linear(size + condition + 6, wide), nn.SiLU(), nn.Linear(wide, narrow), nn.SiLU(), nn.Linear(narrow, size)
        )

    def forward(self, input: Tensor, condition: Tensor, t: Tensor) -> Tensor:  # noqa: A002 (sbi's word)
        angles = t.reshape(-1, 1) * (math.pi * torch.arange(1, 4))
        seen = [input, condition, torch.cos(angles), torch.sin(angles)]
        return self.net(torch.cat([part.expand(len(input), -1) for part in seen], -1))


Trainer = Callable[[Problem, Tensor, Tensor], Any]


def by_sbi(own: bool) -> Trainer:
    def made(problem: Problem, theta: Tensor, x: Tensor) -> Any:
        net: Any = "mlp" if own else Network(theta.shape[1], x.shape[1])
        return FMPE(problem.prior, vf_estimator=posterior_flow_nn(model=net), show_progress_bars=False)

    return made


def by_us(flow: Any, **options: Any) -> Trainer:
    def made(problem: Problem, theta: Tensor, x: Tensor) -> Any:
        return NPE(problem.prior, density_estimator=density_estimator(flow, **options), show_progress_bars=False)

    return made


class Learnt(NamedTuple):
    """A posterior, the epochs and the seconds of the processor that it took."""

    posterior: Any
    epochs: int
    seconds: float


def quiet(call: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return call()


def learnt(way: Trainer, problem: Problem, theta: Tensor, x: Tensor, seconds: float | None) -> Learnt:
    """Train by sbi until it stops by itself, or for so many seconds, by the pace of a few epochs."""
    settings = {}
    if seconds is not None:
        quiet(lambda: way(problem, theta, x).append_simulations(theta, x).train(max_num_epochs=1))  # what is imported or built first
        start = time.process_time()
        quiet(lambda: way(problem, theta, x).append_simulations(theta, x).train(max_num_epochs=4))
        settings = {"max_num_epochs": max(1, round(seconds / (time.process_time() - start) * 5) - 1), "stop_after_epochs": ENOUGH}
    trainer, start = way(problem, theta, x), time.process_time()
    quiet(lambda: trainer.append_simulations(theta, x).train(**settings))
    return Learnt(trainer.build_posterior(), trainer.summary["epochs_trained"][-1], time.process_time() - start)


def fitted(problem: Problem, theta: Tensor, x: Tensor, seconds: float | None) -> Learnt:
    """Train by `fit`, until its patience ends, or for so many seconds with a rate that falls to 0."""
    flow, start = pf.CNF(theta.shape[1], context=x.shape[1], widths=WIDTHS), time.process_time()
    options: dict[str, Any] = {"objective": "flow_matching", "progress": False}
    if seconds is not None:
        options |= {"epochs": ENOUGH, "patience": None, "schedule": "cosine", "learning_rate": 1e-2}
    history = pf.fit(flow, theta, context=x, seconds=Limit(seconds, time.process_time), **options)
    posterior = DirectPosterior(as_estimator(flow), problem.prior)
    return Learnt(posterior, len(history.train), time.process_time() - start)


WAYS: dict[str, Callable[[Problem, Tensor, Tensor, float | None], Learnt]] = {
    "CNF by fit, flow matching": fitted,
    "CNF in sbi, flow matching": partial(learnt, by_us("CNF", widths=WIDTHS, objective="flow_matching")),
    "CNF in sbi, flow matching along straight lines": partial(learnt, by_us("CNF", widths=WIDTHS, objective=pf.FlowMatching())),
    "sbi FMPE, same network": partial(learnt, by_sbi(own=False)),
    "sbi FMPE, its own network": partial(learnt, by_sbi(own=True)),
    "NSF in sbi, likelihood": partial(learnt, by_us(pf.NSF)),
}


def distances(problem: Problem, posterior: Any, observed: Tensor) -> tuple[float, float]:
    """Return C2ST and KL to the exact posterior, the means over observations."""
    accuracies, divergences = [], []
    for x in observed:
        exact = problem.draw(x, DRAWS)
        drawn = quiet(lambda x=x: posterior.sample((DRAWS,), x=x, show_progress_bars=False))
        accuracies.append(c2st(exact, drawn).item())
        divergences.append((problem.log_prob(exact, x) - posterior.log_prob(exact, x=x)).mean().item())
    return statistics.mean(accuracies), statistics.mean(divergences)


def compare(given: argparse.Namespace) -> None:
    """Print the tables, line by line."""
    for table in given.tables:
        seconds = given.seconds if table == "time" else None
        print(f"\n{'until it stops' if seconds is None else f'{seconds:g} s each'}\n", flush=True)
        print(
            "| | " + " | ".join(f"{name}: C2ST | KL" for name in given.problems) + " |\n|---|" + "---|---|" * len(given.problems),
            flush=True,
        )
        for name in given.ways:
            cells = []
            for problem in (PROBLEMS[each]() for each in given.problems):
                found = []
                for seed in range(given.seeds):
                    torch.manual_seed(seed)
                    theta = problem.prior.sample((given.simulations,))
                    x, observed = problem.simulate(theta), problem.simulate(problem.prior.sample((given.observations,)))
                    made = WAYS[name](problem, theta, x, seconds)
                    found.append((*distances(problem, made.posterior, observed), made.epochs, made.seconds))
                accuracy, divergence = (statistics.mean(row[i] for row in found) for i in (0, 1))
                cells.append(f"{accuracy:.3f} | {divergence:.3f} [{found[0][2]}, {found[0][3]:.0f} s]")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--observations", type=int, default=10)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=[*PROBLEMS])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--tables", nargs="+", choices=("stop", "time"), default=["stop", "time"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # sbi writes its logs where it runs
        compare(given)


if __name__ == "__main__":
    main()
