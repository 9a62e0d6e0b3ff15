"""Draws every kind of picture of `pushforward.plots` from short fits, and writes them to out/gallery/."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_circles, make_moons
from torch import Tensor

from pushforward import NSF, Flow, plots
from pushforward.bases import StandardNormal
from pushforward.bijectors import MLP, Affine, Elementwise, Exp, Sigmoid, Spline

OUT = Path("out/gallery")


def train(flow: Flow, data: Tensor, context: Tensor | None = None, steps: int = 400, seed: int = 0) -> dict[str, Any]:
    """Fit a flow with Adam on batches of 256, a tenth of the rows held out; return the history of every tenth step."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    held, rest = order[: len(data) // 10], order[len(data) // 10 :]
    take = lambda index: (data[index], None if context is None else context[index])  # noqa: E731
    flow.standardize(*take(rest))
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history: dict[str, Any] = {"train": [], "validation": [], "learning_rate": [], "best_epoch": 0, "best_loss": np.inf}
    best = copy.deepcopy(flow.state_dict())
    for step in range(steps):
        batch = rest[torch.randint(len(rest), (256,), generator=generator)]
        loss = -flow.log_prob(*take(batch)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                validation = -flow.log_prob(*take(held)).mean().item()
            history["train"].append(loss.item())
            history["validation"].append(validation)
            history["learning_rate"].append(schedule.get_last_lr()[0])
            if validation < history["best_loss"]:
                history["best_loss"], history["best_epoch"] = validation, len(history["train"])
                best = copy.deepcopy(flow.state_dict())
        schedule.step()
    flow.load_state_dict(best)
    return history


def save(name: str, figure: Any) -> None:
    """Write one picture."""
    figure.savefig(OUT / f"{name}.png", dpi=200)
    print(OUT / f"{name}.png")


def main() -> None:
    """Fit, draw and write."""
    OUT.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)

    circles = torch.as_tensor(make_circles(2000, factor=0.5, noise=0.05, random_state=0)[0], dtype=torch.float32)
    flow = NSF(2, transforms=4)
    history = train(flow, circles, steps=500)
    save("learning_curve", plots.learning_curve(history))
    save("compare", plots.compare(circles, flow.sample((2000,), generator=generator)))
    save("density", plots.density(flow, data=circles, max_rows=400))
    save("grid", plots.grid(flow))

    skewed = torch.as_tensor(np.random.default_rng(0).gamma(2.0, 1.5, 3000), dtype=torch.float32)[:, None]
    income = Flow(StandardNormal(), [Spline(), Affine(), Exp()], event_shape=1)
    train(income, skewed, steps=300)
    save("compare_one", plots.compare(skewed, income.sample((3000,), generator=generator), columns=["waiting time (minutes)"]))
    save("density_one", plots.density(income, data=skewed, columns=["waiting time (minutes)"]))

    table = load_breast_cancer(as_frame=True).data.iloc[:, [0, 1, 4, 6, 8]]
    cells = NSF(5, transforms=3, widths=(32, 32))
    train(cells, torch.tensor(table.to_numpy(), dtype=torch.float32), steps=200)
    save("pairs", plots.pairs(table, cells.sample((5000,), generator=generator)))

    points, side = make_moons(2000, noise=0.07, random_state=0)
    moons = NSF(2, context=1, transforms=3)
    train(moons, torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(side, dtype=torch.float32)[:, None], steps=300)
    save("grid_conditional", plots.grid(moons, context=[1.0]))
    save("density_conditional", plots.density(moons, context=[0.0], extent=((-1.7, 2.7), (-1.2, 1.7)), data=points[side == 0]))

    save("curve_spline", plots.curve(Spline(), seed=2))
    save("curve_sigmoid", plots.curve(Sigmoid()))
    save("curve_layer", plots.curve(income, layer=0))
    fitted = Flow(StandardNormal(), [Spline(bins=16), Affine()], event_shape=2)
    train(fitted, circles, steps=300)
    save("curve_elements", plots.curve(fitted, layer=0))
    save("curve_conditional", plots.curve(Elementwise(Spline(), net=MLP((8,))), seed=4, context=[0.5]))


if __name__ == "__main__":
    main()
