"""Pyro's face: transforms by Pyro's names and with its arguments, over the plans of `pushforward.bijectors`; no logic of its own.

A class takes sizes, and a network where one gives its parameters; the lower-case function of the same name makes the network.
All are transforms of torch and modules. torch's own transforms are here by their names, too.
"""

from typing import TYPE_CHECKING

from torch.distributions.transforms import *  # noqa: F403
from torch.distributions.transforms import __all__ as _torch_names

from pushforward.names import missing
from pushforward.transforms.autoregressive import (
    AffineAutoregressive,
    ConditionalAffineAutoregressive,
    affine_autoregressive,
    conditional_affine_autoregressive,
)
from pushforward.transforms.compose import ComposeTransformModule, iterated
from pushforward.transforms.conditional import (
    ConditionalComposeTransformModule,
    ConditionalTransform,
    ConditionalTransformModule,
    ConstantConditionalTransform,
)
from pushforward.transforms.coupling import AffineCoupling, ConditionalAffineCoupling, affine_coupling, conditional_affine_coupling
from pushforward.transforms.dense_nets import ConditionalDenseNN, DenseNN
from pushforward.transforms.elementwise import BatchNorm, ConditionalSpline, Spline, batchnorm, conditional_spline, spline
from pushforward.transforms.fixed import (  # type: ignore[assignment]
    DiscreteCosineTransform,
    ELUTransform,
    HaarTransform,
    LeakyReLUTransform,
    PositivePowerTransform,
    SoftplusTransform,
    elu,
    leaky_relu,
)
from pushforward.transforms.masked_nets import AutoRegressiveNN, ConditionalAutoRegressiveNN
from pushforward.transforms.matrix_exponential import (
    ConditionalMatrixExponential,
    MatrixExponential,
    conditional_matrix_exponential,
    matrix_exponential,
)
from pushforward.transforms.module import TransformModule
from pushforward.transforms.monotone import (
    BlockAutoregressive,
    ConditionalNeuralAutoregressive,
    NeuralAutoregressive,
    Polynomial,
    block_autoregressive,
    conditional_neural_autoregressive,
    neural_autoregressive,
    polynomial,
)
from pushforward.transforms.permutations import (
    ConditionalGeneralizedChannelPermute,
    GeneralizedChannelPermute,
    Permute,
    conditional_generalized_channel_permute,
    generalized_channel_permute,
    permute,
)
from pushforward.transforms.sets import CholeskyTransform, CorrLCholeskyTransform, CorrMatrixCholeskyTransform, Normalize, OrderedTransform
from pushforward.transforms.spline_autoregressive import (
    ConditionalSplineAutoregressive,
    SplineAutoregressive,
    conditional_spline_autoregressive,
    spline_autoregressive,
)
from pushforward.transforms.spline_coupling import SplineCoupling, spline_coupling
from pushforward.transforms.tensors import (
    LowerCholeskyAffine,
    SimplexToOrderedTransform,
    SoftplusLowerCholeskyTransform,
    UnitLowerCholeskyTransform,
)
from pushforward.transforms.vectors import (
    ConditionalHouseholder,
    ConditionalPlanar,
    ConditionalRadial,
    Householder,
    Planar,
    Radial,
    Sylvester,
    conditional_householder,
    conditional_planar,
    conditional_radial,
    householder,
    planar,
    radial,
    sylvester,
)

__all__ = [
    "AffineAutoregressive", "AffineCoupling", "AutoRegressiveNN", "BatchNorm", "BlockAutoregressive", "CholeskyTransform",
    "ComposeTransformModule", "ConditionalAffineAutoregressive", "ConditionalAffineCoupling", "ConditionalAutoRegressiveNN",
    "ConditionalComposeTransformModule", "ConditionalDenseNN", "ConditionalGeneralizedChannelPermute", "ConditionalHouseholder",
    "ConditionalMatrixExponential", "ConditionalNeuralAutoregressive", "ConditionalPlanar", "ConditionalRadial", "ConditionalSpline",
    "ConditionalSplineAutoregressive", "ConditionalTransform", "ConditionalTransformModule", "ConstantConditionalTransform",
    "CorrLCholeskyTransform", "CorrMatrixCholeskyTransform", "DenseNN", "DiscreteCosineTransform", "ELUTransform",
    "GeneralizedChannelPermute", "HaarTransform", "Householder", "LeakyReLUTransform", "LowerCholeskyAffine", "MatrixExponential",
    "NeuralAutoregressive", "Normalize", "OrderedTransform", "Permute", "Planar", "Polynomial", "PositivePowerTransform", "Radial",
    "SimplexToOrderedTransform", "SoftplusLowerCholeskyTransform", "SoftplusTransform", "Spline", "SplineAutoregressive",
    "SplineCoupling", "Sylvester",
    "TransformModule", "UnitLowerCholeskyTransform", "affine_autoregressive", "affine_coupling", "batchnorm", "block_autoregressive",
    "conditional_affine_autoregressive", "conditional_affine_coupling", "conditional_generalized_channel_permute",
    "conditional_householder", "conditional_matrix_exponential", "conditional_neural_autoregressive", "conditional_planar",
    "conditional_radial", "conditional_spline", "conditional_spline_autoregressive", "elu", "generalized_channel_permute", "householder",
    "iterated", "leaky_relu", "matrix_exponential", "neural_autoregressive", "permute", "planar", "polynomial", "radial", "spline",
    "spline_autoregressive", "spline_coupling", "sylvester",
]  # fmt: skip
__all__ += [name for name in _torch_names if name not in __all__]

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
