"""NAF, UNAF, SOSPF and BPF beside Zuko's, of the same sizes: milliseconds to score, to train and to sample, interleaved.

    python benchmarks/monotone.py [--rows 512] [--features 4] [--rounds 15]

It takes zuko. One thread; medians of the rounds, with the smallest and the largest; and the ratio of ours to Zuko's, of each round, in the
middle. Both have the same transforms, hidden widths and degrees; how many parameters that makes is printed beside them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import zuko

from pushforward import flows

WIDTHS = (64, 64)


def pairs(features: int) -> dict[str, tuple[Any, Any]]:
    """Return both libraries' flows of each name."""
    signal = {"signal": 16, "network": {"hidden_features": (16,)}, "hidden_features": WIDTHS, "transforms": 3}
    shared = {"hidden_features": WIDTHS, "transforms": 3}
    return {
        "NAF": (flows.NAF(features, transforms=3, units=16, widths=WIDTHS), zuko.flows.NAF(features, **signal)),
        "UNAF": (flows.UNAF(features, transforms=3, units=16, widths=WIDTHS), zuko.flows.UNAF(features, **signal)),
        "SOSPF": (flows.SOSPF(features, degree=4, terms=3, widths=WIDTHS), zuko.flows.SOSPF(features, degree=4, polynomials=3, **shared)),
        "BPF": (flows.BPF(features, degree=16, widths=WIDTHS), zuko.flows.BPF(features, degree=16, **shared)),
    }


def jobs(flow: torch.nn.Module, x: torch.Tensor) -> dict[str, Callable[[], None]]:
    """Return what is timed of a flow of either library."""
    optimiser = torch.optim.Adam(flow.parameters(), 1e-3)

    def score() -> None:
        with torch.no_grad():
            flow().log_prob(x)

    def train() -> None:
        optimiser.zero_grad()
        (-flow().log_prob(x).mean()).backward()
        optimiser.step()

    def sample() -> None:
        with torch.no_grad():
            flow().sample((len(x),))

    return {"score": score, "train": train, "sample": sample}


def seconds(job: Callable[[], None]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(options.rows, options.features)
    print("| flow | job | ours, ms | Zuko's, ms | ours / Zuko's | parameters |")
    print("|---|---|---|---|---|---|")
    for name, (ours, theirs) in pairs(options.features).items():
        sizes = " / ".join(f"{sum(p.numel() for p in flow.parameters()):,}" for flow in (ours, theirs))
        both = jobs(ours, x), jobs(theirs, x)
        for job in both[0]:
            for side in both:
                side[job]()
            rounds = 3 if seconds(both[1][job]) > 1 else options.rounds
            times = [(seconds(both[0][job]), seconds(both[1][job])) for _ in range(rounds)]
            mine, yours = ([1000 * t[side] for t in times] for side in (0, 1))
            ratio = statistics.median(a / b for a, b in times)
            cells = [f"{statistics.median(side):.1f} ({min(side):.1f} to {max(side):.1f})" for side in (mine, yours)]
            print(f"| {name} | {job} | {' | '.join(cells)} | {ratio:.2f} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
