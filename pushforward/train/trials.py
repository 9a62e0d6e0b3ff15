"""Trials: short fits of copies, whose held-out losses choose how the data is measured."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

from torch.optim import Optimizer

from pushforward.data.rows import Rows, Stream
from pushforward.flow.flow import Flow
from pushforward.layers.normal_scores import NormalScoresModule
from pushforward.train.likelihood import STEPS, Training
from pushforward.train.loop import Options
from pushforward.train.matching import MatchingTraining
from pushforward.train.objective import FlowMatching
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness

TRIAL = 100
"""Steps of a trial, by half more or less, since epochs are whole: within so many it shows which way is the better."""
HELD = 4096
"""Held-out rows that judge a trial, at most."""
SCORES, PLAIN = "normal scores", "location and scale"


def tried(
    flow: Flow,
    typical: Rows,
    train: Rows | Stream,
    held: Rows | Stream | None,
    optimizer: Callable[[Flow], Optimizer],
    options: Options,
    seed: int,
    matching: FlowMatching | None = None,
) -> dict[str, float]:
    """Return held-out losses of both ways to measure columns with values far out, after short fits; nothing where there is no choice.

    Normal scores help where a few values decide the spread of a column by chance. Where columns are linear in one another, heavy tails
    and all, as pixels are in those beside them, they bend what was straight.

    Args:
        flow: The flow, not measured yet; it is left as it is.
        typical: Rows to measure.
        train: Rows to train on; a stream is not read for a trial.
        held: Rows held out; without them there is no judge.
        optimizer: Makes the optimiser of a copy.
        options: Those of the fit.
        seed: That of the fit.
        matching: Options of flow matching, where that is the objective; the densities of its fits are compared, since the units of its loss
            are those of the values that the field sees.
    """
    if isinstance(train, Stream) or isinstance(held, Stream) or held is None:
        return {}
    scored = copy.deepcopy(flow)
    scored.standardize(typical.x, typical.context)
    if _scored(scored) == _scored(flow):
        return {}
    plain = copy.deepcopy(flow)
    plain.standardize(typical.x, typical.context, scores=False)
    rows, judges = _some(train, TRIAL * options.batch_size), _some(held, HELD)
    a_pass = -(-len(rows) // options.batch_size)
    epochs = max(1, round(TRIAL / (a_pass * -(-STEPS // a_pass))))
    short = dataclasses.replace(options, epochs=epochs, patience=None, schedule=None, compile=False, progress=False)
    losses = {}
    for name, way in ((SCORES, scored), (PLAIN, plain)):
        with Masters(way) as masters:
            given = (way, rows, judges, optimizer(way), Randomness(way, seed), short, masters)
            training = Training(*given) if matching is None else MatchingTraining(matching, *given)
            try:
                history = training.run(None)
            except FloatingPointError:  # none of its steps had a finite loss
                history = training.history
        if history.interrupted:
            raise KeyboardInterrupt
        losses[name] = training.judgement(history)
    return losses


def _scored(flow: Flow) -> int:
    """Return how many layers of normal scores the data goes through."""
    return sum(isinstance(part, NormalScoresModule) for part in flow.transform.modules())


def _some(rows: Rows, most: int) -> Rows:
    """Return at most so many rows, evenly spread."""
    return rows.part(slice(None, None, -(-len(rows) // most)))
