"""How one set lies in another, and sets of events from those of their elements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core.sets.interval import bounds, interval
from pushforward.core.sets.parts import Moved, Parts
from pushforward.core.sets.structured import limits, structured


def elements(constraint: Constraint, shape: Sequence[int]) -> Tensor | None:
    """Return both ends at each element of events of a shape, ``(2, *shape)`` in float64, or None for a set that is no interval at each.

    >>> from torch.distributions import constraints
    >>> elements(constraints.positive, (2,))
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
    found = [elements(c, own) for c, (_, own) in zip(parts.cseq, each, strict=True)]
    return None if any(one is None for one in found) else parts.join(found)  # type: ignore[arg-type]


def of_elements(ends: Tensor) -> Constraint:
    """Return the set of events with an interval at each element, from ``(2, *event)`` ends in either order: what `elements` takes apart.

    >>> of_elements(torch.tensor([[0.0, 0.0, 1.0], [2.0, 2.0, 3.0]]))
    Parts(cseq=(Interval(lower_bound=0.0, upper_bound=2.0), Interval(lower_bound=1.0, upper_bound=3.0)), lengths=(2, 1), dim=-1, rank=1)
    """
    low, high = ends.amin(0), ends.amax(0)
    if bool((low == low.flatten()[0]).all() and (high == high.flatten()[0]).all()):
        return interval(low.flatten()[0].item(), high.flatten()[0].item())
    rows = torch.stack([low, high], 1).flatten(1)
    cuts = [0, *((rows[1:] != rows[:-1]).any(1).nonzero().flatten() + 1).tolist(), len(rows)]
    if len(cuts) == 2:  # alike along this axis, so they differ along a later one
        return of_elements(ends[:, 0])
    each = tuple(of_elements(ends[:, start]) for start in cuts[:-1])
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

    >>> from torch.distributions import constraints
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
    ends = elements(constraint, shape)
    if ends is None:
        return [constraint] * count
    return [of_elements(own) for own in (ends.unbind(dim) if lengths is None else ends.split(list(lengths), dim))]


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

    >>> from pushforward.core.sets import Simplex
    >>> moved(moved(Simplex(), -2, -1, (3, 2)), -1, -2, (2, 3))
    Simplex()
    """
    given = structured(constraint)
    if given is None or source == target:
        return constraint
    ends = elements(constraint, shape)
    if ends is not None:
        return of_elements(ends.movedim(source, target))
    if isinstance(given, Moved) and (given.source, given.target) == (source, target):
        return given.inner
    return Moved(given, target, source, len(shape))


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
