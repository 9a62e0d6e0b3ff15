"""nflows' spline flow of a whole table: cases and cells are spread evenly, and values that are none are normal noise.

Source: Neural Spline Flows (Durkan et al., 2019); A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.fits.libraries import Made, of_nflows
from benchmarks.generation.cells import Array, Cells, Space

POINTS = 32
"""Over which a density is averaged: of the cells of a row, and of what stands for values that are none."""
BATCH, RATE, CHECK = 256, 1e-3, 50


@dataclass
class Dequantised:
    """The flow, and where numbers lie on its scale."""

    space: Space
    made: Made
    center: Array
    size: Array

    @torch.no_grad()
    def log_prob(self, cells: Cells, seed: int = 0) -> Array:
        """Return an estimate of the log-density of rows ``(n)``, a little low rather than high."""
        random = np.random.default_rng(seed)
        found = []
        for _ in range(POINTS):
            x, noise = spread(self.space, cells, self.center, self.size, random)
            logs = torch.cat([self.made.log_prob(part).double() for part in x.split(4096)])
            found.append(logs - noise)
        total = torch.logsumexp(torch.stack(found), 0) - math.log(POINTS)
        return np.asarray((total - (torch.from_numpy(~np.isnan(cells.value)) * torch.from_numpy(np.log(self.size))).sum(1)).numpy())


def spread(space: Space, cells: Cells, center: Array, size: Array, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return rows of numbers ``(n, features)``, and the log-density of what stands for values that are none ``(n)``."""
    some = [at for at, count in enumerate(space.cases) if count > 1]
    case = cells.case[:, some] + random.random((len(cells), len(some)))
    value = (cells.value + (random.random(cells.value.shape) - 0.5) * space.steps - center) / size
    none = np.isnan(value)
    noise = random.standard_normal(value.shape)
    log = (none * (-0.5 * noise**2 - 0.5 * math.log(2 * math.pi))).sum(1)
    return torch.from_numpy(np.concatenate([case, np.where(none, noise, value)], 1)).float(), torch.from_numpy(log)


def fit(space: Space, train: Cells, seconds: float, seed: int) -> Dequantised:
    """Train by Adam for so many seconds of CPU time, and keep the weights that score a tenth of the rows best."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    # Of a column of cases alone there is no number.
    center, size = np.nan_to_num(np.nanmean(train.value, 0)), np.nan_to_num(np.nanstd(train.value, 0))
    size = np.maximum(size, np.maximum(space.steps, 1e-9))
    order = random.permutation(len(train))
    held, kept = train.take(order[: len(order) // 10]), train.take(order[len(order) // 10 :])
    made = of_nflows(spread(space, kept, center, size, random)[0])
    judged, noise = spread(space, held, center, size, random)
    optimizer = torch.optim.Adam(made.module.parameters(), RATE)
    began, steps, best, state = time.process_time(), 0, math.inf, made.module.state_dict()
    while time.process_time() - began < seconds:
        rows = kept.take(random.integers(0, len(kept), BATCH))
        loss = -made.log_prob(spread(space, rows, center, size, random)[0]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.module.parameters(), 5.0)
        optimizer.step()
        steps += 1
        if steps % CHECK == 0:
            with torch.no_grad():
                made.module.eval()
                now = float((noise - made.log_prob(judged)).mean())
                made.module.train()
            if now < best:
                best, state = now, {name: value.clone() for name, value in made.module.state_dict().items()}
    made.module.load_state_dict(state)
    made.module.eval()
    return Dequantised(space, made, center, size)
