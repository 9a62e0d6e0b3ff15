"""Sets: members of a support that lie far apart, and what is near it but no member."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.bases.order_statistics import Sorted
from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.layers.domains import to_support
from pushforward.layers.rearrange import Reverse


def plain(support: Constraint) -> Constraint:
    """Return a set without the axes that `independent` adds: the one that holds at every element, or for every vector."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def chart(support: Constraint) -> Bijector:
    """Return the plan of a bijection from all real numbers onto a set; raise `PlanError` where none is known.

    >>> from torch.distributions import constraints
    >>> chart(constraints.unit_interval)
    Sigmoid()
    """
    inner = plain(support)
    if isinstance(inner, Sorted):  # a rising map of each number keeps their order
        turned: list[Bijector] = [Reverse()] if inner.descending else []
        return Compose([to_support(sets.ORDERED), to_support(inner.part), *turned])
    return to_support(inner)


def members(support: Constraint, z: Tensor) -> Tensor:
    """Return members of a set from normal numbers ``(rows, *shape)``, all over it: of each sign where it has both.

    Raises:
        NotImplementedError: A set of the user's own.

    >>> from torch.distributions import constraints
    >>> members(constraints.positive, torch.tensor([[0.0, -1.0]]))
    tensor([[1.0000, 0.3679]])
    """
    kind = sets.structured(support)
    inner = plain(support)
    if isinstance(inner, Sorted):
        return members(inner.part, z).sort(-1, descending=inner.descending).values
    if isinstance(kind, sets.Parts):
        return kind.join([members(c, part) for c, part in zip(kind.cseq, kind.split(z), strict=True)])
    if isinstance(kind, sets.Moved):
        return members(kind.inner, z.movedim(kind.source, kind.target)).movedim(kind.target, kind.source)
    if isinstance(kind, sets.Ordered):
        return (z.abs() if kind.positive else z).sort(-1).values
    if isinstance(kind, sets.LowerCholesky):
        return _factors(kind.diagonal, z)
    if isinstance(kind, sets.PositiveDefinite):
        factor = _factors("rows" if kind.correlation else "positive", z)
        return factor @ factor.mT
    if isinstance(kind, sets.Sphere):
        return kind.settle(z)
    if kind is not None:
        return kind.member(z)
    ends = sets.elements(inner, z.shape[1:])
    if ends is None:
        raise NotImplementedError(f"expected a set whose members are known, got {support}")
    low, high = ends.to(z)
    both = low + (high - low) * torch.sigmoid(z)
    one = torch.where(torch.isinf(high), low + torch.exp(z), high - torch.exp(z))
    return torch.where(torch.isinf(low) & torch.isinf(high), z, torch.where(torch.isinf(low) | torch.isinf(high), one, both))


def _factors(diagonal: str, z: Tensor) -> Tensor:
    below, eye = z.tril(-1), torch.eye(z.shape[-1], dtype=z.dtype)
    if diagonal == "positive":
        return below + eye * torch.exp(z)
    matrix = below + eye
    return matrix / torch.linalg.vector_norm(matrix, dim=-1, keepdim=True) if diagonal == "rows" else matrix


def beyond(support: Constraint, value: Tensor) -> list[Tensor]:
    """Return rows that are no members, each from members ``(rows, *shape)`` by one change.

    There are none for a set of all real numbers, and for one of the user's own none is known.

    >>> from torch.distributions import constraints
    >>> [row.tolist() for row in beyond(constraints.positive, torch.ones(1, 2))]
    [[[-1.0, 1.0]], [[1.0, -1.0]]]
    """
    return _changed(support, value, 1.0)


def on_ends(support: Constraint, value: Tensor) -> list[Tensor]:
    """Return rows of which one number is an end of its interval, where a density has no mass; else as `beyond`."""
    return _changed(support, value, 0.0)


def _changed(support: Constraint, value: Tensor, step: float) -> list[Tensor]:
    kind, inner = sets.structured(support), plain(support)
    if isinstance(inner, Sorted):
        return ([value.flip(-1)] if value.shape[-1] > 1 else []) + _changed(inner.part, value, step)
    if isinstance(kind, sets.Parts):
        parts = kind.split(value)
        each = [(i, wrong) for i, c in enumerate(kind.cseq) for wrong in _changed(c, parts[i], step)]
        return [kind.join([*parts[:i], wrong, *parts[i + 1 :]]) for i, wrong in each]
    if isinstance(kind, sets.Moved):
        moved = value.movedim(kind.source, kind.target)
        return [wrong.movedim(kind.target, kind.source) for wrong in _changed(kind.inner, moved, step)]
    if isinstance(kind, sets.Structured):
        return _beyond_set(kind, value)
    bounds, found = sets.elements(inner, value.shape[1:]), []
    for end, away in zip(() if bounds is None else bounds, (-step, step), strict=False):
        limited = torch.isfinite(end).flatten().nonzero().flatten().tolist()
        found += [_with(value, element, end.flatten()[element].item() + away) for element in dict.fromkeys(limited[:1] + limited[-1:])]
    return found


def _with(value: Tensor, element: int, number: float) -> Tensor:
    flat = value.reshape(len(value), -1).clone()
    flat[:, element] = number
    return flat.reshape(value.shape)


def _beyond_set(kind: sets.Structured, value: Tensor) -> list[Tensor]:
    if isinstance(kind, sets.Simplex):
        swapped = value.clone()
        swapped[..., 0], swapped[..., -1] = -value[..., 0], value[..., -1] + 2 * value[..., 0]  # the sum is still 1
        return [1.5 * value, 0.5 * value, swapped]
    if isinstance(kind, sets.Sphere):
        return [1.5 * value, 0.5 * value]
    if isinstance(kind, sets.Ordered):
        found = [value.flip(-1), value[..., :1].expand_as(value).clone()] if value.shape[-1] > 1 else []
        return [*found, value - value[..., -1:] - 1] if kind.positive else found
    side = value.shape[-1]
    above, eye = torch.ones_like(value).triu(1), torch.eye(side, dtype=value.dtype)
    if isinstance(kind, sets.LowerCholesky):
        found = [value - 2 * value * eye]
        found += [value + 0.5 * above] if side > 1 else []
        return found + ([1.5 * value] if kind.diagonal != "positive" else [])
    if isinstance(kind, sets.PositiveDefinite):
        found = [-value]
        found += [value + 0.5 * above, value + 5 * value.abs().amax((-2, -1), keepdim=True) * (above + above.mT)] if side > 1 else []
        return found + ([1.5 * value] if kind.correlation else [])
    return []
