"""Once: a score that was computed together with its value is used again, as long as it still holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.core import mode


class Once:
    """A value, what was computed together with it, and a copy of all that this depends on.

    Sampling a flow scores it on the way. `score` gives that score for the very tensor that was kept, and only while nothing has changed:
    the numbers of the value, of parameters, buffers and context, what requires a gradient, and whether gradients are recorded. For
    everything else it gives None, and the caller computes afresh. Copies are compared, not version counters: optimisers that write
    through ``parameter.data``, as Pyro's ClippedAdam does, leave the counters as they are.

    Args:
        module: The module whose parameters and buffers the score depends on.
        inputs: Further tensors that it depends on.
    """

    def __init__(self, module: nn.Module, *inputs: Tensor | None) -> None:
        self.module, self.inputs = module, [t for t in inputs if t is not None]
        self.value: Tensor | None = None
        self.found: Tensor | None = None
        self.copies: list[Tensor] = []
        self.ways: list[bool] = []

    def keep(self, value: Tensor, found: Tensor) -> None:
        """Keep a value with its score; under function transforms, which let no tensor be looked at, nothing is kept."""
        if mode.transformed():
            self.value = self.found = None
            return
        self.value, self.found = value, found
        tensors = self._tensors(value)
        self.ways = self._ways(tensors)
        # While torch.jit records, no parameter changes, and a comparison would become a part of the record.
        self.copies = [] if _recording() else [t.detach().clone() for t in tensors]

    def score(self, value: Tensor) -> Tensor | None:
        """Return the score that was kept with this value, or None if there is none that holds."""
        if value is not self.value or mode.transformed():
            return None
        tensors = self._tensors(value)
        if self.ways != self._ways(tensors):
            return None
        same = _recording() if not self.copies else all(map(_equal, self.copies, tensors))
        return self.found if same else None

    def _tensors(self, value: Tensor) -> list[Tensor]:
        return [value, *self.inputs, *self.module.parameters(), *self.module.buffers()]

    def _ways(self, tensors: list[Tensor]) -> list[bool]:
        return [torch.is_grad_enabled(), _recording(), self.module.training, *(t.requires_grad for t in tensors)]

    def __getstate__(self) -> dict[str, object]:
        # Copies and pickles of a distribution are of the distribution: tensors of a graph can be neither copied nor pickled.
        return vars(self) | {"value": None, "found": None, "copies": []}


def _recording() -> bool:
    return mode.tracing()


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
