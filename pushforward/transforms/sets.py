"""Fixed transforms between sets of vectors and matrices that Pyro adds to torch's."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import CorrCholeskyTransform

from pushforward.kernels import cholesky, projections, simplex
from pushforward.transforms.fixed import Fixed


class Sphere(constraints.Constraint):
    """Vectors of length 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return torch.isclose(torch.linalg.vector_norm(value, dim=-1), value.new_ones(()), atol=1e-5)


SPHERE = Sphere()


class OrderedTransform(Fixed):
    """Real vectors to increasing ones; `pushforward.bijectors.Ordered`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(simplex.Ordered(), 1)


class CholeskyTransform(Fixed):
    """Positive definite matrices to their Cholesky factors; `pushforward.bijectors.Cholesky`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cholesky.Cholesky(), 2)


class CorrMatrixCholeskyTransform(Fixed):
    """Correlation matrices to their Cholesky factors; `pushforward.bijectors.CorrMatrixCholesky`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cholesky.CorrMatrixCholesky(), 2)


class CorrLCholeskyTransform(CorrCholeskyTransform):
    """torch's `CorrCholeskyTransform` by an old name."""

    def __init__(self, cache_size: int = 0) -> None:
        warnings.warn("CorrLCholeskyTransform is an old name of CorrCholeskyTransform", FutureWarning, stacklevel=2)
        super().__init__(cache_size=0)


class Normalize(Fixed):
    """Projection onto the unit sphere; no bijection, so it can sample and not score; `pushforward.bijectors.Normalize`.

    The inverse, as torch has it for maps that are no bijections, is some value with that image: the value itself.
    """

    bijective = False

    def __init__(self, p: float = 2, cache_size: int = 0) -> None:
        super().__init__(projections.Normalize(p), 1)

    codomain = SPHERE

    def _inverse(self, y: Tensor) -> Tensor:
        self._admit("y", y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError("Normalize: expected to be asked for images alone; a projection has no log-determinant")
