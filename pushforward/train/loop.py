"""The training loop: steps, the held-out loss, the best weights, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from pushforward.flow import Flow
from pushforward.train.history import History
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.rows import Rows, Stream

EVALUATE = 4096
"""Held-out rows that are scored together."""
STEPS = 10
"""Steps of an epoch at least: few rows are passed several times, so that patience and schedule count alike for all sizes."""
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

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least) and not (name == "patience" and value is None):
                raise ValueError(f"fit: expected {name} to be a whole number of at least {least}, got {value!r}")
        for name in ("learning_rate", "clip", "weight_decay"):
            value = getattr(self, name)
            good = isinstance(value, int | float) and math.isfinite(value) and (value > 0 or (name == "weight_decay" and value == 0))
            if not good and not (name == "clip" and value is None):
                raise ValueError(f"fit: expected {name} to be a finite number above 0, got {value!r}")
        if self.schedule not in ("plateau", "cosine", None):
            raise ValueError(f"fit: expected schedule to be 'plateau', 'cosine' or None, got {self.schedule!r}")
        if not isinstance(self.compile, bool) and self.compile not in MODES:
            raise ValueError(f"fit: expected compile to be True, False or one of {', '.join(MODES)}, got {self.compile!r}")
        if self.precision not in (None, "bfloat16", "float16"):
            raise ValueError(f"fit: expected precision to be 'bfloat16', 'float16' or None, got {self.precision!r}")


class Training:
    """One run: steps, held-out loss, the best weights, and when to stop."""

    def __init__(
        self,
        flow: Flow,
        train: Rows | Stream,
        held: Rows | Stream | None,
        optimizer: Optimizer,
        generator: torch.Generator,
        options: Options,
    ) -> None:
        self.flow, self.train, self.held = flow, train, held
        self.optimizer, self.generator, self.options = optimizer, generator, options
        self.loss: nn.Module = NegativeLogLikelihood(flow)
        if options.compile:
            # The loss with its gradient is the whole step but for the optimiser's update, which is one call already.
            self.loss = torch.compile(self.loss, mode=None if options.compile is True else options.compile)  # type: ignore[assignment]
        self.scale = _mean_weight(train)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.history = History(monitored="training" if held is None else "validation")
        self.best = self._weights()

    def run(self, callback: Callable[[History], object] | None) -> History:
        """Train until patience, epochs or the user end it, and leave the flow with its best weights."""
        history, options, mode = self.history, self.options, self.flow.training
        bar = tqdm(total=options.epochs, disable=not options.progress, desc="fit", unit="epoch")
        since, factor, waited = 0, 1.0, 0
        try:
            if self.held is not None:
                history.start = history.best_loss = self._evaluate(self.held)
                if not math.isfinite(history.best_loss):
                    history.best_loss = math.inf
            for epoch in range(1, options.epochs + 1):
                began = time.perf_counter()
                if options.schedule == "cosine":
                    factor = 0.5 * (1 + math.cos(math.pi * (epoch - 1) / options.epochs))
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = factor * rate
                history.train.append(self._epoch(epoch))
                if self.held is not None:
                    history.validation.append(self._evaluate(self.held))
                history.learning_rate.append(self.optimizer.param_groups[0]["lr"])
                history.seconds.append(time.perf_counter() - began)
                loss = (history.validation or history.train)[-1]
                since, waited = since + 1, waited + 1
                if loss < history.best_loss:
                    self.best = self._weights()
                    history.best_loss, history.best_epoch, since, waited = loss, epoch, 0, 0
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
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            history.trim()
        finally:
            self.flow.load_state_dict(self.best)
            self.flow.train(mode)
            self.optimizer.zero_grad(set_to_none=True)
            bar.close()
        return history

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.flow.state_dict().items()}

    def _epoch(self, epoch: int) -> float:
        """Take the steps of one epoch and return the mean loss."""
        self.flow.train()
        clip = self.options.clip or math.inf
        total, count, skipped = 0.0, 0, 0
        for rows in self._batches():
            rows = self._placed(rows)
            self.flow.update(rows.x, rows.context)
            with self._precision():
                loss = self.loss(rows.x, rows.context, rows.weights) / self.scale
            self.optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, clip)
            # One look at the device for both.
            value, size = torch.stack([loss.detach().double(), norm.double()]).tolist()
            if math.isfinite(value) and math.isfinite(size):
                self.optimizer.step()
                total, count = total + value * len(rows), count + len(rows)
            else:
                skipped += 1
        self.history.skipped_steps += skipped
        if not count:
            raise FloatingPointError(
                f"fit: expected finite losses, got none in the {skipped} steps of epoch {epoch}; the flow has its best weights so far. "
                "Try a smaller learning_rate, flow.double(), or data without extreme values"
            )
        return total / count

    def _precision(self) -> AbstractContextManager[object]:
        """Return the context in which networks compute in the precision asked for; kernels and densities stay in float32."""
        if self.options.precision is None:
            return nullcontext()
        return torch.autocast(self.flow.device.type, getattr(torch, self.options.precision))

    def _batches(self) -> Iterator[Rows]:
        """Give the batches of one epoch: of one pass over the rows, or of as many as make `STEPS` steps."""
        size = self.options.batch_size
        passes = 1 if isinstance(self.train, Stream) else -(-STEPS // -(-len(self.train) // size))
        for _ in range(passes):
            yield from self.train.batches(size, self.generator)

    @torch.no_grad()
    def _evaluate(self, source: Rows | Stream) -> float:
        self.flow.eval()
        total, weight = 0.0, 0.0
        for rows in source.batches(EVALUATE):
            rows = self._placed(rows)
            heavy = float(len(rows)) if rows.weights is None else rows.weights.double().sum().item()
            total += self.loss(rows.x, rows.context, rows.weights).item() * len(rows)
            weight += heavy
        return total / weight

    def _placed(self, rows: Rows) -> Rows:
        return rows.map(lambda t: t.to(self.flow.device, data_precision(self.flow)))


def data_precision(flow: Flow) -> torch.dtype:
    """Return the precision in which a flow takes data: its own, or float32 for the half formats."""
    return torch.float32 if flow.dtype in (torch.float16, torch.bfloat16) else flow.dtype


def _mean_weight(rows: Rows | Stream) -> float:
    return 1.0 if isinstance(rows, Stream) or rows.weights is None else rows.weights.double().mean().item()
