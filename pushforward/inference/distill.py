"""distill: a flow fitted to another one, from its draws, its densities, or both."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pushforward.core import sets
from pushforward.data.rows import SAMPLE, Rows
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import measured
from pushforward.inference.density import Density, make_density
from pushforward.inference.divergences import Divergence
from pushforward.train import options as check
from pushforward.train.adam import Stepper
from pushforward.train.history import History
from pushforward.train.likelihood import data_precision
from pushforward.train.loop import Loop, Options, as_it_was, check_batch, check_flow, check_trainable, make_optimizer
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness

DIVERGENCES = ("forward_kl", "reverse_kl", "both")
EPOCH = 50
"""Steps after which the student is scored."""
EVALUATE = 4096
"""Draws that are scored together."""
TEACHER, HELD = 2**30, 2**31
"""Distances from the seed, of the seeds of what the teacher draws and of what scores: of one, torch takes 32 bits on the CPU."""

Measured = tuple[float, float]
"""A divergence and its standard error, in nats."""


@dataclass(repr=False)
class DistillHistory(History):
    r"""What happened while one flow was fitted to another: a `History` whose epochs are 50 steps, and whose losses are divergences.

    The loss is the divergence that was asked for, of both their sum. Divergences are ``(value, standard error)`` by the epoch after which
    they were taken, on the same draws each time: 0 for the start, all epochs for what was asked for, and both for the weights kept.

    Args:
        forward_kl: :math:`KL(teacher \| student)`, over held-out draws of the teacher.
        reverse_kl: :math:`KL(student \| teacher)`, over draws of the student.
        invalid_rows: Draws left out, of either flow, where a density was not a number, or in steps not finite.

    >>> history = DistillHistory(train=[0.2], best_epoch=1, best_loss=0.1, monitored="validation", forward_kl={1: (0.1, 0.02)})
    >>> history
    DistillHistory(epochs=1, best validation loss 0.1 nats after epoch 1, stopped by steps, forward KL 0.1 +- 0.02)
    """

    forward_kl: dict[int, Measured] = field(default_factory=dict)
    reverse_kl: dict[int, Measured] = field(default_factory=dict)
    invalid_rows: int = 0
    stopped: str = "steps"

    def trim(self) -> None:
        super().trim()
        whole = len(self.seconds)
        for found in (self.forward_kl, self.reverse_kl):
            for epoch in [epoch for epoch in found if epoch > whole]:
                del found[epoch]

    def __repr__(self) -> str:
        kept = [(name, found[self.best_epoch]) for name, found in self._named() if self.best_epoch in found]
        told = "".join(f", {name} KL {value:.4g} +- {error:.2g}" for name, (value, error) in kept)
        return f"Distill{super().__repr__()[:-1]}{told})"

    def _named(self) -> tuple[tuple[str, dict[int, Measured]], ...]:
        return ("forward", self.forward_kl), ("reverse", self.reverse_kl)


def distill(
    teacher: Flow,
    student: Flow,
    context: Tensor | None = None,
    *,
    divergence: str = "forward_kl",
    draws: int = 20_000,
    steps: int = 2000,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    schedule: str | None = "cosine",
    patience: int | None = None,
    clip: float | None = 5.0,
    validation: int = 2048,
    standardize: bool | None = None,
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> DistillHistory:
    r"""Fit a flow to another one, so that what is slow in the first takes one pass: a coupling for a continuous or an autoregressive flow.

    The student is measured by draws of the teacher (location and scale), trained, and left with the weights whose divergence on
    held-out draws is least. The history tells both divergences with standard errors, in nats: what the student loses. The teacher is not
    changed.
    Sources: Parallel WaveNet: Fast High-Fidelity Speech Synthesis (van den Oord et al., 2018); Normalizing Flows for Probabilistic Modeling
    and Inference (Papamakarios et al., 2021); the gradient of the reverse divergence: Gradients Should Stay on Path (Vaitl et al., 2022).

    Args:
        teacher: The flow to follow.
        student: The flow to fit, in place: of the same shapes, support and device; it may be of another precision.
        context: For conditional flows rows ``(m, *context)``, of the student's precision, for which the student is to hold.
        divergence: ``"forward_kl"``, :math:`KL(teacher \| student)`, maximum likelihood on draws of the teacher: it takes any student, and
            covers all that the teacher draws. ``"reverse_kl"``, :math:`KL(student \| teacher)`, from draws of the student that the teacher
            scores in every step, with its gradient, by the path estimator: without noise once the student is right, but it may lose
            modes. ``"both"``: their sum.
        draws: Draws of the teacher to train on, once made and passed over again. As many as steps times ``batch_size`` are seen once.
        steps: Steps to take.
        batch_size: Draws in a step, of each flow that draws in it.
        learning_rate: Learning rate of AdamW in the first step.
        schedule: ``"cosine"`` takes it to 0, ``"plateau"`` halves it after 400 steps without improvement.
        patience: Epochs of 50 steps without improvement after which to stop (None: never).
        clip: Largest norm of a step's gradient (None: no limit).
        validation: Draws of each flow that score the student.
        standardize: Measure location and scale by draws of the teacher; None: only if the student has not met data before.
        optimizer: A function from parameters to an optimiser, instead of AdamW.
        seed: Seed of all draws; the user's random numbers are not touched.
        progress: Show losses on stderr.
        callback: Called with the history every 50 steps; training ends when it returns True.

    Raises:
        ValueError: An option out of range; flows of different shapes, supports or devices; a teacher of whose draws fewer than half are
            numbers; before the first step, with the student as it was.
        TypeError: A flow, the context, the optimiser or the callback is none.
        FloatingPointError: No step of an epoch was finite; the student is left with its best weights.

    >>> from pushforward.flows import MAF, RealNVP
    >>> history = distill(MAF(2), RealNVP(2), draws=500, steps=50, validation=100, progress=False)
    >>> len(history.train), sorted(history.forward_kl), history.stopped
    (1, [0, 1], 'steps')
    """
    check.choice("distill", "divergence", divergence, DIVERGENCES)
    told = (("draws", draws, 2), ("steps", steps, 1), ("batch_size", batch_size, 2), ("validation", validation, 2))
    draws, steps, batch_size, validation = (check.whole("distill", name, value, least) for name, value, least in told)
    check.choice("distill", "standardize", standardize, (True, False, None))
    check.seed("distill", seed)
    check.function("distill", "optimizer", optimizer)
    check.function("distill", "callback", callback)
    epochs = -(-steps // EPOCH)
    options = Options(epochs, batch_size, learning_rate, schedule, patience, clip, 0.0, False, None, progress, owner="distill")
    _check_pair(teacher, student, context, divergence)
    fixed = copy.deepcopy(teacher).requires_grad_(False).eval()
    to = data_precision(fixed)

    def log_density(x: Tensor, *given: Tensor) -> Tensor:
        return fixed.log_prob(x.to(to), *(each.to(to) for each in given))

    density = make_density("distill", student, log_density, context)
    history = DistillHistory(monitored="validation", objective=divergence)
    place = student.device, data_precision(student)
    pool, _ = _drawn(fixed, density, draws, seed + TEACHER, history, place)
    held, log_p = _drawn(fixed, density.of_some(validation), validation, seed + TEACHER + HELD, history, place)
    with ExitStack() as stack:
        with as_it_was(student):
            if standardize or (standardize is None and not measured(student)):
                some = pool.part(slice(SAMPLE))
                student.standardize(some.x, some.context)
            if student.columns is None:
                student.columns, student.context_columns = teacher.columns, teacher.context_columns
                student.schema = teacher.schema
            masters = stack.enter_context(Masters(student))
            made = make_optimizer("distill", student, optimizer, learning_rate)
            training = Distilling(density.to(student.dtype), pool, held, log_p, steps, seed, made, options, masters, history)
        training.run(callback)
    if history.invalid_rows:
        warnings.warn(f"distill: left out {history.invalid_rows} draws whose density was not finite, or its gradient", stacklevel=2)
    return history


class Distilling(Loop):
    """One run of distillation.

    Args:
        density: The teacher's log-density beside the student.
        pool: Draws of the teacher to train on.
        held: Draws of it that score.
        log_p: Their log-densities, ``(n,)``.
        steps: Steps to take.
        seed: The seed.
        optimizer: The optimiser.
        options: Those of the loop.
        masters: The student's tensors of a half format.
        history: What is written on.
    """

    flow: Flow

    def __init__(
        self,
        density: Density,
        pool: Rows,
        held: Rows,
        log_p: Tensor,
        steps: int,
        seed: int,
        optimizer: Stepper,
        options: Options,
        masters: Masters,
        history: DistillHistory,
    ) -> None:
        super().__init__(density.flow, optimizer, options, history, Randomness(density.flow, seed), masters)
        self.found, self.density, self.held, self.log_p, self.total, self.seed = history, density, held, log_p, steps, seed
        self.scored = density.of_some(len(log_p))
        self.loss = NegativeLogLikelihood(density.flow)
        self.path = Divergence(0.0, "path")
        self.forward, self.reverse = (history.objective in (name, "both") for name in ("forward_kl", "reverse_kl"))
        self.batches = self._passes(pool)

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        size = self.options.batch_size
        for _ in range(EPOCH * (epoch - 1), min(EPOCH * epoch, self.total)):
            objective, noted = torch.zeros((), device=self.flow.device), torch.zeros((), device=self.flow.device)
            if self.forward:
                rows = next(self.batches)
                with self.random.layers():
                    self.flow.update(rows.x, rows.context)
                    loss = self.loss(rows.x, rows.context)
                objective, noted = objective + loss, noted + loss.detach() + self.mean_log_p
            if self.reverse:
                alone = self.density.contexts == 1
                index = torch.arange(size) if alone else torch.randint(self.density.contexts, (size,), generator=self.random.rows)
                reverse, log_weights, counted = self.path.objective(self.density, index, 1.0, self.random)
                self.found.invalid_rows += size - int(counted.sum())
                objective, noted = objective + reverse, noted - log_weights[counted].mean()
            yield objective, noted, size

    @property
    def mean_log_p(self) -> float:
        """The teacher's mean log-density of its own draws, which turns the student's loss into a divergence."""
        return float(self.log_p.mean())

    def evaluate(self) -> float:
        epoch, total = len(self.history.train), 0.0
        if self.forward:
            self.found.forward_kl[epoch] = self._forward()
            total += self.found.forward_kl[epoch][0]
        if self.reverse:
            self.found.reverse_kl[epoch] = self._reverse()
            total += self.found.reverse_kl[epoch][0]
        return total

    def run(self, callback: Callable[[History], object] | None) -> History:
        history, mode = super().run(callback), self.flow.training
        kept = history.best_epoch
        try:
            with self.masters.rounded():
                if not history.interrupted and kept not in self.found.forward_kl:
                    self.found.forward_kl[kept] = self._forward()
                if not history.interrupted and kept not in self.found.reverse_kl:
                    self.found.reverse_kl[kept] = self._reverse()
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            self.flow.train(mode)
        return history

    @torch.no_grad()
    def _forward(self) -> Measured:
        self.flow.eval()
        with self.random.layers():
            log_q = torch.cat([self.flow.log_prob(rows.x, rows.context) for rows in self.held.batches(EVALUATE)])
        return _mean(self.log_p - log_q.double())

    def _reverse(self) -> Measured:
        log_weights = self.scored.weigh(len(self.log_p), EVALUATE, self.seed + HELD)[1]
        return _mean(-log_weights[~torch.isnan(log_weights)])

    def _passes(self, pool: Rows) -> Iterator[Rows]:
        """Give batches for ever, in another order each time."""
        while True:
            yield from pool.batches(self.options.batch_size, self.random.rows)


def _mean(values: Tensor) -> Measured:
    """Return the mean of values ``(n,)`` and its standard error."""
    if not len(values):
        return math.nan, math.nan
    return values.mean().item(), values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _drawn(
    teacher: Flow, density: Density, count: int, seed: int, history: DistillHistory, place: tuple[torch.device, torch.dtype]
) -> tuple[Rows, Tensor]:
    """Draw rows of the teacher that are numbers, for contexts in turn; return them as the student takes them, and their log-densities."""
    contexts = density.of_some(count).context
    given = None if contexts is None else contexts.to(data_precision(teacher))
    x, minus = Density("distill", teacher, lambda x, *_: x.new_zeros(len(x)), given).weigh(count, EVALUATE, seed)
    good = torch.isfinite(minus) & torch.isfinite(x.reshape(count, -1)).all(1)
    if int(good.sum()) < max(2, count // 2):
        raise ValueError(
            f"distill: expected a teacher whose draws and their densities are finite, got {int(good.sum())} of {count} that are"
        )
    history.invalid_rows += count - int(good.sum())
    chosen = good.nonzero().squeeze(-1)
    rows = Rows(x[chosen], None if contexts is None else contexts[chosen % len(contexts)])
    return rows.map(lambda t: t.to(*place)), -minus[good]


def _check_pair(teacher: Any, student: Any, context: Any, divergence: str) -> None:
    """Raise TypeError or ValueError unless one flow can follow the other."""
    check_flow("distill: teacher", teacher)
    check_batch("distill: teacher", teacher)
    check_trainable("distill: student", student)
    for name in ("event_shape", "context_shape"):
        one, other = (getattr(flow, name) for flow in (teacher, student))
        if one != other:
            shown = [shape if shape is None else tuple(shape) for shape in (one, other)]
            raise ValueError(f"distill: expected flows of one {name}, got {shown[0]} of the teacher and {shown[1]} of the student")
    if not sets.same(teacher.support, student.support):
        raise ValueError(
            f"distill: expected flows of one support, got {sets.name(teacher.support)} of the teacher and {sets.name(student.support)} of "
            "the student; give the student the other's (support= of the named flows, or a Domain layer)"
        )
    if teacher.device != student.device:
        raise ValueError(f"distill: expected flows on one device, got the teacher on {teacher.device}, the student on {student.device}")
    if student.context_shape is not None and context is None:
        size = ", ".join(map(str, student.context_shape))
        raise ValueError(f"distill: expected a context of shape (rows, {size}), since the flows are conditional, got none")
    if divergence != "forward_kl" and not student.has_rsample:
        raise ValueError(
            f"distill: expected a student whose samples carry gradients for divergence={divergence!r}, got the base {student.base.plan!r}; "
            "take divergence='forward_kl'"
        )
