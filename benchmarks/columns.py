"""Fit one column of twelve kinds, light, heavy and contaminated, and tell what is lost on clean rows: ``python benchmarks/columns.py``.

Each flow is fitted to 2,000 rows and scored on 20,000 rows of the distribution without its contamination; the table has the mean
over the seeds of negative log-density less the entropy, in nats. The peers that are installed get the same layers (four rational
quadratic splines, 8 bins on [-5, 5]), rows that are standardised by mean and deviation, AdamW with the better of two rates, and the
same rule for stopping; what is missing is left out. ``--ours PATH`` adds a checkout of this library, for before and after.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

ROWS, CLEAN = 2000, 20_000
Draw = Callable[[int, torch.Generator], Tensor]


def normal(count: int, generator: torch.Generator) -> Tensor:
    """Draw from the standard normal."""
    return torch.randn(count, 1, generator=generator, dtype=torch.float64)


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Draw from (0, 1)."""
    return torch.rand(count, 1, generator=generator, dtype=torch.float64)


def humps(count: int, generator: torch.Generator) -> Tensor:
    """Draw from two normals of deviation 0.3 at -2 and 2, which as good as never meet."""
    return 0.3 * normal(count, generator) + 4.0 * (uniform(count, generator) < 0.5) - 2.0


def one(draw: Draw, value: float) -> Draw:
    """Return a draw of which one row is ``value``."""

    def column(count: int, generator: torch.Generator) -> Tensor:
        x = draw(count, generator)
        x[count // 2] = value
        return x

    return column


def scattered(count: int, generator: torch.Generator) -> Tensor:
    """Draw from the standard normal, one row in a hundred fifty times as far out."""
    return normal(count, generator) * torch.where(torch.arange(count) % 100 == 0, 50.0, 1.0)[:, None]


NORMAL = 0.5 * math.log(2 * math.pi * math.e)
# name -> (rows to fit to, clean rows, their entropy)
KINDS: dict[str, tuple[Draw, Draw, float]] = {
    "normal": (normal, normal, NORMAL),
    "uniform": (uniform, uniform, 0.0),
    "exponential": (lambda n, g: -torch.log(uniform(n, g)),) * 2 + (1.0,),
    "two humps": (humps, humps, NORMAL + math.log(0.3) + math.log(2)),
    "Cauchy": (lambda n, g: torch.tan(math.pi * (uniform(n, g) - 0.5)),) * 2 + (math.log(4 * math.pi),),
    "lognormal(0, 1)": (lambda n, g: torch.exp(normal(n, g)),) * 2 + (NORMAL,),
    "lognormal(0, 3)": (lambda n, g: torch.exp(3 * normal(n, g)),) * 2 + (NORMAL + math.log(3),),
    "Pareto(1)": (lambda n, g: 1 / uniform(n, g),) * 2 + (2.0,),
    "normal, one row at 1e4": (one(normal, 1e4), normal, NORMAL),
    "normal, one row at 1e9": (one(normal, 1e9), normal, NORMAL),
    "normal, 1 % fifty times as wide": (scattered, normal, NORMAL),
    "two humps, one row at -1e5": (one(humps, -1e5), humps, NORMAL + math.log(0.3) + math.log(2)),
}


def data(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return rows to fit to and clean rows, in float32."""
    generator = torch.Generator().manual_seed(seed)
    fitted, clean, _ = KINDS[kind]
    return fitted(ROWS, generator).float(), clean(CLEAN, generator).float()


def ours(x: Tensor, y: Tensor, seed: int) -> float:
    """Return the loss of `fit` with its defaults."""
    import pushforward as pf

    torch.manual_seed(seed)
    flow = pf.NSF(1, transforms=4)
    pf.fit(flow, x, progress=False, seed=seed)
    with torch.no_grad():
        return -flow.log_prob(y).mean().item()


def zuko(context: Any = None) -> tuple[torch.nn.Module, Callable[[Any, Tensor], Tensor]]:
    """Return Zuko's flow, and how it scores."""
    from zuko.flows import NSF

    return NSF(1, transforms=4, hidden_features=(64, 64)), lambda flow, z: flow().log_prob(z)


def nflows() -> tuple[torch.nn.Module, Callable[[Any, Tensor], Tensor]]:
    """Return nflows' flow, and how it scores."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform, MaskedPiecewiseRationalQuadraticAutoregressiveTransform

    layers = [MaskedPiecewiseRationalQuadraticAutoregressiveTransform(1, 64, num_bins=8, tails="linear", tail_bound=5.0) for _ in range(4)]
    return Flow(CompositeTransform(layers), StandardNormal([1])), lambda flow, z: flow.log_prob(z)


def peer(make: Callable[[], Any], x: Tensor, y: Tensor, seed: int) -> float:
    """Return the loss of a peer: the better of two rates by its held-out rows."""
    loc, scale = x.mean(0), x.std(0)
    z = (x - loc) / scale
    held, train = z[: len(z) // 10], z[len(z) // 10 :]
    results = []
    for rate in (1e-3, 5e-3):
        torch.manual_seed(seed)
        flow, score = make()
        optimizer = torch.optim.AdamW(flow.parameters(), rate, weight_decay=0.0)
        best, kept, since = math.inf, copy.deepcopy(flow.state_dict()), 0
        for _ in range(200):
            for _ in range(3):  # ten steps or so an epoch, as ours
                for batch in train[torch.randperm(len(train))].split(512):
                    optimizer.zero_grad()
                    loss = -score(flow, batch).mean()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                    optimizer.step()
            with torch.no_grad():
                value = -score(flow, held).mean().item()
            since += 1
            if value < best:
                best, kept, since = value, copy.deepcopy(flow.state_dict()), 0
            if since >= 20:
                break
        flow.load_state_dict(kept)
        with torch.no_grad():
            results.append((best, -score(flow, (y - loc) / scale).mean().item() + torch.log(scale).item()))
    return min(results)[1]


WAYS: dict[str, Callable[[Tensor, Tensor, int], float]] = {
    "ours": ours,
    "zuko": lambda x, y, seed: peer(zuko, x, y, seed),
    "nflows": lambda x, y, seed: peer(nflows, x, y, seed),
}


def losses(way: str, kinds: list[str], seeds: int) -> dict[str, float]:
    """Return for each kind the mean over seeds of what is lost."""
    result = {}
    for kind in kinds:
        found = []
        for seed in range(seeds):
            x, y = data(kind, seed)
            found.append(WAYS[way](x, y, seed) - KINDS[kind][2])
        result[kind] = sum(found) / len(found)
        print(f"{way}: {kind}: {result[kind]:.3f}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="kinds whose name has one of these words (none: all)")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--ours", metavar="PATH", help="a checkout of this library, with its compiled code, to measure as well")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    kinds = [kind for kind in KINDS if not given.words or any(word in kind for word in given.words)]
    if given.json:
        print(json.dumps(losses("ours", kinds, given.seeds)))
        return
    columns = {}
    if given.ours:
        command = [sys.executable, __file__, "--json", f"--seeds={given.seeds}", *given.words]
        text = subprocess.run(command, env=os.environ | {"PYTHONPATH": given.ours}, check=True, stdout=subprocess.PIPE, text=True).stdout
        columns["before"] = json.loads(text)
    for way in given.ways:
        try:
            columns[way] = losses(way, kinds, given.seeds)
        except ImportError as error:
            print(f"{way} is left out: {error}", file=sys.stderr)
    print(f"| column | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}")
    for kind in kinds:
        print(f"| {kind} | {' | '.join(f'{column[kind]:.3f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
