"""Trials: short fits of copies, whose held-out losses choose how the data is measured."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer

from pushforward.core.layer import Layer
from pushforward.data.rows import Rows, Stream
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import COMPONENTS, ROWS, takes_mixture
from pushforward.layers.normal_scores import NormalScoresModule
from pushforward.layers.whiten import WhitenModule
from pushforward.train.likelihood import FEWEST, Training, epoch_of
from pushforward.train.limit import Limit
from pushforward.train.loop import Options
from pushforward.train.matching import MatchingTraining
from pushforward.train.objective import FlowMatching
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness

TRIAL = 100
"""Steps of a trial, by half more or less, since epochs are whole: within so many it shows which way is the better."""
HELD = 4096
"""Held-out rows that judge a trial, at most."""
SHARE = 0.1
"""Share of the seconds of a fit that a trial may take."""
SCORES, PLAIN, WHITE, MIXTURE = "normal scores", "location and scale", "covariance", "mixture"


def tried(
    flow: Flow,
    typical: Rows,
    train: Rows | Stream,
    held: Rows | Stream | None,
    optimizer: Callable[[Flow], Optimizer],
    options: Options,
    seed: int,
    whiten: bool | None,
    mixture: int | None,
    matching: FlowMatching | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return held-out losses of ways to measure the data, after short fits, and the better way; no losses where there is no choice.

    Normal scores help where a few values decide the spread of a column by chance. Where columns are linear in one another, heavy tails
    and all, as pixels are in those beside them, they bend what was straight. The covariance is where a flow may begin, and a few
    columns that others nearly determine, or that are heavy, make much of their noise.

    Args:
        flow: The flow, not measured yet; it is left as it is.
        typical: Rows to measure.
        train: Rows to train on; a stream is not read for a trial.
        held: Rows held out; without them there is no judge.
        optimizer: Makes the optimiser of a copy.
        options: Those of the fit.
        seed: That of the fit.
        whiten: Whether to whiten; None: as a trial says.
        mixture: Components of a mixture that becomes the base, 0 for none; None: as many as the held-out rows say, if a trial does.
        matching: Options of flow matching, where that is the objective; the densities of its fits are compared, since the units of its loss
            are those of the values that the field sees.

    Returns:
        The losses by the names of the ways, and the arguments of `Flow.standardize`.
    """
    how: dict[str, Any] = {"whiten": whiten is True, "mixture": mixture or 0}
    if isinstance(train, Stream) or isinstance(held, Stream) or held is None:
        return {}, how
    rows, judges = _some(train, TRIAL * options.batch_size), _some(held, HELD)
    # A fit that is short has trials that are no longer.
    fewest = FEWEST if matching is None else None
    steps = min(TRIAL, options.epochs * _an_epoch(train, options, fewest))
    epochs = max(1, round(steps / _an_epoch(rows, options, fewest)))

    def loss(way: Flow) -> float:
        limit = options.limit.part(SHARE)
        short = dataclasses.replace(
            options, epochs=epochs, patience=None, schedule=None, compile=False, progress=False, limit=limit, averaging=None
        )
        with Masters(way) as masters:
            given = (way, rows, judges, optimizer(way), Randomness(way, seed), short, masters)
            training = Training(*given) if matching is None else MatchingTraining(matching, *given)
            try:
                history = training.run(None)
            except FloatingPointError:  # none of its steps had a finite loss
                history = training.history
        if history.interrupted:
            raise KeyboardInterrupt
        return training.judgement(history)

    def measured(**how: Any) -> Flow:
        way = copy.deepcopy(flow)
        way.standardize(typical.x, typical.context, **how)
        return way

    def gains(kind: type[Layer], scores: bool = True, whiten: bool = False, **_: Any) -> bool:
        """Tell whether measuring in a way puts in a layer of a kind; to measure only to see would cost what the base's start costs."""
        return _count(flow.arranged(typical.x, typical.context, scores, whiten), kind) != _count(flow.transform, kind)

    losses: dict[str, float] = {}
    if gains(NormalScoresModule, **how):
        losses = {SCORES: loss(measured(**how)), PLAIN: loss(measured(scores=False, **how))}
        how["scores"] = losses[SCORES] <= losses[PLAIN]
    if whiten is None:
        white = {**how, "whiten": True}
        if gains(WhitenModule, **white):
            best = min(losses.values()) if losses else losses.setdefault(PLAIN, loss(measured(**how)))
            losses[WHITE] = loss(measured(**white))
            how["whiten"] = losses[WHITE] < best
    if mixture is None and takes_mixture(flow.base.plan):
        limit = options.limit.part(SHARE)
        rungs = _ladder(lambda count: _nats(measured(**{**how, "mixture": count}), judges), len(typical), limit)
        found, count = min(rungs, default=(math.inf, 0))
        if math.isfinite(found):
            best = min(losses.values()) if losses else losses.setdefault(PLAIN, loss(measured(**how)))
            losses[MIXTURE] = loss(measured(**{**how, "mixture": count}))
            how["mixture"] = count * (losses[MIXTURE] < best)
    return losses, how


def _ladder(nats: Callable[[int], float], rows: int, limit: Limit) -> Iterator[tuple[float, int]]:
    """Yield how well mixtures do, and their components: as long as more help, there are rows enough, and the time is not over."""
    before = math.inf
    for count in COMPONENTS:
        if rows < ROWS * count or limit.over:
            return
        found = nats(count)
        yield found, count
        if not found < before:
            return
        before = found


@torch.no_grad()
def _nats(flow: Flow, rows: Rows) -> float:
    """Return the mean negative log-density of rows by their weights; infinite where it is not a number."""
    placed = rows.map(lambda t: t.to(flow.device, flow.dtype))
    found = -flow.log_prob(placed.x, placed.context)
    weights = torch.ones_like(found) if placed.weights is None else placed.weights
    return ((weights * found).sum() / weights.sum()).nan_to_num(nan=math.inf).item()


def _count(transform: Layer, kind: type[Layer]) -> int:
    """Return how many layers of a kind the data goes through."""
    return sum(isinstance(part, kind) for part in transform.modules())


def _some(rows: Rows, most: int) -> Rows:
    """Return at most so many rows, evenly spread."""
    return rows.part(slice(None, None, -(-len(rows) // most)))


def _an_epoch(rows: Rows, options: Options, fewest: int | None) -> int:
    """Return the steps of an epoch."""
    size, passes = epoch_of(len(rows), options.batch_size, fewest)
    return passes * -(-len(rows) // size)
