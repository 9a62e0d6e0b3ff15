"""Autoregressive flows of monotone networks and polynomials: NAF, UNAF, SOSPF, BPF, BNAF."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.core import Bijector
from pushforward.flow import Flow
from pushforward.flows.stack import Support, chosen, stack
from pushforward.kernel import Kernel
from pushforward.kernels.monotonic import MonotonicNetwork
from pushforward.kernels.neural import DeepSigmoid
from pushforward.kernels.polynomial import Bernstein, SumOfSquares
from pushforward.parameters import NetLike
from pushforward.structures.autoregressive import InverseAutoregressive
from pushforward.structures.block_autoregressive import BlockAutoregressive

BOX = 3.0
"""Half the width of the box of a polynomial on standardised data: where most of them are, so that they decide all of it."""


def _scored(
    name: str, features: int, context: int, transforms: int, mix: str | None, kernel: Kernel, net: NetLike, support: Support
) -> Flow:
    """Return a flow of layers that map data to base by their kernel's closed form, and back by its root."""
    layer = InverseAutoregressive(kernel, net=net).inv
    return stack(name, features, context, transforms, mix, lambda i: layer, support=support)


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
    r"""Neural autoregressive flow: each feature by a deep sigmoidal network whose weights the masked network gives.

    Scored in one pass; sampled by a root in one step a feature and layer. Further arguments are those of `NICE`.
    Source: Neural Autoregressive Flows (Huang et al., 2018), whose experiments take 16 sigmoids and 5 to 10 layers.

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

    >>> NAF(3, units=4).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    given, kernel = chosen(net, widths, activation), DeepSigmoid(units, layers)
    return _scored("NAF", features, context, transforms, mix, kernel, given, support)


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
    r"""Unconstrained neural autoregressive flow: each feature by the integral of a positive network.

    Scored in one pass; sampled by a root in one step a feature and layer. ``units`` are those of `MonotonicNetwork`, further arguments
    those of `NAF`.
    Source: Unconstrained Monotonic Neural Networks (Wehenkel, Louppe, 2019).

    >>> UNAF(3, units=4).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    given, kernel = chosen(net, widths, activation), MonotonicNetwork(units)
    return _scored("UNAF", features, context, transforms, mix, kernel, given, support)


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
    r"""Sum-of-squares polynomial flow: each feature by the integral of a sum of squared polynomials.

    Scored in one pass; sampled by a root in one step a feature and layer. ``degree`` and ``terms`` are those of `SumOfSquares`, on a
    box of half width 3 with gentle tails; further arguments are those of `NAF`.
    Source: Sum-of-Squares Polynomial Flow (Jaini et al., 2019).

    >>> SOSPF(3, degree=2).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    given, kernel = chosen(net, widths, activation), SumOfSquares(degree, terms, BOX, tails="gentle")
    return _scored("SOSPF", features, context, transforms, mix, kernel, given, support)


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
    r"""Bernstein polynomial flow: each feature by an increasing Bernstein polynomial.

    Scored in one pass; sampled by a root in one step a feature and layer. ``degree`` is that of `Bernstein`, on a box of half width 3
    with gentle tails; further arguments are those of `NAF`.
    Source: Deep Transformation Models (Sick et al., 2020); Robust Normalizing Flows using Bernstein-type Polynomials (Ramasinghe et
    al., 2021).

    >>> BPF(3, degree=4).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    given, kernel = chosen(net, widths, activation), Bernstein(degree, BOX, tails="gentle")
    return _scored("BPF", features, context, transforms, mix, kernel, given, support)


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
    r"""Block neural autoregressive flow: one network a layer, whose diagonal blocks make each output increase in its own input.

    Scored in one pass; sampled by a root in one step a feature and layer. All layers but the last are gated, and that has no residual
    connection and an activation that is onto.
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
    layers: list[Bijector] = [BlockAutoregressive(factors, activation) for _ in range(transforms - 1)]
    layers.append(BlockAutoregressive(factors, "leaky_tanh", residual=None))
    # Data to base is the direction in which the network is one pass.
    return stack("BNAF", features, context, transforms, mix, lambda i: layers[-1 - i].inv, support=support)
