"""All plans by name, and the short names that users know; no logic of its own."""
# Written by `make generated`; not by hand.

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
from pushforward.kernels.stereographic import Stereographic
from pushforward.kernels.sylvester import Sylvester
from pushforward.kernels.tails import LogTanh, PositivePower, SignedPower, SinhArcsinh
from pushforward.kernels.triangular import LowerCholeskyAffine, Triangular
from pushforward.kernels.wavelet import DiscreteCosine, Haar
from pushforward.layers.actnorm import ActNorm, BatchNorm
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.continuous import Continuous
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import Domain, to_support
from pushforward.layers.normal_scores import NormalScores
from pushforward.layers.parts import Concatenate, Stack
from pushforward.layers.plu import PLU
from pushforward.layers.rearrange import OnAxis, Permute, Reverse, Shuffle
from pushforward.layers.reshape import Flatten, Reshape
from pushforward.layers.residual import Residual
from pushforward.layers.short import AffineAutoregressive, AffineCoupling, SplineAutoregressive, SplineCoupling
from pushforward.layers.standardize import Standardize
from pushforward.layers.whiten import Whiten
from pushforward.nets.mlp import MLP, ResidualMLP
from pushforward.nets.periodic import Periodic
from pushforward.nets.potential import Potential

__all__ = [
    "ELU", "MLP", "PLU", "QR", "SVD", "Abs", "ActNorm", "Additive", "Affine", "AffineAutoregressive", "AffineCoupling", "AffineFixed",
    "Autoregressive", "BatchNorm", "Bernstein", "Bijector", "BlockAutoregressive", "CauchyCDF", "Cholesky", "CircularShift",
    "CircularSpline", "Compose", "Concatenate", "Continuous", "CorrCholesky", "CorrMatrixCholesky", "CorrelationMatrix", "Cos", "Coupling",
    "CubicSpline", "CumulativeDistribution", "DeepSigmoid", "DenseSigmoid", "DiscreteCosine", "Domain", "Elementwise", "Exp", "Flatten",
    "Gaussianization", "Haar", "Householder", "Inverse", "InverseAutoregressive", "Kernel", "LeakyReLU", "Linear", "LinearSpline",
    "LogTanh", "LogisticMixture", "Logit", "LowerCholesky", "LowerCholeskyAffine", "MatrixExponential", "MonotonicNetwork",
    "NonlinearSquared", "NormalScores", "Normalize", "OnAxis", "Ordered", "Periodic", "Permute", "Planar", "PositiveDefinite",
    "PositivePower", "Potential", "Power", "QuadraticSpline", "Radial", "Reshape", "Residual", "ResidualMLP", "Reverse", "Rotation",
    "Shuffle", "Sigmoid", "SignedPower", "SimplexToOrdered", "Sin", "SinhArcsinh", "Softclip", "Softmax", "Softplus",
    "SoftplusLowerCholesky", "Spline", "SplineAutoregressive", "SplineCoupling", "Stack", "Standardize", "Stereographic", "StickBreaking",
    "SumOfSquares", "Sylvester", "Tanh", "Triangular", "UnitLowerCholesky", "Unwrap", "Whiten", "to_support",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
