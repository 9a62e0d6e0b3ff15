"""How well fits go, here and in other libraries, at equal CPU time: eight exact densities and sixteen real tables; docs/fit-quality.md.

``python benchmarks/fits/quality.py`` runs what docs/fit-quality.json does not have yet, writes each job and seed there as soon as it is
measured, and the page at the end; so it may be stopped and started again. The page begins with the protocol, which was written before
the results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import densities
import torch
from clients_page import kept_section
from libraries import LIBRARIES, Made
from quality_page import OURS, page
from real_tables import CHOOSING, TABLES
from sklearn.mixture import GaussianMixture
from torch import Tensor

import pushforward as pf
from pushforward.train import limit

FOLDER = Path(__file__).parents[2] / "docs"
STEPS = {"density": 1000, "table": 150}
"""Steps of nflows, whose CPU time all others have."""
BATCH, CHECKS = 256, 10
"""Rows of a step; how often rows held out are scored."""
RATES = (1e-3, 3e-3)
DRAWN, SCORED = 20_000, 10_000
"""Rows of a density to fit, and to score."""
CHOOSING_DENSITIES = ("banana", "eight Gaussians", "Student t, mixed", "funnel")
"""Densities that settings may be chosen by; the others confirm them."""
COMPONENTS = (1, 2, 4, 8, 16, 32)
PEERS = ("nflows", "zuko")


def rows(job: str, seed: int) -> tuple[Tensor, Tensor, float | None]:
    """Return rows to fit and rows to score, and of a density the mean of its logarithm at the latter."""
    if job in TABLES:
        return *TABLES[job].rows(seed), None
    density = densities.DENSITIES[job]
    generator = torch.Generator().manual_seed(seed)
    drawn, unseen = (density.draw(count, generator).float() for count in (DRAWN, SCORED))
    return drawn, unseen, density.log_prob(unseen.double()).mean().item()


@torch.no_grad()
def scores(log_prob: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return the negative log-density of each row."""
    return -torch.cat([log_prob(part).double() for part in rows.split(4000)])


def train(
    made: Made, data: Tensor, held: Tensor, rate: float, seed: int, steps: int | None, seconds: float | None, spent: float = 0.0
) -> dict[str, Any]:
    """Train in a plain loop of Adam for so many steps, or seconds of CPU time, and keep the best weights by the rows held out.

    Seconds are less those that were spent before, on measuring the rows. Weights at the start count as well.

    Returns:
        ``seconds`` that the steps took, ``steps``, and the ``curve``: held-out nats after each tenth of the steps or of the seconds.
    """
    optimizer = torch.optim.Adam(made.module.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    taken, curve, gone = 0, [], spent / (seconds or math.inf)
    made.module.eval()
    least = scores(made.log_prob, held).mean().nan_to_num(nan=float("inf")).item()
    kept = {name: value.clone() for name, value in made.module.state_dict().items()}
    made.module.train()
    while gone < 1:
        began = time.process_time()
        loss = -made.log_prob(data[torch.randint(len(data), (BATCH,), generator=generator)]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        spent, taken = spent + time.process_time() - began, taken + 1
        gone = taken / steps if steps else spent / (seconds or 0.0)
        if gone * CHECKS >= len(curve) + 1:
            made.module.eval()
            curve.append(scores(made.log_prob, held).mean().nan_to_num(nan=float("inf")).item())
            made.module.train()
            if curve[-1] < least:
                least = curve[-1]
                kept = {name: value.clone() for name, value in made.module.state_dict().items()}
    made.module.load_state_dict(kept)
    made.module.eval()
    return {"seconds": round(spent, 3), "steps": taken, "curve": [round(value, 5) for value in curve]}


def classical(data: Tensor, held: Tensor, counts: tuple[int, ...], seconds: float) -> Callable[[Tensor], Tensor]:
    """Return the log-density of the mixture of normals that is best on the rows held out; none is begun once the time is over."""
    mean, deviation = data.mean(0), data.std(0)
    scaled = [(part - mean) / deviation for part in (data, held)]
    began = time.process_time()
    fitting = (count < len(data) // 10 and time.process_time() - began < seconds for count in counts)
    made = [GaussianMixture(count, random_state=0).fit(scaled[0]) for count, begun in zip(counts, fitting, strict=True) if begun]
    best = max(made, key=lambda one: one.score(scaled[1]))
    return lambda x: torch.as_tensor(best.score_samples((x - mean) / deviation)) - deviation.log().sum()


def by_itself(data: Tensor, seconds: float, seed: int) -> tuple[pf.Flow, dict[str, Any]]:
    """Fit by `fit` with its defaults in so many seconds of CPU time; it holds rows out itself."""
    began = time.process_time()
    flow = pf.NSF(data.shape[1])
    history = pf.fit(flow, data, seconds=seconds, seed=seed, progress=False)
    return flow.eval(), {"seconds": round(time.process_time() - began, 3), "epochs": len(history.train)}


def integral(flow: pf.Flow, unseen: Tensor) -> float:
    """Return the integral of a density of two features over a grid that covers the rows and as much again."""
    low, high = unseen.amin(0), unseen.amax(0)
    low, high = low - 0.5 * (high - low), high + 0.5 * (high - low)
    sides = [torch.linspace(a, b, 401) for a, b in zip(low, high, strict=True)]
    cell = float(((high - low) / 400).prod())
    return float(torch.exp(-scores(flow.log_prob, torch.cartesian_prod(*sides))).sum() * cell)


def measured(job: str, seed: int, peers: tuple[str, ...]) -> dict[str, Any]:
    """Return the figures of a job and seed."""
    data, unseen, best = rows(job, seed)
    shuffled = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
    cut = len(data) // 10
    held, kept = shuffled[:cut][:1000], shuffled[cut:]
    found: dict[str, dict[str, Any]] = {}
    each: dict[str, Tensor] = {}

    def put(name: str, log_prob: Callable[[Tensor], Tensor], told: dict[str, Any]) -> None:
        each[name] = scores(log_prob, unseen)
        found[name] = {"nats": round(each[name].mean().item(), 5), **told}

    unit = None
    for rate in RATES:
        for library in (*peers, "pushforward", "pushforward from a mixture"):
            torch.manual_seed(seed)
            began = time.process_time()
            made = LIBRARIES[library](kept)
            spent = time.process_time() - began
            told = train(
                made, kept, held, rate, seed, None if unit else STEPS["table" if best is None else "density"], unit, spent if unit else 0.0
            )
            unit = unit or told["seconds"]
            put(f"{library}, {rate:g}", made.log_prob, told)
    assert unit is not None
    torch.manual_seed(seed)
    flow, told = by_itself(data, unit, seed)
    if data.shape[1] == 2 and best is not None and job != "funnel":  # no grid resolves its neck and its mouth
        told["integral"] = round(integral(flow, unseen), 5)
    put("pushforward, fit", flow.log_prob, told)
    for name, counts in (("normal", (1,)), ("mixture", COMPONENTS)):
        began = time.process_time()
        log_prob = classical(kept, held, counts, unit)
        put(name, log_prob, {"seconds": round(time.process_time() - began, 3)})
    # How far ours are behind each of the others, with the standard error over the rows.
    behind = {ours: {other: error(each[ours] - each[other]) for other in each if other not in OURS} for ours in OURS}
    shape = {"rows": len(data), "scored": len(unseen), "columns": data.shape[1]}
    return {**shape, "unit": unit, "best": best, "found": found, "behind": behind}


def error(difference: Tensor) -> list[float]:
    """Return the mean of differences, and its standard error."""
    return [round(difference.mean().item(), 5), round((difference.std() / len(difference) ** 0.5).item(), 5)]


def save(data: dict[str, Any], path: Path) -> None:
    """Write the figures, which are safe as soon as they are measured."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def setting() -> dict[str, Any]:
    """Tell what the figures were measured with."""
    packages = ("torch", "numpy", "scikit-learn", "nflows", "zuko", "normflows")
    found = {
        name: importlib.metadata.version(name) for name in packages if importlib.util.find_spec(name.replace("scikit-learn", "sklearn"))
    }
    return {"python": platform.python_version(), **found}


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    jobs = [*TABLES, *densities.DENSITIES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", choices=jobs, default=jobs, metavar="JOB", help="jobs to measure (default: all; none: the page alone)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="starts (default: 0 1 2)")
    parser.add_argument("--peers", nargs="+", choices=("nflows", "zuko", "normflows"), default=PEERS, help="the first sets the time")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the page and its figures (default: docs)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    limit.clock = time.process_time  # whatever else the machine does
    path = given.out / "fit-quality.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    data = {"setting": setting(), "steps": STEPS, "all": jobs, "choosing": [*CHOOSING, *CHOOSING_DENSITIES], "jobs": data.get("jobs", {})}
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch imports its compiler with its first optimiser
    for seed in given.seeds:
        for job in given.only:
            cells = data["jobs"].setdefault(job, {})
            if given.again or str(seed) not in cells:
                cells[str(seed)] = measured(job, seed, tuple(given.peers))
                save(data, path)
                print(f"{job}, seed {seed}: {cells[str(seed)]['unit']:.1f} s", flush=True)
    save(data, path)
    (given.out / "fit-quality.md").write_text(page(data, kept_section(given.out)), encoding="utf-8")


if __name__ == "__main__":
    main()
