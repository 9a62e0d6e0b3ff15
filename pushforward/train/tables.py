"""Maximum likelihood of a table: random orders of its columns in each step, and the density itself on held-out rows."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pushforward.data.rows import Rows, apart
from pushforward.data.weights import of_rows
from pushforward.tables.chain import score_chain
from pushforward.tables.events import unpacked
from pushforward.tables.heads import all_scores
from pushforward.tables.orders import draw_known
from pushforward.tables.table_flow import TableFlow
from pushforward.train.adam import Stepper
from pushforward.train.history import History
from pushforward.train.likelihood import passes_of
from pushforward.train.loop import Loop, Options, as_it_was, make_optimizer
from pushforward.train.precision import HALF, Masters
from pushforward.train.randomness import Randomness

IN_ORDER = 0.5
"""Share of a batch's rows whose order is that of the schema, in which rows are scored and drawn: of a quarter that density is worse by some
tenths of a nat, and with three quarters those in other orders are."""
BLOCK = 65_536
"""Rows that become events together."""
DRAWS = 32
"""Of a held-out row with several cells that are known between two values alone."""
HELD = 4096
"""Held-out rows that are scored after each epoch, at most: each takes a pass of the network for every column."""


class TableLoss(nn.Module):
    """Mean over rows of an estimate of the negative log-density, over orders of the columns, in nats.

    Args:
        model: The model, whose parameters the module shares.
    """

    def __init__(self, model: TableFlow) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor, known: Tensor, count: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of packed rows ``(n, width)`` of which ``known (n, columns)`` is given, each counted ``count (n)`` times."""
        model = self.model.model
        events = unpacked(rows, len(model.variables), len(model.numbers), model.dtype)
        h = model.network.trunk(model.network.state(events, known, left_out=True))
        loss = count * -all_scores(model.network, model.grids, h, events, ~known).sum(1)
        return torch.mean(loss if weights is None else weights * loss)


class TableTraining(Loop):
    """One run of maximum likelihood on a table."""

    advice = "Try a smaller learning_rate, or data without extreme values"

    def __init__(
        self, model: TableFlow, train: Rows, held: Rows | None, optimizer: Stepper, random: Randomness, options: Options, masters: Masters
    ) -> None:
        super().__init__(model, optimizer, options, History(monitored="training" if held is None else "validation"), random, masters)
        self.model, self.train, self.held = model, train, held
        self.loss = TableLoss(model)
        self.scale = 1.0 if train.weights is None else float(train.weights.mean())

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        columns, place = len(self.model.schema), self.model.device
        for rows in passes_of(self.train, self.options.batch_size, self.random.rows):
            known, count = draw_known(len(rows), columns, IN_ORDER, self.random.rows)
            loss = self.loss(rows.x, known.to(place), count.to(place), rows.weights) / self.scale
            yield loss, loss, len(rows)

    @torch.no_grad()
    def evaluate(self) -> float:
        assert self.held is not None
        self.model.eval()
        return held_out(self.model, self.held)


@torch.no_grad()
def held_out(model: TableFlow, rows: Rows) -> float:
    """Return the mean negative log-density of packed rows, by their weights."""
    columns = len(model.schema)
    events = unpacked(rows.x, columns, len(model.model.numbers), model.dtype)
    scores = -score_chain(model.model, events, range(columns), (), DRAWS).logs.sum(1)
    return float(scores.mean() if rows.weights is None else (scores * rows.weights).sum() / rows.weights.sum())


def fit_table(
    model: TableFlow,
    data: Any,
    validation: Any,
    options: Options,
    standardize: bool | None,
    weights: Any,
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None,
    seed: int,
    callback: Callable[[History], object] | None,
) -> History:
    """Fit a model to a table; the options are those of `fit`."""
    if model.dtype in HALF:
        raise ValueError(f"fit: expected a TableFlow in float32 or float64, got {model.dtype}; use .float()")
    if standardize is False and not model.measured:
        raise ValueError("fit: expected standardize to be True or None, since the columns' marginals are still to be measured, got False")
    random = Randomness(model, seed)
    fresh = bool(standardize) or not model.measured
    train, held = _parted(model, data, validation, weights, fresh, random)
    with as_it_was(model):
        if fresh:
            model.model.measure(train.x, train.weights, train.context)
        model.remember(data)
        made = make_optimizer("fit", model, optimizer, options.learning_rate, options.weight_decay)
        seen = _packed(model, train)
        judged = None if held is None else _packed(model, held.part(slice(HELD)))
    return TableTraining(model, seen, judged, made, random, options, Masters(model)).run(callback)


def measure_table(model: TableFlow, data: Any, validation: Any, weights: Any, seed: int, **what: bool) -> History:
    """Measure a new model on the rows that a fit would train on, and score those that it would hold out; nothing is trained.

    Args:
        model: The model.
        data: As for `fit`.
        validation: As for `fit`.
        weights: As for `fit`.
        seed: As for `fit`.
        what: What columns may have of the data, ``correlated`` and ``classes``.
    """
    train, held = _parted(model, data, validation, weights, True, Randomness(model, seed))
    assert held is not None
    model.model.measure(train.x, train.weights, train.context, **what)
    model.remember(data)
    loss = held_out(model, _packed(model, held.part(slice(HELD))))
    return History(start=loss, best_loss=loss, monitored="validation")


def _parted(model: TableFlow, data: Any, validation: Any, weights: Any, fresh: bool, random: Randomness) -> tuple[Rows, Rows | None]:
    """Return coded rows to train on and rows held out."""
    coded, bounds = model.encode_all(data, fitted=not fresh)
    heavy = None if weights is None else of_rows("fit", weights, len(coded))
    share = float(validation) if isinstance(validation, numbers.Real) and not isinstance(validation, bool) else None
    if isinstance(validation, bool | str) or (share is not None and not 0 < share < 1):
        raise ValueError(f"fit: expected validation to be a share between 0 and 1, a table or None, got {validation!r}")
    held = None if share is not None or validation is None else Rows(*model.encode_all(validation, fitted=not fresh))
    # The bounds of cells that are known between them alone go with the rows.
    train = Rows(coded, bounds, heavy)
    if heavy is not None:
        train = train.take((heavy > 0).nonzero().squeeze(-1))
    if share is not None:
        train, held = apart("fit", train, share, random.rows)
    if not len(train) or (held is not None and not len(held)):
        raise ValueError("fit: expected rows, got none")
    return train, held


def _packed(model: TableFlow, rows: Rows) -> Rows:
    """Return coded rows as events in one tensor, block by block, since events take several times the memory of rows."""
    some = model.model.events(*_of(rows, slice(0, 0))).packed()
    packed = some.new_empty(len(rows), some.shape[1])
    for at in range(0, len(rows), BLOCK):
        part = slice(at, at + BLOCK)
        packed[part] = model.model.events(*_of(rows, part)).packed()
    return Rows(packed, None, rows.weights)


def _of(rows: Rows, part: slice) -> tuple[Tensor, Tensor | None]:
    """Return some coded rows, and what else is known of their cells."""
    return rows.x[part], None if rows.context is None else rows.context[part]
