"""Linear kernels: matrices on vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.fields import Positive
from pushforward.core.numerics import Rule, differentiable, finer, soft_clamp
from pushforward.kernels.kernel import Kernel
from pushforward.native.linear import linear, linear_gradient, takes

# Largest length of a row of a triangle beside its one. A product of unbounded triangular factors can be singular to working precision;
# and were it the entries that are bounded, the inverse of a random triangle would grow exponentially with D.
ROW_BOUND = 2.0


def shortened(rows: Tensor, bound: float = ROW_BOUND) -> Tensor:
    """Return rows whose lengths are smoothly kept below a bound; short ones stay as they are."""
    return rows * torch.rsqrt(1 + (rows * rows).sum(-1, keepdim=True) / bound**2)


def strictly_lower(entries: Tensor, size: int) -> Tensor:
    """Return matrices ``(*, D, D)`` with the entries below their diagonals, row by row, and zeros elsewhere."""
    row, column = torch.tril_indices(size, size, -1, device=entries.device)
    flat = entries.new_zeros((*entries.shape[:-1], size * size))
    return flat.index_copy(-1, row * size + column, entries).reshape((*entries.shape[:-1], size, size))


def _triangles(lower: Tensor, upper: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return L and U without their ones, from the entries of L and of U transposed, row by row."""
    # Both at once: for the few features of most flows these are small operators, and what counts is how many.
    left, right = shortened(strictly_lower(torch.stack([finer(lower), finer(upper)], -2), size)).unbind(-3)
    return left, right.mT


@dataclass(frozen=True, repr=False)
class Linear(Kernel):
    r"""Linear map of vectors, :math:`y = L D U x + b`, with L and U unit triangular and D diagonal.

    The diagonal is :math:`e^{s(\alpha)}`, bounded smoothly as in `Affine`; a row of L, and a column of U, beside its one, is
    :math:`a / \sqrt{1 + |a|^2 / 4}` and has a length of less than 2. The matrix always has an inverse and
    :math:`\log|\det| = \sum s(\alpha)`. :math:`D^2 + D` parameters (:math:`D^2` without bias); acts on the last event axis.
    Source: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018); Neural Spline Flows (Durkan et al., 2019).

    Args:
        bias: Whether to add b.
        bound: The largest absolute log of a diagonal entry.

    >>> Linear().build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    bias: bool = True
    bound: Positive = 3.0

    event_dim = 1
    is_affine = True
    formula = "y = L D U x + b"
    size = "D * D + D if bias else D * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        size = shape[-1]
        triangle = size * (size - 1) // 2
        parameters = {"lower": torch.zeros(triangle), "upper": torch.zeros(triangle), "log_diagonal": torch.zeros(size)}
        return parameters | {"loc": torch.zeros(size)} if self.bias else parameters

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right = _triangles(lower, upper, log_diagonal.shape[-1])
        log_diagonal = soft_clamp(finer(log_diagonal), self.bound)
        # Factor by factor, as the inverse solves, and in float64: each direction rounds once, at the end.
        x_fine = _spread(finer(x))
        scaled = torch.exp(log_diagonal) * (x_fine + apply(right, x_fine))
        y = scaled + apply(left, scaled)
        return (y if loc is None else y + loc).to(x.dtype), log_diagonal.sum(-1).to(x.dtype)

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor, log_diagonal: Tensor, loc: Tensor | None = None) -> tuple[Tensor, Tensor]:
        left, right = _triangles(lower, upper, log_diagonal.shape[-1])
        log_diagonal = soft_clamp(finer(log_diagonal), self.bound)
        x = solve(left, _spread(finer(y) if loc is None else finer(y) - loc), upper=False) * torch.exp(-log_diagonal)
        return solve(right, x, upper=True).to(y.dtype), -log_diagonal.sum(-1).to(y.dtype)

    def compiled(self, x: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor] | None:
        if not takes(x, theta):
            return None

        return differentiable(RULE, (self, inverse), x, theta)  # type: ignore[no-any-return]


def _value(known: tuple[Linear, bool], x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    plan, inverse = known
    return linear(x, theta, plan.bound, plan.bias, inverse)


def _gradient(known: tuple[Linear, bool], given: Sequence[Tensor], y: Tensor, gy: Tensor, gladj: Tensor) -> tuple[Tensor, Tensor]:
    plan, inverse = known
    return linear_gradient(y if inverse else given[0], given[1], gy, gladj, plan.bound, plan.bias, inverse)


def _reference(known: tuple[Linear, bool], x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    plan, inverse = known
    names, sizes = zip(*((name, part.numel()) for name, part in plan.init(x.shape[-1:]).items()), strict=True)
    y, ladj = (plan.inverse if inverse else plan.forward)(x, **dict(zip(names, theta.split(sizes), strict=True)))
    return y, ladj.expand(y.shape[:-1])


RULE = Rule(_value, _gradient, _reference)


def _spread(x: Tensor) -> Tensor:
    """Return vectors, those with a number that is not finite as NaN: what a solver leaves of them depends on how it goes about it."""
    return x + (0 * x).sum(-1, keepdim=True)


def apply(matrix: Tensor, x: Tensor) -> Tensor:
    """Return matrices times vectors; one matrix for all rows is one product."""
    return torch.matmul(x, matrix.mT) if matrix.dim() == 2 else torch.matmul(matrix, x.unsqueeze(-1)).squeeze(-1)


def solve(matrix: Tensor, y: Tensor, upper: bool) -> Tensor:
    """Return unit triangular matrices solved for vectors; one matrix for all rows is one solve with the rows as columns."""
    if matrix.dim() > 2:
        x: Tensor = torch.linalg.solve_triangular(matrix, y.unsqueeze(-1), upper=upper, unitriangular=True)
        return x.squeeze(-1)
    x = torch.linalg.solve_triangular(matrix.mT, y.reshape(-1, y.shape[-1]), upper=not upper, left=False, unitriangular=True)
    return x.reshape(y.shape)
