"""Linear kernels: matrices on vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.kernel import Kernel
from pushforward.native.library import transformed
from pushforward.numerics import soft_clamp, soft_clamp_slope, with_gradient
from pushforward.spec import PlanError

# Bound of the factors' entries: a product of unbounded triangular factors can be singular to working precision.
ENTRY_BOUND = 2.0


def _unit_triangles(lower: Tensor, upper: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the triangular matrices ``(*, D, D)`` with ones on their diagonals from their other entries, row by row."""
    # Both at once: for the few features of most flows these are small operators, and what counts is how many.
    entries = soft_clamp(torch.cat([lower, upper], -1), ENTRY_BOUND)
    flat = entries.new_zeros((*entries.shape[:-1], 2 * size * size))
    both = flat.index_copy(-1, _places(size, entries.device), entries).unflatten(-1, (2, size, size)) + torch.eye(
        size, dtype=entries.dtype, device=entries.device
    )
    return both.unbind(-3)  # type: ignore[no-any-return]


def _places(size: int, device: torch.device) -> Tensor:
    """Return where the entries of both triangles, side by side, are in the two matrices."""
    row, column = torch.tril_indices(size, size, -1, device=device)
    return torch.cat([row * size + column, column * size + (row + size * size)])


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
    size = "D * D + D if bias else D * D"

    def check(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise PlanError(f"Linear: expected bound > 0, got {self.bound}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        triangle = size * (size - 1) // 2
        parameters = {"lower": torch.zeros(triangle), "upper": torch.zeros(triangle), "log_diagonal": torch.zeros(size)}
        return parameters | {"loc": torch.zeros(size)} if self.bias else parameters

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right = _unit_triangles(lower, upper, log_diagonal.shape[-1])
        log_diagonal = soft_clamp(log_diagonal, self.bound)
        # Factor by factor, as the inverse solves: the product of the factors would round once more.
        y = _apply(left, torch.exp(log_diagonal) * _apply(right, x))
        return (y if loc is None else y + loc), log_diagonal.sum(-1)

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        function = self._solved
        if lower.dim() > 1 or transformed() or torch.compiler.is_compiling() or y.dtype != lower.dtype:
            return function(y, lower, upper, log_diagonal, *(() if loc is None else (loc,)))
        return with_gradient(function, self._gradient, y, lower, upper, log_diagonal, *(() if loc is None else (loc,)))

    def _solved(self, y: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right = _unit_triangles(lower, upper, log_diagonal.shape[-1])
        log_diagonal = soft_clamp(log_diagonal, self.bound)
        x = _solve(left, y if loc is None else y - loc, upper=False) * torch.exp(-log_diagonal)
        return _solve(right, x, upper=True), -log_diagonal.sum(-1)

    def _gradient(self, given: Sequence[Tensor], out: tuple[Tensor, Tensor], gx: Tensor, gladj: Tensor) -> list[Tensor | None]:
        """Return the gradients of the solution by hand: an eighth of the operators, which for few features are most of the time."""
        y, lower, upper, log_diagonal, *loc = given
        size = log_diagonal.shape[-1]
        left, right = _unit_triangles(lower, upper, size)
        diagonal = torch.exp(soft_clamp(log_diagonal, self.bound))
        x = out[0].reshape(-1, size)
        # With rows as vectors: x U' = w, w D = v, v L' = y - b.
        w = torch.matmul(x, right.mT)
        gw = torch.linalg.solve_triangular(right, gx.reshape(-1, size), upper=True, left=False, unitriangular=True)
        gv = gw / diagonal
        gy = torch.linalg.solve_triangular(left, gv, upper=False, left=False, unitriangular=True)
        factors = torch.stack([torch.matmul(gy.mT, w * diagonal), torch.matmul(gw.mT, x)]).flatten()
        entries = -factors[_places(size, lower.device)] * soft_clamp_slope(torch.cat([lower, upper]), ENTRY_BOUND)
        gdiagonal = -((gw * w).sum(0) + gladj.sum()) * soft_clamp_slope(log_diagonal, self.bound)
        glower, gupper = entries.split([len(lower), len(upper)])
        return [gy.reshape(y.shape), glower, gupper, gdiagonal, *(-gy.sum(0) for _ in loc)]


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
