"""Order statistics: the first of some draws of a base, in order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.bases.truncated import expect_tails
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import Count
from pushforward.core.layer import Shape
from pushforward.core.promise import Tolerance
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class OrderStatistics(Base):
    r"""The first k of n independent draws of a base of numbers, in ascending order (or descending).

    .. math:: p(x) = \frac{n!}{(n - k)!} \prod_{i = 1}^k p(x_i)\, P(X > x_k)^{n - k}, \quad x_1 \le \dots \le x_k

    k is the length of the event: of all draws it is the sorted sample, and with k = 1 the minimum (or maximum); a scalar event is that
    too. The parameters are those of the base, which is built once. Samples carry gradients where those of the base do. For k < n the
    distribution function of the base has to be known, as for `Truncated`. Source: Order Statistics (David, Nagaraja, 2003).

    Args:
        base: The plan of the distribution of one number.
        draws: n (None: k).
        descending: Whether the largest comes first.

    >>> from pushforward.distributions import BoxUniform
    >>> OrderStatistics(BoxUniform(), 3).build((1,)).log_prob(torch.tensor([0.5])).exp()
    tensor(0.7500)
    """

    base: Base
    draws: Count | None = None
    descending: bool = False

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return OrderModule(self, event_shape, context_shape)


class Sorted(Constraint):
    """The constraint that vectors are in order, each of their numbers in a set; equal ones may stand side by side."""

    is_discrete = False
    event_dim = 1

    def __init__(self, part: Constraint, descending: bool) -> None:
        self.part, self.descending = part, descending
        super().__init__()

    def __repr__(self) -> str:
        return f"{'descending' if self.descending else 'ascending'} vectors of numbers in {sets.name(self.part)}"

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.part.check(value).all(-1)
        return inside & in_order(value, self.descending)


def in_order(x: Tensor, descending: bool) -> Tensor:
    """Return which vectors are in order."""
    rising = x.diff(dim=-1)
    return ((rising <= 0) if descending else (rising >= 0)).all(-1)


class OrderModule(BaseModule):
    """Built `OrderStatistics`."""

    def __init__(self, plan: OrderStatistics, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        kept = math.prod(event_shape)
        self.draws, self.descending = plan.draws or kept, plan.descending
        self.rest = self.draws - kept
        if len(event_shape) > 1 or self.rest < 0:
            raise PlanError(f"{plan!r}: expected an event of one axis, at most {self.draws} long, got event_shape {event_shape}")
        base = plan.base.build((), context_shape)
        if base.batch_shape:
            raise PlanError(f"{plan!r}: expected a base without a batch, got batch_shape {tuple(base.batch_shape)}")
        self.base = expect_tails(plan, base) if self.rest else base
        self.constant = math.lgamma(self.draws + 1) - math.lgamma(self.rest + 1)
        self.ends = sets.bounds(base.support) or (-math.inf, math.inf)
        support = base.support if kept == 1 else _support(base.support, self.descending)
        own, each = base.facts, Tolerance(self.draws * base.facts.accuracy.absolute, base.facts.accuracy.relative)
        self.facts = BaseFacts(support, has_rsample=own.has_rsample, uses_context=own.uses_context, accuracy=each)
        self.limits = sets.limits(support)

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        x = numerics.working(value) if self.event_shape else numerics.working(value).unsqueeze(-1)
        context = self._each(context)
        single = self.base.score(x, context)
        density = self.constant + single.sum(-1)
        possible = torch.isfinite(single).all(-1)
        if self.rest:
            # At the far end, where nothing can follow, and at what is no draw, the formula of the tail is given some other point.
            start, stop = self.ends
            possible = possible & ((x[..., -1] > start) if self.descending else (x[..., -1] < stop))
            last = torch.where(possible.unsqueeze(-1), x[..., -1:], sets.inner_point(start, stop))
            tail = self.base.tails_at(last, context)[0 if self.descending else 1]
            density = density + self.rest * tail.squeeze(-1).to(density.dtype)
        density = torch.where(possible & in_order(x, self.descending), density, -math.inf)
        return torch.where(torch.isnan(x).any(-1), math.nan, density)

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = self.base.draw(torch.Size((*batch, self.draws)), self._each(context), generator)
        x = torch.sort(x, -1, self.descending).values[..., : self.draws - self.rest]
        x = sets.leave(x, self.limits)  # equal draws are not in order for every support
        return x if self.event_shape else x.squeeze(-1)

    def _each(self, context: Tensor | None) -> Tensor | None:
        """Return contexts with an axis for the draws."""
        return None if context is None or self.context_shape is None else context.unsqueeze(context.dim() - len(self.context_shape))


def _support(part: Constraint, descending: bool) -> Constraint:
    ends = sets.bounds(part)
    # Layers know the sets of ordered vectors that torch knows.
    if not descending and ends in (sets.REAL, (0.0, math.inf)):
        return sets.POSITIVE_ORDERED if ends == (0.0, math.inf) else sets.ORDERED
    return Sorted(part, descending)
