"""The training loop: steps, the held-out loss, the best weights, and when to stop; what a step is, each kind of fit says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from pushforward.flow import Flow
from pushforward.train.history import History

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

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least) and not (name == "patience" and value is None):
                raise ValueError(f"{self.owner}: expected {name} to be a whole number of at least {least}, got {value!r}")
        for name in ("learning_rate", "clip", "weight_decay"):
            value = getattr(self, name)
            good = isinstance(value, int | float) and math.isfinite(value) and (value > 0 or (name == "weight_decay" and value == 0))
            if not good and not (name == "clip" and value is None):
                raise ValueError(f"{self.owner}: expected {name} to be a finite number above 0, got {value!r}")
        if self.schedule not in ("plateau", "cosine", None):
            raise ValueError(f"{self.owner}: expected schedule to be 'plateau', 'cosine' or None, got {self.schedule!r}")
        if not isinstance(self.compile, bool) and self.compile not in MODES:
            raise ValueError(f"{self.owner}: expected compile to be True, False or one of {', '.join(MODES)}, got {self.compile!r}")
        if self.precision not in (None, "bfloat16", "float16"):
            raise ValueError(f"{self.owner}: expected precision to be 'bfloat16', 'float16' or None, got {self.precision!r}")


class Loop:
    """One run of a fit; a subclass writes `steps` and, where something is held out, `evaluate`."""

    advice = "Try a smaller learning_rate, or flow.double()"
    """What to do when no loss is finite."""

    def __init__(self, flow: Flow, optimizer: Optimizer, options: Options, history: History) -> None:
        self.flow, self.optimizer, self.options, self.history = flow, optimizer, options, history
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.best = self._weights()

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
        since, factor, waited = 0, 1.0, 0
        try:
            if held:
                history.start = history.best_loss = self.evaluate()
                if not math.isfinite(history.best_loss):
                    history.best_loss = math.inf
            for epoch in range(1, options.epochs + 1):
                began = time.perf_counter()
                if options.schedule == "cosine":
                    factor = 0.5 * (1 + math.cos(math.pi * (epoch - 1) / options.epochs))
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = factor * rate
                history.train.append(self._epoch(epoch))
                if held:
                    history.validation.append(self.evaluate())
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
        for objective, loss, rows in self.steps(epoch):
            self.optimizer.zero_grad()
            objective.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, clip)
            # One look at the device for both.
            value, size = torch.stack([loss.detach().double(), norm.double()]).tolist()
            if math.isfinite(value) and math.isfinite(size):
                self.optimizer.step()
                total, count = total + value * rows, count + rows
            else:
                skipped += 1
        self.history.skipped_steps += skipped
        if not count:
            raise FloatingPointError(
                f"{self.options.owner}: expected finite losses, got none in the {skipped} steps of epoch {epoch}; the flow has its best "
                f"weights so far. {self.advice}"
            )
        return total / count


def check_trainable(owner: str, flow: Flow) -> None:
    """Raise ValueError for a flow without parameters to learn, or with a batch shape."""
    if not any(p.requires_grad for p in flow.parameters()):
        raise ValueError(f"{owner}: expected a flow with parameters that require a gradient, got none")
    check_batch(owner, flow)


def check_batch(owner: str, flow: Flow) -> None:
    """Raise ValueError for a flow with a batch shape."""
    if flow.batch_shape:
        raise ValueError(
            f"{owner}: expected a flow without a batch shape, got {tuple(flow.batch_shape)}; "
            "wrap its base in torch.distributions.Independent"
        )


Optimizing = Callable[[list[nn.Parameter]], Optimizer]


def make_optimizer(flow: Flow, given: Optimizing | None, learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Return the optimiser of a flow's parameters: what the user's function makes, else AdamW."""
    parameters = [p for p in flow.parameters() if p.requires_grad]
    if given is not None:
        return given(parameters)
    fused = flow.device.type in ("cpu", "cuda")  # a step of many small tensors in one call
    return AdamW(parameters, learning_rate, weight_decay=weight_decay, fused=fused)


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the random numbers that layers and loaders draw, and give the user's generators back as they were."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
