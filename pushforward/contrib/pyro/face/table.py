"""The table: each of Pyro's learnable transforms as a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pushforward.contrib.pyro.face import arrangements
from pushforward.contrib.pyro.face.affine import affine, gated
from pushforward.contrib.pyro.face.row import Row
from pushforward.contrib.pyro.face.sizes import size
from pushforward.core.bijector import Bijector
from pushforward.core.spec import PlanError
from pushforward.kernels import exponential, householder, linear, neural, planar, polynomial, radial, spline, sylvester
from pushforward.kernels.kernel import Kernel
from pushforward.layers import actnorm, block_autoregressive

ACTIVATIONS = {"ELU": "elu", "LeakyReLU": "leaky_relu", "sigmoid": "sigmoid", "tanh": "tanh"}


def _known(name: str, activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise PlanError(f"{name}: expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


def _half(owner: str, features: Any, count_transforms: int | None = None) -> dict[str, Any]:
    """There are ``D // 2 + 1`` reflections unless ``count_transforms`` says how many."""
    half = size(owner, "input_dim", features) // 2 + 1 if count_transforms is None else count_transforms
    return {"count_transforms": half}


def _units(owner: str, features: Any, activation: str = "sigmoid", width: int = 16) -> dict[str, Any]:
    """There are ``width`` units for each number."""
    return {"hidden_units": width, "activation": activation}


def _degree(owner: str, features: Any) -> dict[str, Any]:
    """It is of degree 4, with three squares. The constants are outputs of the network, not D free parameters as in Pyro."""
    return {"count_degree": 4, "count_sum": 3}


# The kernel takes w, u and the bias. Its random w of the start is no part of the map that a network of the user's gives.
@partial(
    Row,
    replace(arrangements.CONTEXTUAL, ConditionalX="nn *"),
    order=(2, 1, 0),
    plain=True,
    gives="bias ``(*batch, 1)``, u and w ``(*batch, D)``",
)
def Planar(owner: str) -> Kernel:
    """Planar map of vectors, pushed along one direction; `pushforward.bijectors.Planar` has the formulas. 2D + 1 parameters.

    Args:
        input_dim: D.

    >>> layer = Planar(3)
    >>> layer.inv(layer(torch.ones(3))).detach()
    tensor([1., 1., 1.])
    """
    return planar.Planar()


@partial(Row, replace(arrangements.CONTEXTUAL, ConditionalX="nn *"), gives="the centre ``(*batch, D)``, alpha and beta ``(*batch, 1)``")
def Radial(owner: str) -> Kernel:
    """Radial map of vectors, about a centre; `pushforward.bijectors.Radial` has the formulas. D + 2 parameters.

    Args:
        input_dim: D.
    """
    return radial.Radial()


@partial(Row, replace(arrangements.FREE, x="input_dim *"), usual={"x": _half})
def Sylvester(owner: str, count_transforms: int = 1) -> Kernel:
    """Sylvester map of vectors; `pushforward.bijectors.Sylvester` has the formulas.

    D^2 + 2 D parameters and D for each reflection; Pyro's has more, of which the lower triangles and diagonals count for nothing.

    Args:
        input_dim: D.
        count_transforms: How many reflections make the orthogonal matrix.
    """
    return sylvester.Sylvester(reflections=size(owner, "count_transforms", count_transforms))


@partial(
    Row,
    arrangements.CONTEXTUAL,
    usual={"x": _half},
    gives="``count_transforms`` tensors ``(*batch, D)``",
    facts={"volume_preserving": True},
)
def Householder(owner: str, count_transforms: int = 1) -> Kernel:
    """Reflections one after the other, which keep volumes; `pushforward.bijectors.Householder` has the formulas. K D parameters.

    Args:
        input_dim: D.
        count_transforms: K; an even number starts as the identity.
    """
    return householder.Householder(size(owner, "count_transforms", count_transforms))


@partial(Row, arrangements.CONTEXTUAL, gives="the matrix, ``(*batch, D^2)``")
def MatrixExponential(owner: str, iterations: int = 8, normalization: str = "none", bound: float | None = None) -> Kernel:
    """Linear map of vectors by a matrix exponential; `pushforward.bijectors.MatrixExponential` has the formulas. D^2 parameters.

    The exponential is exact to rounding, so ``iterations``, in Pyro the terms of a series, changes nothing.

    Args:
        input_dim: D.
        iterations: See above.
        normalization: ``"none"``.
        bound: Largest norm of the matrix (None: 5).
    """
    if normalization in ("weight", "spectral"):
        raise NotImplementedError(f"MatrixExponential: expected normalization 'none', got {normalization!r}; bound keeps the norm small")
    if normalization != "none":
        raise PlanError(f"MatrixExponential: expected normalization 'none', got {normalization!r}")
    if not isinstance(iterations, int) or iterations < 1:
        raise PlanError(f"MatrixExponential: expected iterations to be a whole number of at least 1, got {iterations!r}")
    return exponential.MatrixExponential() if bound is None else exponential.MatrixExponential(bound)


@partial(
    Row,
    arrangements.NUMBERS,
    gives="widths, heights, slopes and (order ``'linear'``) middles, each ``(*batch, D K)``, slopes ``D (K - 1)``",
    facts={"sign": 1},
)
def Spline(owner: str, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Kernel:
    """A monotone rational spline of each of D numbers; `pushforward.bijectors.Spline` has the formulas. It starts as the identity.

    ``event_dim`` is 0: the log-determinant is one for each number. D (4K - 1) parameters, or D (3K - 1) of order ``"quadratic"``.

    Args:
        input_dim: D.
        count_bins: K.
        bound: Half the width of the box outside of which a value stays as it is.
        order: ``"linear"`` or ``"quadratic"``.

    >>> Spline(2, count_bins=16).log_abs_det_jacobian(torch.zeros(5, 2), torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    >>> conditional_spline(2, context_dim=3).condition(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    return spline.Spline(size(owner, "count_bins", count_bins, 2), bound, order)


@partial(Row, arrangements.NORMALISED, lower="batchnorm", facts={"sign": 1})
def BatchNorm(owner: str, momentum: float = 0.1, epsilon: float = 1e-5) -> Bijector:
    """Batch normalisation as a transform of D numbers: statistics that follow the data, with a learned scale and location.

    Both directions use what is stored, in training as in evaluation, so they are inverses of one another and a row is scored alone.
    Pyro's moves its statistics whenever it scores in training, and then uses those of the batch. Here nothing moves in a call:
    ``update(y)``, of the transform or of the `TransformedDistribution`, does, with the rows of each training step.
    2D parameters; ``event_dim`` is 0. `pushforward.bijectors.BatchNorm` has the formulas.

    Args:
        input_dim: D.
        momentum: Weight of a new batch.
        epsilon: What is added to each variance.

    >>> layer = BatchNorm(1)
    >>> layer.update(torch.tensor([[0.0], [2.0]]))
    >>> layer.inv(torch.tensor([[2.0]])).round(decimals=3)
    tensor([[1.]], grad_fn=<RoundBackward1>)
    """
    return actnorm.BatchNorm(momentum, epsilon)


@partial(Row, arrangements.CHANNELS, gives="``(*batch, C^2)``, for a batch of contexts too")
def GeneralizedChannelPermute(owner: str) -> Kernel:
    """Invertible 1x1 convolution of images ``(*batch, C, H, W)`` by PLU factors; P is fixed, at random unless given, and saved.

    C^2 parameters; it starts as P alone. The diagonal of U is positive and bounded, see `pushforward.bijectors.Linear`.

    Args:
        channels: C.
        permutation: The order of the channels that P makes.

    >>> GeneralizedChannelPermute(3)(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 3, 8, 8])
    """
    return linear.Linear(bias=False)


@partial(
    Row,
    replace(arrangements.AUTOREGRESSIVE, x="input_dim hidden_dims ** *", conditional_x="input_dim context_dim hidden_dims ** *"),
    hidden=(3, 1, 1),
    conditional_hidden=(10, 0, 1),
    facts={"sign": 1, "autoregressive": True},
)
def AffineAutoregressive(
    owner: str, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0, sigmoid_bias: float = 2.0, stable: bool = False
) -> Kernel:
    """Inverse autoregressive flow: location and log-scale of each number see the numbers before it.

    `affine_autoregressive` makes the network, whose inverse takes the work of one pass; a network of your own is asked once for each
    number then. The log-scale is bounded smoothly by the larger of the two clips, not clipped.

    Args:
        autoregressive_nn: As `AutoRegressiveNN`: ``nn(x)`` gives location and log-scale; ``nn.permutation`` is its order.
        log_scale_min_clip: See above.
        log_scale_max_clip: See above.
        sigmoid_bias: The gate's logit at the start, if ``stable``.
        stable: Whether a gate g in (0, 1) takes the place of the scale: ``y = g x + (1 - g) location``.

    >>> AffineAutoregressive(AutoRegressiveNN(10, [40])).inv(torch.zeros(5, 10)).shape
    torch.Size([5, 10])
    >>> affine_autoregressive(5)(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    """
    if stable:
        return gated(log_scale_min_clip, log_scale_max_clip, sigmoid_bias)
    return affine(log_scale_min_clip, log_scale_max_clip)


# Slopes, shares and shifts is Pyro's order of what the network gives; slopes, shifts and shares the kernel's.
@partial(
    Row,
    arrangements.AUTOREGRESSIVE,
    order=(0, 2, 1),
    hidden=(3, 1, 1),
    usual={"x": _units, "conditional_x": _units},
    facts={"autoregressive": True},
)
def NeuralAutoregressive(owner: str, hidden_units: int = 16, activation: str = "sigmoid") -> Kernel:
    """Neural autoregressive flow: a monotone network of each number, whose weights see the numbers before it.

    Args:
        autoregressive_nn: ``nn(x)`` gives slopes, shares and shifts of K units for each number.
        hidden_units: K.
        activation: ``"ELU"``, ``"LeakyReLU"``, ``"sigmoid"`` or ``"tanh"``.

    >>> layer = neural_autoregressive(3)
    >>> layer.inv(layer(torch.ones(5, 3))).allclose(torch.ones(5, 3), atol=1e-5)
    True
    """
    return neural.DeepSigmoid(hidden_units, activation=_known("NeuralAutoregressive", activation))


@partial(
    Row,
    replace(arrangements.AUTOREGRESSIVE, X="input_dim autoregressive_nn *", ConditionalX="input_dim autoregressive_nn ** *"),
    facts={"autoregressive": True},
)
def SplineAutoregressive(owner: str, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Kernel:
    """Autoregressive splines: the spline of each number sees the numbers before it.

    Args:
        input_dim: D.
        autoregressive_nn: ``nn(x)`` gives widths, heights, slopes and (order ``"linear"``) middles: K, K, K - 1 and K for each number.
        count_bins: K.
        bound: As in `Spline`.
        order: As in `Spline`.

    >>> spline_autoregressive(5, order="quadratic")(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    """
    return Spline.plan(owner, count_bins, bound, order)  # type: ignore[no-any-return]


@partial(
    Row,
    replace(arrangements.AUTOREGRESSIVE, X="autoregressive_nn input_dim *", ConditionalX=None, conditional_x=None),
    free=True,
    hidden=(10, 0, 1),
    usual={"x": _degree},
    facts={"autoregressive": True},
)
def Polynomial(owner: str, count_degree: int, count_sum: int) -> Kernel:
    """Sum-of-squares polynomial of each number, whose coefficients see the numbers before it; beyond 5 its tangent goes on.

    Args:
        autoregressive_nn: ``nn(x)`` gives all coefficients, ``count_sum (count_degree + 1)`` for each number; the constants are free.
        input_dim: D.
        count_degree: Degree of the polynomials that are squared.
        count_sum: How many squares.
    """
    return polynomial.SumOfSquares(count_degree, count_sum)


@partial(Row, arrangements.FREE, facts={"autoregressive": True})
def BlockAutoregressive(
    owner: str, hidden_factors: Sequence[int] = (8, 8), activation: str = "tanh", residual: str | None = None
) -> Bijector:
    """Block neural autoregressive flow: one network that is itself the map, increasing in each number; it has an inverse here.

    The map is onto, as its codomain says: without a residual, ``"tanh"`` and ``"sigmoid"``, a shifted and scaled tanh, which in Pyro
    bound the values, are 0.8 tanh(v) + 0.2 v here. ``"ELU"`` is a leaky ReLU, as ``"LeakyReLU"`` is: of slope 0.2 below zero.
    Weights are bounded one by one, not normalised in rows, so there are no parameters for the lengths of rows as Pyro has them.

    Args:
        input_dim: D.
        hidden_factors: Units for each number, for each hidden layer.
        activation: ``"ELU"``, ``"LeakyReLU"``, ``"sigmoid"`` or ``"tanh"``.
        residual: None, ``"normal"`` or ``"gated"``.
    """
    bent = "leaky_tanh" if residual is None else "tanh"
    chosen = bent if _known("BlockAutoregressive", activation) in ("tanh", "sigmoid") else "leaky_relu"
    return block_autoregressive.BlockAutoregressive(hidden_factors, chosen, residual)


@partial(Row, arrangements.COUPLING, hidden=(10, 0, 1))
def AffineCoupling(owner: str, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0) -> Kernel:
    """Affine coupling along an axis: of the entries of the axis, the first ``split_dim`` set location and scale of the others.

    `affine_coupling` makes the network. The log-scale is bounded smoothly by the larger of the two clips, not clipped.

    Args:
        split_dim: How many pass through.
        hypernet: ``hypernet(x1)`` gives location and log-scale, ``(*batch, size of x2)`` each; x1 is flat.
        dim: The axis, negative; an event has ``-dim`` axes.
        log_scale_min_clip: See above.
        log_scale_max_clip: See above.

    >>> AffineCoupling(2, DenseNN(2, [20], [3, 3]))(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    >>> affine_coupling((4, 8, 8), dim=-3)(torch.zeros(5, 4, 8, 8)).shape
    torch.Size([5, 4, 8, 8])
    """
    return affine(log_scale_min_clip, log_scale_max_clip)


@partial(Row, arrangements.SPLINE_COUPLING)
def SplineCoupling(owner: str, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Kernel:
    """Spline coupling: the first ``split_dim`` of D numbers set the splines of the others, and have splines of their own.

    `spline_coupling` makes the network; a number alone has a spline that nothing sets. Parameters beside it: ``split_dim (4K - 1)``, none
    if ``identity``. Pyro's function has no ``order`` and ``identity``.

    Args:
        input_dim: D.
        split_dim: How many numbers set the splines of the others.
        hypernet: ``hypernet(x1)`` gives widths, heights, slopes and (order ``"linear"``) middles as in `ConditionalSpline`.
        count_bins: As in `Spline`.
        bound: As in `Spline`.
        order: As in `Spline`.
        identity: Whether the first numbers stay as they are.

    >>> spline_coupling(2, count_bins=16)(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    return Spline.plan(owner, count_bins, bound, order)  # type: ignore[no-any-return]


ROWS = [row for row in vars().values() if isinstance(row, Row)]
