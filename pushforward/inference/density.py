"""A user's log-density, as the fits call it: what it is given, and what it must give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pushforward.core.checks import check_tensor
from pushforward.flow.flow import Flow
from pushforward.train.loop import check_batch, check_flow
from pushforward.train.randomness import Randomness

LogDensity = Callable[..., Any]


@dataclass(frozen=True)
class Density:
    """An unnormalised log-density beside the flow that is to follow it.

    Args:
        owner: Who asks, for error messages.
        flow: The flow whose draws it is called with.
        function: Takes ``(n, *event)``, and ``(n, *context)`` where there is a context, and returns ``(n,)``.
        context: ``(m, *context)`` for a conditional flow.
    """

    owner: str
    flow: Flow
    function: LogDensity
    context: Tensor | None = None

    def __call__(self, x: Tensor, context: Tensor | None, random: Randomness) -> Tensor:
        """Return the log-density of rows; raise TypeError or ValueError unless it is one number a row."""
        value = random.call(self.function, x) if context is None else random.call(self.function, x, context)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{self.owner}: expected log_density to return a tensor of floating-point numbers, got {got}")
        if value.device != x.device:
            raise ValueError(
                f"{self.owner}: expected log_density to return its numbers on {x.device}, where the flow is, got {value.device}"
            )
        if value.shape != (len(x),):
            raise ValueError(
                f"{self.owner}: expected log_density to return one number for each row, shape ({len(x)},) for values of shape "
                f"{tuple(x.shape)}, got {tuple(value.shape)}; sum over the event, not over the rows"
            )
        return value

    def to(self, dtype: torch.dtype) -> Density:
        """Return the same with contexts in a precision."""
        return self if self.context is None else replace(self, context=self.context.to(dtype))

    def rows(self, index: Tensor) -> tuple[tuple[int, ...], Tensor | None]:
        """Return for a row of each index the sample shape and the contexts to draw with; contexts repeat as often as they must."""
        return ((len(index),), None) if self.context is None else ((), self.context[index.to(self.context.device) % len(self.context)])

    @property
    def contexts(self) -> int:
        """How many distributions there are: one, or one for each context."""
        return 1 if self.context is None else len(self.context)

    def of_some(self, most: int) -> Density:
        """Return the same for at most so many of its contexts, evenly from all."""
        if self.contexts <= most:
            return self
        assert self.context is not None
        return replace(self, context=self.context[torch.linspace(0, self.contexts - 1, max(most, 1)).long().to(self.context.device)])

    def weigh(self, draws: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw rows; return them and their log-weights, log-density less that of the flow, in float64."""
        mode, random = self.flow.training, Randomness(self.flow, seed)
        self.flow.eval()
        try:
            parts = [self._weigh(index, random) for index in torch.arange(draws).split(batch_size)]
        finally:
            self.flow.train(mode)
        return torch.cat([x for x, _ in parts]), torch.cat([log_w for _, log_w in parts])

    @torch.no_grad()
    def _weigh(self, index: Tensor, random: Randomness) -> tuple[Tensor, Tensor]:
        sizes, context = self.rows(index)
        with random.layers():
            if self.flow.has_rsample:
                x, log_q = self.flow.rsample_and_log_prob(sizes, context, generator=random.generator)
            else:
                x = self.flow.sample(sizes, context, generator=random.generator)
                log_q = self.flow.log_prob(x, context)
        return x, self(x, context, random).double() - log_q.double()

    def check(self, x: Tensor, log_weights: Tensor) -> None:
        """Raise ValueError if a log-density is NaN or infinite upwards."""
        bad = torch.isnan(log_weights) | torch.isposinf(log_weights)
        if bool(bad.any()):
            raise ValueError(
                f"{self.owner}: expected log_density to be finite, or -inf where the density is 0, got NaN or inf for {int(bad.sum())} of "
                f"{len(x)} draws of the flow, such as {first(x, bad)}"
            )


@dataclass(frozen=True)
class Fit:
    """Who checks a context: the errors of a fit begin with its name."""

    owner: str
    noun = "flow"

    def label(self) -> str:
        """Return the name."""
        return self.owner


def make_density(owner: str, flow: Flow, function: Any, context: Any) -> Density:
    """Return the density, with one context ``(*context)`` or many ``(m, *context)`` as rows; raise TypeError or ValueError for others."""
    check_flow(owner, flow)
    check_batch(owner, flow)
    if not callable(function):
        hint = "; give its log_prob" if hasattr(function, "log_prob") else ""
        raise TypeError(f"{owner}: expected log_density to be a function of values, got {type(function).__name__}{hint}")
    if context is None:
        return Density(owner, flow, function)
    if not isinstance(context, Tensor):
        raise TypeError(f"{owner}: expected context to be a torch.Tensor, got {type(context).__name__}; use torch.as_tensor")
    if flow.context_shape is None:
        raise ValueError(f"{owner}: expected no context, since the flow was built without one, got one; build it with context=...")
    if context.is_nested:
        raise TypeError(f"{owner}: expected context to be a dense tensor, got a nested one")
    check_tensor(Fit(owner), "context", context, (), flow.dtype, flow.device)
    if not bool(torch.isfinite(context).all()):
        raise ValueError(f"{owner}: expected a finite context, got NaN or inf")
    rank = len(flow.context_shape)
    if context.dim() == rank:
        context = context.unsqueeze(0)
    if context.dim() != rank + 1 or not len(context) or context.shape[1:] != flow.context_shape:
        wanted = ", ".join(map(str, flow.context_shape))
        raise ValueError(f"{owner}: expected context of shape ({wanted}) or (rows, {wanted}), got {tuple(context.shape)}")
    return Density(owner, flow, function, context)


def first(x: Tensor, marked: Tensor) -> list[Any]:
    """Return the first of the rows that are marked, as a list."""
    found: list[Any] = x.detach()[marked][0].tolist()
    return found
