"""Linear kernels: matrices on vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core import Kernel
from pushforward.numerics import soft_clamp
from pushforward.spec import PlanError


def _triangle(entries: Tensor, diagonal: Tensor, lower: bool) -> Tensor:
    """Return a triangular matrix ``(*, D, D)`` from its off-diagonal entries, row by row, and its diagonal ``(*, D)``."""
    size = diagonal.shape[-1]
    index = torch.tril_indices(size, size, -1, device=entries.device)
    row, column = index if lower else index.flip(0)
    flat = entries.new_zeros(*entries.shape[:-1], size * size)
    matrix = flat.index_copy(-1, row * size + column, entries).unflatten(-1, (size, size))
    return matrix + torch.diag_embed(diagonal)


@dataclass(frozen=True, repr=False)
class Linear(Kernel):
    r"""Linear map of vectors, :math:`y = L U x + b`, with L unit lower and U upper triangular.

    The diagonal of U is :math:`e^{s(\alpha)}`, bounded smoothly as in `Affine`, so the matrix always has an inverse and
    :math:`\log|\det| = \sum s(\alpha)`. :math:`D^2 + D` parameters (:math:`D^2` without bias); acts on the last event axis.
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
    formula = "y = L U x + b"

    def check(self) -> None:
        if not self.bound > 0:
            raise PlanError(f"Linear: expected bound > 0, got {self.bound}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        triangle = size * (size - 1) // 2
        parameters = {"lower": torch.zeros(triangle), "upper": torch.zeros(triangle), "log_diagonal": torch.zeros(size)}
        return parameters | {"loc": torch.zeros(size)} if self.bias else parameters

    def _factors(self, lower: Tensor, upper: Tensor, log_diagonal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_diagonal = soft_clamp(log_diagonal, self.bound)
        left = _triangle(lower, torch.ones_like(log_diagonal), lower=True)
        return left, _triangle(upper, torch.exp(log_diagonal), lower=False), log_diagonal.sum(-1)

    def forward(
        self, x: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        left, right, ladj = self._factors(lower, upper, log_diagonal)
        # Factor by factor, as the inverse solves: the product of the factors would round once more.
        y = (left @ (right @ x.unsqueeze(-1))).squeeze(-1) if left.dim() > 2 else x @ right.mT @ left.mT
        return (y if loc is None else y + loc), ladj

    def inverse(
        self, y: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        left, right, ladj = self._factors(lower, upper, log_diagonal)
        column = (y if loc is None else y - loc).unsqueeze(-1)
        if left.dim() == 2:  # one matrix for all rows: one solve with the rows as columns
            column = column.squeeze(-1).flatten(0, -2).mT if y.dim() > 1 else column
        column = torch.linalg.solve_triangular(left, column, upper=False, unitriangular=True)
        column = torch.linalg.solve_triangular(right, column, upper=True)
        x = column.mT.reshape(y.shape) if left.dim() == 2 else column.squeeze(-1)
        return x, -ladj
