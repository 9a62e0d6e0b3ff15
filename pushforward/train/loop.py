"""The training loop: steps, the held-out loss, the best weights, and when to stop; what a step is, each kind of fit says."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from pushforward.flow.flow import Flow
from pushforward.tables.table_flow import TableFlow
from pushforward.train import options as check
from pushforward.train.adam import AdamW, Stepper
from pushforward.train.averaging import Averages
from pushforward.train.history import History
from pushforward.train.limit import Limit
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness

PLATEAU = 8
"""Epochs without improvement after which the plateau schedule halves the learning rate."""


MODES = ("default", "reduce-overhead", "max-autotune")
"""What torch.compile calls its modes; reduce-overhead replays CUDA graphs."""


@dataclass
class Options:
    """What the steps depend on, as in `fit`; checked when made."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str | None
    patience: int | None
    clip: float | None
    weight_decay: float
    compile: bool | str
    precision: str | None
    progress: bool
    owner: str = "fit"
    averaging: float | None = None
    limit: Limit = field(default_factory=lambda: Limit(None))
    warmup: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            setattr(self, name, check.whole(self.owner, name, getattr(self, name), 1, optional=name == "patience"))
        for name in ("learning_rate", "clip", "weight_decay"):
            check.real(self.owner, name, getattr(self, name), zero=name == "weight_decay", optional=name == "clip")
        check.real(self.owner, "averaging", self.averaging, optional=True)
        if self.averaging is not None and self.averaging >= 1:
            raise ValueError(f"{self.owner}: expected averaging to be a number between 0 and 1 or None, got {self.averaging!r}")
        check.choice(self.owner, "schedule", self.schedule, ("plateau", "cosine", None))
        check.choice(self.owner, "compile", self.compile, (True, False, *MODES))
        check.choice(self.owner, "precision", self.precision, ("bfloat16", "float16", None))
        check.choice(self.owner, "progress", self.progress, (True, False))


class Loop:
    """One run of a fit; a subclass writes `steps` and, where something is held out, `evaluate`."""

    advice = "Try a smaller learning_rate, or flow.double()"
    """What to do when no loss is finite."""

    def __init__(
        self, flow: nn.Module, optimizer: Stepper, options: Options, history: History, random: Randomness, masters: Masters
    ) -> None:
        self.masters = masters
        self.flow, self.optimizer, self.options, self.history, self.random = flow, optimizer, options, history, random
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.factor, self.taken = 1.0, 0
        self.best = self._weights()
        # Without held-out rows nobody can tell which of the two is the better.
        judged = options.averaging is not None and history.monitored == "validation"
        self.averages = Averages(self.parameters, options.averaging) if judged and options.averaging is not None else None

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Give for each step of an epoch what to differentiate, the loss to note, and the number of its rows."""
        raise NotImplementedError

    def evaluate(self) -> float:
        """Return the held-out loss."""
        raise NotImplementedError

    def run(self, callback: Callable[[History], object] | None) -> History:
        """Train until patience, epochs or the user end it, and leave the flow with its best weights."""
        history, options, mode = self.history, self.options, self.flow.training
        held = history.monitored == "validation"
        bar = tqdm(total=options.epochs, disable=not options.progress, desc=options.owner, unit="epoch")
        since, factor, waited, reached = 0, 1.0, 0, math.inf
        try:
            if held:
                history.start = history.best_loss = self._held_out()
                if not math.isfinite(history.best_loss):
                    history.best_loss = math.inf
                reached = history.best_loss
            for epoch in range(1, options.epochs + 1):
                if options.limit.over:
                    history.stopped = "seconds"
                    break
                began = time.perf_counter()
                self._take_rates(self._cosine(epoch) if options.schedule == "cosine" else factor)
                history.train.append(self._epoch(epoch))
                if held:
                    history.validation.append(self._held_out())
                self._score_averages(epoch)
                history.learning_rate.append(self.optimizer.param_groups[0]["lr"])
                history.seconds.append(time.perf_counter() - began)
                loss = (history.validation or history.train)[-1]
                since, waited = since + 1, waited + 1
                if loss < history.best_loss:
                    self._keep(loss, epoch)
                # Patience and schedule are those of the weights themselves: averages change nothing of a fit's course.
                if loss < reached:
                    reached, since, waited = loss, 0, 0
                elif options.schedule == "plateau" and waited >= PLATEAU:
                    factor, waited = factor / 2, 0
                best = f"best {history.best_loss:.4f} at epoch {history.best_epoch}"
                bar.set_postfix_str(f"{history.monitored} loss {loss:.4f}, {best}", refresh=False)
                bar.update()
                if callback is not None and callback(history) is True:
                    history.stopped = "callback"
                    break
                if options.patience is not None and since >= options.patience:
                    history.stopped = "patience"
                    break
                if options.limit.over:
                    history.stopped = "seconds"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            history.trim()
        finally:
            self.flow.load_state_dict(self.best)
            self.flow.train(mode)
            self.optimizer.zero_grad(set_to_none=True)
            bar.close()
        return history

    def _keep(self, loss: float, epoch: int) -> None:
        self.best = self._weights()
        self.history.best_loss, self.history.best_epoch = loss, epoch

    def _score_averages(self, epoch: int) -> None:
        """Score the averages, and keep them where they are the best so far."""
        if self.averages is None:
            return
        with self.averages.lent():
            self.history.averaged.append(self._held_out())
            if self.history.averaged[-1] < self.history.best_loss:
                self._keep(self.history.averaged[-1], epoch)

    def _cosine(self, epoch: int) -> float:
        """Return by how much the learning rate counts: it is 0 when the epochs are over, or the time, whichever comes first."""
        gone = max((epoch - 1) / self.options.epochs, self.options.limit.gone)
        return 0.5 * (1 + math.cos(math.pi * gone))

    def _take_rates(self, factor: float) -> None:
        """Set the learning rates to a share of what they are; the first steps are smaller still, if there is a warm-up."""
        self.factor = factor
        warm = min(1.0, (self.taken + 1) / self.options.warmup) if self.options.warmup else 1.0
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = warm * factor * rate

    def _held_out(self) -> float:
        with self.masters.rounded():
            return self.evaluate()

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.flow.state_dict().items()}

    def _epoch(self, epoch: int) -> float:
        """Take the steps of one epoch, or those for which there is time, and return the mean loss."""
        limit, timed = self.options.limit, self.options.schedule == "cosine" and self.options.limit.seconds is not None
        self.flow.train()
        clip = self.options.clip or math.inf
        total, count, skipped = 0.0, 0, 0
        stepping = self.random.stepping(self.optimizer)
        for objective, loss, rows in self.steps(epoch):
            if timed:  # one epoch may take all of the time
                self._take_rates(self._cosine(epoch))
            elif self.taken <= self.options.warmup:
                self._take_rates(self.factor)
            self.taken += 1
            self.optimizer.zero_grad()
            objective.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, clip)
            # One look at the device for both.
            value, size = torch.stack([loss.detach().double(), norm.double()]).tolist()
            if math.isfinite(value) and math.isfinite(size):
                with stepping:
                    self.optimizer.step()
                if self.averages is not None:
                    self.averages.follow()
                total, count = total + value * rows, count + rows
            else:
                skipped += 1
            if limit.over:
                break
        self.history.skipped_steps += skipped
        if not count and not skipped:
            raise ValueError(
                f"{self.options.owner}: expected rows in every epoch, got none in epoch {epoch}; the flow has its best weights so far"
            )
        if not count:
            raise FloatingPointError(
                f"{self.options.owner}: expected finite losses, got none in the {skipped} steps of epoch {epoch}; the flow has its best "
                f"weights so far. {self.advice}"
            )
        return total / count


def check_trainable(owner: str, flow: Flow) -> None:
    """Raise TypeError for what is no flow, ValueError for one without parameters to learn, or with a batch shape."""
    check_flow(owner, flow)
    if not any(p.requires_grad for p in flow.parameters()):
        raise ValueError(f"{owner}: expected a flow with parameters that require a gradient, got none")
    check_batch(owner, flow)


def check_flow(owner: str, flow: Any) -> None:
    """Raise TypeError unless it is a flow whose tensors are there."""
    if not isinstance(flow, Flow):
        hint = "; give the flow itself, and context=" if hasattr(flow, "context") else ""
        raise TypeError(f"{owner}: expected a Flow, got {type(flow).__name__}{hint}")
    if flow.device.type == "meta":
        raise ValueError(f"{owner}: expected a flow on a device that computes, got one on meta; build it without torch.device('meta')")


def check_batch(owner: str, flow: Flow) -> None:
    """Raise ValueError for a flow with a batch shape."""
    if flow.batch_shape:
        raise ValueError(
            f"{owner}: expected a flow without a batch shape, got {tuple(flow.batch_shape)}; "
            "wrap its base in torch.distributions.Independent"
        )


Optimizing = Callable[[list[nn.Parameter]], Optimizer]


def make_optimizer(
    owner: str, flow: Flow | TableFlow, given: Optimizing | None, learning_rate: float, weight_decay: float = 0.0
) -> Stepper:
    """Return the optimiser of a flow's parameters: what the user's function makes, else AdamW."""
    parameters = [p for p in flow.parameters() if p.requires_grad]
    if given is not None:
        made = given(parameters)
        if not isinstance(made, Optimizer):
            raise TypeError(f"{owner}: expected optimizer to return a torch.optim.Optimizer, got {type(made).__name__}")
        _check_optimizer(owner, made, parameters)
        return made
    return AdamW(parameters, learning_rate, weight_decay)


def _check_optimizer(owner: str, made: Optimizer, parameters: list[nn.Parameter]) -> None:
    """Raise TypeError for an optimiser that asks for losses itself, ValueError for one that moves nothing of the flow."""
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise TypeError(
            f"{owner}: expected an optimizer that takes one gradient a step, got {type(made).__name__}, which asks for the loss several "
            "times over; for that write the loop: optimizer.step(closure), with a closure that differentiates and returns the loss"
        )
    ours = {id(parameter) for parameter in parameters}
    if not any(id(parameter) in ours for group in made.param_groups for parameter in group["params"]):
        raise ValueError(
            f"{owner}: expected an optimizer of the parameters that its function is given, got one of others; leave flow.parameters() for "
            "the function's argument, since short trials fit copies of the flow"
        )


@contextmanager
def as_it_was(flow: Flow | TableFlow) -> Iterator[None]:
    """Give the flow back as it was if anything is raised."""
    names = ("plan", "base", "transform", "context_units", "columns", "context_columns") if isinstance(flow, Flow) else ("library", "types")
    kept = {name: getattr(flow, name) for name in names}
    state = {name: value.detach().clone() for name, value in flow.state_dict().items()}
    try:
        yield
    except BaseException:
        for name, value in kept.items():
            setattr(flow, name, value)
        if isinstance(flow, Flow):
            flow._check()
        flow.load_state_dict(state)
        raise
