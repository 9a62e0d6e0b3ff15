"""Trials: short fits of copies, whose held-out losses choose how the data is measured, and where a flow begins."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from pushforward.core.layer import Layer
from pushforward.data.rows import Rows, Stream
from pushforward.flow.flow import Flow
from pushforward.flow.mixture_start import FEW, best_mixture, suits_mixture
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
SHARE, LADDER = 0.1, 0.2
"""Share of the seconds of a fit that a trial may take, and the search for how many components a mixture needs."""
CLEAR, MANY = 0.2, 10_000
"""Nats by which a mixture is ahead of the flow after its trial, at least, of so many rows or more: what learns fast is soon ahead of what
begins a little better. Of fewer rows it learns less, and the nats count by their share."""
UNSURE = 3.0
"""Standard errors by which a flow is ahead, at least, for a mixture of next to no rows to give way: these can hardly tell. Of more rows
they count by how many are missing to `FEW`.
"""
WARMUP = 100
"""Steps in which the learning rate grows to what it is, where a flow begins as a mixture, or has met data before."""
SCORES, PLAIN, WHITE, MIXTURE = "normal scores", "location and scale", "covariance", "mixture"


class Tried(NamedTuple):
    """What trials say.

    Args:
        losses: Held-out losses by the names of the ways; none where there is no choice.
        how: The better way, as arguments of `Flow.standardize`.
        taught: The weights of a flow that is measured so, as its trial left them; None where it had none.
    """

    losses: dict[str, float]
    how: dict[str, Any]
    taught: Mapping[str, Any] | None


def tried(
    flow: Flow,
    typical: Rows,
    train: Rows | Stream,
    held: Rows | Stream | None,
    optimizer: Callable[[Flow], Optimizer],
    options: Options,
    random: Randomness,
    seed: int,
    whiten: bool | None,
    mixture: int | None,
    matching: FlowMatching | None = None,
) -> Tried:
    """Return held-out losses of ways to measure the data, after short fits, and the better way, for which no step is lost.

    Normal scores help where a few values decide the spread of a column by chance. Where columns are linear in one another, heavy tails
    and all, as pixels are in those beside them, they bend what was straight. The covariance is where a flow may begin, and a few
    columns that others nearly determine, or that are heavy, make much of their noise. A mixture is taken where it is clearly better before
    any step than the flow after its trial; the covariance always goes with it, without which components are narrow, and steps too long.

    Args:
        flow: The flow, not measured yet; it is left as it is.
        typical: Rows to measure.
        train: Rows to train on; a stream is not read for a trial.
        held: Rows held out; without them there is no judge.
        optimizer: Makes the optimiser of a copy.
        options: Those of the fit.
        random: What the fit draws; a trial draws by itself.
        seed: That of the fit.
        whiten: Whether to whiten; None: as a trial says.
        mixture: Components of a mixture that becomes the base, 0 for none; None: as many as the held-out rows say, if any. None are
            tried in flow matching, whose field does not begin at it, given contexts, which it does not know, nor of events of more than a
            hundred numbers.
        matching: Options of flow matching, where that is the objective; the densities of its fits are compared, since the units of its loss
            are those of the values that the field sees.
    """
    how: dict[str, Any] = {"whiten": whiten is True or bool(mixture), "mixture": mixture or 0}
    if isinstance(train, Stream) or isinstance(held, Stream) or held is None:
        return Tried({}, how, None)
    rows, judges = _some(train, TRIAL * options.batch_size), _some(held, HELD)
    # A fit that is short has trials that are no longer.
    fewest = FEWEST if matching is None else None
    steps = min(TRIAL, options.epochs * _an_epoch(train, options, fewest))
    epochs = max(1, round(steps / _an_epoch(rows, options, fewest)))

    losses: dict[str, float] = {}
    ways: dict[str, Flow] = {}

    def attempt(name: str, **how: Any) -> float:
        """Measure a copy in a way, fit it for some steps, and note its loss."""
        ways[name] = measured(**how)
        losses[name] = loss(ways[name])
        return losses[name]

    def loss(way: Flow) -> float:
        limit = options.limit.part(SHARE)
        short = dataclasses.replace(
            options, epochs=epochs, patience=None, schedule=None, compile=False, progress=False, limit=limit, averaging=None
        )
        with Masters(way) as masters:
            with random.mode:
                stepper = optimizer(way)
            given = (way, rows, judges, stepper, Randomness(way, seed), short, masters)
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
        with random.mode:  # a layer that is added, and those that the data goes through, may draw
            way.standardize(typical.x, typical.context, **how)
        return way

    def gains(kind: type[Layer], scores: bool = True, whiten: bool = False, **_: Any) -> bool:
        """Tell whether measuring in a way puts in a layer of a kind; to measure only to see would cost what the base's start costs."""
        with random.mode:
            return _count(flow.arranged(typical.x, typical.context, scores, whiten), kind) != _count(flow.transform, kind)

    begun: dict[str, Any] = {}
    scored = gains(NormalScoresModule, **how)
    chosen = SCORES if scored else PLAIN
    if mixture is None and matching is None and flow.context_shape is None and suits_mixture(flow.base):
        both = gains(NormalScoresModule, **{**how, "whiten": True})
        for white in ({**how, "whiten": True, "scores": scores} for scores in ((True, False) if both else (True,))):
            with random.layers():
                found, count = _mixture(measured(**white), typical, judges, options.limit.part(LADDER), seed)
            if count > 1 and found.mean().item() < losses.get(MIXTURE, math.inf):
                losses[MIXTURE], nats, begun = found.mean().item(), found, {**white, "mixture": count}
        if begun:
            attempt(chosen, **how)
            with random.layers():
                behind = nats - _nats(ways[chosen], judges, seed)
            doubt = max(0.0, 1 - len(train) / FEW) * UNSURE * behind.std(correction=0).item() / math.sqrt(len(behind))
            if behind.mean().item() < doubt - CLEAR * min(1.0, len(train) / MANY):
                return Tried(losses, begun, None)
    if scored:
        plain = {**how, "scores": False}
        before = losses[SCORES] if SCORES in losses else attempt(SCORES, **how)
        if attempt(PLAIN, **plain) < before:
            how, chosen = plain, PLAIN
    if whiten is None and gains(WhitenModule, **{**how, "whiten": True}):
        before = losses[chosen] if chosen in losses else attempt(chosen, **how)
        if attempt(WHITE, **{**how, "whiten": True}) < before:
            how, chosen = {**how, "whiten": True}, WHITE
    return Tried(losses, how, ways[chosen].state_dict() if chosen in ways else None)


@torch.no_grad()
def _mixture(flow: Flow, typical: Rows, held: Rows, limit: Limit, seed: int) -> tuple[Tensor, int]:
    """Return the nats of held-out rows under the best mixture at the base of a flow, and its components."""
    with Masters(flow):  # in a half format rows far from zero would all be one
        seen, unseen = (part.map(lambda t: t.to(flow.device, flow.dtype)) for part in (_some(typical, HELD), _drawn(held, seed)))
        rows, (z, ladj) = flow.to_base(seen.x, seen.context)[0], flow.to_base(unseen.x, unseen.context)
    density, count = best_mixture(rows, z, lambda: limit.over)
    return -density - ladj.double(), count


@torch.no_grad()
def _nats(flow: Flow, held: Rows, seed: int) -> Tensor:
    """Return the nats of the same rows under a flow."""
    with Masters(flow):
        return -flow.eval().log_prob(_drawn(held, seed).x.to(flow.device, flow.dtype)).double()


def _drawn(held: Rows, seed: int) -> Rows:
    """Return held-out rows, drawn by their weights."""
    return held.typical(torch.Generator().manual_seed(int(seed)))


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
