"""Bench: what `compare` fits, in what time, and how each model scores the rows held out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.data.checks import blurred
from pushforward.data.rows import Rows
from pushforward.flow.flow import Flow
from pushforward.recipes.choice import make_flow
from pushforward.tables.chain import score_rows
from pushforward.tables.table_flow import TableFlow
from pushforward.train.candidates import CANDIDATES, TABLES, TableCandidate
from pushforward.train.choose import choose
from pushforward.train.comparison import Compared, Comparison
from pushforward.train.fit import fit
from pushforward.train.history import History
from pushforward.train.limit import Limit
from pushforward.train.search import EPOCHS
from pushforward.train.tabled import Tabled

clock: Callable[[], float] = time.process_time
"""The clock of the processor, in seconds since whenever."""
POINTS = 32
"""Points of a cell over which a density of numbers is averaged."""
BLOCK = 4096
"""Points that a flow scores together."""


class Bench:
    """The rows to fit to and the rows to score, and what was found so far."""

    def __init__(
        self,
        table: Tabled,
        seen: Tensor,
        train: Rows,
        test: Rows,
        weighed: bool,
        seconds: float,
        seed: int,
        callback: Callable[[History], object] | None,
    ) -> None:
        self.table, self.train, self.test, self.weighed = table, train, test, weighed
        self.seconds, self.seed, self.callback = seconds, seed, callback
        # To a `TableFlow` rows that are held out have no weight.
        self.weights = torch.zeros(len(table.coded), dtype=torch.float64)
        assert train.weights is not None
        self.weights[seen] = train.weights
        self.steps: list[float] | None = None
        self.scores: dict[str, Tensor] = {}
        self.told: dict[str, tuple[float, int]] = {}
        self.left_out: dict[str, str] = {}

    def models(self) -> dict[str, Callable[[Limit], Any]]:
        """Return what is compared, by name."""
        return {
            "independent columns": lambda _: self._measured(TABLES[0]),
            "normal copula": lambda _: self._measured(TABLES[1]),
            "latent classes": lambda _: self._measured(TABLES[2]),
            "one normal": lambda limit: self._classical(CANDIDATES[:1], limit),
            "mixture of normals": lambda limit: self._classical([one for one in CANDIDATES[1:] if one.closed], limit),
            "NSF": self._spline_flow,
            "TableFlow": self._table_flow,
        }

    def run(self, name: str, model: Callable[[Limit], Any]) -> None:
        """Fit a model and score it."""
        typed = name in ("independent columns", "normal copula", "latent classes", "TableFlow")
        if not typed and not self.table.numbers:
            told = [f"{column}: {why}" for column, why in self.table.beyond.items()]
            self.left_out[name] = "; ".join(told[:2]) + (f" and {len(told) - 2} more" if len(told) > 2 else "")
            return
        limit = Limit(self.seconds, clock)
        try:
            fitted = model(limit)
        except (ValueError, FloatingPointError) as error:
            if typed:
                raise
            self.left_out[name] = str(error)
            return
        spent = limit.spent
        if typed and (why := self._measure_of(fitted)):
            self.left_out[name] = why
            return
        self.scores[name] = self._scored(fitted)
        self.told[name] = (spent, _size(fitted, name))

    def _measure_of(self, model: TableFlow) -> str:
        """Return in words why the cells of a model are others than those of the first, which measured all rows to fit to."""
        steps = [grid.step for grid in model.model.grids]
        self.steps = steps if self.steps is None else self.steps
        return "" if steps == self.steps else f"its rows lie on grids of steps {steps}, all rows to fit to on {self.steps}"

    @torch.no_grad()
    def _scored(self, model: Flow | TableFlow) -> Tensor:
        """Return the log-density of each row held out."""
        if isinstance(model, TableFlow):
            return score_rows(model.model, self.test.x, range(len(self.table.schema)), bounds=self.test.context).logs.sum(1)
        return self._averaged(model)

    def found(self) -> Comparison:
        """Return what was found."""
        count = len(self.test)
        heavy = torch.ones(count, dtype=torch.float64) if self.test.weights is None else self.test.weights
        share = heavy / heavy.sum()
        nats = {name: -float((share * scores).sum()) for name, scores in self.scores.items()}
        ranked = sorted(nats, key=lambda name: nats[name])
        best = self.scores[ranked[0]]
        rows = []
        for name in ranked:
            apart = best - self.scores[name]
            error = torch.sqrt((share * (apart - (share * apart).sum())).square().sum() * count / (count - 1))
            rows.append(Compared(name, nats[name], float(error), *self.told[name]))
        spread = (
            [column.name for column, step in zip(self.table.schema, self.steps or (), strict=True) if step] if self.table.numbers else []
        )
        return Comparison(tuple(rows), count, self.left_out, tuple(spread))

    def _steps(self) -> Tensor:
        """Return the distance of neighbours of each column, which are all numbers, 0 for none."""
        return torch.tensor(self.steps, dtype=torch.float64)

    def _numbers(self) -> dict[str, Any]:
        """Return the rows that a flow of numbers is fitted to, spread over their cells, and their weights."""
        random = torch.Generator().manual_seed(self.seed)
        noise = torch.rand(self.train.x.shape, generator=random, dtype=torch.float64) - 0.5
        return {"data": self.train.x + noise * self._steps(), "weights": self.train.weights if self.weighed else None}

    def _measured(self, candidate: TableCandidate) -> TableFlow:
        model = candidate.make(self.table.schema, self.seed)
        rows, weights, bounds = self.train.x, self.train.weights, self.train.context
        model.model.measure(rows, weights, bounds, correlated=candidate.correlated, classes=candidate.classes)
        return model

    def _classical(self, candidates: Sequence[Any], limit: Limit) -> Flow:
        rows = self._numbers()
        # One alone needs no rows to choose it.
        validation = rows["data"] if len(candidates) == 1 else 0.1
        found = choose(
            **rows, validation=validation, candidates=candidates, seconds=limit, seed=self.seed, progress=False, callback=self.callback
        )
        _expect_whole(found.history)
        assert isinstance(found.flow, Flow)
        return found.flow

    def _spline_flow(self, limit: Limit) -> Flow:
        rows = self._numbers()
        flow = make_flow("compare", "NSF", len(self.table.schema), 0, {}, self.seed)
        flow = flow.double() if blurred(rows["data"], flow.dtype) else flow
        _expect_whole(fit(flow, **rows, seconds=limit, epochs=EPOCHS, seed=self.seed, progress=False, callback=self.callback))
        return flow

    def _table_flow(self, limit: Limit) -> TableFlow:
        model = TABLES[-1].make(self.table.schema, self.seed)
        rows: dict[str, Any] = {"data": self.table.data, "weights": self.weights}
        _expect_whole(fit(model, **rows, seconds=limit, epochs=EPOCHS, seed=self.seed, progress=False, callback=self.callback))
        return model

    def _averaged(self, flow: Flow) -> Tensor:
        """Return the log of a flow's density of each row held out, averaged over the cell around it."""
        x, steps = self.test.x, self._steps()
        points = POINTS if bool(steps.any()) else 1
        random = torch.Generator().manual_seed(self.seed)
        found = []
        for rows in x.split(BLOCK // points):
            # Of each row and column one point in each of equal parts of the cell, in an order of its own.
            order = torch.rand(len(rows), points, rows.shape[1], generator=random).argsort(1)
            place = (order + torch.rand(order.shape, generator=random, dtype=torch.float64)) / points - 0.5
            at = rows.unsqueeze(1) + place * steps
            logs = flow.log_prob(at.to(flow.dtype)).double()
            found.append(torch.logsumexp(logs, 1) - math.log(points))
        return torch.cat(found)


def _expect_whole(history: History) -> None:
    """Pass on what ended a fit from outside."""
    if history.stopped in ("interrupted", "callback"):
        raise KeyboardInterrupt


def _size(model: Flow | TableFlow, name: str) -> int:
    """Return how many numbers were trained, or measured where nothing is trained."""
    if isinstance(model, Flow) or name == "TableFlow":
        return sum(p.numel() for p in model.parameters() if p.requires_grad)
    left = {id(part) for part in model.model.network.copula.buffers()} if name == "independent columns" else set()
    return sum(part.numel() for part in model.buffers() if id(part) not in left)
