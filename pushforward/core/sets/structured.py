"""Supports: intervals as torch constraints, sets of vectors and matrices, and how one lies in another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core.sets.interval import REAL, Ends, _after, any_element, bounds, inner_point, tolerance
from pushforward.core.sets.rising import _rising


class Structured(Constraint):
    """A set of vectors or matrices with more structure than an interval for each number: an order, or numbers that depend on others.

    It is told by `matches`; a density on it is one of the free coordinates (those that determine the others).
    """

    is_discrete = False

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        """Return which vectors or matrices are in the set, up to rounding where numbers depend on others."""
        raise NotImplementedError

    def member(self, z: Tensor) -> Tensor:
        """Return a member well inside the set for any real numbers of its shape."""
        raise NotImplementedError

    def settle(self, value: Tensor) -> Tensor:
        """Return values moved into the set where rounding has put them onto its edge, or beyond what numbers can hold."""
        raise NotImplementedError

    def check(self, value: Tensor) -> Tensor:
        return self.matches(value, tolerance(value.dtype))


Limits = Ends | Structured


@dataclass(frozen=True)
class Simplex(Structured):
    """Vectors of positive numbers whose sum is 1. All but the last are free."""

    event_dim = 1

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        return (value > 0).all(-1) & (torch.abs(value.sum(-1) - 1) <= tolerance)

    def member(self, z: Tensor) -> Tensor:
        return torch.softmax(z, -1)

    def settle(self, value: Tensor) -> Tensor:
        return torch.clamp(value, min=_after(0.0, 1, value.dtype))


@dataclass(frozen=True)
class Ordered(Structured):
    """Vectors of increasing numbers, positive ones if ``positive``. All are free."""

    positive: bool = False

    event_dim = 1

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        rising = (value[..., 1:] > value[..., :-1]).all(-1) & torch.isfinite(value).all(-1)
        return rising & (value[..., 0] > 0) if self.positive else rising

    def member(self, z: Tensor) -> Tensor:
        return torch.cumsum(0.1 + torch.sigmoid(z), -1)

    def settle(self, value: Tensor) -> Tensor:
        return _rising(torch.clamp(value, min=_after(0.0, 1, value.dtype)) if self.positive else value)


@dataclass(frozen=True)
class LowerCholesky(Structured):
    """Lower triangular matrices with a positive diagonal: any, one of ones (``"unit"``), or one that gives rows length 1 (``"rows"``).

    Free are the numbers below the diagonal, and those on it where it is any.
    """

    diagonal: str = "positive"

    event_dim = 2

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        diagonal = value.diagonal(dim1=-2, dim2=-1)
        good = (value == value.tril()).flatten(-2).all(-1) & (diagonal > 0).all(-1) & torch.isfinite(value).flatten(-2).all(-1)
        if self.diagonal == "unit":
            good = good & (torch.abs(diagonal - 1) <= tolerance).all(-1)
        if self.diagonal == "rows":
            good = good & (torch.abs((value * value).sum(-1) - 1) <= 2 * tolerance).all(-1)
        return good

    def member(self, z: Tensor) -> Tensor:
        below, eye = torch.tanh(z).tril(-1), torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        if self.diagonal == "positive":
            return below + eye * (0.2 + torch.sigmoid(z))
        matrix = below + eye
        return matrix / torch.linalg.vector_norm(matrix, dim=-1, keepdim=True) if self.diagonal == "rows" else matrix

    def settle(self, value: Tensor) -> Tensor:
        info = torch.finfo(value.dtype)
        finite = torch.clamp(value, info.min, info.max)
        if self.diagonal == "unit":
            return finite
        # The square of what is left of a row of length 1 is a divisor.
        least = math.sqrt(info.tiny) if self.diagonal == "rows" else _after(0.0, 1, value.dtype)
        return torch.where(_diagonal(value), torch.clamp(finite, min=least), finite)


@dataclass(frozen=True)
class PositiveDefinite(Structured):
    """Symmetric positive definite matrices, with a diagonal of ones if ``correlation``.

    Free are the numbers below the diagonal, and those on it where it is any.
    """

    correlation: bool = False

    event_dim = 2

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        size = torch.abs(value).flatten(-2).amax(-1)
        good: Tensor = torch.abs(value - value.mT).flatten(-2).amax(-1) <= tolerance * size
        precise = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        good = good & (torch.linalg.cholesky_ex(precise).info == 0) & torch.isfinite(value).flatten(-2).all(-1)
        if self.correlation:
            good = good & (torch.abs(value.diagonal(dim1=-2, dim2=-1) - 1) <= 2 * tolerance).all(-1)
        return good

    def member(self, z: Tensor) -> Tensor:
        factor = LowerCholesky("rows" if self.correlation else "positive").member(z)
        product = torch.matmul(factor, factor.mT)
        # What is not the same by rounding alone is made the same.
        return 0.5 * (product + product.mT)

    def settle(self, value: Tensor) -> Tensor:
        r"""Return values of which a Cholesky decomposition succeeds, whoever computes it: the others with smaller numbers off the diagonal.

        With u the rounding unit, the scaled matrix :math:`H_{ij} = a_{ij} / \sqrt{a_{ii} a_{jj}}` of a product of factors is off by
        :math:`D (D + 1) u` at most, and the decomposition succeeds where the least eigenvalue of H is above that, and only where it is
        above minus that. Where the diagonal is taken smaller by twice the bound and it still succeeds, it does so for certain without.
        Half precision is decomposed in float32, with its u; its numbers, rounded once from the product, are off by D u of their own.
        Source: On Floating Point Errors in Cholesky (Demmel, 1989).
        """
        side, on, half = value.shape[-1], _diagonal(value), value.dtype in (torch.bfloat16, torch.float16)
        precise = value.detach().float() if half else value.detach()
        bound = side * (side + 1) * torch.finfo(precise.dtype).eps / 2
        move = 4 * bound + (2 * side * torch.finfo(value.dtype).eps if half else 0)
        singular = torch.linalg.cholesky_ex(torch.where(on, (1 - 2 * bound) * precise, precise)).info != 0
        return torch.where(singular[..., None, None] & ~on, (1 - move) * value, value)


@dataclass(frozen=True)
class Sphere(Structured):
    r"""Vectors of length 1. A density on them is one of surface area, for which there is no choice of free coordinates to make."""

    event_dim = 1

    def __str__(self) -> str:
        return "unit sphere"

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        # As far off as numbers that are written with six digits.
        return torch.abs(torch.linalg.vector_norm(value, dim=-1) - 1) <= 10 * tolerance

    def member(self, z: Tensor) -> Tensor:
        # By stereographic projection of all numbers but the last, which has no pole.
        u = torch.tanh(z[..., :-1])
        square = (u * u).sum(-1, keepdim=True)
        return torch.cat([2 * u, square - 1], -1) / (square + 1)

    def settle(self, value: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(value, dim=-1, keepdim=True)
        return value / torch.where(length == 0, 1.0, length)


# One of each that torch has no name for: sets are told by identity in code that was written for torch's.
ORDERED, POSITIVE_ORDERED = Ordered(), Ordered(positive=True)
UNIT_LOWER_CHOLESKY = LowerCholesky("unit")
CORRELATION = PositiveDefinite(correlation=True)
SPHERE = Sphere()

# The names of torch's own sets, and of Pyro's, which is not imported for that.
NAMED = {
    "_Simplex": Simplex(),
    "_OrderedVector": ORDERED,
    "_PositiveOrderedVector": POSITIVE_ORDERED,
    "_LowerCholesky": LowerCholesky(),
    "_SoftplusLowerCholesky": LowerCholesky(),
    "_UnitLowerCholesky": UNIT_LOWER_CHOLESKY,
    "_CorrCholesky": LowerCholesky("rows"),
    "_PositiveDefinite": PositiveDefinite(),
    "_CorrMatrix": CORRELATION,
    "_Sphere": SPHERE,
}


def structured(constraint: Constraint) -> Structured | None:
    """Return a set of vectors or matrices in this library's own form, or None for another kind of support.

    >>> from torch.distributions import constraints
    >>> structured(constraints.simplex)
    Simplex()
    """
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    return constraint if isinstance(constraint, Structured) else NAMED.get(type(constraint).__name__)


def limits(constraint: Constraint) -> Limits:
    """Return what bounds a support: the ends of an interval, or a set of vectors or matrices (None: not known)."""
    return structured(constraint) or bounds(constraint)


def name(constraint: Constraint) -> str:
    """Return a constraint in the words of mathematics: ``(0, inf)``."""
    ends = bounds(constraint)
    return str(constraint) if ends is None else f"({ends[0]:g}, {ends[1]:g})"


def enter(value: Tensor, ends: Limits, closed: bool = False) -> tuple[Tensor, Tensor | None]:
    """Return values that are all inside an interval (its ends too if ``closed``), and where they were not (None for the real line).

    What is outside becomes an inner point, so that no formula and no gradient meets it; NaN is left as it is.
    """
    if not isinstance(ends, tuple) or ends == REAL:  # for a set of vectors there is `enter_events`
        return value, None
    outside = (value < ends[0]) | (value > ends[1]) if closed else (value <= ends[0]) | (value >= ends[1])
    return torch.where(outside, inner_point(*ends), value), outside


def enter_events(value: Tensor, limits: Limits, rank: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return events of ``rank`` axes that are all in a set, and which of them were not (None for the real line).

    Args:
        value: ``(*batch, *event)``.
        limits: What bounds the set.
        rank: How many axes an event has.
        dtype: The precision in which values came: how far rounding may have moved what depends on other numbers.
    """
    if not isinstance(limits, Structured):
        value, outside = enter(value, limits)
        return value, None if outside is None else any_element(outside, rank)
    inside, known = limits.matches(value.detach(), tolerance(dtype)), ~torch.isnan(value).flatten(value.dim() - limits.event_dim).any(-1)
    outside = known & ~inside
    kept = torch.where(outside.reshape(outside.shape + (1,) * limits.event_dim), limits.member(torch.zeros_like(value)), value)
    return kept, any_element(outside, rank - limits.event_dim)


def leave(value: Tensor, ends: Limits) -> Tensor:
    """Return values moved off the ends of an open interval, or the edge of a set, onto which rounding may have put them."""
    if isinstance(ends, Structured):
        return ends.settle(value)
    if ends is None or ends == REAL:
        return value
    return torch.clamp(value, _after(ends[0], 1, value.dtype), _after(ends[1], -1, value.dtype))


def _diagonal(like: Tensor) -> Tensor:
    """Return which numbers of matrices stand on the diagonal."""
    return torch.eye(like.shape[-1], dtype=torch.bool, device=like.device)
