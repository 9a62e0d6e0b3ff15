"""Charts: the free coordinates of sets whose numbers depend on one another, on which a map between such sets is square."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.layer import Layer, Shape
from pushforward.kernels.stereographic import Stereographic

Function = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def free(value: Tensor, support: Constraint, rank: int) -> Tensor:
    """Return the free coordinates ``(*batch, m)`` of members of a set, events of ``rank`` axes.

    >>> free(torch.tensor([0.2, 0.3, 0.5]), sets.Simplex(), 1)
    tensor([0.2000, 0.3000])
    """
    kind = sets.structured(support)
    if isinstance(kind, sets.Parts):
        inner = rank - (kind.lengths is None)
        parts = [free(part, c, inner) for c, part in zip(kind.cseq, kind.split(value), strict=True)]
        return torch.cat(parts, -1)
    if isinstance(kind, sets.Simplex):
        value = value[..., :-1]
    elif isinstance(kind, sets.Sphere):
        value = Stereographic().inverse(value, value.shape[-1:])[0]
    elif isinstance(kind, sets.LowerCholesky | sets.PositiveDefinite):
        row, column = _triangle(kind, value.shape[-1])
        value, rank = value[..., row, column], rank - 1
    return value.flatten(value.dim() - rank) if rank else value.unsqueeze(-1)


def complete(coordinates: Tensor, support: Constraint, shape: Shape) -> Any:
    """Return the members of a set ``(*batch, *shape)`` whose free coordinates are given.

    >>> complete(torch.tensor([0.2, 0.3]), sets.Simplex(), (3,))
    tensor([0.2000, 0.3000, 0.5000])
    """
    kind = sets.structured(support)
    batch = coordinates.shape[:-1]
    if isinstance(kind, sets.Parts):
        shapes = _shapes(kind, shape)
        pieces = coordinates.split([count(c, s) for c, s in zip(kind.cseq, shapes, strict=True)], -1)
        return kind.join([complete(piece, c, s) for piece, c, s in zip(pieces, kind.cseq, shapes, strict=True)])
    if isinstance(kind, sets.Simplex):
        known = coordinates.reshape((*batch, *shape[:-1], shape[-1] - 1))
        return torch.cat([known, 1 - known.sum(-1, keepdim=True)], -1)
    if isinstance(kind, sets.Sphere):
        return Stereographic().forward(coordinates.reshape((*batch, *shape[:-1], shape[-1] - 1)), shape[-1:])[0]
    if not isinstance(kind, sets.LowerCholesky | sets.PositiveDefinite):
        return coordinates.reshape((*batch, *shape))
    side = shape[-1]
    row, column = _triangle(kind, side)
    known = coordinates.reshape((*batch, *shape[:-2], len(row)))
    lower = known.new_zeros((*known.shape[:-1], side * side)).index_copy(-1, row * side + column, known).unflatten(-1, (side, side))
    eye = torch.eye(side, dtype=known.dtype)
    if isinstance(kind, sets.PositiveDefinite):
        return lower + lower.tril(-1).mT + (eye if kind.correlation else 0)
    if kind.diagonal == "rows":
        return lower + torch.diag_embed(torch.sqrt(1 - (lower * lower).sum(-1)))
    return lower + (eye if kind.diagonal == "unit" else 0)


def count(support: Constraint, shape: Shape) -> int:
    """Return the number of free coordinates of events of a shape."""
    kind = sets.structured(support)
    if isinstance(kind, sets.Parts):
        return sum(count(c, s) for c, s in zip(kind.cseq, _shapes(kind, shape), strict=True))
    if isinstance(kind, sets.Simplex | sets.Sphere):
        return math.prod(shape[:-1]) * (shape[-1] - 1)
    if isinstance(kind, sets.LowerCholesky | sets.PositiveDefinite):
        return math.prod(shape[:-2]) * len(_triangle(kind, shape[-1])[0])
    return math.prod(shape)


def log_volume(value: Tensor, support: Constraint, rank: int) -> Tensor | float:
    """Return the log ``(*batch)`` of what the volume of free coordinates is worth at members of a set: of a sphere, surface area.

    >>> log_volume(torch.tensor([0.0, 0.0, -1.0]), sets.SPHERE, 1)
    tensor(1.3863)
    """
    kind = sets.structured(support)
    if isinstance(kind, sets.Parts):
        inner = rank - (kind.lengths is None)
        return sum(log_volume(part, c, inner) for c, part in zip(kind.cseq, kind.split(value), strict=True))
    if isinstance(kind, sets.Sphere):
        ladj = -Stereographic().inverse(value, value.shape[-1:])[1]
        return ladj.flatten(1 - rank).sum(-1) if rank > 1 else ladj
    return 0.0


def directions(module: Layer, x: Tensor, y: Tensor) -> tuple[tuple[Function, Tensor, int], tuple[Function, Tensor, int]]:
    """Return both directions of a module as square maps: each with its point and the number of axes of its events.

    Where all numbers of an event are free these are the module's own; else maps of the free coordinates on one axis.
    """
    sets = (module.domain, tuple(module.event_shape)), (module.codomain, tuple(module.out_shape))
    if all(count(support, shape) == math.prod(shape) for support, shape in sets):
        return (module.forward, x, len(module.event_shape)), (module.inverse, y, len(module.out_shape))

    def charted(function: Function, source: tuple[Constraint, Shape], target: tuple[Constraint, Shape]) -> Function:
        def run(coordinates: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            start = complete(coordinates, *source)
            value, ladj = function(start, context)
            ladj = ladj + log_volume(start, source[0], len(source[1])) - log_volume(value, target[0], len(target[1]))
            return free(value, target[0], len(target[1])), ladj

        return run

    before, after = sets
    return (
        (charted(module.forward, before, after), free(x, before[0], len(before[1])), 1),
        (charted(module.inverse, after, before), free(y, after[0], len(after[1])), 1),
    )


def _triangle(kind: sets.LowerCholesky | sets.PositiveDefinite, side: int) -> Tensor:
    any_diagonal = not kind.correlation if isinstance(kind, sets.PositiveDefinite) else kind.diagonal == "positive"
    return torch.tril_indices(side, side, 0 if any_diagonal else -1)


def _shapes(kind: sets.Parts, shape: Shape) -> list[Shape]:
    axis = len(shape) + kind.dim
    if kind.lengths is None:
        return [shape[:axis] + shape[axis + 1 :]] * len(kind.cseq)
    return [(*shape[:axis], length, *shape[axis + 1 :]) for length in kind.lengths]
