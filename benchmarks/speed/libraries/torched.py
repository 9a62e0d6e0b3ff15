"""What all torch libraries share: a built work, and the actions that are measured on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..works import Work, data, job_rows


class CannotError(Exception):
    """A library cannot build a work, or cannot do an action; the message is the reason that the page prints."""


def nothing() -> None:
    """Do nothing."""


@dataclass
class Built:
    """A work as a library has it.

    Args:
        modules: Hold all parameters.
        log_prob: ``(x, context)`` to ``(rows,)``.
        sample: ``(rows, context)`` to values, with gradients unless it is called without.
        draw: ``(rows, context)`` to values and log-density in one pass, or None.
        after: Called after each step and each sample: caches that would hand back an old answer are emptied.
        loss: Instead of the negative mean log-density.
        note: How it differs from what the work states.
    """

    modules: Sequence[nn.Module]
    log_prob: Callable[[Tensor, Tensor | None], Tensor]
    sample: Callable[[int, Tensor | None], Tensor]
    draw: Callable[[int, Tensor | None], tuple[Tensor, Tensor]] | None = None
    after: Callable[[], None] = nothing
    loss: Callable[[Tensor, Tensor | None], Tensor] | None = None
    note: str = ""

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in self.modules for p in module.parameters() if p.requires_grad]


def refuse(reason: str) -> Callable[..., Any]:
    """Return an action that a library does not have."""

    def action(*_: Any) -> Any:
        raise CannotError(reason)

    return action


class Actions:
    """The measured actions of a torch library on one work."""

    def __init__(self, work: Work, built: Built, compiled: bool = False) -> None:
        rows, context = data(work)
        self.work, self.built = work, built
        self.x = torch.from_numpy(rows)
        self.c = None if context is None else torch.from_numpy(context)
        self.count = sum(p.numel() for p in built.parameters())
        self.note = built.note
        # One fused update for all parameters is the fastest that torch has, for every library.
        self.optimizer = torch.optim.Adam(built.parameters(), lr=work.rate, fused=True)
        self.loss = torch.compile(self._loss) if compiled else self._loss
        self.fresh = np.random.default_rng(1)

    def _loss(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self.built.loss(x, c) if self.built.loss else -self.built.log_prob(x, c).mean()

    def prepare(self, name: str) -> None:
        """Do nothing: only JAX compiles before it runs."""

    def resize(self, rows: int) -> None:
        """Use another number of rows."""
        self.x = self.x[torch.arange(rows) % len(self.x)]

    def train(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.x, self.c)
        loss.backward()
        self.optimizer.step()
        self.built.after()
        return loss.detach()

    def new_batch(self) -> None:
        """Draw the next batch of FlowTorch's tutorial, which never shows a row twice; the same ones for all libraries."""
        self.x = torch.from_numpy(job_rows(self.fresh, self.work.batch))

    def log_prob(self) -> None:
        with torch.no_grad():
            self.built.log_prob(self.x, self.c)
        self.built.after()

    def sample(self) -> None:
        with torch.no_grad():
            self.built.sample(len(self.x), self.c)
        self.built.after()

    def draw(self) -> None:
        if self.built.draw is None:
            raise CannotError("no sampling and scoring in one pass")
        y, score = self.built.draw(len(self.x), self.c)
        self._backward((score + 0.5 * y.square().sum(-1)).mean())

    def score_grad(self) -> None:
        self._backward(self._loss(self.x, self.c))

    def sample_grad(self) -> None:
        y = self.built.sample(len(self.x), self.c)
        if not y.requires_grad:
            raise CannotError("its samples carry no gradient")
        self._backward(0.5 * y.square().mean())

    def _backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.built.after()


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Return the plain network: linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
