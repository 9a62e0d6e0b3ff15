"""Sylvester kernel: the planar map with as many directions as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import Count, OneOf, Positive
from pushforward.core.numerics import finer, soft_clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import apply
from pushforward.kernels.planar import contained, solve_tanh, tanh_slope

VARIANTS = ("householder", "orthogonal", "triangular")


# Bound of the entries of the triangular matrices beside their diagonals.
ENTRY_BOUND = 2.0


@dataclass(frozen=True, repr=False)
class Sylvester(Kernel):
    r"""Sylvester map of vectors, :math:`y = x + Q R \tanh(S Q^\top x + b)`.

    Q has M orthonormal columns, R and S are upper triangular :math:`M \times M` with :math:`r_i s_i > -1`, which are kept so as in
    `Planar`, that is M = 1; their other entries lie in (-2, 2). :math:`\log|\det| = \sum_i \log(1 + r_i s_i \tanh'_i)`. The inverse solves
    :math:`v + S R \tanh v = S Q^\top y + b` for :math:`v = S Q^\top x + b` from the last number to the first, each a scalar root.
    R = 0, with which a layer starts, is the identity. :math:`M^2 + 2M` parameters and D for each reflection; acts on the last event
    axis; all real vectors to all real vectors.
    Source: Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018).

    Args:
        variant: What Q is: ``"householder"`` (the first M columns of a product of reflections), ``"orthogonal"`` (the same with M
            reflections, which make any Q) or ``"triangular"`` (columns of the identity: put a permutation between layers).
        rank: M, at most D (None: D).
        reflections: How many reflections make the Q of ``"householder"``.
        bound: The largest absolute logarithm of each :math:`1 + r_i s_i`.

    >>> Sylvester("orthogonal", rank=2).build((5,))(torch.ones(7, 5))[1].shape
    torch.Size([7])
    """

    variant: Annotated[str, OneOf(*VARIANTS)] = "householder"
    rank: Count | None = None
    reflections: Count = 4
    bound: Positive = 3.0

    event_dim = 1
    inverse_method = "a root for each row of the triangles"
    formula = "y = x + Q R tanh(S Q' x + b)"
    size = (
        "(rank or D) ** 2 + 2 * (rank or D) + "
        "D * (reflections if variant == 'householder' else (rank or D) if variant == 'orthogonal' else 0)"
    )

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        rank = self.rank or size
        if rank > size:
            raise PlanError(f"{self!r}: expected rank to be at most {size}, the length of the vectors, got {rank}")
        parameters = {"triangles": torch.zeros(rank, rank), "diagonal": torch.ones(rank), "b": torch.zeros(rank)}
        if self.variant == "triangular":
            return parameters
        # At random: reflections that are all alike would stay so.
        return parameters | {"vectors": torch.randn(self.reflections if self.variant == "householder" else rank, size)}

    def forward(self, x: Tensor, triangles: Tensor, diagonal: Tensor, b: Tensor, vectors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, left, right, product, b, normals = self._factors(x, triangles, diagonal, b, vectors)
        turned = _reflect(value, normals)[..., : b.shape[-1]]
        h, slope = tanh_slope(apply(right, turned) + b)
        y = value + self._turn_back(apply(left, h), normals, x.shape[-1])
        return y.to(x.dtype), torch.log1p(product * slope).sum(-1).to(x.dtype)

    def inverse(self, y: Tensor, triangles: Tensor, diagonal: Tensor, b: Tensor, vectors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, left, right, product, b, normals = self._factors(y, triangles, diagonal, b, vectors)
        target = apply(right, _reflect(value, normals)[..., : b.shape[-1]]) + b
        both = torch.matmul(right, left)
        found: list[Tensor] = []  # the hyperbolic tangents, made from the last one back
        for i in reversed(range(b.shape[-1])):
            rest = target[..., i]
            if found:
                rest = rest - (both[..., i, i + 1 :] * torch.stack(found, -1)).sum(-1)
            found.insert(0, torch.tanh(solve_tanh(rest, product[..., i])))
        h = torch.stack(found, -1)
        x = value - self._turn_back(apply(left, h), normals, y.shape[-1])
        return x.to(y.dtype), -torch.log1p(product * (1 - h) * (1 + h)).sum(-1).to(y.dtype)

    def _factors(
        self, x: Tensor, triangles: Tensor, diagonal: Tensor, b: Tensor, vectors: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Return x, R, S, the product of their diagonals, b and the reflections; the square holds R on and above its diagonal, S' below."""
        x, triangles, diagonal, b = map(finer, (x, triangles, diagonal, b))
        first = torch.diagonal(triangles, dim1=-2, dim2=-1)
        scale = contained(first * diagonal, self.bound)
        entries = soft_clamp(triangles, ENTRY_BOUND)
        left = torch.triu(entries, 1) + torch.diag_embed(first * scale)
        right = torch.tril(entries, -1).mT + torch.diag_embed(diagonal)
        normals = () if vectors is None else _unit(finer(vectors)).unbind(-2)
        return x, left, right, first * diagonal * scale, b, normals

    @staticmethod
    def _turn_back(h: Tensor, normals: tuple[Tensor, ...], size: int) -> Tensor:
        return _reflect(F.pad(h, (0, size - h.shape[-1])), normals[::-1])


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors of length 1; one of zeros stays as it is, and then reflects nothing."""
    square = (vectors * vectors).sum(-1, keepdim=True)
    some = square > torch.finfo(square.dtype).tiny
    return vectors * torch.where(some, torch.rsqrt(torch.where(some, square, 1.0)), 0.0)


def _reflect(x: Tensor, normals: tuple[Tensor, ...]) -> Tensor:
    """Return ``x`` reflected at the plane across each normal in turn."""
    for normal in normals:
        x = x - 2 * normal * (normal * x).sum(-1, keepdim=True)
    return x
