"""Wide networks on 63 pixels of patches of a photograph, in a plain loop of Adam: here and in Zuko, layer for layer alike.

``python benchmarks/fits/wide.py`` prints for each flow, seed and number of steps of 256 rows the nats of rows that no fit has seen with
their standard error, and the CPU seconds of the fit; and ours again when it has had the CPU time that Zuko's took. Five autoregressive
layers, nets of two hidden layers of 256, Adam at 1e-3. One thread; both take turns, step by step.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from libraries import Made, standardised
from real_tables import TABLES
from torch import Tensor

import pushforward as pf

LAYERS, WIDTHS, BATCH, RATE = 5, (256, 256), 256, 1e-3
HELD, LOOK = 1000, 100
"""Rows held out, and steps after each of which they are scored, off the clock: the best weights count."""


def ours(flow: str, rows: Tensor) -> Made:
    """Return our own: autoregressive layers, all other settings as they come."""
    how = {"structure": "autoregressive"} if flow == "NSF" else {}
    made = getattr(pf, flow)(rows.shape[1], transforms=LAYERS, widths=WIDTHS, **how)
    made.standardize(rows, scores=False)
    return Made(made, made.log_prob)


def zukos(flow: str, rows: Tensor) -> Made:
    """Return Zuko's on standardised rows, all other settings as they come, which are autoregressive layers whose order is reversed."""
    from zuko import flows

    made = getattr(flows, flow)(rows.shape[1], transforms=LAYERS, hidden_features=WIDTHS)
    return standardised(rows, made, lambda x: made().log_prob(x))


MAKERS = {"pushforward": ours, "zuko": zukos}


class Fit:
    """A fit that goes on step by step, and has the CPU time and held-out nats of each of some steps."""

    def __init__(self, made: Made, rows: Tensor, unseen: Tensor, seed: int) -> None:
        self.made, self.data, self.held, self.unseen = made, rows[HELD:], rows[:HELD], unseen
        self.best, self.weights = math.inf, made.module.state_dict()
        self.optimizer = torch.optim.Adam(made.module.parameters(), RATE)
        self.generator = torch.Generator().manual_seed(seed)
        self.seconds, self.steps = 0.0, 0

    def step(self) -> None:
        """Take a step."""
        began = time.process_time()
        loss = -self.made.log_prob(self.data[torch.randint(len(self.data), (BATCH,), generator=self.generator)]).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.seconds += time.process_time() - began
        self.steps += 1
        if self.steps % LOOK == 0:
            self.look()

    @torch.no_grad()
    def nats(self, rows: Tensor) -> Tensor:
        """Return the nats of each row."""
        return -torch.cat([self.made.log_prob(part) for part in rows.split(1000)]).double()

    def look(self) -> None:
        """Keep the weights if they score the rows held out best."""
        if (found := self.nats(self.held).mean().item()) < self.best:
            self.best, self.weights = found, copy.deepcopy(self.made.module.state_dict())

    def score(self) -> Tensor:
        """Return the nats of the rows that were not seen, by the best weights so far."""
        now = copy.deepcopy(self.made.module.state_dict())
        self.made.module.load_state_dict(self.weights)
        found = self.nats(self.unseen)
        self.made.module.load_state_dict(now)
        return found


class Place(NamedTuple):
    """Where a fit was: the nats of each row, the steps, the seconds."""

    nats: Tensor
    steps: int
    seconds: float


def race(fits: dict[str, Fit], steps: int) -> dict[str, Place]:
    """Let whoever has had less time go on until all have taken so many steps; return where each was then, and ours when Zuko's was."""
    places: dict[str, Place] = {}
    while len(places) < len(fits) + 1:
        name = min(fits, key=lambda name: fits[name].seconds)
        fit = fits[name]
        fit.step()
        if fit.steps == steps:
            places[name] = Place(fit.score(), steps, fit.seconds)
            if name == "zuko":
                ours = fits["pushforward"]
                places["in its time"] = Place(ours.score(), ours.steps, ours.seconds)
    return places


def cell(place: Place, peer: Place) -> str:
    """Return the mean nats, how far they are from the peer's with the standard error over the rows, the steps and the seconds."""
    words = f"{place.nats.mean():.2f}"
    if place is not peer:
        apart = place.nats - peer.nats
        words += f" ({apart.mean():+.2f} ± {apart.std() / math.sqrt(len(apart)):.2f})"
    return f"{words}, {place.steps:,} steps, {place.seconds:.0f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", nargs="+", choices=["MAF", "NSF"], default=["MAF", "NSF"], help="which (default: both)")
    parser.add_argument("--steps", nargs="+", type=int, default=[800, 4000], help="after which they are scored (default: 800 4000)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="starts of each fit (default: 0)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| flow | seed | Zuko | pushforward, as many steps | pushforward, in the time of Zuko |\n|---|---|---|---|---|")
    for flow in given.flows:
        for seed in given.seeds:
            rows, unseen = TABLES["patches"].rows(seed)
            fits = {}
            for name, make in MAKERS.items():
                torch.manual_seed(seed)
                fits[name] = Fit(make(flow, rows), rows, unseen, seed)
            for steps in sorted(given.steps):
                places = race(fits, steps)
                cells = [cell(places[name], places["zuko"]) for name in ("zuko", "pushforward", "in its time")]
                print(f"| {flow} | {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
