# Written by `make generated`, of the rows in table.py.
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional

class Planar(Planned):
    """Planar map of vectors, pushed along one direction; `pushforward.bijectors.Planar` has the formulas. 2D + 1 parameters."""

    def __init__(self, input_dim: int) -> None: ...

def planar(input_dim: int) -> Planar:
    """Return `Planar`."""

class ConditionalPlanar(PlannedConditional):
    """`Planar` whose parameters a network of the context gives: bias ``(*batch, 1)``, u and w ``(*batch, D)``."""

    def __init__(self, nn: Callable[..., Any]) -> None: ...

def conditional_planar(input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None) -> ConditionalPlanar:
    """Return `ConditionalPlanar` with a perceptron, 2 hidden layers of width ``10 D``."""

class Radial(Planned):
    """Radial map of vectors, about a centre; `pushforward.bijectors.Radial` has the formulas. D + 2 parameters."""

    def __init__(self, input_dim: int) -> None: ...

def radial(input_dim: int) -> Radial:
    """Return `Radial`."""

class ConditionalRadial(PlannedConditional):
    """`Radial` whose parameters a network of the context gives: the centre ``(*batch, D)``, alpha and beta ``(*batch, 1)``."""

    def __init__(self, nn: Callable[..., Any]) -> None: ...

def conditional_radial(input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None) -> ConditionalRadial:
    """Return `ConditionalRadial` with a perceptron, 2 hidden layers of width ``10 D``."""

class Sylvester(Planned):
    """Sylvester map of vectors; `pushforward.bijectors.Sylvester` has the formulas."""

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None: ...

def sylvester(input_dim: int, count_transforms: int | None = None) -> Sylvester:
    """Return `Sylvester`."""

class Householder(Planned):
    """Reflections one after the other, which keep volumes; `pushforward.bijectors.Householder` has the formulas. K D parameters."""

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None: ...

def householder(input_dim: int, count_transforms: int | None = None) -> Householder:
    """Return `Householder`."""

class ConditionalHouseholder(PlannedConditional):
    """`Householder` whose parameters a network of the context gives: ``count_transforms`` tensors ``(*batch, D)``."""

    def __init__(self, input_dim: int, nn: Callable[..., Any], count_transforms: int = 1) -> None: ...

def conditional_householder(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, count_transforms: int = 1
) -> ConditionalHouseholder:
    """Return `ConditionalHouseholder` with a perceptron, 2 hidden layers of width ``10 D``."""

class MatrixExponential(Planned):
    """Linear map of vectors by a matrix exponential; `pushforward.bijectors.MatrixExponential` has the formulas. D^2 parameters."""

    def __init__(self, input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None) -> None: ...

def matrix_exponential(input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None) -> MatrixExponential:
    """Return `MatrixExponential`."""

class ConditionalMatrixExponential(PlannedConditional):
    """`MatrixExponential` whose parameters a network of the context gives: the matrix, ``(*batch, D^2)``."""

    def __init__(
        self, input_dim: int, nn: Callable[..., Any], iterations: int = 8, normalization: str = "none", bound: float | None = None
    ) -> None: ...

def conditional_matrix_exponential(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    iterations: int = 8,
    normalization: str = "none",
    bound: float | None = None,
) -> ConditionalMatrixExponential:
    """Return `ConditionalMatrixExponential` with a perceptron, 2 hidden layers of width ``10 D``."""

class Spline(Planned):
    """A monotone rational spline of each of D numbers; `pushforward.bijectors.Spline` has the formulas. It starts as the identity."""

    def __init__(self, input_dim: int, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> None: ...

def spline(input_dim: int, *, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Spline:
    """Return `Spline`."""

class ConditionalSpline(PlannedConditional):
    """`Spline` whose parameters a network of the context gives: widths, heights, slopes and (order ``'linear'``) middles, each ``(*batch, D K)``, slopes ``D (K - 1)``."""

    def __init__(self, nn: Callable[..., Any], input_dim: int, count_bins: int, bound: float = 3.0, order: str = "linear") -> None: ...

def conditional_spline(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSpline:
    """Return `ConditionalSpline` with a perceptron, 2 hidden layers of width ``10 D``."""

class BatchNorm(Planned):
    """Batch normalisation as a transform of D numbers: statistics that follow the data, with a learned scale and location."""

    def __init__(self, input_dim: int, momentum: float = 0.1, epsilon: float = 1e-05) -> None: ...

def batchnorm(input_dim: int, *, momentum: float = 0.1, epsilon: float = 1e-05) -> BatchNorm:
    """Return `BatchNorm`."""

class GeneralizedChannelPermute(Planned):
    """Invertible 1x1 convolution of images ``(*batch, C, H, W)`` by PLU factors; P is fixed, at random unless given, and saved."""

    def __init__(self, channels: int = 3, permutation: Tensor | Sequence[int] | None = None) -> None: ...

def generalized_channel_permute(*, channels: int = 3, permutation: Tensor | Sequence[int] | None = None) -> GeneralizedChannelPermute:
    """Return `GeneralizedChannelPermute`."""

class ConditionalGeneralizedChannelPermute(PlannedConditional):
    """`GeneralizedChannelPermute` whose parameters a network of the context gives: ``(*batch, C^2)``, for a batch of contexts too."""

    def __init__(self, nn: Callable[..., Any], channels: int = 3, permutation: Tensor | Sequence[int] | None = None) -> None: ...

def conditional_generalized_channel_permute(
    context_dim: int, channels: int = 3, hidden_dims: Sequence[int] | None = None
) -> ConditionalGeneralizedChannelPermute:
    """Return `ConditionalGeneralizedChannelPermute` with a perceptron, 2 hidden layers of width ``10 D``."""

class AffineAutoregressive(Planned):
    """Inverse autoregressive flow: location and log-scale of each number see the numbers before it."""

    def __init__(
        self,
        autoregressive_nn: Callable[..., Any],
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
        sigmoid_bias: float = 2.0,
        stable: bool = False,
    ) -> None: ...

def affine_autoregressive(
    input_dim: int,
    hidden_dims: Sequence[int] | None = None,
    *,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
    sigmoid_bias: float = 2.0,
    stable: bool = False,
) -> AffineAutoregressive:
    """Return `AffineAutoregressive` with a masked perceptron, 1 hidden layer of width ``3 D + 1``, and a random order."""

class ConditionalAffineAutoregressive(PlannedConditional):
    """`AffineAutoregressive` whose network sees a context as well."""

    def __init__(
        self,
        autoregressive_nn: Callable[..., Any],
        *,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
        sigmoid_bias: float = 2.0,
        stable: bool = False,
    ) -> None: ...

def conditional_affine_autoregressive(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    *,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
    sigmoid_bias: float = 2.0,
    stable: bool = False,
) -> ConditionalAffineAutoregressive:
    """Return `ConditionalAffineAutoregressive` with a masked perceptron, 1 hidden layer of width ``10 D``, and a random order."""

class NeuralAutoregressive(Planned):
    """Neural autoregressive flow: a monotone network of each number, whose weights see the numbers before it."""

    def __init__(self, autoregressive_nn: Callable[..., Any], hidden_units: int = 16, activation: str = "sigmoid") -> None: ...

def neural_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, activation: str = "sigmoid", width: int = 16
) -> NeuralAutoregressive:
    """Return `NeuralAutoregressive` with a masked perceptron, 1 hidden layer of width ``3 D + 1``, and a random order."""

class ConditionalNeuralAutoregressive(PlannedConditional):
    """`NeuralAutoregressive` whose network sees a context as well."""

    def __init__(self, autoregressive_nn: Callable[..., Any], *, hidden_units: int = 16, activation: str = "sigmoid") -> None: ...

def conditional_neural_autoregressive(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, activation: str = "sigmoid", width: int = 16
) -> ConditionalNeuralAutoregressive:
    """Return `ConditionalNeuralAutoregressive` with a masked perceptron, 1 hidden layer of width ``3 D + 1``, and a random order."""

class SplineAutoregressive(Planned):
    """Autoregressive splines: the spline of each number sees the numbers before it."""

    def __init__(
        self, input_dim: int, autoregressive_nn: Callable[..., Any], count_bins: int = 8, bound: float = 3.0, order: str = "linear"
    ) -> None: ...

def spline_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, count_bins: int = 8, bound: float = 3.0, order: str = "linear"
) -> SplineAutoregressive:
    """Return `SplineAutoregressive` with a masked perceptron, 2 hidden layers of width ``10 D``, and a random order."""

class ConditionalSplineAutoregressive(PlannedConditional):
    """`SplineAutoregressive` whose network sees a context as well."""

    def __init__(
        self, input_dim: int, autoregressive_nn: Callable[..., Any], *, count_bins: int = 8, bound: float = 3.0, order: str = "linear"
    ) -> None: ...

def conditional_spline_autoregressive(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSplineAutoregressive:
    """Return `ConditionalSplineAutoregressive` with a masked perceptron, 2 hidden layers of width ``10 D``, and a random order."""

class Polynomial(Planned):
    """Sum-of-squares polynomial of each number, whose coefficients see the numbers before it; beyond 5 its tangent goes on."""

    def __init__(self, autoregressive_nn: Callable[..., Any], input_dim: int, count_degree: int, count_sum: int) -> None: ...

def polynomial(input_dim: int, hidden_dims: Sequence[int] | None = None) -> Polynomial:
    """Return `Polynomial` with a masked perceptron, 1 hidden layer of width ``10 D``, and a random order."""

class BlockAutoregressive(Planned):
    """Block neural autoregressive flow: one network that is itself the map, increasing in each number; it has an inverse here."""

    def __init__(
        self, input_dim: int, hidden_factors: Sequence[int] = (8, 8), activation: str = "tanh", residual: str | None = None
    ) -> None: ...

def block_autoregressive(
    input_dim: int, *, hidden_factors: Sequence[int] = (8, 8), activation: str = "tanh", residual: str | None = None
) -> BlockAutoregressive:
    """Return `BlockAutoregressive`."""

class AffineCoupling(Planned):
    """Affine coupling along an axis: of the entries of the axis, the first ``split_dim`` set location and scale of the others."""

    def __init__(
        self,
        split_dim: int,
        hypernet: Callable[..., Any],
        *,
        dim: int = -1,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
    ) -> None: ...

def affine_coupling(
    input_dim: int | Sequence[int],
    hidden_dims: Sequence[int] | None = None,
    split_dim: int | None = None,
    dim: int = -1,
    *,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
) -> AffineCoupling:
    """Return `AffineCoupling` with a perceptron, 1 hidden layer of width ``10 D``."""

class ConditionalAffineCoupling(PlannedConditional):
    """`AffineCoupling` whose network sees a context as well."""

    def __init__(
        self,
        split_dim: int,
        hypernet: Callable[..., Any],
        *,
        dim: int = -1,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
    ) -> None: ...

def conditional_affine_coupling(
    input_dim: int | Sequence[int],
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    split_dim: int | None = None,
    dim: int = -1,
    *,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
) -> ConditionalAffineCoupling:
    """Return `ConditionalAffineCoupling` with a perceptron, 1 hidden layer of width ``10 D``."""

class SplineCoupling(Planned):
    """Spline coupling: the first ``split_dim`` of D numbers set the splines of the others, and have splines of their own."""

    def __init__(
        self,
        input_dim: int,
        split_dim: int,
        hypernet: Callable[..., Any],
        count_bins: int = 8,
        bound: float = 3.0,
        order: str = "linear",
        identity: bool = False,
    ) -> None: ...

def spline_coupling(
    input_dim: int,
    split_dim: int | None = None,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
    identity: bool = False,
) -> SplineCoupling:
    """Return `SplineCoupling` with a perceptron, 2 hidden layers of width ``10 D``."""
