"""Search: successive halving among candidates for a table, and what became of each."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tqdm import tqdm

from pushforward.flow.flow import Flow
from pushforward.tables.table_flow import TableFlow
from pushforward.train.candidates import Candidate, TableCandidate
from pushforward.train.fit import fit
from pushforward.train.history import History
from pushforward.train.limit import Limit
from pushforward.train.tables import measure_table

RUNGS, KEPT = 2, 2
"""After how many shares of the time candidates are compared, and of how many one is kept each time."""
SHARE = 0.25
"""Each such share; the rest is for the best."""
CLASSICAL = 0.4
"""Share of the time after which no further classical density is tried. A flow begins with the best of them."""
MOMENT = 1e-9
"""Seconds of a fit that only measures."""
EPOCHS = 100_000
"""Epochs of a fit that time and patience end."""


@dataclass
class Outcome:
    """What became of a candidate.

    Args:
        name: Its name in the table of candidates.
        plan: Its base and its layers, or the sizes of a `TableFlow`, as text.
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

    flow: Flow | TableFlow
    history: ChoiceHistory


class Run:
    """A candidate with its flow, as far as it is fitted."""

    def __init__(self, candidate: Candidate | TableCandidate, flow: Flow | TableFlow, rows: dict[str, Any]) -> None:
        self.candidate, self.flow, self.rows = candidate, flow, rows
        self.outcome = Outcome(candidate.name, _plan(flow))
        #: Whether it waits for a classical density to begin with.
        self.waits = isinstance(candidate, Candidate) and candidate.components is None
        self.history: History | None = None
        self.done = False

    def begin_over(self, start: Run) -> None:
        """Make the flow anew, over a classical density."""
        assert isinstance(self.candidate, Candidate)
        assert isinstance(start.flow, Flow)
        self.flow, self.waits = self.candidate.over(start.flow, self.rows["seed"]), False
        self.outcome.plan = _plan(self.flow)

    def begin_as(self, start: Run) -> None:
        """Take what a classical density has measured on the same rows, unless some of those held out are none that it can have."""
        assert isinstance(self.flow, TableFlow)
        assert isinstance(start.flow, TableFlow)
        try:
            for name in ("data", "validation"):
                if not isinstance(self.rows[name], numbers.Real):
                    start.flow.encode_all(self.rows[name])
        except ValueError:
            return
        self.flow.model.begin_as(start.flow.model)

    def train(self, seconds: float | Limit, first: bool) -> None:
        """Go on for some seconds; the errors of the first of all are the data's, those of others are their own."""
        limit = Limit(None, seconds.measure if isinstance(seconds, Limit) else None)
        try:
            made = self._fitted(seconds)
        except (ValueError, FloatingPointError) as error:
            if first:
                raise
            self.done, self.outcome.stopped = True, str(error)
            self.outcome.seconds += limit.spent
            return
        self.history = made if self.history is None else _joined(self.history, made)
        self.done = self.candidate.closed or made.stopped != "seconds"
        self.outcome = Outcome(
            self.candidate.name,
            _plan(self.flow),
            self.history.best_loss,
            self.outcome.seconds + limit.spent,
            len(self.history.train),
            made.stopped,
        )

    def _fitted(self, seconds: float | Limit) -> History:
        if isinstance(self.candidate, TableCandidate):
            assert isinstance(self.flow, TableFlow)
            if self.candidate.closed:
                given = (self.rows[name] for name in ("data", "validation", "weights", "seed"))
                return measure_table(self.flow, *given, correlated=self.candidate.correlated, classes=self.candidate.classes)
            return fit(self.flow, **self.rows, seconds=seconds, epochs=EPOCHS, progress=False)
        whiten = self.candidate.whiten if self.history is None else False
        # Mixtures are candidates of their own, one flow begins as the best of them, and another's trials would take of its share.
        return fit(self.flow, **self.rows, whiten=whiten, mixture=0, seconds=seconds, epochs=EPOCHS, progress=False)


class Search:
    """Successive halving."""

    def __init__(self, runs: list[Run], limit: Limit, bar: tqdm[Any]) -> None:
        self.runs, self.limit, self.bar, self.begun = runs, limit, bar, 0
        self.ended: str | None = None

    def run(self) -> None:
        """Fit candidates until the time is over, all are done, or the user ends it."""
        # Without flows, all of the time is theirs.
        most = CLASSICAL if any(not run.candidate.closed for run in self.runs) else 1.0
        for kind in (Candidate, TableCandidate):
            before = math.inf
            for run in (run for run in self.runs if run.candidate.closed and isinstance(run.candidate, kind)):
                if self.begun and (self.over() or self.limit.gone > most):
                    break
                self.train(run, MOMENT)
                # Mixtures are in the order of their sizes: when one more component does not help, many more do not.
                if kind is Candidate and run.outcome.loss > before:
                    break
                before = run.outcome.loss
        classical = [run for run in self.runs if run.candidate.closed and isinstance(run.candidate, Candidate) and run.history is not None]
        for run in self.runs:
            if run.waits and classical:
                run.begin_over(_ranked(classical)[0])
        field = [run for run in self.runs if not run.candidate.closed and not run.waits]
        measured = [run for run in self.runs if _begins(run.candidate) and run.candidate.closed and run.history is not None]
        for run in field if measured else ():
            if _begins(run.candidate):
                run.begin_as(measured[0])
        share = SHARE * self.left()
        begun = [run for run in field if isinstance(run.candidate, Candidate) and run.candidate.components is None]
        if begun and share / len(field) < min(run.outcome.seconds for run in classical):
            # In less time than measuring takes no flow shows what it can; what goes on from the best density loses nothing.
            field = begun
        for _ in range(RUNGS):
            for run in field:
                if not run.done and not self.over():
                    self.train(run, share / len(field))
            field = _ranked(field)[: -(-len(field) // KEPT)]
        trained = [run for run in self.runs if not run.candidate.closed and not run.waits]
        while not self.over() and (still := [run for run in _ranked(trained) if not run.done]):
            self.train(still[0], self.left())

    def train(self, run: Run, seconds: float) -> None:
        self.bar.set_postfix_str(run.candidate.name)
        given, clock = max(seconds, MOMENT), self.limit.measure
        run.train(given if clock is None else Limit(given, clock), first=not self.begun)
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


def _begins(candidate: Candidate | TableCandidate) -> bool:
    """Tell whether a candidate measures all that a `TableFlow` begins with."""
    return isinstance(candidate, TableCandidate) and candidate.correlated and candidate.classes


def _ranked(runs: Sequence[Run]) -> list[Run]:
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


def _plan(flow: Flow | TableFlow) -> str:
    """Return in words what a flow is made of."""
    if isinstance(flow, TableFlow):
        return f"TableFlow(widths={flow.widths}, bins={flow.bins})"
    return f"{flow.base.plan!r}, {flow.plan!r}"
