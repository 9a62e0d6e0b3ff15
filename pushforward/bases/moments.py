"""Moments: mean, covariance and entropy of a base through a bijection, where they have a closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pushforward.core.base import BaseModule
from pushforward.core.layer import Layer


def affine(transform: Layer) -> bool:
    """Tell whether a bijection is affine in its values: whether all layers of it are."""
    return transform.facts.is_affine


def mean(transform: Layer, base: BaseModule, context: Tensor | None) -> Tensor | None:
    """Return the mean ``(*batch, *event)``, or None where it has no closed form."""
    start = base.mean_at(context) if affine(transform) else None
    return None if start is None else transform.push(start, context)[0]


def spread(transform: Layer, base: BaseModule, context: Tensor | None) -> Tensor | None:
    """Return vectors ``(n, *batch, *event)`` whose outer products add up to the covariance, or None where it has no closed form."""
    start = base.mean_at(context) if affine(transform) else None
    vectors = None if start is None else base.spread_at(context)
    return None if start is None or vectors is None else images(lambda x: transform.push(x, context)[0], start, vectors)


def entropy(transform: Layer, base: BaseModule, context: Tensor | None) -> Tensor | None:
    """Return the entropy ``(*batch)`` in nats, or None where it has no closed form."""
    # The log-determinant is the same at every point of the base; one has to be known.
    point = base.mean_at(context) if affine(transform) else None
    start = None if point is None else base.entropy_at(context)
    return None if start is None or point is None else start + transform.push(point, context)[1]


def images(function: Callable[[Tensor], Tensor], point: Tensor, vectors: Tensor) -> Tensor:
    """Return what the derivative of a function at a point makes of vectors ``(n, *batch, *event)``; nothing is a difference."""
    shape = torch.broadcast_shapes(vectors.shape[1:], point.shape)
    at, vectors = point.expand(shape), widened(vectors, shape)
    made: Tensor = torch.func.vmap(lambda v: torch.func.jvp(function, (at,), (v,))[1])(vectors)
    return made


def widened(vectors: Tensor, shape: Sequence[int]) -> Tensor:
    """Return vectors ``(n, *own)`` with the batch of ``shape``, to which ``own`` broadcasts."""
    missing = len(shape) - vectors.dim() + 1
    return vectors.reshape(len(vectors), *(1,) * missing, *vectors.shape[1:]).expand(len(vectors), *shape)


def together(each: Sequence[Tensor]) -> Tensor:
    """Return several lots of vectors as one, with the batch to which theirs broadcast."""
    shape = torch.broadcast_shapes(*(vectors.shape[1:] for vectors in each))
    return torch.cat([widened(vectors, shape) for vectors in each])


def apart(deviation: Tensor) -> Tensor:
    """Return the vectors of a covariance without correlations, ``(elements, *batch, elements)``, from deviations ``(*batch, elements)``."""
    return torch.diag_embed(deviation).movedim(-2, 0)
