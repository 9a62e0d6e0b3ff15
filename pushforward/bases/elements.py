"""Elements: what bases share, events as vectors of elements with parameters that are free or a function of the context."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from pushforward.bases.moments import apart
from pushforward.bases.tails import Tails
from pushforward.core import numerics
from pushforward.core.base import Base, BaseModule
from pushforward.core.budget import reserve
from pushforward.core.fields import LARGEST
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.net import NetLike


class ElementsModule(BaseModule):
    """A base whose events are laid out as vectors ``(*batch, elements)``; a subclass writes `density` and `draw_elements`."""

    anchor: Tensor

    def __init__(
        self,
        plan: Base,
        event_shape: Shape,
        context_shape: Shape | None,
        init: dict[str, Tensor] | None = None,
        net: NetLike | None = None,
        independent: bool = False,
    ) -> None:
        super().__init__(plan, event_shape, context_shape)
        if net is not None and context_shape is None:
            raise PlanError(f"{plan!r}: expected a context for its net, got none; give context_shape, or leave out net")
        self.elements = math.prod(event_shape)
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # says where and how precisely to draw
        context = 0 if net is None or context_shape is None else math.prod(context_shape)
        # Where each element has parameters of its own, a shaped net gives them in the event's shape.
        self.parameters_of = Parameters(init or {}, net, None, context_shape, elements=event_shape if independent else None)
        self.conditional = context > 0
        self.facts = dataclasses.replace(self.facts, uses_context=self.conditional)

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return the log-density ``(*batch)`` of vectors in the working precision."""
        raise NotImplementedError

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        """Draw vectors of ``shape``, which ends in the number of elements."""
        raise NotImplementedError

    def tails(self, x: Tensor, theta: dict[str, Tensor]) -> Tails:
        """Return `log_tails` of vectors."""
        raise NotImplementedError

    def at_odds(self, odds: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return the `quantile` of vectors."""
        raise NotImplementedError

    def element_moments(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Return mean and standard deviation of vectors whose elements have no correlations, or None where they have no closed form."""
        return None

    def element_entropy(self, theta: dict[str, Tensor]) -> Tensor | None:
        """Return the entropy of vectors, or None where it has no closed form."""
        return None

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        made = self.element_moments(self.theta(context))
        return None if made is None else self.events(made[0])

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        made = self.element_moments(self.theta(context))
        return None if made is None else self.events(apart(made[1]))

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        return self.element_entropy(self.theta(context))

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density(self.flat(numerics.working(value)), self.theta(context))

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = self.draw_elements((*batch, self.elements), self.theta(context), generator)
        return self.events(x)

    def tails_at(self, value: Tensor, context: Tensor | None = None) -> Tails:
        lower, upper = self.tails(self.flat(numerics.finer(value)), self.theta(context))
        return self.events(lower), self.events(upper)

    def value_at(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        return self.events(self.at_odds(self.flat(numerics.finer(odds)), self.theta(context)))

    def theta(self, context: Tensor | None) -> dict[str, Tensor]:
        """Return the parameters by name."""
        if not self.parameters_of.size:
            return {}
        theta: dict[str, Tensor] = self.parameters_of(None, flat_context(context, self.context_shape) if self.conditional else None)
        return theta

    def flat(self, value: Tensor) -> Tensor:
        """Return events ``(*batch, *event)`` as vectors ``(*batch, elements)``."""
        rank = len(self.event_shape)
        return value if rank == 1 else value.reshape((*value.shape[: value.dim() - rank], self.elements))

    def events(self, x: Tensor) -> Tensor:
        """Return vectors ``(*batch, elements)`` as events ``(*batch, *event)``."""
        return x if len(self.event_shape) == 1 else x.reshape((*x.shape[:-1], *self.event_shape))

    def filled(self, value: float) -> Tensor:
        """Return a vector of one number in the working precision, where the module is."""
        return torch.full((self.elements,), value, dtype=numerics.working(self.anchor).dtype, device=self.anchor.device)

    def normal(self, shape: Shape, generator: torch.Generator | None) -> Tensor:
        """Draw standard normals in the working precision, where the module is."""
        return torch.randn(shape, dtype=numerics.working(self.anchor).dtype, device=self.anchor.device, generator=generator)

    def uniform(self, shape: Shape, generator: torch.Generator | None) -> Tensor:
        """Draw uniforms on [0, 1) in the working precision, where the module is."""
        return torch.rand(shape, dtype=numerics.working(self.anchor).dtype, device=self.anchor.device, generator=generator)


def per_element(owner: Base, name: str, value: Any, event_shape: Shape) -> Tensor:
    """Return a number, or nested numbers that broadcast to the event, as ``(elements)`` in double precision."""
    reserve(math.prod(event_shape))
    try:
        numbers = torch.tensor(value, dtype=torch.float64, device="cpu").expand(event_shape)
    except (RuntimeError, ValueError) as error:
        raise PlanError(f"{owner!r}: expected {name} to broadcast to the event_shape {event_shape}, got {value!r}") from error
    return numbers.reshape(-1)


def expect_positive(owner: Base, name: str, value: Any) -> None:
    """Raise `PlanError` unless a number, or each of nested tuples of numbers, is positive and finite."""
    if not _all_positive(value):
        raise PlanError(f"{type(owner).__name__}: expected {name} > 0, got {value!r}")


def _all_positive(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_all_positive, value))
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < (LARGEST if isinstance(value, int) else math.inf)
