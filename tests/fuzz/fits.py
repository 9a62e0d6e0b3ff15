"""Fits to hostile values with random arguments: a finite result, or a documented error with the flow as it was."""

from __future__ import annotations

import copy
import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import pushforward
from pushforward.bases import StandardNormal, StudentT
from pushforward.bijectors import Affine, Exp, Sigmoid, Spline

SHORT = 30
NUMBERS = (0, 1, 2, -1, 0.1, 1.5, math.nan, math.inf, 1e-300, 1e300, 2**70, True, None, "3", [1], np.int64(3), np.float32(0.5))
OPTIONS = ("validation", "batch_size", "learning_rate", "patience", "clip", "weight_decay", "seed", "schedule", "standardize", "precision")


def case(random: random.Random, folder: Path) -> str | None:
    """Fit once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one feature some say that they cannot bend it
        flow, context = _flow(random)
    data = _values(random, flow.event_shape[0])
    options: dict[str, Any] = {name: random.choice(NUMBERS) for name in random.sample(OPTIONS, random.choice([0, 0, 1, 2]))}
    if random.random() < 0.3:
        options["weights"] = _weights(random, len(data) if hasattr(data, "__len__") else 3)
    if context or random.random() < 0.05:
        options["context"] = _values(random, 1)
    before = copy.deepcopy(flow.state_dict())
    plan, state, mode = flow.plan, torch.get_rng_state(), flow.training
    began: list[int] = []
    error: Exception | None = None
    history = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            history = pushforward.fit(flow, data, epochs=2, progress=False, callback=lambda h: began.append(len(h.train)), **options)
        except (ValueError, TypeError, FloatingPointError) as caught:
            error = caught
    said = f"{type(data).__name__} {getattr(data, 'shape', '')}, {options}: {error or history}"
    if not torch.equal(state, torch.get_rng_state()):
        return f"the global random state was touched: {said}"
    if flow.training is not mode:
        return f"the flow's mode was changed: {said}"
    if not all(bool(torch.isfinite(value).all()) for value in flow.state_dict().values()):
        return f"parameters that are not finite: {said}"
    if error is None:
        assert history is not None
        return None if math.isfinite(history.best_loss) else f"no finite loss: {said}"
    if not str(error).startswith("fit: "):
        return f"an error that is not ours: {said}"
    if not isinstance(error, FloatingPointError) and not began:
        same = flow.plan == plan and all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
        return None if same else f"refused, but the flow was changed: {said}"
    return None


def _flow(random: random.Random) -> tuple[pushforward.Flow, bool]:
    context = random.random() < 0.2
    features = random.randint(1, 3)
    torch.manual_seed(random.randrange(2**32))
    flow = random.choice(
        [
            lambda: pushforward.MAF(features, int(context), transforms=1, widths=(4,)),
            lambda: pushforward.NSF(features, int(context), transforms=1, widths=(4,), bins=3),
            lambda: pushforward.RealNVP(features, int(context), transforms=2, widths=(4,)),
        ]
        + ([] if context else [
            lambda: pushforward.Flow(StandardNormal(), [Affine(), random.choice([Exp(), Sigmoid()])], features),
            lambda: pushforward.Flow(StudentT(), [Spline(3)], features),
        ])
    )()  # fmt: skip
    return (flow.double() if random.random() < 0.3 else flow), context


def _values(random: random.Random, features: int) -> Any:
    draw = np.random.default_rng(random.randrange(2**32))
    rows = random.choice([0, 1, 2, 3, 5, 30, 30, 30, 200])
    x = draw.normal(size=(rows, features))
    x = random.choice(
        [
            lambda: x,
            lambda: x,
            lambda: np.exp(x),
            lambda: 1 / (1 + np.exp(-x)),
            lambda: x * 10.0 ** draw.integers(-320, 300),
            lambda: x + 10.0 ** draw.integers(0, 20),
            lambda: draw.standard_cauchy(x.shape) ** 5,
            lambda: np.rint(x),
            lambda: np.ones_like(x),
            lambda: np.where(draw.random(x.shape) < 0.02, random.choice([np.nan, np.inf, 1e30, 1e300]), x),
        ]
    )()
    with np.errstate(all="ignore"):
        return random.choice(
            [
                lambda: x,
                lambda: torch.tensor(x),
                lambda: torch.tensor(x, dtype=torch.float32),
                lambda: torch.tensor(x).half(),
                lambda: x.tolist(),
                lambda: x[:, 0] if features == 1 else x,
                lambda: np.asfortranarray(x),
                lambda: torch.tensor(x).expand(2, *x.shape),
                lambda: torch.tensor(x).to_sparse(),
                lambda: x.astype(complex),
                lambda: [[1.0], [1.0, 2.0]],
                lambda: DataLoader(torch.tensor(x, dtype=torch.float32), batch_size=random.choice([1, 7])),
                lambda: DataLoader(list(x), batch_size=7, shuffle=bool(len(x))),
            ]
        )()


def _weights(random: random.Random, rows: int) -> Any:
    draw = np.random.default_rng(random.randrange(2**32))
    return random.choice(
        [
            lambda: np.full(rows, 10.0 ** draw.integers(-320, 308)),
            lambda: 10.0 ** draw.uniform(-300, 300, rows),
            lambda: np.zeros(rows),
            lambda: draw.integers(0, 2, rows),
            lambda: draw.normal(size=rows),
            lambda: np.ones(rows + 1),
            lambda: np.full(rows, np.nan),
        ]
    )()
