"""choose: a flow for a table, of a family and size that are chosen on held-out rows within a budget of time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from pushforward.data.checks import blurred
from pushforward.data.frames import tables
from pushforward.flow.flow import Flow
from pushforward.train import options as check
from pushforward.train.candidates import CANDIDATES, Candidate
from pushforward.train.fit import fit
from pushforward.train.history import History
from pushforward.train.limit import Limit

RUNGS, KEPT = 2, 2
"""After how many shares of the time candidates are compared, and of how many one is kept each time."""
SHARE = 0.25
"""Each such share; the rest is for the best."""
CLASSICAL = 0.2
"""Share of the time after which no further classical density is tried."""
MOMENT = 1e-9
"""Seconds of a fit that only measures."""
EPOCHS = 100_000
"""Epochs of a fit that time and patience end."""


@dataclass
class Outcome:
    """What became of a candidate.

    Args:
        name: Its name in the table of candidates.
        plan: Its base and its layers, as text.
        loss: Nats a row on the held-out rows, of the best weights; infinite where it could not be fitted.
        seconds: Time that it took.
        epochs: Epochs that it was trained for.
        stopped: What ended its last fit, as in `History`; or the words of the error that ended it; empty where it was not tried.
    """

    name: str
    plan: str
    loss: float = math.inf
    seconds: float = 0.0
    epochs: int = 0
    stopped: str = ""


@dataclass(repr=False)
class ChoiceHistory(History):
    """What happened while a flow was chosen: the history of the chosen one's fits, one after the other.

    Args:
        candidates: What became of all candidates, the best first; ``tried`` has their losses by name.
    """

    candidates: list[Outcome] = field(default_factory=list)

    def __repr__(self) -> str:
        chosen = f"{self.candidates[0].name!r} of {len(self.candidates)}, " if self.candidates else ""
        return f"ChoiceHistory({chosen}{super().__repr__().partition('(')[2]}"


class Chosen(NamedTuple):
    """A flow that was chosen for a table, with its history."""

    flow: Flow
    history: ChoiceHistory


def choose(
    data: Any,
    context: Any = None,
    *,
    seconds: float = 60.0,
    validation: Any = 0.1,
    candidates: Sequence[Candidate] = CANDIDATES,
    columns: Sequence[str] | None = None,
    context_columns: Sequence[str] | None = None,
    weights: Any = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> Chosen:
    r"""Choose a flow for a table, fit it, and return it with its history: the family and size that score held-out rows best.

    First the classical densities: one normal distribution with all covariances, and mixtures of normals by expectation maximisation. Then
    flows: a quarter of the time for all of them, another for the better half of these, and the rest for the best, which goes on from
    where it is each time; where patience ends it before the time does, the next best goes on. The best of all by the held-out rows
    is returned. The flow is a function of the time that there was: no seed repeats it exactly. As the held-out rows chose it, their
    loss flatters it a little: compare it with other models on rows that none has seen.
    Source: Non-stochastic Best Arm Identification and Hyperparameter Optimization (Jamieson, Talwalkar, 2016): successive halving.

    Args:
        data: Rows ``(n, features)``, or ``(n,)`` of one column: whatever `fit` takes but a DataLoader.
        context: Rows ``(n, context)`` for a conditional density, for which mixtures are left out.
        seconds: Time that all of it may take, by the clock; measuring, and scoring the held-out rows, may come on top.
        validation: Share of the rows to hold out; or rows, or (rows, context).
        candidates: What to choose among; `pushforward.train.CANDIDATES` is the usual table.
        columns: Columns of a DataFrame that are data, as in `fit`.
        context_columns: Columns of the same DataFrame that are context.
        weights: Weight of each row, ``(n,)``, as in `fit`.
        dtype: Precision of the flow (None: torch's default, or float64 where that does not carry the digits of a column).
        device: Where the flow is and computes (None: where torch makes tensors).
        seed: Seed of the split, of first weights and of the fits.
        progress: Show on stderr which candidate is fitted.
        callback: Called with the candidate's history after each epoch; all of it ends when it returns True.

    Returns:
        ``(flow, history)``. Ctrl-C ends it early, with ``history.interrupted``, and gives the best so far.

    Raises:
        ValueError: Nothing held out, options out of range, no candidate for such a table, and what `fit` raises of data.
        TypeError: A DataLoader, and what `fit` raises of data.

    >>> flow, history = choose(torch.randn(200, 2), seconds=0.5, progress=False)
    >>> flow.event_shape, history.candidates[0].loss == history.best_loss
    (torch.Size([2]), True)
    """
    check.real("choose", "seconds", seconds)
    check.seed("choose", seed)
    check.choice("choose", "progress", progress, (True, False))
    check.function("choose", "callback", callback)
    limit = Limit(seconds)
    if isinstance(data, DataLoader) or isinstance(validation, DataLoader):
        raise TypeError("choose: expected rows in memory, which all candidates are fitted to, got a DataLoader; take `fit` with a flow")
    if validation is None:
        raise ValueError("choose: expected validation to be a share between 0 and 1, or rows, which choose; got None")
    if not isinstance(candidates, Sequence) or not all(isinstance(each, Candidate) for each in candidates):
        raise TypeError(f"choose: expected candidates to be a list of Candidate, got {candidates!r}")
    x, c = tables("choose", data, context, columns, context_columns)
    width, given = x.shape[1], 0 if c is None else c.shape[1]
    if dtype is None:
        usual = torch.get_default_dtype()
        dtype = torch.float64 if blurred(x, usual) or (c is not None and blurred(c, usual)) else usual
    suited = [each for each in candidates if each.suits(width, given, len(x))]
    if not suited:
        raise ValueError(f"choose: expected a candidate for {width} features, {given} of context and {len(x)} rows, got {candidates!r}")
    rows = {
        "data": data, "context": context, "validation": validation, "columns": columns, "context_columns": context_columns,
        "weights": weights, "seed": seed, "callback": callback,
    }  # fmt: skip
    with tqdm(disable=not progress, desc="choose", unit="fit") as bar:
        search = _Search([_Run(each, each.make(width, given, seed).to(device, dtype), rows) for each in suited], limit, bar)
        search.run()
    return search.best()


class _Run:
    """A candidate with its flow, as far as it is fitted."""

    def __init__(self, candidate: Candidate, flow: Flow, rows: dict[str, Any]) -> None:
        self.candidate, self.flow, self.rows = candidate, flow, rows
        self.outcome = Outcome(candidate.name, f"{flow.base.plan!r}, {flow.plan!r}")
        self.history: History | None = None
        self.done = False

    def train(self, seconds: float, first: bool) -> None:
        """Go on for some seconds; the errors of the first of all are the data's, those of others are their own."""
        limit = Limit(None)
        try:
            whiten = self.candidate.whiten if self.history is None else False
            made = fit(self.flow, **self.rows, whiten=whiten, seconds=seconds, epochs=EPOCHS, progress=False)
        except (ValueError, FloatingPointError) as error:
            if first:
                raise
            self.done, self.outcome.stopped = True, str(error)
            self.outcome.seconds += limit.spent
            return
        self.history = made if self.history is None else _joined(self.history, made)
        self.done = self.candidate.closed or made.stopped != "seconds"
        plan = f"{self.flow.base.plan!r}, {self.flow.plan!r}"
        self.outcome = Outcome(
            self.candidate.name, plan, self.history.best_loss, self.outcome.seconds + limit.spent, len(self.history.train), made.stopped
        )


class _Search:
    """Successive halving."""

    def __init__(self, runs: list[_Run], limit: Limit, bar: tqdm[Any]) -> None:
        self.runs, self.limit, self.bar, self.begun = runs, limit, bar, 0
        self.ended: str | None = None

    def run(self) -> None:
        """Fit candidates until the time is over, all are done, or the user ends it."""
        before = math.inf
        for run in (run for run in self.runs if run.candidate.closed):
            # They are in the order of their sizes: when one more component does not help, many more do not.
            if self.begun and (self.over() or self.limit.gone > CLASSICAL):
                break
            self.train(run, MOMENT)
            if run.outcome.loss > before:
                break
            before = run.outcome.loss
        field = [run for run in self.runs if not run.candidate.closed]
        share = SHARE * self.left()
        for _ in range(RUNGS):
            for run in field:
                if not run.done and not self.over():
                    self.train(run, share / len(field))
            field = _ranked(field)[: -(-len(field) // KEPT)]
        trained = [run for run in self.runs if not run.candidate.closed]
        while not self.over() and (still := [run for run in _ranked(trained) if not run.done]):
            self.train(still[0], self.left())

    def train(self, run: _Run, seconds: float) -> None:
        self.bar.set_postfix_str(run.candidate.name)
        run.train(max(seconds, MOMENT), first=not self.begun)
        self.begun += 1
        self.bar.update()
        if run.outcome.stopped in ("interrupted", "callback"):
            self.ended = run.outcome.stopped

    def left(self) -> float:
        assert self.limit.seconds is not None
        return self.limit.seconds - self.limit.spent

    def over(self) -> bool:
        return self.ended is not None or (self.begun > 0 and self.limit.over)

    def best(self) -> Chosen:
        """Return the best flow by the held-out rows, with what became of all."""
        ranked = _ranked(self.runs)
        chosen = ranked[0]
        assert chosen.history is not None
        told = {one.name: getattr(chosen.history, one.name) for one in dataclasses.fields(History)}
        told |= {"tried": {run.candidate.name: run.outcome.loss for run in ranked}, "stopped": self.ended or told["stopped"]}
        if self.ended is None and self.limit.over:
            told["stopped"] = "seconds"
        return Chosen(chosen.flow, ChoiceHistory(**told, candidates=[run.outcome for run in ranked]))


def _ranked(runs: Sequence[_Run]) -> list[_Run]:
    """Return runs by their losses, the best first; where they are equal, as they stand in the table."""
    return sorted(runs, key=lambda run: run.outcome.loss if not math.isnan(run.outcome.loss) else math.inf)


def _joined(before: History, after: History) -> History:
    """Return the history of two fits, of which the second went on from the best weights of the first."""
    better = after.best_loss < before.best_loss
    return dataclasses.replace(
        before,
        train=before.train + after.train,
        validation=before.validation + after.validation,
        averaged=before.averaged + after.averaged,
        learning_rate=before.learning_rate + after.learning_rate,
        seconds=before.seconds + after.seconds,
        best_epoch=len(before.train) + after.best_epoch if better else before.best_epoch,
        best_loss=min(before.best_loss, after.best_loss),
        stopped=after.stopped,
        skipped_steps=before.skipped_steps + after.skipped_steps,
    )
