"""Random numbers of a fit: all from its seed, none from the global state, whatever other threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from pushforward.bases.wrapped import WrappedModule
from pushforward.core.draws import Drawing
from pushforward.flow.flow import Flow
from pushforward.tables.table_flow import TableFlow
from pushforward.train.adam import Stepper

KNOWN = tuple(f"torch.nn.modules.{name}" for name in ("activation", "batchnorm", "container", "conv", "flatten", "linear", "normalization"))
"""Where the modules of torch are that draw nothing, but for those of `DRAWING`."""
DRAWING = (nn.RReLU, nn.MultiheadAttention, WrappedModule)
"""Modules that draw from torch's global state and from nothing else."""


class Randomness:
    """The random numbers of one fit.

    Args:
        flow: The flow that is fitted.
        seed: The seed.
    """

    def __init__(self, flow: Flow | TableFlow, seed: int) -> None:
        self.mode, self._quiet = Drawing(int(seed)), False
        self.foreign = any(map(_may_draw, flow.modules()))
        #: For draws of the flow; None where its base takes no generator, so that `layers` gives it its numbers.
        self.generator = None if self.foreign else torch.Generator(flow.device).manual_seed(int(seed))
        #: For what is drawn beside the flow: splits, orders, indices.
        self.rows = torch.Generator().manual_seed(int(seed))

    def layers(self) -> AbstractContextManager[object]:
        """Return the block in which the flow is called: in it, layers that are not of this library draw from the seed."""
        return self.mode if self.foreign else nullcontext()

    def stepping(self, optimizer: Stepper) -> AbstractContextManager[object]:
        """Return the block in which an optimiser steps."""
        return nullcontext() if type(optimizer).__module__.startswith(("torch.optim.", "pushforward.")) else self.mode

    def given(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Give what a loader gives, in an order from the seed."""
        with self.mode:
            items = iter(loader)
        while True:
            with self.mode:
                item = next(items, self)
            if item is self:
                return
            yield item

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a user's function gives, whose draws are from the seed; one that draws does so from its first call on."""
        if self._quiet:
            return function(*arguments)
        before = self.mode.count
        with self.mode:
            value = function(*arguments)
        # The block would cost a function of few numbers as much again as its own work.
        self._quiet = self.mode.count == before
        return value


def _may_draw(module: nn.Module) -> bool:
    """Tell whether a module may draw from torch's global state: one of a kind that is not known may."""
    kind = type(module)
    return isinstance(module, DRAWING) or not (kind.__module__ in KNOWN or kind.__module__.startswith("pushforward."))
