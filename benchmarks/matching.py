"""What flow matching and likelihood reach on densities whose entropy is known, here and in other libraries, with one field network.

    python benchmarks/matching.py [--tables steps time pace] [--steps 1440] [--solved 180] [--seconds 5] [--seeds 1]
                                  [--jobs ...] [--ways ...]

It takes zuko, torchcfm with POT and torchdiffeq, and torchflows where they are installed; a way whose library is missing is left out. The
ways are those of `matching_ways.py`. The first table gives each way the same steps of 512 of the same 20,000 rows: ``--steps`` without a
differential equation in them, ``--solved`` with one. The second gives each the processor time ``--seconds``. A cell has the held-out nats
above the exact entropy (medians of the seeds); in the first table what the density sums to, over a grid of two features, or of six, by
draws through the map that it comes from, with its standard error; and in brackets the steps and seconds. The third table has
milliseconds a step of the ways without an equation, the least of several rounds, taken in turn. One thread.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from matching_ways import BATCH, WAYS, Budget, Score, Trained, Way, installed
from torch import Tensor

from pushforward import targets

ROWS, UNSEEN = 20_000, 4_000
"""Rows, and rows to score."""
DRAWS, WIDE, SPREAD = 10_000, 0.1, 1.5
"""Draws that a density of six features is integrated by, and the share of them from a normal, so many times as wide as the base."""
ROUNDS = 5
"""How often each pace is taken."""


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


@torch.no_grad()
def whole(score: Score, rows: Tensor, cells: int = 200) -> float:
    """Return the sum of a density of two features over a grid that reaches a spread and a half beyond the rows."""
    low, high = rows.amin(0), rows.amax(0)
    low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    side = [low[d] + (torch.arange(cells) + 0.5) * (high[d] - low[d]) / cells for d in range(2)]
    grid = torch.cartesian_prod(*side)
    total = torch.cat([score(part) for part in grid.split(10_000)]).double().exp().sum()
    return float(total * ((high - low) / cells).double().prod())


def mass(made: Trained, features: int) -> tuple[float, float]:
    r"""Return the integral of a density q, and its standard error.

    Its own map S from base to data, by steps of one length, is one to one whatever q is computed by, so that the integral of q is that of
    q(S(z)) |det S'(z)| over z, with the determinant by autograd: nothing of it is a trace, or is integrated. Where q is right, this is the
    density of the base, N, but for what steps are off. So draws from p, a mixture of N with a wider normal that nothing can be missed by,
    give 1 + E[(q(S(z)) |det S'(z)| - N(z)) / p(z)] with next to no variance.
    """
    torch.manual_seed(0)
    narrow, wide = (torch.distributions.Independent(torch.distributions.Normal(torch.zeros(features), by), 1) for by in (1.0, SPREAD))
    z = torch.cat([narrow.sample((DRAWS - round(WIDE * DRAWS),)), wide.sample((round(WIDE * DRAWS),))])
    drawn = torch.logaddexp(narrow.log_prob(z) + math.log(1 - WIDE), wide.log_prob(z) + math.log(WIDE))
    found = []
    for part in z.split(1000):
        part = part.requires_grad_()
        x = made.push(part)
        rows = [torch.autograd.grad(x[:, d].sum(), part, retain_graph=True)[0] for d in range(features)]
        sign, ladj = torch.linalg.slogdet(torch.stack(rows, 1).double())
        assert bool((sign > 0).all()), "the steps are too long: the map that they make is folded"
        with torch.no_grad():
            found.append(made.score(x.detach()).double() + ladj)
    ratio = (torch.cat(found) - drawn).exp() - (narrow.log_prob(z) - drawn).detach().double().exp()
    return 1 + ratio.mean().item(), ratio.std().item() / math.sqrt(DRAWS)


def told(job: Job, made: Trained, rows: Tensor) -> str:
    """Return what a density sums to, in words; nothing of one of six features whose map is not at hand."""
    if job.features == 2:
        return f" ({whole(made.score, rows):.4f})"
    if made.push is None:
        return ""
    value, error = mass(made, job.features)
    return f" ({value:.5f} ± {error:.0e})"


def measured(job: Job, way: Way, budget: Budget, seed: int, integrate: bool) -> tuple[float, int, float, str]:
    """Return nats above the entropy, steps, seconds of the processor, and what the density sums to."""
    generator = torch.Generator().manual_seed(1000 + seed)
    rows, unseen = job.draw(ROWS, generator), job.draw(UNSEEN, generator)
    entropy = -job.log_prob(unseen.double()).mean().item()
    way.train(rows[: 2 * BATCH], Budget(2), way.rate, seed)  # what is imported or built at the first call
    start = time.process_time()
    made = way.train(rows, budget, way.rate, seed)
    took = time.process_time() - start
    with torch.no_grad():
        nats = -torch.cat([made.score(part) for part in unseen.split(1000)]).double().mean().item()
    return nats - entropy, made.steps, took, told(job, made, rows) if integrate else ""


def reached(table: str, given: argparse.Namespace) -> None:
    """Print what each way reaches, line by line."""
    words = f"{given.steps} steps, {given.solved} where they solve an equation" if table == "steps" else f"{given.seconds:g} s each"
    print(f"\n{words}\n\n| | " + " | ".join(given.jobs) + " |\n|---|" + "---|" * len(given.jobs), flush=True)
    for name in installed(given.ways):
        way, cells = WAYS[name], []
        budget = Budget(given.solved if way.solves else given.steps) if table == "steps" else Budget(0, given.seconds)
        for job in given.jobs:
            each = [measured(JOBS[job], way, budget, seed, table == "steps" and not seed) for seed in range(given.seeds)]
            values = [row[0] for row in each]
            among = f" {min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.median(values):.3f}{among}{each[0][3]} [{each[0][1]}, {each[0][2]:.1f} s]")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def paces(given: argparse.Namespace) -> None:
    """Print milliseconds a step: the difference between ten epochs and two, so that what a fit does at its ends does not count."""
    names, few, many = [name for name in installed(given.ways) if not WAYS[name].solves], 70, 350
    print("\nmilliseconds a step\n\n| | " + " | ".join(given.jobs) + " |\n|---|" + "---|" * len(given.jobs), flush=True)
    found: dict[tuple[str, str, int], list[float]] = {}
    for job in given.jobs:
        rows = JOBS[job].draw(ROWS, torch.Generator().manual_seed(0))
        for _ in range(ROUNDS):
            for name in names:
                for steps in (few, many):
                    start = time.process_time()
                    WAYS[name].train(rows, Budget(steps), WAYS[name].rate, 0)
                    found.setdefault((name, job, steps), []).append(time.process_time() - start)
    for name in names:
        # The least of each: noise of one processor only ever adds.
        paces = [1e3 * (min(found[name, job, many]) - min(found[name, job, few])) / (many - few) for job in given.jobs]
        print(f"| {name} | " + " | ".join(f"{pace:.2f}" for pace in paces) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1440)
    parser.add_argument("--solved", type=int, default=180)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--tables", nargs="+", choices=("steps", "time", "pace"), default=["steps", "time"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for table in given.tables:
        if table == "pace":
            paces(given)
        else:
            reached(table, given)


if __name__ == "__main__":
    main()
