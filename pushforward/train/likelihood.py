"""Maximum likelihood as a training loop: steps over rows, and the loss of held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from pushforward.data.rows import Rows, Stream
from pushforward.flow.flow import Flow
from pushforward.train.adam import Stepper
from pushforward.train.exactness import LOOKED_AT, exactness
from pushforward.train.history import History
from pushforward.train.loop import Loop, Options
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.precision import HALF, Masters
from pushforward.train.randomness import Randomness

EVALUATE = 4096
"""Held-out rows that are scored together."""
STEPS = 10
"""Steps of an epoch at least, so that patience and schedule count alike for all sizes: few rows come in smaller batches, or again."""
FEWEST = 64
"""Rows to which batches of few rows shrink for that."""


class Training(Loop):
    """One run of maximum likelihood."""

    advice = "Try a smaller learning_rate, flow.double(), or data without extreme values"
    flow: Flow

    def __init__(
        self,
        flow: Flow,
        train: Rows | Stream,
        held: Rows | Stream | None,
        optimizer: Stepper,
        random: Randomness,
        options: Options,
        masters: Masters,
    ) -> None:
        super().__init__(flow, optimizer, options, History(monitored="training" if held is None else "validation"), random, masters)
        self.train, self.held, self.judges = train, held, held
        self.loss = self.make_loss()
        self.scale = _mean_weight(train)
        self.place = flow.device, data_precision(flow)

    fewest: int | None = FEWEST
    """Rows to which batches may shrink so that one pass makes `STEPS` steps, if any are held out: the training loss gains nothing by it."""
    together: int | None = None
    """Rows that the held-out loss looks at together; None: `EVALUATE`."""

    def make_loss(self) -> nn.Module:
        """Return the loss as a module."""
        loss: nn.Module = NegativeLogLikelihood(self.flow)
        if not self.options.compile:
            return loss
        # The loss with its gradient is the whole step but for the optimiser's update, which is one call already.
        compiled: nn.Module = torch.compile(loss, mode=None if self.options.compile is True else self.options.compile)  # type: ignore[assignment]
        return compiled

    def score(self, rows: Rows) -> Tensor:
        """Return the loss of rows, the sum over them times their weights divided by their number."""
        loss: Tensor = self.loss(rows.x, rows.context, rows.weights)
        return loss

    def judgement(self, history: History) -> float:
        """Return what short fits are compared by, in nats, after one has run."""
        return history.best_loss

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        for rows in passes_of(self.train, self.options.batch_size, self.random.rows, None if self.held is None else self.fewest):
            rows = self._placed(rows)
            with self._layers():
                seen = rows if rows.weights is None else rows.typical(self.random.rows)
                self.flow.update(seen.x, seen.context)
            with self._layers(), self._precision():
                loss = self.score(rows) / self.scale
            yield loss, loss, len(rows)

    @torch.no_grad()
    def evaluate(self) -> float:
        assert self.held is not None
        self.flow.eval()
        return self.mean_over(self.held, self.score)

    def state_exactness(self) -> None:
        """Note how exact the kept weights of a continuous flow are, on the first of the rows held out."""
        if not isinstance(self.judges, Rows) or self.history.interrupted:
            return
        rows, mode = self._placed(self.judges.part(slice(LOOKED_AT))), self.flow.training
        self.flow.eval()
        try:
            with self.masters.rounded(), self.random.layers():
                found = exactness(self.flow, rows.x, rows.context)
            self.history.error, self.history.evaluations = found or (math.nan, math.nan)
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
        finally:
            self.flow.train(mode)

    def mean_over(self, held: Rows | Stream, score: Callable[[Rows], Tensor]) -> float:
        """Return the mean of a loss over rows, by their weights."""
        total, weight = 0.0, 0.0
        for rows in held.batches(self.together or EVALUATE):
            rows = self._placed(rows)
            heavy = float(len(rows)) if rows.weights is None else rows.weights.double().sum().item()
            with self._layers():
                total += score(rows).item() * len(rows)
            weight += heavy
        return total / weight

    def _layers(self) -> AbstractContextManager[object]:
        # What is compiled cannot be told where to draw from.
        return nullcontext() if self.options.compile else self.random.layers()

    def _precision(self) -> AbstractContextManager[object]:
        """Return the context in which networks compute in the precision asked for; kernels and densities stay in float32."""
        if self.options.precision is None:
            return nullcontext()
        return torch.autocast(self.flow.device.type, getattr(torch, self.options.precision))

    def _placed(self, rows: Rows) -> Rows:
        return rows.map(lambda t: t.to(*self.place))


def passes_of(train: Rows | Stream, size: int, generator: torch.Generator, fewest: int | None = None) -> Iterator[Rows]:
    """Give the batches of one epoch: of one pass over the rows, or of as many as make `STEPS` steps.

    Args:
        train: The rows.
        size: Rows of a batch.
        generator: What they are shuffled by.
        fewest: Rows to which batches shrink first, so that fewer passes do (None: they keep their size).
    """
    size, passes = (size, 1) if isinstance(train, Stream) else epoch_of(len(train), size, fewest)
    for _ in range(passes):
        yield from train.batches(size, generator)


def epoch_of(rows: int, size: int, fewest: int | None) -> tuple[int, int]:
    """Return the rows of a batch and the passes of an epoch, as in `passes_of`."""
    size = size if fewest is None else min(size, max(fewest, -(-rows // STEPS)))
    return size, -(-STEPS // -(-rows // size))


def data_precision(flow: Flow) -> torch.dtype:
    """Return the precision in which a flow takes data: its own, or float32 for the half formats."""
    return torch.float32 if flow.dtype in HALF else flow.dtype


def _mean_weight(rows: Rows | Stream) -> float:
    return 1.0 if isinstance(rows, Stream) or rows.weights is None else rows.weights.double().mean().item()
