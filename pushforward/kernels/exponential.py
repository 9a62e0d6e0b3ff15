"""The matrix exponential of a bounded matrix, and the linear map of that form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pushforward.core.fields import Within
from pushforward.core.numerics import constant, finer
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import apply

# Degree 15 as four blocks of four: at norm 1/2 the first term left out is 0.5^16 / 16!, below the rounding of float64.
BLOCKS = 4
COEFFICIENTS = tuple(tuple(1 / math.factorial(BLOCKS * i + j) for j in range(BLOCKS)) for i in range(BLOCKS))


@dataclass(frozen=True, repr=False)
class MatrixExponential(Kernel):
    r"""Linear map of vectors by a matrix exponential, :math:`y = e^W x` with :math:`W = A / \sqrt{1 + |A|^2 / b^2}`.

    The norm is Frobenius', so :math:`|W| < b` for every A: the inverse :math:`e^{-W} y` is as well behaved as the map, and
    :math:`\log|\det| = \mathrm{tr}\, W`. Both are computed in float64 and round once, at the end. The condition number of the map can
    be as large as :math:`e^{\sqrt2 b}` (when W has the eigenvalues :math:`\pm b / \sqrt2`), and by that much rounding of y is
    magnified in x. :math:`D^2` parameters, all zero for the identity; acts on the last event axis; all real vectors to all real
    vectors.
    Source: The Convolution Exponential and Generalized Sylvester Flows (Hoogeboom et al., 2020); Generative Flows with Matrix
    Exponential (Xiao, Liu, 2020).

    Args:
        bound: 0 < b <= 40, the largest Frobenius norm of W.

    >>> MatrixExponential().build((3,))(torch.ones(2, 3))[0].shape
    torch.Size([2, 3])
    """

    bound: Annotated[float, Within(above=0.0, most=40.0)] = 5.0

    event_dim = 1
    is_affine = True
    formula = "y = exp(W) x,  W = A / sqrt(1 + |A|^2 / bound^2)"
    size = "D * D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"weight": torch.zeros(shape[-1], shape[-1])}

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, weight, 1)

    def inverse(self, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(y, weight, -1)

    def _map(self, x: Tensor, weight: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        matrix = sign * bounded(finer(weight), self.bound)
        y = apply(exponential(matrix, self.bound), finer(x))
        return y.to(x.dtype), matrix.diagonal(dim1=-2, dim2=-1).sum(-1).to(x.dtype)


def bounded(matrix: Tensor, bound: float) -> Tensor:
    """Return matrices whose Frobenius norm is smoothly kept below a bound; small ones stay as they are."""
    square = (matrix * matrix).sum((-2, -1), keepdim=True)
    return matrix * torch.rsqrt(1 + square / bound**2)


def exponential(matrix: Tensor, bound: float) -> Tensor:
    """Return the exponential of matrices ``(*, D, D)`` of a norm of at most ``bound``: a power series, then squared.

    The bound alone says how often, so there is one graph and no look at the values (which torch.matrix_exp takes).
    """
    squarings = max(0, math.ceil(math.log2(2 * bound)))
    one = matrix / 2**squarings
    two = torch.matmul(one, one)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    powers = torch.stack([eye, one, two, torch.matmul(two, one)], -3).flatten(-2)
    blocks: Tensor = torch.matmul(constant(COEFFICIENTS, matrix), powers).unflatten(-1, matrix.shape[-2:])
    four, series = torch.matmul(two, two), blocks[..., -1, :, :]
    for i in reversed(range(BLOCKS - 1)):
        series = blocks[..., i, :, :] + torch.matmul(four, series)
    for _ in range(squarings):
        series = torch.matmul(series, series)
    return series
