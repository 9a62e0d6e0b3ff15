"""Cholesky factors, positive definite matrices and correlation matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.compose import Compose
from pushforward.core.fields import OneOf
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.constrained import Constrained
from pushforward.kernels.fixed import Tanh

# Made once: the compiler does not trace the making of a plan.
TANH = Tanh()


def _side(length: int, offset: int, name: str) -> int:
    """Return the side of the matrix whose lower triangle, without its last diagonals if ``offset`` < 0, has so many entries."""
    side = (math.isqrt(8 * length + 1) - 1) // 2
    if side * (side + 1) // 2 != length:
        raise PlanError(f"{name}: expected vectors as long as a lower triangle (1, 3, 6, 10, ...), got {length}")
    return side - offset


def _places(side: int, offset: int, device: torch.device) -> Tensor:
    row, column = torch.tril_indices(side, side, offset, device=device)
    places: Tensor = row * side + column
    return places


def _fill(x: Tensor, side: int, offset: int) -> Tensor:
    """Return matrices with a vector in their lower triangles, row by row, and zeros elsewhere."""
    flat = x.new_zeros((*x.shape[:-1], side * side))
    filled: Tensor = flat.index_copy(-1, _places(side, offset, x.device), x).unflatten(-1, (side, side))
    return filled


def _take(matrix: Tensor, offset: int) -> Tensor:
    """Return the lower triangles of matrices, row by row."""
    taken: Tensor = torch.index_select(matrix.flatten(-2), -1, _places(matrix.shape[-1], offset, matrix.device))
    return taken


def _eye(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


@dataclass(frozen=True, repr=False)
class LowerCholesky(Constrained):
    r"""From :math:`D(D+1)/2` real numbers to lower triangular matrices with a positive diagonal (Cholesky factors).

    The numbers fill the triangle row by row. The log-determinant is that of the triangle's entries. Acts on the last event axis, of which
    it makes two; no parameters.

    Args:
        diagonal: What makes it positive: ``"exp"``, ``"softplus"``, or ``"unit"``: it is 1 and takes no numbers, of which there are then
            :math:`D(D-1)/2`.

    >>> LowerCholesky().build((3,))(torch.zeros(3))[0]
    tensor([[1., 0.],
            [0., 1.]])
    """

    diagonal: Annotated[str, OneOf("exp", "softplus", "unit")] = "exp"

    formula = "y = lower triangle of x, its diagonal made positive"
    domain = constraints.real_vector

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return sets.UNIT_LOWER_CHOLESKY if self.diagonal == "unit" else sets.LowerCholesky()

    @property
    def _offset(self) -> int:
        return -1 if self.diagonal == "unit" else 0

    def after(self, shape: Shape) -> Shape:
        return (_side(shape[0], self._offset, "LowerCholesky"),) * 2

    def before(self, shape: Shape) -> Shape:
        return ((shape[0] + self._offset) * (shape[0] + self._offset + 1) // 2,)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        matrix = _fill(x, shape[0], self._offset)
        if self.diagonal == "unit":
            return matrix + _eye(matrix), torch.zeros_like(x[..., 0])
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        # Softplus of what is below, and exp of what is above, leaves the floating-point format.
        info = torch.finfo(x.dtype)
        if self.diagonal == "exp":
            positive, log_slope = torch.exp(clamp(diagonal, math.log(info.tiny) + 1, math.log(info.max) - 1)), diagonal
        else:
            positive = torch.logaddexp(clamp(diagonal, min=math.log(info.tiny) + 1), torch.zeros_like(diagonal))
            log_slope = F.logsigmoid(diagonal)
        return matrix.tril(-1) + torch.diag_embed(positive), log_slope.sum(-1)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        if self.diagonal == "unit":
            return _take(y, -1), torch.zeros_like(y[..., 0, 0])
        positive = y.diagonal(dim1=-2, dim2=-1)
        if self.diagonal == "exp":
            diagonal = torch.log(positive)
            ladj = -diagonal.sum(-1)
        else:
            log_slope = torch.log(-torch.expm1(-positive))
            diagonal, ladj = positive + log_slope, -log_slope.sum(-1)
        return _take(y.tril(-1) + torch.diag_embed(diagonal), 0), ladj


@dataclass(frozen=True, repr=False)
class CorrCholesky(Constrained):
    r"""From :math:`D(D-1)/2` real numbers to Cholesky factors of correlation matrices: lower triangles with rows of length 1.

    Below the diagonal, :math:`y_{ij} = \tanh x_{ij} \prod_{k<j} \mathrm{sech}\, x_{ik}`, and the diagonal is what is left of each row's
    length, above zero. The log-determinant is that of the entries below the diagonal. Acts on the last event axis, of which it makes
    two; no parameters.
    Source: Generating Random Correlation Matrices Based on Vines and Extended Onion Method (Lewandowski, Kurowicka, Joe, 2009).

    >>> CorrCholesky().build((3,))(torch.zeros(3))[0].diagonal().round(decimals=3)
    tensor([1., 1., 1.])
    """

    formula = "y_ij = tanh(x_ij) sech(x_i1) ... sech(x_i(j-1)) below the diagonal, rows of length 1"
    domain = constraints.real_vector
    codomain = sets.LowerCholesky("rows")

    def after(self, shape: Shape) -> Shape:
        return (_side(shape[0], -1, "CorrCholesky"),) * 2

    def before(self, shape: Shape) -> Shape:
        return (shape[0] * (shape[0] - 1) // 2,)

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        angle, log_slope = TANH.forward(_fill(x, shape[0], -1))
        # log sech is half the log of tanh's slope; zeros on and above the diagonal add nothing.
        log_left = F.pad(torch.cumsum(0.5 * log_slope, -1)[..., :-1], (1, 0))
        smallest = math.log(torch.finfo(x.dtype).tiny) / 2
        y = (angle + _eye(angle)) * torch.exp(clamp(log_left, min=smallest))
        ladj = (log_slope + log_left).tril(-1).flatten(-2).sum(-1)
        return y, ladj

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        square = y * y
        after = F.pad(torch.cumsum(square.flip(-1), -1).flip(-1)[..., 1:], (0, 1))
        # tanh x = y / sqrt(y² + rest) is sinh x = y / sqrt(rest), and the rest is a sum: nothing cancels.
        rest = torch.where(torch.ones_like(y, dtype=torch.bool).tril(-1), after, 1.0)
        x = torch.asinh(y.tril(-1) / torch.sqrt(rest))
        log_left = 0.5 * torch.log(torch.where(torch.ones_like(y, dtype=torch.bool).tril(-1), square + rest, 1.0))
        log_slope = torch.log(rest) - 2 * log_left
        return _take(x, -1), -(log_slope + log_left).flatten(-2).sum(-1)


@dataclass(frozen=True, repr=False)
class Cholesky(Constrained):
    r"""From positive definite matrices to their Cholesky factors, :math:`x = y y^\top`; of correlation matrices if ``correlation``.

    The log-determinant is that of the lower triangle of x, which determines the upper one, to that of y (without the diagonals for
    correlation matrices). A matrix whose condition number is more than the precision holds (1e7 in float32) is, to it, not positive
    definite: its density is zero. What the inverse makes is moved off that edge, by some roundings. Acts on the last two event axes; no
    parameters.

    Args:
        correlation: Map correlation matrices to factors whose rows have length 1.

    >>> Cholesky().build((2, 2))(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))[0]
    tensor([[2., 0.],
            [0., 3.]])
    """

    correlation: bool = False

    formula = "x = y y',  y lower triangular"

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return sets.CORRELATION if self.correlation else sets.PositiveDefinite()

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return sets.LowerCholesky("rows" if self.correlation else "positive")

    def forward(self, x: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        y = torch.linalg.cholesky_ex(x).L
        return y, -self._log_det(y)

    def inverse(self, y: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        if not self.correlation:
            y = y * self._held(y)
        product = torch.matmul(y, y.mT)
        # The same on both sides of the diagonal, whatever order the products were summed in.
        return product.tril() + product.tril(-1).mT, self._log_det(y)

    def _held(self, y: Tensor) -> Tensor:
        """Return what keeps the squares of a factor's rows within the floating-point format: 1 but for rows that are huge or tiny."""
        info, size = torch.finfo(y.dtype), torch.abs(y.detach()).amax(-1, keepdim=True)
        return clamp(size, 2 * math.sqrt(info.tiny), math.sqrt(info.max / y.shape[-1]) / 2) / size

    def _log_det(self, y: Tensor) -> Tensor:
        """Return the log-determinant of the product of a factor with itself."""
        side = y.shape[-1]
        log_diagonal = torch.log(y.diagonal(dim1=-2, dim2=-1))
        order = torch.arange(side, 0, -1, dtype=y.dtype, device=y.device)
        if self.correlation:
            return ((order - 1) * log_diagonal).sum(-1)
        return (order * log_diagonal).sum(-1) + side * math.log(2)


def SoftplusLowerCholesky() -> LowerCholesky:
    """Lower triangular matrices whose diagonal a softplus makes positive.

    >>> SoftplusLowerCholesky()
    LowerCholesky(diagonal='softplus')
    """
    return LowerCholesky("softplus")


def UnitLowerCholesky() -> LowerCholesky:
    """Lower triangular matrices with a diagonal of ones.

    >>> UnitLowerCholesky()
    LowerCholesky(diagonal='unit')
    """
    return LowerCholesky("unit")


def CorrMatrixCholesky() -> Cholesky:
    """Correlation matrices to their Cholesky factors.

    >>> CorrMatrixCholesky()
    Cholesky(correlation=True)
    """
    return Cholesky(correlation=True)


def PositiveDefinite(diagonal: str = "exp") -> Compose:
    """Real vectors to positive definite matrices, L L' with a `LowerCholesky` L.

    >>> PositiveDefinite().build((3,))(torch.zeros(3))[0]
    tensor([[1., 0.],
            [0., 1.]])
    """
    return Compose([LowerCholesky(diagonal), Cholesky().inv])


def CorrelationMatrix() -> Compose:
    """Real vectors to correlation matrices, L L' with a `CorrCholesky` L.

    >>> CorrelationMatrix().build((1,))(torch.zeros(1))[0]
    tensor([[1., 0.],
            [0., 1.]])
    """
    return Compose([CorrCholesky(), Cholesky(correlation=True).inv])
