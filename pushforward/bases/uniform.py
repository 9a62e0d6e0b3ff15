"""Uniform bases: on a box and on the circle."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.bases.elements import ElementsModule, per_element
from pushforward.bases.tails import Tails
from pushforward.core import sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import Numbers
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class BoxUniform(Base):
    r"""The uniform distribution on the closed box :math:`\prod_i [l_i, h_i]`, for events of any shape. No parameters.

    Outside the density is 0. Layers after it map the box onto a set that has to be known: fixed maps do, and learnable ones that leave
    its ends where they are, such as ``Spline(bound=b)`` on (-b, b).

    Args:
        low: Lower ends: a number, or nested numbers that broadcast to the event.
        high: Upper ends, each above its lower one.

    >>> BoxUniform(-1.0, 1.0).build((2,)).log_prob(torch.tensor([[0.0, 1.0], [0.0, 1.1]])).exp()
    tensor([0.2500, 0.0000])
    """

    low: Numbers = 0.0
    high: Numbers = 1.0

    def check(self) -> None:
        try:
            low, high = (
                torch.tensor(self.low, dtype=torch.float64, device="cpu"),
                torch.tensor(self.high, dtype=torch.float64, device="cpu"),
            )
            fits = bool((low < high).all()) and bool(torch.isfinite(high - low).all())
        except (RuntimeError, ValueError):
            fits = False
        if not fits:
            raise PlanError(f"BoxUniform: expected finite low < high, got low={self.low!r} and high={self.high!r}")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return BoxModule(self, event_shape, context_shape)


def CircleUniform() -> BoxUniform:
    r"""The uniform distribution of angles on the circle, :math:`[-\pi, \pi]`.

    >>> CircleUniform().build((1,)).log_prob(torch.tensor([[0.0], [4.0]]))
    tensor([-1.8379,    -inf])
    """
    return BoxUniform(-math.pi, math.pi)


class BoxModule(ElementsModule):
    """Built `BoxUniform`."""

    facts = BaseFacts(has_tails=True)

    def __init__(self, plan: BoxUniform, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        low, high = per_element(plan, "low", plan.low, event_shape), per_element(plan, "high", plan.high, event_shape)
        self.low, self.high = low.tolist(), high.tolist()
        support = sets.of_elements(torch.stack([low, high]).reshape(2, *event_shape))
        self.facts = dataclasses.replace(self.facts, support=support)
        self.log_volume = math.fsum(math.log(b - a) for a, b in zip(self.low, self.high, strict=True))

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        low, high = self._ends(x)
        outside = sets.any_element((x < low) | (x > high), 1)
        log_density = torch.where(outside, -math.inf, torch.full_like(x[..., 0], -self.log_volume))
        return torch.where(sets.any_element(torch.isnan(x), 1), math.nan, log_density)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        u = self.uniform(shape, generator)
        low, high = self._ends(u)
        return torch.minimum(low + (high - low) * u, high)

    def element_moments(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        low, high = self._ends(self.filled(0.0))
        return 0.5 * (low + high), (high - low) / math.sqrt(12)

    def element_entropy(self, theta: dict[str, Tensor]) -> Tensor | None:
        return self.filled(0.0).new_full((), self.log_volume)

    def tails(self, x: Tensor, theta: dict[str, Tensor]) -> Tails:
        low, high = self._ends(x)
        place = clamp(x, low, high)
        return torch.log((place - low) / (high - low)), torch.log((high - place) / (high - low))

    def at_odds(self, odds: Tensor, theta: dict[str, Tensor]) -> Tensor:
        low, high = self._ends(odds)
        # From the nearer end: a value close to one keeps its digits.
        return torch.where(odds < 0, low + (high - low) * torch.sigmoid(odds), high - (high - low) * torch.sigmoid(-odds))

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(ends, dtype=like.dtype, device=like.device) for ends in (self.low, self.high))
        return low, high
