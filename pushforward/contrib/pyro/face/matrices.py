"""Fixed transforms with tensors of their own, through which gradients run, and of matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.contrib.pyro.face.fixed import SoftplusTransform
from pushforward.contrib.pyro.face.layout import Lazy
from pushforward.contrib.pyro.face.planned import Planned
from pushforward.contrib.pyro.face.transform import AtOnce, TransformModule
from pushforward.core import checks, sets
from pushforward.core.spec import PlanError
from pushforward.kernels import simplex

__all__ = ["LowerCholeskyAffine", "SimplexToOrderedTransform", "SoftplusLowerCholeskyTransform", "UnitLowerCholeskyTransform"]


class SimplexToOrderedTransform(Planned):
    """From the simplex of K to K - 1 ordered cut points about an anchor; `pushforward.bijectors.SimplexToOrdered`.

    Args:
        anchor_point: Where the cut points are centred, ``(*batch)`` (None: zero).

    >>> SimplexToOrderedTransform()(torch.tensor([0.25, 0.5, 0.25]))
    tensor([-1.0986,  1.0986])
    """

    anchor_point: Tensor

    def __init__(self, anchor_point: Tensor | None = None) -> None:
        super().__init__(Lazy(simplex.SimplexToOrdered(), 1), 1)
        if anchor_point is not None and not isinstance(anchor_point, Tensor):
            raise PlanError(f"SimplexToOrderedTransform: expected anchor_point to be a tensor or None, got {anchor_point!r}")
        _keep(self, "anchor_point", torch.tensor(0.0) if anchor_point is None else anchor_point)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimplexToOrderedTransform) and torch.equal(self.anchor_point, other.anchor_point)

    __hash__ = TransformModule.__hash__

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, ladj = super().call_and_ladj(x)
        return y + self.anchor_point.unsqueeze(-1), ladj

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self.admit("y", y)
        return super().inverse_and_ladj(y - self.anchor_point.unsqueeze(-1))


class LowerCholeskyAffine(AtOnce, TransformModule):
    """Affine map of vectors, ``y = loc + L x``, with L lower triangular and of positive diagonal, one or a batch of them.

    Args:
        loc: ``(*batch, D)``.
        scale_tril: L, ``(*batch, D, D)``.
        cache_size: As in `TransformModule`.

    >>> LowerCholeskyAffine(torch.zeros(2), torch.tensor([[2.0, 0.0], [1.0, 1.0]]))(torch.ones(2))
    tensor([2., 2.])
    """

    loc: Tensor
    scale_tril: Tensor
    domain = codomain = constraints.real_vector
    bijective = True
    volume_preserving = False

    def __init__(self, loc: Tensor, scale_tril: Tensor, cache_size: int = 0) -> None:
        super().__init__()
        if not (isinstance(loc, Tensor) and isinstance(scale_tril, Tensor)):
            raise PlanError(f"LowerCholeskyAffine: expected loc and scale_tril to be tensors, got {loc!r} and {scale_tril!r}")
        if not (loc.dim() and scale_tril.dim() > 1 and loc.shape[-1] == scale_tril.shape[-1] == scale_tril.shape[-2]):
            got = f"{tuple(loc.shape)} and {tuple(scale_tril.shape)}"
            raise PlanError(f"LowerCholeskyAffine: expected loc (*batch, D) and scale_tril (*batch, D, D), got {got}")
        _keep(self, "loc", loc)
        _keep(self, "scale_tril", scale_tril)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("x", x)
        y = torch.matmul(self.scale_tril, x.unsqueeze(-1)).squeeze(-1) + self.loc
        return y, self._ladj(y)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self._admit("y", y)
        x: Tensor = torch.linalg.solve_triangular(self.scale_tril, (y - self.loc).unsqueeze(-1), upper=False).squeeze(-1)
        return x, -self._ladj(x)

    def _ladj(self, x: Tensor) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1).expand(x.shape[:-1])

    def _admit(self, what: str, value: Tensor) -> None:
        checks.check_tensor(self, what, value, self.loc.shape[-1:], self.loc.dtype, self.loc.device)
        batch = torch.broadcast_shapes(self.loc.shape[:-1], self.scale_tril.shape[:-2])
        checks.check_batch(self, what, value.shape[:-1], batch)

    def forward_shape(self, shape: Any) -> torch.Size:
        return torch.Size(torch.broadcast_shapes(tuple(shape), self.loc.shape, self.scale_tril.shape[:-1]))

    def inverse_shape(self, shape: Any) -> torch.Size:
        return self.forward_shape(shape)


class SoftplusLowerCholeskyTransform(AtOnce):
    """Matrices to lower triangular ones with a positive diagonal: a softplus of the diagonal, zeros above it.

    What is above counts for nothing, so it is no bijection; the log-determinant is that of the lower triangle. `pushforward.bijectors`
    has ``SoftplusLowerCholesky`` of vectors.
    """

    domain = sets.independent(constraints.real, 2)
    codomain: constraints.Constraint = constraints.lower_cholesky
    bijective = False

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped("x", x, inverse=False)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped("y", y, inverse=True)

    def _mapped(self, what: str, value: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        self.admit(what, value)
        if value.dim() < 2 or value.shape[-1] != value.shape[-2]:
            raise ValueError(f"{self.label()}: expected {what} as square matrices (*batch, n, n), got {tuple(value.shape)}")
        diagonal, ladj = self._diagonal(value.diagonal(dim1=-2, dim2=-1), inverse)
        return value.tril(-1) + diagonal.diag_embed(), ladj.sum(-1)

    def _diagonal(self, values: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        softplus = SoftplusTransform()
        return softplus.inverse_and_ladj(values) if inverse else softplus.call_and_ladj(values)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class UnitLowerCholeskyTransform(SoftplusLowerCholeskyTransform):
    """Matrices to lower triangular ones with a diagonal of ones, as `SoftplusLowerCholeskyTransform`."""

    codomain = sets.UNIT_LOWER_CHOLESKY

    def _diagonal(self, values: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return values if inverse else torch.ones_like(values), torch.zeros_like(values)


def _keep(owner: TransformModule, name: str, value: Tensor) -> None:
    """Make a tensor a buffer of a transform; a parameter becomes one of its parameters."""
    if isinstance(value, torch.nn.Parameter):
        owner.register_parameter(name, value)
    else:
        owner.register_buffer(name, value)
