"""History: what happened while a flow was fitted."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(repr=False)
class History:
    """What happened while a flow was fitted; losses are mean negative log-densities in nats per row, in the units of the data.

    Those of flow matching are squared errors of a velocity, and ``nats`` has the densities.

    Args:
        train: Loss on the training rows, averaged over each epoch while the weights moved.
        validation: Loss on the held-out rows after each epoch; empty when nothing was held out.
        learning_rate: Learning rate in each epoch.
        seconds: Duration of each epoch.
        start: Loss on the held-out rows before the first step, already standardised, and after the steps of a trial that the fit goes on
            from (``tried``); NaN when nothing was held out.
        best_epoch: The epoch, counted from 1, after which the flow had the weights that were kept; 0 for those it came with.
        best_loss: The loss of these weights, on the rows that ``monitored`` names.
        monitored: ``"validation"`` or ``"training"``: the loss that chose the weights.
        stopped: What ended the fit: ``"patience"``, ``"epochs"``, ``"seconds"``, ``"callback"`` or ``"interrupted"`` (Ctrl-C).
        skipped_steps: Steps left out because the loss or its gradient was not finite.
        tried: Held-out losses of short fits that chose how the data is measured, by the names of the ways; empty where there was no choice.
        averaged: Loss on the held-out rows of averaged weights after each epoch; empty where none were averaged.
        objective: What the loss was: ``"likelihood"``, ``"flow_matching"``, or the name of a divergence.
        nats: For flow matching the mean negative log-density of held-out rows, 4096 at most, by the epoch after which it was taken: 0 for
            the start, the epoch whose weights were kept, and those that were asked for.
        error: Of a continuous flow, the median of the errors that its kept weights state of held-out log-densities, in nats; else NaN.
        evaluations: Of a continuous flow, how often its fields are evaluated to score a held-out row, on average; else NaN.

    >>> History(train=[1.5], validation=[1.25], best_epoch=1, best_loss=1.25, monitored="validation")
    History(epochs=1, best validation loss 1.25 nats after epoch 1, stopped by epochs)
    """

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    start: float = math.nan
    best_epoch: int = 0
    best_loss: float = math.inf
    monitored: str = "training"
    stopped: str = "epochs"
    skipped_steps: int = 0
    tried: dict[str, float] = field(default_factory=dict)
    averaged: list[float] = field(default_factory=list)
    objective: str = "likelihood"
    nats: dict[int, float] = field(default_factory=dict)
    error: float = math.nan
    evaluations: float = math.nan

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the fit."""
        return self.stopped == "interrupted"

    def trim(self) -> None:
        """Forget an epoch that was noted in part, when Ctrl-C came in between."""
        whole = len(self.seconds)  # noted last
        for values in (self.train, self.validation, self.averaged, self.learning_rate):
            del values[whole:]
        self.nats = {epoch: value for epoch, value in self.nats.items() if epoch <= whole}

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as numbers, strings and lists."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        skipped = f", {self.skipped_steps} steps skipped" if self.skipped_steps else ""
        unit = "" if self.objective == "flow_matching" else " nats"
        kept = f" with {self.nats[self.best_epoch]:.6g} nats" if self.best_epoch in self.nats else ""
        return (
            f"History(epochs={len(self.train)}, best {self.monitored} loss {self.best_loss:.6g}{unit} after epoch {self.best_epoch}{kept}, "
            f"stopped by {self.stopped}{skipped})"
        )
