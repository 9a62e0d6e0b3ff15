"""Sets of events in parts: along an axis each part lies in a set of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core.sets.interval import REAL, bounds, independent, inner_point, inside
from pushforward.core.sets.structured import Structured, leave, limits, name


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
        masks = [inside(independent(c, rank), part) for c, part in zip(self.cseq, self.split(value), strict=True)]
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
