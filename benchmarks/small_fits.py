"""Time fits of 1,000 rows of 10 columns from scratch and from an earlier fit, as nested sampling makes them by the dozen.

``python benchmarks/small_fits.py`` prints, for each flow and each way to fit it, the median of the starts' times with the smallest and the
largest, the epochs, and the loss of 20,000 rows that no fit has seen. One thread, unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import pushforward as pf

STARTS = 5
SMALL = {"patience": 8}
# What a way is called, its settings, and whether it starts from an earlier fit.
WAYS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("as it is", {}, False),
    ("patience=8", SMALL, False),
    ("the same, from an earlier fit", SMALL, True),
)


def rows(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``(count, 10)``: five correlated normal columns, and five that are bent."""
    mixing = torch.eye(10) + 0.4 * torch.randn(10, 10, generator=torch.Generator().manual_seed(0))
    x = torch.randn(count, 10, generator=generator) @ mixing.T
    return torch.cat([x[:, :5], x[:, 5:] + 0.5 * x[:, :5] ** 2], 1)


def timed(flow: pf.Flow, data: torch.Tensor, **settings: Any) -> tuple[float, int]:
    """Fit a flow and return the seconds and the epochs that it took."""
    began = time.perf_counter()
    history = pf.fit(flow, data, progress=False, **settings)
    return time.perf_counter() - began, len(history.train)


def main() -> None:
    """Print the table."""
    generator = torch.Generator().manual_seed(1)
    data, moved, unseen = rows(1000, generator), 1.05 * rows(1000, generator), rows(20_000, generator)
    # What a process does once is no part of a fit.
    timed(pf.MAF(10), data[:100], epochs=1)
    print(f"{torch.get_num_threads()} thread, torch {torch.__version__}, {STARTS} starts: median seconds (smallest, largest)\n")
    print("| flow | way | seconds | epochs | loss of unseen rows |\n|---|---|---|---|---|")
    for name, transforms in (("NSF", 5), ("NSF", 3), ("MAF", 5), ("RealNVP", 6)):
        for way, settings, warm in WAYS:
            seconds, epochs, losses = [], [], []
            for start in range(STARTS):
                torch.manual_seed(start)
                flow = getattr(pf, name)(10, transforms=transforms)
                if warm:
                    timed(flow, data, seed=start, **settings)
                    flow = copy.deepcopy(flow)
                took, passed = timed(flow, moved if warm else data, seed=start, **settings)
                with torch.no_grad():
                    losses.append(-flow.log_prob(1.05 * unseen if warm else unseen).mean().item())
                seconds.append(took)
                epochs.append(passed)
            spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}, {max(seconds):.1f})"
            loss = statistics.median(losses)
            print(f"| {name}, {transforms} transforms | {way} | {spread} | {statistics.median(epochs):.0f} | {loss:.2f} |", flush=True)


if __name__ == "__main__":
    main()
