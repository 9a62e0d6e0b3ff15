"""All plans by name, and the short names that users know; no logic of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pushforward.core.bijector import Bijector, Inverse
from pushforward.core.compose import Compose
from pushforward.core.names import missing
from pushforward.kernels.activations import CauchyCDF, CumulativeDistribution, Logit, Softclip
from pushforward.kernels.affine import Additive, Affine
from pushforward.kernels.cholesky import (
    Cholesky,
    CorrCholesky,
    CorrelationMatrix,
    CorrMatrixCholesky,
    LowerCholesky,
    PositiveDefinite,
    SoftplusLowerCholesky,
    UnitLowerCholesky,
)
from pushforward.kernels.circular import CircularShift, CircularSpline, Unwrap
from pushforward.kernels.exponential import MatrixExponential
from pushforward.kernels.factored import QR, SVD
from pushforward.kernels.fixed import ELU, AffineFixed, Cos, Exp, LeakyReLU, Power, Sigmoid, Sin, Softplus, Tanh
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Elementwise, Kernel
from pushforward.kernels.linear import Linear
from pushforward.kernels.mixture import Gaussianization, LogisticMixture
from pushforward.kernels.monotonic import MonotonicNetwork
from pushforward.kernels.neural import DeepSigmoid, DenseSigmoid
from pushforward.kernels.piecewise import CubicSpline, LinearSpline, QuadraticSpline
from pushforward.kernels.planar import Planar
from pushforward.kernels.polynomial import Bernstein, SumOfSquares
from pushforward.kernels.projections import Abs, Normalize
from pushforward.kernels.radial import Radial
from pushforward.kernels.rotation import Rotation
from pushforward.kernels.simplex import Ordered, SimplexToOrdered, Softmax, StickBreaking
from pushforward.kernels.spline import Spline
from pushforward.kernels.squared import NonlinearSquared
from pushforward.kernels.sylvester import Sylvester
from pushforward.kernels.tails import LogTanh, PositivePower, SignedPower, SinhArcsinh
from pushforward.kernels.triangular import LowerCholeskyAffine, Triangular
from pushforward.kernels.wavelet import DiscreteCosine, Haar
from pushforward.layers.actnorm import ActNorm, BatchNorm
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import Domain, to_support
from pushforward.layers.normal_scores import NormalScores
from pushforward.layers.parts import Concatenate, Stack
from pushforward.layers.rearrange import OnAxis, Permute, Reverse, Shuffle
from pushforward.layers.reshape import Flatten, Reshape
from pushforward.layers.residual import Residual
from pushforward.layers.standardize import Standardize
from pushforward.nets.mlp import MLP, ResidualMLP
from pushforward.nets.net import NetLike
from pushforward.nets.periodic import Periodic


def AffineAutoregressive(net: NetLike = MLP(), order: Sequence[int] | None = None, bound: float = 3.0) -> InverseAutoregressive:
    """Sampled in one step, scored in one for each feature: parameters computed from the inputs (inverse autoregressive flow).

    `Autoregressive(Affine())` is the layer that is scored in one step.

    >>> AffineAutoregressive() == InverseAutoregressive(Affine())
    True
    """
    return InverseAutoregressive(Affine(bound), order=order, net=net)


def SplineAutoregressive(bins: int = 8, bound: float = 5.0, order: str = "quadratic", net: NetLike = MLP()) -> InverseAutoregressive:
    """Sampled in one step, scored in one for each feature: parameters computed from the inputs (inverse autoregressive flow).

    `Autoregressive(Spline())` is the layer that is scored in one step.

    >>> SplineAutoregressive(bins=4).kernel
    Spline(bins=4)
    """
    return InverseAutoregressive(Spline(bins, bound, order), net=net)


def AffineCoupling(mask: str | Sequence[int] = "halves", flip: bool = False, net: NetLike = MLP(), bound: float = 3.0) -> Coupling:
    """Affine coupling: one pass to sample and one to score.

    >>> AffineCoupling() == Coupling(Affine())
    True
    """
    return Coupling(Affine(bound), mask, flip, net)


def SplineCoupling(
    bins: int = 8,
    bound: float = 5.0,
    order: str = "quadratic",
    mask: str | Sequence[int] = "halves",
    flip: bool = False,
    net: NetLike = MLP(),
) -> Coupling:
    """Spline coupling: one pass to sample and one to score.

    >>> SplineCoupling(bins=4).kernel
    Spline(bins=4)
    """
    return Coupling(Spline(bins, bound, order), mask, flip, net)


def PLU(seed: int = 0, bound: float = 3.0, net: NetLike | None = None, axis: int = -1) -> Compose:
    r"""Linear map by its PLU factors, :math:`y = P (L U x + b)`, P a permutation that ``seed`` sets: an invertible 1x1 convolution.

    For the channels of an image take ``axis=0``. Source: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018).

    Args:
        seed: Seed of the permutation.
        bound: The largest absolute log of a diagonal entry.
        net: The network from context to the entries (None: free parameters).
        axis: The event axis that the vectors lie along.

    >>> PLU(seed=3, axis=0)
    Compose((OnAxis(Linear()), Shuffle(seed=3)))
    """
    linear = Linear(bound=bound)
    parts: list[Bijector] = [linear if net is None else Elementwise(linear, net), Shuffle(seed)]
    return Compose([part if part.axis == axis else OnAxis(part, axis) for part in parts])


__all__ = [
    "ELU", "MLP", "PLU", "QR", "SVD", "Abs", "ActNorm", "Additive", "Affine", "AffineAutoregressive", "AffineCoupling", "AffineFixed",
    "Autoregressive", "BatchNorm", "Bernstein", "Bijector", "BlockAutoregressive", "CauchyCDF", "Cholesky", "CircularShift",
    "CircularSpline", "Compose", "Concatenate", "CorrCholesky", "CorrMatrixCholesky", "CorrelationMatrix", "Cos", "Coupling", "CubicSpline",
    "CumulativeDistribution", "DeepSigmoid", "DenseSigmoid", "DiscreteCosine", "Domain", "Elementwise", "Exp", "Flatten", "Gaussianization",
    "Haar", "Householder", "Inverse", "InverseAutoregressive", "Kernel", "LeakyReLU", "Linear", "LinearSpline", "LogTanh",
    "LogisticMixture", "Logit", "LowerCholesky", "LowerCholeskyAffine", "MatrixExponential", "MonotonicNetwork", "NonlinearSquared",
    "NormalScores", "Normalize", "OnAxis", "Ordered", "Periodic", "Permute", "Planar", "PositiveDefinite", "PositivePower", "Power",
    "QuadraticSpline", "Radial", "Reshape", "Residual", "ResidualMLP", "Reverse", "Rotation", "Shuffle", "Sigmoid", "SignedPower",
    "SimplexToOrdered", "Sin", "SinhArcsinh", "Softclip", "Softmax", "Softplus", "SoftplusLowerCholesky", "Spline", "SplineAutoregressive",
    "SplineCoupling", "Stack", "Standardize", "StickBreaking", "SumOfSquares", "Sylvester", "Tanh", "Triangular", "UnitLowerCholesky",
    "Unwrap", "to_support",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
