"""Two choices of `fit`, measured: weights that are averaged, and a flow that begins with the rows' covariance.

``python benchmarks/fits/starts.py`` prints a table: for each job and flow the nats a row of rows that no fit has seen, of the weights
that `fit` keeps (raw), of the best of these and of their exponential moving averages by the held-out rows, and the same two for a flow with
`Whiten` next to `Standardize`. Medians over the seeds, ``--seconds`` a fit, one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from jobs import JOBS, TABLES
from torch import Tensor
from torch.optim import AdamW

import pushforward as pf

DECAY = 0.99
"""Of the moving average, a step."""


@torch.no_grad()
def nats(flow: pf.Flow, rows: Tensor) -> float:
    """Return the mean negative log-density of rows."""
    return -torch.cat([flow.log_prob(part) for part in rows.split(5000)]).double().mean().item()


class Averages:
    """Moving averages of a flow's parameters, scored beside the raw ones after each epoch."""

    def __init__(self, flow: pf.Flow, held: Tensor) -> None:
        self.flow, self.held, self.best, self.kept = flow, held, float("inf"), {}
        self.mean: list[Tensor] = []
        self.steps = 0

    def optimizer(self, parameters: list[torch.nn.Parameter]) -> AdamW:
        """Return `fit`'s own optimiser, whose steps are followed."""
        made = AdamW(parameters, 5e-3, weight_decay=0.0, fused=True)
        self.parameters = parameters
        self.mean = [p.detach().clone() for p in parameters]
        made.register_step_post_hook(self.follow)
        return made

    @torch.no_grad()
    def follow(self, *_: object) -> None:
        """Move the averages."""
        self.steps += 1
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 - min(DECAY, self.steps / (self.steps + 9)))

    @torch.no_grad()
    def score(self, _: pf.History) -> None:
        """Score the averages on the held-out rows, and keep the best."""
        raw = [p.detach().clone() for p in self.parameters]
        for p, mean in zip(self.parameters, self.mean, strict=True):
            p.copy_(mean)
        loss = nats(self.flow, self.held)
        if loss < self.best:
            self.best, self.kept = loss, {name: value.clone() for name, value in self.flow.state_dict().items()}
        for p, value in zip(self.parameters, raw, strict=True):
            p.copy_(value)


def measured(job: str, name: str, whiten: bool, seed: int, seconds: float, schedule: str) -> tuple[float, float]:
    """Return the nats of unseen rows, of the raw weights and of the better ones by the held-out rows."""
    rows, unseen = JOBS[job](seed)
    cut = len(rows) // 10
    held, train = rows[:cut], rows[cut:]
    torch.manual_seed(seed)
    flow = getattr(pf, name)(rows.shape[1])
    flow.standardize(train, whiten=whiten)
    averages = Averages(flow, held)
    history = pf.fit(
        flow, train, validation=held, standardize=False, seconds=seconds, schedule=schedule, optimizer=averages.optimizer,
        averaging=None, callback=averages.score, seed=seed, progress=False,
    )  # fmt: skip
    raw = nats(flow, unseen)
    if averages.best >= history.best_loss:
        return raw, raw
    flow.load_state_dict(averages.kept)
    return raw, nats(flow, unseen)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=[*JOBS], help="which (default: all)")
    parser.add_argument("--flows", nargs="+", default=["NSF", "MAF"], help="which (default: NSF MAF)")
    parser.add_argument("--seeds", type=int, default=2, help="starts of each fit (default: 2)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each fit (default: 8)")
    parser.add_argument("--schedule", default="plateau", help="of each fit (default: plateau)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| job | flow | raw | averaged | whitened, raw | whitened, averaged |\n|---|---|---|---|---|---|")
    for job in given.jobs:
        for name in given.flows:
            cells = []
            for whiten in (False, True) if job in TABLES else (False,):
                found = [measured(job, name, whiten, seed, given.seconds, given.schedule) for seed in range(given.seeds)]
                cells += [f"{statistics.median(values):.3f}" for values in zip(*found, strict=True)]
            print(f"| {job} | {name} | {' | '.join([*cells, '', ''][:4])} |", flush=True)


if __name__ == "__main__":
    main()
