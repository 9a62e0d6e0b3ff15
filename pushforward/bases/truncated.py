"""Truncated: a base cut to an interval at each element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.bases.elements import per_element
from pushforward.bases.tails import Tails, between, mixed
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import Numbers
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class Truncated(Base):
    r"""A base of independent elements given that each lies in an interval, :math:`p(x) = \prod_i p_i(x_i) / (F_i(h_i) - F_i(l_i))`.

    Outside the density is 0. Its parameters are those of the base. Samples are quantiles, one uniform number for each, with gradients
    to all parameters. Differences of F are taken between log-odds, in float64: a normal cut to [30, 31] is as exact as one cut to [0, 1].

    The base is `StandardNormal`, `DiagNormal`, `BoxUniform`, `MixtureOfNormals` of one element, a `Truncated`, or a torch distribution of
    numbers that has a ``cdf``; of these but the normal, torch gives F itself, which is 1 where less than 1e-16 of the upper tail is left.
    An increasing map commutes with a cut: for another distribution, cut what it is made of and map that (`Pushforward`).

    Args:
        base: The plan of what is cut; `wrap` gives that of a torch distribution.
        lower: Lower ends, which may be -inf: a number, or nested numbers that broadcast to the event.
        upper: Upper ends, each above its lower one.

    Raises:
        PlanError: The base has no known distribution function, or nothing of it lies between the ends.

    >>> from pushforward.distributions import StandardNormal
    >>> Truncated(StandardNormal(), 8.0, 9.0).build((1,)).log_prob(torch.tensor([[8.5], [9.5]]))
    tensor([-2.0303,    -inf])
    """

    base: Base
    lower: Numbers = -math.inf
    upper: Numbers = math.inf

    _levels = 15  # it asks its base for the tails at three places

    def check(self) -> None:
        try:
            fits = bool((_numbers(self.lower) < _numbers(self.upper)).all())
        except (RuntimeError, ValueError):  # ragged lists, or shapes that do not broadcast
            fits = False
        if not fits:
            raise PlanError(f"Truncated: expected lower < upper, got lower={self.lower!r} and upper={self.upper!r}")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return TruncatedModule(self, event_shape, context_shape)


def _numbers(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")


class TruncatedModule(BaseModule):
    """Built `Truncated`."""

    anchor: Tensor

    def __init__(self, plan: Truncated, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.base = expect_tails(plan, plan.base.build(event_shape, context_shape))
        self.register_buffer("anchor", torch.zeros(()), persistent=False)
        low, high = per_element(plan, "lower", plan.lower, event_shape), per_element(plan, "upper", plan.upper, event_shape)
        start, stop = sets.bounds(self.base.support) or (-math.inf, math.inf)
        # Where there is nothing to cut, the tail is known, and its formula is given some other point.
        self.whole = [(low <= start).tolist(), (high >= stop).tolist()]
        low, high = low.clamp(min=start), high.clamp(max=stop)
        within = torch.full_like(low, sets.inner_point(start, stop))
        points = [torch.where(low > start, low, torch.where(high < stop, high, within))]
        points += [torch.where(high < stop, high, torch.where(low > start, low, within))]
        self.points, self.ends = [p.tolist() for p in points], [low.tolist(), high.tolist()]
        support = sets.of_elements(torch.stack([low, high]).reshape(2, *event_shape))
        own = self.base.facts
        self.facts = BaseFacts(support, has_tails=True, uses_context=own.uses_context, accuracy=own.accuracy)
        self.limits = sets.limits(support)
        self._expect_mass()

    def _expect_mass(self) -> None:
        if self.facts.uses_context or self.anchor.is_meta:
            return
        with torch.no_grad():
            mass = between(*self._cuts(None))
        if not bool(torch.isfinite(mass).all()):
            raise PlanError(f"{self.plan!r}: expected ends between which the base has some probability, got none that can be told from 0")

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        x = numerics.working(value)
        low, high = (self._at_elements(end, x) for end in self.ends)
        rank = len(self.event_shape)
        density = self.base.score(numerics.finer(clamp(x, low, high)), context)
        log_mass = between(*self._cuts(context))
        density = density - (log_mass.flatten(log_mass.dim() - rank).sum(-1) if rank else log_mass)
        density = torch.where(sets.any_element((x < low) | (x > high), rank), -math.inf, density)
        return torch.where(sets.any_element(torch.isnan(x), rank), math.nan, density).to(x.dtype)

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        dtype = numerics.finer(self.anchor).dtype
        eps = torch.finfo(dtype).eps
        u = torch.rand((*batch, *self.event_shape), dtype=dtype, device=self.anchor.device, generator=generator)
        u = u * (1 - eps) + 0.5 * eps  # off both ends
        x = self.value_at(torch.log(u) - torch.log1p(-u), context).to(numerics.working(self.anchor).dtype)
        low, high = (self._at_elements(end, x) for end in self.ends)
        return sets.leave(clamp(x, low, high), self.limits)

    def tails_at(self, value: Tensor, context: Tensor | None = None) -> Tails:
        x = numerics.finer(value)
        low, high = self._cuts(context)
        here = self.base.tails_at(clamp(x, *(self._at_elements(end, x) for end in self.ends)), context)
        log_mass = between(low, high)
        return between(low, here) - log_mass, between(here, high) - log_mass

    def value_at(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        return self.base.value_at(mixed(*self._cuts(context), numerics.finer(odds)), context)

    def _cuts(self, context: Tensor | None) -> tuple[Tails, Tails]:
        """Return the tails of the base at both ends."""
        precise = numerics.finer(self.anchor)
        cuts = []
        for points, whole, known in zip(self.points, self.whole, ((-math.inf, 0.0), (0.0, -math.inf)), strict=True):
            nothing = self._at_elements(whole, precise).bool()
            tails = self.base.tails_at(self._at_elements(points, precise), context)
            cuts.append(tuple(torch.where(nothing, end, tail) for end, tail in zip(known, tails, strict=True)))
        low, high = cuts
        return (low[0], low[1]), (high[0], high[1])

    def _at_elements(self, numbers: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(numbers, dtype=like.dtype, device=like.device).reshape(self.event_shape)


def expect_tails(owner: Base, module: BaseModule) -> BaseModule:
    """Return a built base whose elements are independent and have known distribution functions, or raise `PlanError`."""
    if not module.facts.has_tails or module.batch_shape:
        raise PlanError(
            f"{type(owner).__name__}: expected independent elements with a known distribution function and no batch (StandardNormal, "
            "DiagNormal, BoxUniform, MixtureOfNormals of one element, Truncated, or a torch distribution that has a cdf), got "
            f"{module.plan!r}; of a base that a bijection has made, give what it was made of, and map the result by Pushforward"
        )
    return module
