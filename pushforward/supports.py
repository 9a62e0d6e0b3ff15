"""Supports: intervals as torch constraints, sets of vectors and matrices, and how one lies in another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

Ends = tuple[float, float] | None
REAL: Ends = (-math.inf, math.inf)


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


def tolerance(dtype: torch.dtype) -> float:
    """Return how far, relative to their size, numbers may be off what they should be."""
    return max(1e-6, 4 * torch.finfo(dtype).eps)


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
class Parts(Structured):
    """Events whose parts along an axis each lie in a set of their own.

    Args:
        cseq: The sets.
        lengths: How long each part is (None: each is one entry, and an event without that axis).
        dim: The axis, counted from the end of an event.
        rank: The number of axes of an event.
    """

    cseq: tuple[Constraint, ...]
    lengths: tuple[int, ...] | None
    dim: int
    rank: int

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.rank

    def split(self, value: Tensor) -> list[Tensor]:
        """Return the parts of values."""
        return list(value.unbind(self.dim) if self.lengths is None else value.split(list(self.lengths), self.dim))

    def join(self, parts: list[Tensor]) -> Tensor:
        """Return values from their parts."""
        return torch.stack(parts, self.dim) if self.lengths is None else torch.cat(parts, self.dim)

    def __str__(self) -> str:
        lengths = self.lengths or (1,) * len(self.cseq)
        return "blocks of " + ", ".join(f"{length} in {name(c)}" for length, c in zip(lengths, self.cseq, strict=True))

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        rank = self.rank - (self.lengths is None)
        masks = [independent(c, rank).check(part) for c, part in zip(self.cseq, self.split(value), strict=True)]
        return torch.stack(masks, -1).all(-1)

    def member(self, z: Tensor) -> Tensor:
        found = []
        for constraint, part in zip(self.cseq, self.split(z), strict=True):
            inner = limits(constraint)
            if isinstance(inner, Structured):
                found.append(inner.member(part))
            else:
                found.append(part if inner is None or inner == REAL else torch.full_like(part, inner_point(*inner)))
        return self.join(found)

    def settle(self, value: Tensor) -> Tensor:
        return self.join([leave(part, limits(c)) for c, part in zip(self.cseq, self.split(value), strict=True)])

    def entries(self) -> list[Constraint] | None:
        """Return the set of each entry of the axis, or None where a part of several is no interval at each of them."""
        found: list[Constraint] = []
        for constraint, length in zip(self.cseq, self.lengths or (1,) * len(self.cseq), strict=True):
            if length > 1 and bounds(constraint) is None and constraint.event_dim >= -self.dim:
                return None
            found += [constraint] * length
        return found


@dataclass(frozen=True)
class Moved(Structured):
    """Events of ``rank`` axes that are in a set once one axis is moved: the axis ``source`` to ``target``, both counted backwards."""

    inner: Structured
    source: int
    target: int
    rank: int

    def __str__(self) -> str:
        return f"{self.inner} on axis {self.source}"

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.rank

    def matches(self, value: Tensor, tolerance: float) -> Tensor:
        inside = self.inner.matches(value.movedim(self.source, self.target), tolerance)
        beside = self.rank - self.inner.event_dim
        return inside.flatten(-beside).all(-1) if beside else inside

    def member(self, z: Tensor) -> Tensor:
        return self.inner.member(z.movedim(self.source, self.target)).movedim(self.target, self.source)

    def settle(self, value: Tensor) -> Tensor:
        return self.inner.settle(value.movedim(self.source, self.target)).movedim(self.target, self.source)


# One of each that torch has no name for: sets are told by identity in code that was written for torch's.
ORDERED, POSITIVE_ORDERED = Ordered(), Ordered(positive=True)
UNIT_LOWER_CHOLESKY = LowerCholesky("unit")
CORRELATION = PositiveDefinite(correlation=True)

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
}


def structured(constraint: Constraint) -> Structured | None:
    """Return a set of vectors or matrices in this library's own form, or None for another kind of support.

    >>> structured(constraints.simplex)
    Simplex()
    """
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    return constraint if isinstance(constraint, Structured) else NAMED.get(type(constraint).__name__)


def limits(constraint: Constraint) -> Limits:
    """Return what bounds a support: the ends of an interval, or a set of vectors or matrices (None: not known)."""
    return structured(constraint) or bounds(constraint)


def bounds(constraint: Constraint) -> Ends:
    """Return the ends of an interval constraint, or None for a support that is no interval of the real line.

    >>> bounds(constraints.positive)
    (0.0, inf)
    """
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    if isinstance(constraint, type(constraints.real)):  # a copied or unpickled flow has constraints of its own
        return -math.inf, math.inf
    lower, upper = (getattr(constraint, name, None) for name in ("lower_bound", "upper_bound"))
    if constraint.is_discrete or (lower is None and upper is None):
        return None
    ends = []
    for end, default in ((lower, -math.inf), (upper, math.inf)):
        if isinstance(end, Tensor):
            if bool((end != end.flatten()[0]).any()):
                return None  # another interval for each site
            end = end.flatten()[0]
        ends.append(default if end is None else float(end))
    return ends[0], ends[1]


def sites(constraint: Constraint, shape: Sequence[int]) -> Tensor | None:
    """Return both ends at each site of events of a shape, ``(2, *shape)`` in float64, or None for a set that is no interval at each.

    >>> sites(constraints.positive, (2,))
    tensor([[0., 0.],
            [inf, inf]], dtype=torch.float64)
    """
    ends = bounds(constraint)
    if ends is not None:
        return torch.tensor(ends, dtype=torch.float64, device="cpu").reshape(2, *(1 for _ in shape)).expand(2, *shape)
    parts = structured(constraint)
    if not isinstance(parts, Parts) or parts.rank > len(shape):
        return None
    axis = len(shape) + parts.dim
    rest = (*shape[:axis], *shape[axis + 1 :])
    each = [(1, rest)] * len(parts.cseq) if parts.lengths is None else [(n, (*shape[:axis], n, *shape[axis + 1 :])) for n in parts.lengths]
    found = [sites(c, own) for c, (_, own) in zip(parts.cseq, each, strict=True)]
    return None if any(one is None for one in found) else parts.join(found)  # type: ignore[arg-type]


def of_sites(ends: Tensor) -> Constraint:
    """Return the set of events with an interval at each site, from ``(2, *event)`` ends in either order: what `sites` takes apart.

    >>> of_sites(torch.tensor([[0.0, 0.0, 1.0], [2.0, 2.0, 3.0]]))
    Parts(cseq=(Interval(lower_bound=0.0, upper_bound=2.0), Interval(lower_bound=1.0, upper_bound=3.0)), lengths=(2, 1), dim=-1, rank=1)
    """
    low, high = ends.amin(0), ends.amax(0)
    if bool((low == low.flatten()[0]).all() and (high == high.flatten()[0]).all()):
        return interval(low.flatten()[0].item(), high.flatten()[0].item())
    rows = torch.stack([low, high], 1).flatten(1)
    cuts = [0, *((rows[1:] != rows[:-1]).any(1).nonzero().flatten() + 1).tolist(), len(rows)]
    if len(cuts) == 2:  # alike along this axis, so they differ along a later one
        return of_sites(ends[:, 0])
    each = tuple(of_sites(ends[:, start]) for start in cuts[:-1])
    return Parts(each, tuple(stop - start for start, stop in itertools.pairwise(cuts)), 1 - ends.dim(), ends.dim() - 1)


def joined(each: Sequence[Constraint], lengths: Sequence[int] | None, dim: int, rank: int) -> Constraint:
    """Return the set of events whose parts along an axis are each in their own; see `Parts`. One interval where all are the same."""
    if bounds(each[0]) is not None and all(same(one, other) for one, other in itertools.pairwise(each)):
        return each[0]
    # A set of parts of its own, cut along the same axis, is as many parts of this one.
    flat: list[tuple[Constraint, int]] = []
    for constraint, length in zip(each, lengths or (1,) * len(each), strict=True):
        inner = structured(constraint)
        nested = lengths is not None and isinstance(inner, Parts) and inner.lengths is not None and (inner.dim, inner.rank) == (dim, rank)
        flat += zip(inner.cseq, inner.lengths, strict=True) if nested else [(constraint, length)]  # type: ignore[union-attr]
    return Parts(tuple(c for c, _ in flat), None if lengths is None else tuple(n for _, n in flat), dim, rank)


def split(constraint: Constraint, count: int, lengths: Sequence[int] | None, dim: int, shape: Sequence[int]) -> Sequence[Constraint]:
    """Return the set in which each part of events of a shape lies, cut along an axis: what `joined` puts together.

    >>> split(joined([constraints.positive, constraints.real], [2, 1], -1, 1), 2, [2, 1], -1, (3,))
    (GreaterThan(lower_bound=0.0), Real())
    """
    given, cuts = structured(constraint), None if lengths is None else tuple(lengths)
    if isinstance(given, Parts) and (given.dim, given.lengths, len(given.cseq)) == (dim, cuts, count):
        return given.cseq
    if isinstance(given, Parts) and cuts is not None and given.lengths is not None and (given.dim, given.rank) == (dim, len(shape)):
        grouped = _grouped(given, cuts)
        if grouped is not None:
            return grouped
    ends = sites(constraint, shape)
    if ends is None:
        return [constraint] * count
    return [of_sites(own) for own in (ends.unbind(dim) if lengths is None else ends.split(list(lengths), dim))]


def _grouped(parts: Parts, lengths: Sequence[int]) -> list[Constraint] | None:
    """Return parts in groups of some lengths, or None where a cut goes through a part."""
    assert parts.lengths is not None
    left, found = list(zip(parts.cseq, parts.lengths, strict=True))[::-1], []
    for length in lengths:
        own: list[tuple[Constraint, int]] = []
        while left and sum(n for _, n in own) < length:
            own.append(left.pop())
        if sum(n for _, n in own) != length:
            return None
        alone = len(own) == 1
        found.append(own[0][0] if alone else joined([c for c, _ in own], [n for _, n in own], parts.dim, parts.rank))
    return found


def moved(constraint: Constraint, source: int, target: int, shape: Sequence[int]) -> Constraint:
    """Return the set of events whose axis ``source`` is moved to ``target``, for events of a shape in a set; axes are counted backwards.

    >>> moved(moved(Simplex(), -2, -1, (3, 2)), -1, -2, (2, 3))
    Simplex()
    """
    given = structured(constraint)
    if given is None or source == target:
        return constraint
    ends = sites(constraint, shape)
    if ends is not None:
        return of_sites(ends.movedim(source, target))
    if isinstance(given, Moved) and (given.source, given.target) == (source, target):
        return given.inner
    return Moved(given, target, source, len(shape))


def interval(lower: float, upper: float) -> Constraint:
    """Return the torch constraint of the open interval (lower, upper), either end of which may be infinite."""
    if lower == -math.inf and upper == math.inf:
        return constraints.real
    if lower == 0 and upper == math.inf:
        return constraints.positive
    if upper == math.inf:
        return constraints.greater_than(lower)
    if lower == -math.inf:
        return constraints.less_than(upper)
    return constraints.interval(lower, upper)


def contains(outer: Constraint, inner: Constraint) -> bool:
    """Tell whether every value of ``inner`` is one of ``outer``."""
    if outer is inner:
        return True
    a, b = limits(outer), limits(inner)
    if isinstance(a, Parts) and isinstance(b, Parts) and (a.dim, a.rank) == (b.dim, b.rank):
        each, others = (a.cseq, b.cseq) if a.lengths == b.lengths else (a.entries(), b.entries())
        return each is not None and others is not None and len(each) == len(others) and all(map(contains, each, others))
    if isinstance(a, Parts) and isinstance(b, tuple):
        return all(contains(one, inner) for one in a.cseq)
    if isinstance(a, tuple) and isinstance(b, Parts):
        return all(contains(outer, other) for other in b.cseq)
    if isinstance(a, Moved) and isinstance(b, Moved) and (a.source, a.target, a.rank) == (b.source, b.target, b.rank):
        return contains(a.inner, b.inner)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return a[0] <= b[0] and b[1] <= a[1]
    return a is not None and a == b


def same(a: Constraint, b: Constraint) -> bool:
    """Tell whether two constraints allow the same values (torch's constraints have no equality of their own)."""
    return contains(a, b) and contains(b, a)


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
        return value, None if outside is None else any_site(outside, rank)
    inside, known = limits.matches(value.detach(), tolerance(dtype)), ~torch.isnan(value).flatten(value.dim() - limits.event_dim).any(-1)
    outside = known & ~inside
    kept = torch.where(outside.reshape(outside.shape + (1,) * limits.event_dim), limits.member(torch.zeros_like(value)), value)
    return kept, any_site(outside, rank - limits.event_dim)


def leave(value: Tensor, ends: Limits) -> Tensor:
    """Return values moved off the ends of an open interval, or the edge of a set, onto which rounding may have put them."""
    if isinstance(ends, Structured):
        return ends.settle(value)
    if ends is None or ends == REAL:
        return value
    return torch.clamp(value, _after(ends[0], 1, value.dtype), _after(ends[1], -1, value.dtype))


def inner_point(lower: float, upper: float) -> float:
    """Return some point inside an interval."""
    if lower == -math.inf:
        return min(upper - 1.0, 0.0)
    return lower + 1.0 if upper == math.inf else 0.5 * (lower + upper)


def inner_points(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return two points inside each of some intervals, the lower one first."""
    step = torch.where(torch.isinf(high - low), 1.0, (high - low) / 3)
    first = torch.where(torch.isinf(low), torch.where(torch.isinf(high), -1.0, high - 2 * step), low + step)
    return first, first + step


def _diagonal(like: Tensor) -> Tensor:
    """Return which numbers of matrices stand on the diagonal."""
    return torch.eye(like.shape[-1], dtype=torch.bool, device=like.device)


def _rising(value: Tensor) -> Tensor:
    """Return vectors whose numbers rise, each by one rounding at least: those that do not are moved up to the next number that does."""
    # Before torch 2.6 vmap does not see through bits, and a compiler not through the function that vmap takes instead.
    rise = _risen if torch.compiler.is_compiling() else _Risen.apply
    rising: Tensor = rise(value.detach())
    # The difference of near numbers is exact, so the sum is what it should be and the gradient that of the value.
    return torch.where(torch.isfinite(value), value + (rising - value).detach(), torch.where(torch.isnan(value), value, rising))


def _risen(value: Tensor) -> Tensor:
    """Return vectors whose numbers rise, made from their bits."""
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[value.dtype.itemsize]
    info = torch.finfo(value.dtype)
    place = _turned(torch.clamp(value, info.min, info.max).nan_to_num().view(kind))
    step = torch.arange(value.shape[-1], dtype=kind, device=value.device)
    # To rise by one at least is not to fall after one has been taken off for each before.
    place = torch.cummax(place - step, -1).values + step
    top = _turned(value.new_full((), info.max).view(kind))
    return _turned(torch.minimum(place, top + step - step[-1])).view(value.dtype)


class _Risen(Function):
    """`_risen` for vmap."""

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return _risen(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: it has no gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], value: Tensor) -> tuple[Tensor, int | None]:
        (dim,) = in_dims
        return _Risen.apply(value if dim is None else value.movedim(dim, 0)), None if dim is None else 0  # type: ignore[no-untyped-call]


def _turned(bits: Tensor) -> Tensor:
    """Return the bits of finite numbers as whole numbers in the same order, or the bits of such: those of negative ones turned round."""
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits, bits)


def _after(end: float, direction: int, dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    if abs(end) == math.inf:
        return info.max if end > 0 else info.min
    # The next number but one: torch.nextafter knows no half formats.
    return end + direction * (2 * info.tiny if end == 0 else info.eps * abs(end))


def independent(constraint: Constraint, rank: int) -> Constraint:
    """Return the constraint on events of ``rank`` axes of which ``constraint`` holds at every site."""
    extra = rank - constraint.event_dim
    made: Constraint = constraints.independent(constraint, extra) if extra > 0 else constraint
    return made


def inside(constraint: Constraint, value: Tensor) -> Tensor:
    """Return which events are in a set, as its ``check`` does; that of some of torch's sets fails for a batch of nothing.

    >>> inside(independent(constraints.positive, 1), torch.ones(0, 3)).shape
    torch.Size([0])
    """
    if not value.numel():
        return torch.ones(value.shape[: value.dim() - constraint.event_dim], dtype=torch.bool, device=value.device)
    found: Tensor = constraint.check(value)
    return found


def any_site(mask: Tensor, rank: int) -> Tensor:
    """Return which events of ``rank`` axes are marked at some site."""
    return mask.flatten(mask.dim() - rank).any(-1) if rank else mask
