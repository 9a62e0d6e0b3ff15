"""Linear kernels: matrices on vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.kernel import Kernel
from pushforward.numerics import soft_clamp
from pushforward.spec import PlanError

# Bound of the factors' entries: a product of unbounded triangular factors can be singular to working precision.
ENTRY_BOUND = 2.0


def _unit_triangle(entries: Tensor, size: int, lower: bool) -> Tensor:
    """Return a triangular matrix ``(*, D, D)`` with ones on its diagonal from its other entries, row by row."""
    index = torch.tril_indices(size, size, -1, device=entries.device)
    row, column = index if lower else index.flip(0)
    flat = entries.new_zeros((*entries.shape[:-1], size * size))
    matrix: Tensor = flat.index_copy(-1, row * size + column, soft_clamp(entries, ENTRY_BOUND)).unflatten(-1, (size, size))
    return torch.add(matrix, torch.eye(size, dtype=entries.dtype, device=entries.device))


@dataclass(frozen=True, repr=False)
class Linear(Kernel):
    r"""Linear map of vectors, :math:`y = L D U x + b`, with L and U unit triangular and D diagonal.

    The diagonal is :math:`e^{s(\alpha)}`, bounded smoothly as in `Affine`, and so are the entries of the factors; the matrix always
    has an inverse and :math:`\log|\det| = \sum s(\alpha)`. :math:`D^2 + D` parameters (:math:`D^2` without bias); acts on the
    last event axis.
    Source: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018); Neural Spline Flows (Durkan et al., 2019).

    Args:
        bias: Whether to add b.
        bound: The largest absolute log of a diagonal entry.

    >>> Linear().build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    bias: bool = True
    bound: float = 3.0

    event_dim = 1
    formula = "y = L D U x + b"

    def check(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise PlanError(f"Linear: expected bound > 0, got {self.bound}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        triangle = size * (size - 1) // 2
        parameters = {"lower": torch.zeros(triangle), "upper": torch.zeros(triangle), "log_diagonal": torch.zeros(size)}
        return parameters | {"loc": torch.zeros(size)} if self.bias else parameters

    def _factors(self, lower: Tensor, upper: Tensor, log_diagonal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = log_diagonal.shape[-1]
        return _unit_triangle(lower, size, lower=True), _unit_triangle(upper, size, lower=False), soft_clamp(log_diagonal, self.bound)

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right, log_diagonal = self._factors(lower, upper, log_diagonal)
        # Factor by factor, as the inverse solves: the product of the factors would round once more.
        y = _apply(left, torch.exp(log_diagonal) * _apply(right, x))
        return (y if loc is None else y + loc), log_diagonal.sum(-1)

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right, log_diagonal = self._factors(lower, upper, log_diagonal)
        x = _solve(left, y if loc is None else y - loc, upper=False) * torch.exp(-log_diagonal)
        return _solve(right, x, upper=True), -log_diagonal.sum(-1)


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    """Return matrices times vectors; one matrix for all rows is one product."""
    return torch.matmul(x, matrix.mT) if matrix.dim() == 2 else torch.matmul(matrix, x.unsqueeze(-1)).squeeze(-1)


def _solve(matrix: Tensor, y: Tensor, upper: bool) -> Tensor:
    """Return unit triangular matrices solved for vectors; one matrix for all rows is one solve with the rows as columns."""
    if matrix.dim() > 2:
        x: Tensor = torch.linalg.solve_triangular(matrix, y.unsqueeze(-1), upper=upper, unitriangular=True)
        return x.squeeze(-1)
    x = torch.linalg.solve_triangular(matrix.mT, y.reshape(-1, y.shape[-1]), upper=not upper, left=False, unitriangular=True)
    return x.reshape(y.shape)
