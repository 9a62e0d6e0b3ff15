"""What float32 keeps of flows once they have met rows, with parameters of a common size, three times and ten times that.

``python benchmarks/fits/round_trips.py --write NEW.json`` measures the library that Python finds. With ``--before OLD.json``, which this
script has written where another version of it was on Python's path, it prints a table of both: medians over the starts, with the largest.
A start is a new flow after `standardize`, its parameters moved by normal noise of the size (`pushforward.testing.randomize`).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.bijectors import MLP, Affine, Autoregressive, Coupling, Linear, Spline, Standardize
from pushforward.core.bijector import Bijector
from pushforward.testing import randomize
from pushforward.testing.accuracy import largest, rounding

FEATURES, ROWS, STARTS, SIZES = 4, 500, 10, (1.0, 3.0, 10.0)
JACOBIANS = 64
"""Rows whose unavoidable roundings are computed."""


def alone(*plans: Bijector) -> Callable[[], pf.Flow]:
    """Return what makes a flow of these layers."""
    return lambda: pf.Flow(StandardNormal(), [*plans, Standardize()], FEATURES)


FLOWS: dict[str, Callable[[], pf.Flow]] = {
    "splines": alone(Spline()),
    "splines, linear order": alone(Spline(order="linear")),
    "coupling of splines": alone(Coupling(Spline())),
    "autoregressive splines": alone(Autoregressive(Spline())),
    "affine coupling": alone(Coupling(Affine())),
    "affine, autoregressive, nets of 256": alone(Autoregressive(Affine(), net=MLP((256, 256)))),
    "linear": alone(Linear()),
    "NSF, all five layers": lambda: pf.NSF(FEATURES),
}
COLUMNS = {
    "roundings": "round trip, in unavoidable roundings",
    "trip": "round trip, absolute",
    "ladj": "log-determinant, of 1 + its size",
    "gradient": "gradients, of their size",
}
"""Of float32 against float64, but for the second; what is not finite is infinite."""


def gradients(flow: pf.Flow, x: Tensor) -> Tensor:
    """Return the gradient of the mean log-density by all parameters, on one axis."""
    parameters = [p for p in flow.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(flow.log_prob(x).mean(), parameters)]).double()


def errors(make: Callable[[], pf.Flow], size: float, seed: int) -> dict[str, float]:
    """Return the largest errors of a start."""
    torch.manual_seed(seed)
    flow, z = make(), torch.randn(ROWS, FEATURES)
    flow.standardize(torch.randn(2000, FEATURES))
    randomize(flow, size, seed)
    exact = copy.deepcopy(flow).double()
    with torch.no_grad():
        x, ladj = flow.from_base(z)
        off = (flow.to_base(x)[0] - z).double().abs()
        true = exact.from_base(z.double())[1]
    few = z[:JACOBIANS]
    unavoidable = rounding(SimpleNamespace(event_shape=(FEATURES,)), exact.transform, few, None, torch.finfo(torch.float32).eps)
    found, wanted = gradients(flow, z), gradients(exact, z.double())
    return {
        "roundings": largest(off[:JACOBIANS] / (unavoidable + 1e-12)),
        "trip": largest(off),
        "ladj": largest((ladj - true) / (1 + true.abs())),
        "gradient": largest((found - wanted).norm() / wanted.norm()),
    }


def measured() -> dict[str, Any]:
    """Return for each flow and size the errors of all starts."""
    return {name: {f"{size:g}": [errors(make, size, seed) for seed in range(STARTS)] for size in SIZES} for name, make in FLOWS.items()}


def cell(versions: list[dict[str, Any]], name: str, size: str, column: str) -> str:
    """Return the median of each version, and the largest of each."""
    values = [[start[column] for start in figures[name][size]] for figures in versions]
    middle, worst = (" → ".join(f"{fold(each):.2g}" for each in values) for fold in (statistics.median, max))
    return f"{middle} ({worst})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the figures (default: none)")
    parser.add_argument("--before", type=Path, help="figures of another version (default: none)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    after = measured()
    if given.write:
        given.write.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    versions = [json.loads(given.before.read_text(encoding="utf-8"))] if given.before else []
    versions.append(after)
    print("| layers | parameters | " + " | ".join(COLUMNS.values()) + " |\n|---|---|" + "---|" * len(COLUMNS))
    for name in FLOWS:
        for size in (f"{size:g}" for size in SIZES):
            print(f"| {name} | x{size} | {' | '.join(cell(versions, name, size, column) for column in COLUMNS)} |")


if __name__ == "__main__":
    main()
