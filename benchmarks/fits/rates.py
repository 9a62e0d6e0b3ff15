"""Eight exact densities in a plain loop of Adam, at the rates of other people's loops, here and in the peers that are installed.

``python benchmarks/fits/rates.py`` prints for each library and rate the excess over the entropy, in nats, on rows that no fit has seen: the
mean over the densities, and each, medians over the seeds with the largest; and the CPU seconds of a fit. All take ``--steps`` steps of 256
rows on one thread, and take turns at each density and seed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from densities import DENSITIES, rows
from libraries import BINS, BOUND, LAYERS, LIBRARIES, WIDTH, Made, installed
from torch import Tensor

BATCH = 256
JAX = "flowjax"
"""The one that is asked for by name: it compiles for each shape, off the clock, which takes longer than these fits."""


def train(made: Made, data: Tensor, rate: float, seed: int, steps: int) -> float:
    """Train for so many steps; return the seconds of this process's CPU time that it took."""
    optimizer = torch.optim.Adam(made.module.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    began = time.process_time()
    for _ in range(steps):
        loss = -made.log_prob(data[torch.randint(len(data), (BATCH,), generator=generator)]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.process_time() - began


@torch.no_grad()
def excess(made: Made, unseen: Tensor, best: float) -> float:
    """Return how many nats a row the flow is behind the density."""
    made.module.eval()
    return best - torch.cat([made.log_prob(part) for part in unseen.split(5000)]).mean().item()


def fitted(name: str, data: Tensor, unseen: Tensor, best: float, rate: float, seed: int, steps: int) -> tuple[float, float]:
    """Return how many nats a row a fit is behind the density, and its CPU seconds."""
    if name == JAX:
        import of_flowjax

        score, took = of_flowjax.fitted(data, unseen, rate, seed, steps, LAYERS, WIDTH, BINS, BOUND)
        return best - score, took
    torch.manual_seed(seed)
    made = LIBRARIES[name](data)
    took = train(made, data, rate, seed, steps)
    return excess(made, unseen, best), took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--densities", nargs="+", choices=DENSITIES, default=[*DENSITIES], help="which (default: all)")
    parser.add_argument(
        "--libraries", nargs="+", choices=[*LIBRARIES, JAX], default=[*installed()], help="which (default: all that are installed)"
    )
    parser.add_argument("--rates", nargs="+", type=float, default=[5e-4, 1e-3, 3e-3, 1e-2], help="of Adam (default: 5e-4 1e-3 3e-3 1e-2)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="starts of each fit (default: 0 1 2)")
    parser.add_argument("--steps", type=int, default=1000, help="of each fit (default: 1000)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| library | rate | mean | " + " | ".join(given.densities) + " | CPU seconds |")
    print("|---|---|---|" + "---|" * (len(given.densities) + 1))
    for rate in given.rates:
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for density in given.densities:
            for seed in given.seeds:
                data, unseen, best = rows(DENSITIES[density], seed)
                for name in given.libraries:
                    cell = fitted(name, data, unseen, best, rate, seed, given.steps)
                    found.setdefault((name, density), []).append(cell)
        for name in given.libraries:
            cells, medians = [], []
            for density in given.densities:
                losses = [loss for loss, _ in found[name, density]]
                medians.append(statistics.median(losses))
                cells.append(f"{medians[-1]:.3f}" + (f" ({max(losses):.3f})" if len(losses) > 1 else ""))
            took = statistics.median(took for density in given.densities for _, took in found[name, density])
            print(f"| {name} | {rate:g} | {statistics.mean(medians):.3f} | {' | '.join(cells)} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
