"""Triangular maps of vectors: learnable, or with given numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.fields import Positive
from pushforward.core.numerics import constant, finer, soft_clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import ROW_BOUND, apply, shortened, solve, strictly_lower


@dataclass(frozen=True, repr=False)
class Triangular(Kernel):
    r"""Affine map with a full triangular scale, :math:`y = T D x + b`, D diagonal and positive and T unit triangular.

    The diagonal is :math:`e^{s(\alpha)}`, bounded smoothly as in `Affine`, so :math:`\log|\det| = \sum s(\alpha)`. A row of T, beside
    its one, is :math:`a / \sqrt{1 + |a|^2 / r^2}` and has a length of less than r. ``D (D + 3) / 2`` parameters (``D (D + 1) / 2``
    without bias), all zero for the identity; acts on the last event axis; all real vectors to all real vectors.
    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), the linear case.

    Args:
        upper: Whether T is upper triangular instead of lower.
        bias: Whether to add b.
        bound: The largest absolute log of a diagonal entry.
        row_bound: r. A long row is a column that others nearly determine; the inverse of long rows loses digits.

    >>> Triangular().build(3)(torch.ones(3))[0].shape
    torch.Size([3])
    """

    upper: bool = False
    bias: bool = True
    bound: Positive = 3.0
    row_bound: Positive = ROW_BOUND

    event_dim = 1
    is_affine = True
    formula = "y = T D x + b"
    size = "D * (D + 3) // 2 if bias else D * (D + 1) // 2"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        parameters = {"entries": torch.zeros(size * (size - 1) // 2), "log_diagonal": torch.zeros(size)}
        return parameters | {"loc": torch.zeros(size)} if self.bias else parameters

    def forward(self, x: Tensor, entries: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_diagonal = soft_clamp(finer(log_diagonal), self.bound)
        scaled = torch.exp(log_diagonal) * finer(x)
        y = scaled + apply(self._triangle(entries, x.shape[-1]), scaled)
        return (y if loc is None else y + loc).to(x.dtype), log_diagonal.sum(-1).to(x.dtype)

    def inverse(self, y: Tensor, entries: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_diagonal = soft_clamp(finer(log_diagonal), self.bound)
        fine = finer(y) if loc is None else finer(y) - loc
        x = solve(self._triangle(entries, y.shape[-1]), fine, upper=self.upper) * torch.exp(-log_diagonal)
        return x.to(y.dtype), -log_diagonal.sum(-1).to(y.dtype)

    def inverse_matrix(self, entries: Tensor, log_diagonal: Tensor) -> Tensor:
        """Return :math:`D^{-1} T^{-1}`, ``(*, D, D)`` in float64: what many vectors are solved for by one product of matrices."""
        eye = torch.eye(log_diagonal.shape[-1], dtype=finer(entries).dtype, device=entries.device)
        triangle = self._triangle(entries, log_diagonal.shape[-1])
        inverse: Tensor = torch.linalg.solve_triangular(triangle, eye, upper=self.upper, unitriangular=True)
        return torch.exp(-soft_clamp(finer(log_diagonal), self.bound)).unsqueeze(-1) * inverse

    def _triangle(self, entries: Tensor, size: int) -> Tensor:
        """Return T without its ones, in float64, so that each direction rounds once, at the end."""
        lower = strictly_lower(finer(entries), size)
        return shortened(lower.mT if self.upper else lower, self.row_bound)


@dataclass(frozen=True, repr=False)
class LowerCholeskyAffine(Kernel):
    r"""Affine map of vectors with given numbers, :math:`y = \mathrm{loc} + L x`, L lower triangular with a positive diagonal.

    It makes a standard normal one with mean loc and covariance :math:`L L^\top`. No parameters; acts on the last event axis; all real
    vectors to all real vectors.

    Args:
        loc: D numbers.
        scale_tril: The D rows of L.

    >>> LowerCholeskyAffine([1.0, 0.0], [[2.0, 0.0], [1.0, 1.0]]).build(2)(torch.ones(2))[0]
    tensor([3., 2.])
    """

    loc: tuple[float, ...]
    scale_tril: tuple[tuple[float, ...], ...]

    event_dim = 1
    is_affine = True
    formula = "y = loc + L x"

    def check(self) -> None:
        size = len(self.loc)
        if len(self.scale_tril) != size or not all(len(row) == size for row in self.scale_tril):
            raise PlanError(f"LowerCholeskyAffine: expected scale_tril to have {size} rows of {size} numbers, got {self.scale_tril}")
        if not all(row[i] > 0 and not any(row[i + 1 :]) for i, row in enumerate(self.scale_tril)):
            raise PlanError(f"LowerCholeskyAffine: expected a lower triangular matrix with a positive diagonal, got {self.scale_tril}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        if shape[-1] != len(self.loc):
            raise PlanError(f"{self!r}: expected vectors of length {len(self.loc)}, got {shape[-1]}")
        return {}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc, diagonal, triangle = self._parts(x)
        return (loc + diagonal * apply(triangle, finer(x))).to(x.dtype), torch.log(diagonal).sum().to(x.dtype)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        loc, diagonal, triangle = self._parts(y)
        return solve(triangle, (finer(y) - loc) / diagonal, upper=False).to(y.dtype), -torch.log(diagonal).sum().to(y.dtype)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loc, the diagonal and the unit triangular matrix whose rows it scales, in float64."""
        diagonal = [row[i] for i, row in enumerate(self.scale_tril)]
        unit = [[value / scale for value in row] for row, scale in zip(self.scale_tril, diagonal, strict=True)]
        fine = finer(x)
        return constant(self.loc, fine), constant(diagonal, fine), constant(unit, fine)
