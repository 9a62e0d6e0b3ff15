"""Named flows: functions that return a ready flow. Written by `make generated` from pushforward/recipes/table.py."""

from collections.abc import Sequence

from pushforward.flow.flow import Flow
from pushforward.flows.mixture import mixture as mixture
from pushforward.nets.net import NetLike
from pushforward.recipes.stack import Support

__all__ = [
    "BNAF",
    "BPF",
    "CNF",
    "GF",
    "IAF",
    "MAF",
    "NAF",
    "NCSF",
    "NICE",
    "NSF",
    "SOSPF",
    "UNAF",
    "HouseholderFlow",
    "PlanarFlow",
    "RadialFlow",
    "RealNVP",
    "ResidualFlow",
    "SylvesterFlow",
    "mixture",
]

def BNAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    factors: Sequence[int] = (8,),
    activation: str = "tanh",
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Block neural autoregressive flow: one network a layer, whose diagonal blocks make each output increase in its own input.

    Scored in one pass a layer; sampled by a root in one step a feature and layer. All layers are gated but the last on the way to the
    base, which has no residual connection and an activation that is onto.
    Source: Block Neural Autoregressive Flow (De Cao et al., 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        factors: Units for each feature, for each hidden layer.
        activation: Activation of all layers but the last, as in `BlockAutoregressive`.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> BNAF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def BPF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 3,
    degree: int = 16,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Bernstein polynomial flow: each feature by an increasing Bernstein polynomial.

    Scored in one pass a layer; sampled by a root in one step a feature and layer.
    Source: Deep Transformation Models (Sick et al., 2020); Robust Normalizing Flows using Bernstein-type Polynomials (Ramasinghe et
    al., 2021).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        degree: Degree of the polynomial, as in `Bernstein`.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> BPF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def CNF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 1,
    widths: Sequence[int] = (64, 64),
    activation: str = "silu",
    net: NetLike | None = None,
    tolerance: float = 1e-05,
    method: str = "tsit5",
    trace: str = "exact",
    probes: int = 16,
    seed: int = 0,
    support: Support = None,
) -> Flow:
    r"""Continuous normalizing flow: one velocity field, a network of place, time and context, which carries all features at once.

    Scored and sampled by a solver, whose steps follow the error of each row. `Flow.log_prob_and_error` states how far a log-density
    may be off.
    Source: FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`; a smooth one takes the fewest steps.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        tolerance: What values and log-determinants are within, as in `Continuous`.
        method: The solver: ``"tsit5"``, ``"dopri5"``, ``"rk4"`` or ``"heun"``, as in `Continuous`.
        trace: How its trace is found: ``"exact"``, or by random probes, ``"hutchinson"`` or ``"hutch++"``.
        probes: How many random probes, which an exact trace does not need; of each layer others.
        seed: Sets the probes, as in `Continuous`; of other seeds no layer has the same.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).
            Features may be ``"circular"``, angles in :math:`(-\pi, \pi)`, and three in a row ``"sphere"``, a unit vector, whose
            density is with respect to the area of the surface; the base is uniform there, and the field has no seam.

    >>> CNF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def GF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    components: int = 8,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    support: Support = None,
) -> Flow:
    """Gaussianization flow: rotations, and for each feature the quantiles of a mixture's cumulative distribution function.

    Scored in one pass a layer; sampled by a root a layer.
    Source: Gaussianization Flows (Meng et al., 2020).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        components: Components of each mixture.
        widths: Hidden widths of each network; used with a context only.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> GF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def HouseholderFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 1,
    reflections: int = 2,
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    """Householder flow: a learned diagonal normal turned by reflections, which gives it a full covariance.

    Scored and sampled in one pass a layer.
    Source: Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        reflections: Reflections of each layer, as in `Householder`.
        widths: Hidden widths of each network.
        net: The network that gives all parameters for a context, instead of ``MLP(widths)``.

    >>> HouseholderFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

def IAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Inverse autoregressive flow: affine, each feature given all earlier ones of the base.

    Scored in one step a feature and layer; sampled in one pass a layer.
    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> IAF(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

def MAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Masked autoregressive flow: affine, each feature given all earlier ones.

    Scored in one pass a layer; sampled in one step a feature and layer.
    Source: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> MAF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def NAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    units: int = 16,
    layers: int = 1,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Neural autoregressive flow: each feature by a deep sigmoidal network whose weights the masked network gives.

    Scored in one pass a layer; sampled by a root in one step a feature and layer. The experiments of the source take 16 sigmoids and
    5 to 10 layers.
    Source: Neural Autoregressive Flows (Huang et al., 2018).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        units: Sigmoids of each feature, as in `DeepSigmoid`.
        layers: Sigmoidal layers of each feature.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> NAF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def NCSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    bins: int = 8,
    structure: str = "coupling",
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
) -> Flow:
    r"""Neural circular spline flow: angles in :math:`(-\pi, \pi)`, with a density that has no seam where the ends of the circle meet.

    Scored in one pass a layer; sampled in one pass a layer, or in one step a feature and layer where it is autoregressive. Networks
    see cosines and sines (`Periodic`), kernels are circular splines, the base is uniform.
    Source: Normalizing Flows on Tori and Spheres (Rezende et al., 2020).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        bins: Bins of each spline.
        structure: ``"coupling"`` or ``"autoregressive"``.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"reverse"``, ``"shuffle"`` or None.

    >>> NCSF(2).sample((3,)).abs().max() < 3.15
    tensor(True)
    """

def NICE(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
    support: Support = None,
) -> Flow:
    """NICE: additive coupling layers, which keep volumes, and one scale per feature at the end.

    Scored and sampled in one pass a layer.
    Source: NICE: Non-linear Independent Components Estimation (Dinh et al., 2014).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> NICE(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def NSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    bins: int = 8,
    bound: float = 5.0,
    order: str = "quadratic",
    structure: str = "coupling",
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "linear",
    support: Support = None,
) -> Flow:
    r"""Neural spline flow: rational splines, in coupling or autoregressive layers.

    Scored in one pass a layer; sampled in one pass a layer, or in one step a feature and layer where it is autoregressive.
    Source: Neural Spline Flows (Durkan et al., 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        bins: Bins of each spline.
        bound: Half the width of each spline's box; the data is standardised by `fit`.
        order: ``"quadratic"`` or ``"linear"``, as in `Spline`.
        structure: ``"coupling"`` or ``"autoregressive"``.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).
            Features may be ``"circular"``, angles in :math:`(-\pi, \pi)`, beside others; layers then move halves of both, and ``mix``
            does nothing.

    >>> NSF(5, structure="autoregressive").log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """

def PlanarFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    activation: str = "tanh",
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    """Planar flow over a learned normal: a posterior for variational inference.

    Scored by a root a layer; sampled in one pass a layer.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        activation: ``"tanh"`` or ``"leaky_relu"``, as in `Planar`.
        widths: Hidden widths of each network.
        net: The network that gives all parameters for a context, instead of ``MLP(widths)``.

    >>> PlanarFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

def RadialFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    """Radial flow over a learned normal: a posterior for variational inference.

    Scored and sampled in one pass a layer.
    Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        net: The network that gives all parameters for a context, instead of ``MLP(widths)``.

    >>> RadialFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

def RealNVP(
    features: int,
    context: int = 0,
    *,
    transforms: int = 6,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
    support: Support = None,
) -> Flow:
    """RealNVP: affine coupling layers.

    Scored and sampled in one pass a layer.
    Source: Density Estimation using Real NVP (Dinh et al., 2017).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> RealNVP(5, context=2).sample((3,), torch.zeros(2)).shape
    torch.Size([3, 5])
    """

def ResidualFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    widths: Sequence[int] = (64, 64),
    coefficient: float = 0.9,
    activation: str = "lipswish",
    support: Support = None,
) -> Flow:
    """Residual flow: contractive residual layers, which mix all features at once, with `ActNorm` before each.

    Scored in one pass a layer, with the determinant of the whole Jacobian; sampled by a fixed number of steps towards the fixed point
    of each layer.
    Source: Invertible Residual Networks (Behrmann et al., 2019); Residual Flows for Invertible Generative Modeling (Chen et al.,
    2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        coefficient: Lipschitz bound of each network, in (0, 1).
        activation: As in `Residual`.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> ResidualFlow(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def SOSPF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 3,
    degree: int = 4,
    terms: int = 3,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Sum-of-squares polynomial flow: each feature by the integral of a sum of squared polynomials.

    Scored in one pass a layer; sampled by a root in one step a feature and layer.
    Source: Sum-of-Squares Polynomial Flow (Jaini et al., 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        degree: Degree of the polynomials, as in `SumOfSquares`.
        terms: Number of squares, as in `SumOfSquares`.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> SOSPF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

def SylvesterFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    variant: str = "householder",
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    """Sylvester flow over a learned normal: a posterior for variational inference.

    Scored by roots, one a row of the triangular matrices; sampled in one pass a layer.
    Source: Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        variant: As in `Sylvester`; with ``"triangular"`` features are reversed between layers.
        widths: Hidden widths of each network.
        net: The network that gives all parameters for a context, instead of ``MLP(widths)``.

    >>> SylvesterFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

def UNAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    units: int = 8,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    """Unconstrained neural autoregressive flow: each feature by the integral of a positive network.

    Scored in one pass a layer; sampled by a root in one step a feature and layer.
    Source: Unconstrained Monotonic Neural Networks (Wehenkel, Louppe, 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        units: Of each feature, as in `MonotonicNetwork`.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> UNAF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
