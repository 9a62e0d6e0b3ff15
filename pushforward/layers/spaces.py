"""Spaces: what a velocity field on a line, a circle or a sphere is, and the shortest ways between two points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.nets.divergence import Times


def unit(x: Tensor) -> Tensor:
    """Return vectors ``(*batch, n)`` of length 1 in the direction of others, zero of zero."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp(min=torch.finfo(x.dtype).tiny)


def along(x: Tensor, v: Tensor) -> Tensor:
    """Return the part of ``v`` that is tangent to the sphere at unit vectors ``x``; ``x`` has length 1 or is nothing."""
    return v - x * (x * v).sum(-1, keepdim=True)


class Space(NamedTuple):
    """A kind of space whose points are vectors ``(*batch, d)``.

    Args:
        support: The set of its points.
        onto: A point from numbers near one.
        seen: What a net is shown of a point, ``(*batch, s)``, which has no seam.
        spread: How far that is spread, the deviation of each number of it, for points of so many numbers: of standardised rows of a line,
            and of what is even on a circle or a sphere.
        pushed: The derivative of that along vectors ``(*batch, k, d)``.
        tangent: The velocity at a point that a net's outputs are, given how fast it may be.
        slope: An operator with the trace of the divergence: of a point, the outputs, vectors, and the derivatives of the outputs along
            these; given how fast.
        between: Where the shortest way from one point to another is after a share ``(*batch, 1)`` of its length, and its velocity there.
    """

    support: Constraint
    onto: Callable[[Tensor], Tensor]
    seen: Callable[[Tensor], Tensor]
    spread: Callable[[int], float]
    pushed: Callable[[Tensor, Tensor], Tensor]
    tangent: Callable[[Tensor, Tensor, float], Tensor]
    slope: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
    between: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _straight(share: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    return start + share * (end - start), end - start


def _round(share: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    way = torch.remainder(end - start + math.pi, 2 * math.pi) - math.pi
    return start + share * way, way


def _circle_pushed(x: Tensor, vectors: Tensor) -> Tensor:
    x = x.unsqueeze(-2)
    return torch.cat([-torch.sin(x) * vectors, torch.cos(x) * vectors], -1)


def _sphere_tangent(x: Tensor, v: Tensor, fastest: float) -> Tensor:
    """Return the velocity; it grows with the length of x, so that what a solver is off in length changes no direction."""
    moved = along(unit(x), v)
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length * moved * _brake(moved, fastest)


def _brake(moved: Tensor, fastest: float) -> Tensor:
    return torch.rsqrt(1 + (moved * moved).sum(-1, keepdim=True) / fastest**2)


def _sphere_slope(x: Tensor, v: Tensor, vectors: Tensor, slopes: Tensor, fastest: float) -> Tensor:
    x = unit(x)
    moved, radial = along(x, v), (x * v).sum(-1, keepdim=True).unsqueeze(-2)
    brake, wide = _brake(moved, fastest).unsqueeze(-2), x.unsqueeze(-2)
    # Of (1 - x x') v along tangents p: what is left out of it, -x (p v), is normal to the sphere and has no trace there.
    change = along(wide, slopes) - radial * along(wide, vectors)
    moved = moved.unsqueeze(-2)
    return brake * change - brake**3 / fastest**2 * moved * (moved * change).sum(-1, keepdim=True)


def _great_circle(share: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    start, end = unit(start), unit(end)
    across = along(start, end)
    length = torch.linalg.vector_norm(across, dim=-1, keepdim=True)
    angle = torch.atan2(length, (start * end).sum(-1, keepdim=True))
    across = unit(across)
    cos, sin = torch.cos(share * angle), torch.sin(share * angle)
    return cos * start + sin * across, angle * (cos * across - sin * start)


SPACES: dict[str, Space] = {
    "real": Space(
        constraints.real,
        lambda x: x,
        lambda x: x,
        lambda size: 1.0,
        lambda x, vectors: vectors,
        lambda x, v, fastest: v,
        lambda x, v, vectors, slopes, fastest: slopes,
        _straight,
    ),
    # An angle is a real number of which whole turns do not matter.
    "circle": Space(
        constraints.real,
        lambda x: x,
        lambda x: torch.cat([torch.cos(x), torch.sin(x)], -1),
        lambda size: 0.5**0.5,
        _circle_pushed,
        lambda x, v, fastest: v,
        lambda x, v, vectors, slopes, fastest: slopes,
        _round,
    ),
    "sphere": Space(
        sets.SPHERE,
        unit,
        unit,
        lambda size: size**-0.5,
        lambda x, vectors: along(unit(x).unsqueeze(-2), vectors),
        _sphere_tangent,
        _sphere_slope,
        _great_circle,
    ),
}
"""The kinds by name. A new one is a new row."""


class Spaces(NamedTuple):
    """Spaces side by side: of vectors ``(*batch, D)`` each takes some numbers.

    Args:
        kinds: Their names.
        sizes: How many numbers each takes.
        fastest: How fast a point of a sphere may move.
    """

    kinds: Sequence[str]
    sizes: Sequence[int]
    fastest: float

    @property
    def each(self) -> list[Space]:
        """The kinds."""
        return [SPACES[kind] for kind in self.kinds]

    @property
    def support(self) -> Constraint:
        """The set of points."""
        supports = [space.support for space in self.each]
        return supports[0] if len(supports) == 1 else sets.joined(supports, self.sizes, -1, 1)

    @property
    def width(self) -> int:
        """How many numbers a net is shown."""
        return sum(space.seen(torch.zeros(size)).numel() for space, size in zip(self.each, self.sizes, strict=True))

    @property
    def deviations(self) -> list[float]:
        """How far each number that a net is shown is spread."""
        parts = zip(self.each, self.sizes, strict=True)
        return [space.spread(size) for space, size in parts for _ in range(space.seen(torch.zeros(size)).numel())]

    def onto(self, x: Tensor) -> Tensor:
        """Return points from numbers near them."""
        return self._joined(lambda space, x: space.onto(x), x)

    def seen(self, x: Tensor) -> Tensor:
        """Return what a net is shown of points."""
        return self._joined(lambda space, x: space.seen(x), x)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Return the velocities that outputs of a net are."""
        return self._joined(lambda space, x, v: space.tangent(x, v, self.fastest), x, v)

    def slopes(self, x: Tensor, v: Tensor, times: Times) -> Times:
        r"""Return products with vectors of an operator whose trace is the divergence of the velocities on the spaces.

        On the sphere of n numbers the velocity is :math:`(1 - x x^\top) v`, and its divergence
        :math:`\operatorname{tr}((1 - x x^\top) J) - (n - 1)\, x^\top v`: the trace along the sphere, less what the sphere bends away. It
        is the divergence in all of space of the velocity that is the same along each ray.
        Sources: Riemannian Continuous Normalizing Flows (Mathieu, Nickel, 2020); Neural Ordinary Differential Equations on Manifolds
        (Falorsi, Forré, 2020); Neural Manifold Ordinary Differential Equations (Lou et al., 2020).

        Args:
            x: Points ``(n, D)``.
            v: A net's outputs there.
            times: Jacobians of these, by what the net is shown, times vectors.
        """

        def of(vectors: Tensor) -> Tensor:
            vectors = vectors.expand(x.shape[0], *vectors.shape[-2:])
            moved = times(self._joined(lambda space, x, e: space.pushed(x, e), x, vectors))
            return self._joined(lambda space, x, v, e, je: space.slope(x, v, e, je, self.fastest), x, v, vectors, moved)

        return of

    def between(self, share: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the shortest ways from some points ``(n, D)`` to others are after shares ``(n,)`` of them, and their velocities.

        Source: Flow Matching on General Geometries (Chen, Lipman, 2024).
        """
        parts = [t.split(list(self.sizes), -1) for t in (start, end)]
        found = [space.between(share.unsqueeze(-1), one, other) for space, one, other in zip(self.each, *parts, strict=True)]
        return torch.cat([place for place, _ in found], -1), torch.cat([velocity for _, velocity in found], -1)

    def _joined(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        parts = [t.split(list(self.sizes), -1) for t in values]
        made = [function(space, *each) for space, *each in zip(self.each, *parts, strict=True)]
        return made[0] if len(made) == 1 else torch.cat(made, -1)


def trace(times: Times, like: Tensor) -> Tensor:
    """Return the traces ``(n)`` of operators on vectors like ``(n, D)``, exactly, by products with each axis."""
    return times(torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)).diagonal(0, -2, -1).sum(-1)
