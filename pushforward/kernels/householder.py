"""Householder reflections: orthogonal matrices that cost a few vectors each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.fields import Count
from pushforward.core.numerics import finer
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import apply, solve

# A vector with no entry above this has no direction to speak of, and the gradient of its direction would overflow.
SMALLEST = 1e-12


@dataclass(frozen=True, repr=False)
class Householder(Kernel):
    r"""Reflections one after the other, :math:`y = H_K \cdots H_1 x` with :math:`H_k = I - 2 v_k v_k^\top / |v_k|^2`; it keeps volumes.

    Only the direction of a vector counts; a vector of zeros, which has none, stands for the one that it started as. Vectors start as
    unit vectors in equal pairs, so an even number of reflections starts as the identity and an odd one turns the sign of a single
    feature. ``K D`` parameters; acts on the last event axis; all real vectors to all real vectors.
    Source: Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016). All reflections at once:
    Accumulating Householder Transformations, Revisited (Joffrain et al., 2006).

    Args:
        reflections: K >= 1. With D of them every orthogonal matrix of one determinant can be reached.

    >>> Householder(reflections=1).build(2)(torch.tensor([3.0, 4.0]))[0].detach()
    tensor([-3.,  4.])
    """

    reflections: Count = 2

    event_dim = 1
    is_affine = True
    formula = "y = H_K ... H_1 x,  H_k = I - 2 v_k v_k' / |v_k|^2"
    size = "reflections * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"vectors": _axes(self.reflections, shape[-1], None).to(torch.get_default_dtype())}

    def forward(self, x: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        return _reflect(x, vectors, reverse=False), x.new_zeros(())

    def inverse(self, y: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        return _reflect(y, vectors, reverse=True), y.new_zeros(())


def _axes(count: int, size: int, device: torch.device | None) -> Tensor:
    """Return where the first vectors have their one: ``(count, size)``, each row twice."""
    pair = torch.arange(count, device=device).div(2, rounding_mode="floor") % size
    return pair[:, None] == torch.arange(size, device=device)


def _units(vectors: Tensor) -> Tensor:
    """Return vectors of length 1, whatever their scale."""
    # Divided by the largest entry first, so that no square overflows; it is a constant, since only the direction counts.
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    without = largest <= SMALLEST
    axes = _axes(vectors.shape[-2], vectors.shape[-1], vectors.device).to(vectors.dtype)
    scaled = torch.where(without, axes, vectors / torch.where(without, torch.ones_like(largest), largest))
    return scaled * torch.rsqrt((scaled * scaled).sum(-1, keepdim=True))


def _reflect(x: Tensor, vectors: Tensor, reverse: bool) -> Tensor:
    """Return x reflected at each of ``(*, K, D)`` vectors, from the first to the last or in ``reverse``."""
    # What reflection k takes off is z_k v_k, z_k = 2 v_k . (x - sum of what the earlier ones took): a unit triangular system, as
    # well conditioned as the reflections themselves, and as many operators for one as for many.
    # In float64, or each reflection would add the rounding of its vector's length to that of the others.
    units, fine = _units(finer(vectors)), finer(x)
    gram = 2 * torch.matmul(units, units.mT)
    triangle = torch.triu(gram, 1) if reverse else torch.tril(gram, -1)
    z = solve(triangle, 2 * apply(units, fine), upper=reverse)
    return (fine - apply(units.mT, z)).to(x.dtype)
