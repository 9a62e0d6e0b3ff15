"""Permutations of an axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.contrib.pyro.face.layout import OnDim
from pushforward.contrib.pyro.face.planned import Planned
from pushforward.contrib.pyro.face.sizes import negative, shape
from pushforward.core.spec import PlanError
from pushforward.layers import rearrange

__all__ = ["Permute", "permute"]


class Permute(Planned):
    """Another order of the entries of an axis: entry i of y is entry ``permutation[i]`` of x. The order is saved.

    Args:
        permutation: Every index once.
        dim: The axis, negative; an event has ``-dim`` axes.
        cache_size: As in `TransformModule`.

    >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([10.0, 11.0, 12.0]))
    tensor([12., 10., 11.])
    """

    volume_preserving = True

    def __init__(self, permutation: Tensor | Sequence[int], *, dim: int = -1, cache_size: int = 1) -> None:
        negative("Permute", dim)
        plan = rearrange.Permute(permutation)  # type: ignore[arg-type]
        super().__init__(OnDim(plan.build(len(plan.order)), dim), -dim)


def permute(input_dim: int | Sequence[int], permutation: Tensor | Sequence[int] | None = None, dim: int = -1) -> Permute:
    """Return a `Permute`, at random unless ``permutation`` is given, of the axis ``dim`` of events of a shape.

    >>> permute((3, 4), dim=-2)(torch.zeros(5, 3, 4)).shape
    torch.Size([5, 3, 4])
    """
    event = shape("permute", "input_dim", input_dim, -negative("permute", dim))
    if permutation is not None and len(permutation) != event[0]:
        raise PlanError(f"permute: expected a permutation of {event[0]} entries, got {len(permutation)}")
    return Permute(torch.randperm(event[0]) if permutation is None else permutation, dim=dim)
