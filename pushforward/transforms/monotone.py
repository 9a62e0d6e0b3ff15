"""Autoregressive transforms that are monotone networks or polynomials; each has a true inverse here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernels.neural import DeepSigmoid
from pushforward.kernels.polynomial import SumOfSquares
from pushforward.spec import PlanError
from pushforward.structures import block_autoregressive as blocks
from pushforward.transforms.autoregressive import given, made, sized
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import size

ACTIVATIONS = {"ELU": "elu", "LeakyReLU": "leaky_relu", "sigmoid": "sigmoid", "tanh": "tanh"}
# Slopes, shares and shifts is Pyro's order of what the network gives; slopes, shifts and shares the kernel's.
ORDER = (0, 2, 1)


def _sigmoidal(units: int, activation: str) -> DeepSigmoid:
    if activation not in ACTIVATIONS:
        raise PlanError(f"NeuralAutoregressive: expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return DeepSigmoid(units, activation=ACTIVATIONS[activation])


def _names(hidden_units: int = 16, activation: str = "sigmoid") -> DeepSigmoid:
    return _sigmoidal(hidden_units, activation)


class NeuralAutoregressive(Planned):
    """Neural autoregressive flow: a monotone network of each number, whose weights see the numbers before it.

    Args:
        autoregressive_nn: ``nn(x)`` gives slopes, shares and shifts of K units for each number.
        hidden_units: K.
        activation: ``"ELU"``, ``"LeakyReLU"``, ``"sigmoid"`` or ``"tanh"``.
    """

    autoregressive = True

    def __init__(self, autoregressive_nn: Callable[..., Any], hidden_units: int = 16, activation: str = "sigmoid") -> None:
        kernel = _sigmoidal(hidden_units, activation)
        super().__init__(given(autoregressive_nn, kernel, False, 3 * hidden_units, ORDER), 1, autoregressive_nn)


class ConditionalNeuralAutoregressive(PlannedConditional):
    """`NeuralAutoregressive` whose network sees a context as well, ``nn(x, context=c)``; the keywords are the same."""

    def __init__(self, autoregressive_nn: Callable[..., Any], **kwargs: Any) -> None:
        kernel = _names(**kwargs)
        super().__init__(given(autoregressive_nn, kernel, True, 3 * kernel.units, ORDER), 1, autoregressive_nn)


def neural_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, activation: str = "sigmoid", width: int = 16
) -> NeuralAutoregressive:
    """Return a `NeuralAutoregressive` with a masked perceptron (one hidden layer of ``3 D + 1``) and a random order.

    >>> layer = neural_autoregressive(3)
    >>> layer.inv(layer(torch.ones(5, 3))).allclose(torch.ones(5, 3), atol=1e-5)
    True
    """
    kernel = _sigmoidal(width, activation)
    return NeuralAutoregressive.of(
        made("neural_autoregressive", kernel, input_dim, None, hidden_dims, lambda features: [3 * features + 1]), 1
    )


def conditional_neural_autoregressive(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, activation: str = "sigmoid", width: int = 16
) -> ConditionalNeuralAutoregressive:
    """Return a `ConditionalNeuralAutoregressive` with a masked perceptron (one hidden layer of ``3 D + 1``) and a random order."""
    owner, kernel = "conditional_neural_autoregressive", _sigmoidal(width, activation)
    layer = made(owner, kernel, input_dim, size(owner, "context_dim", context_dim), hidden_dims, lambda features: [3 * features + 1])
    return ConditionalNeuralAutoregressive.of(layer, 1)


class Polynomial(Planned):
    """Sum-of-squares polynomial of each number, whose coefficients see the numbers before it; beyond 5 its tangent goes on.

    Args:
        autoregressive_nn: ``nn(x)`` gives all coefficients, ``count_sum (count_degree + 1)`` for each number; the constants are free.
        input_dim: D.
        count_degree: Degree of the polynomials that are squared.
        count_sum: How many squares.
    """

    autoregressive = True

    def __init__(self, autoregressive_nn: Callable[..., Any], input_dim: int, count_degree: int, count_sum: int) -> None:
        kernel = SumOfSquares(count_degree, count_sum)
        layer = given(autoregressive_nn, kernel, False, count_sum * (count_degree + 1), free=True)
        super().__init__(sized(input_dim, layer), 1, autoregressive_nn)


def polynomial(input_dim: int, hidden_dims: Sequence[int] | None = None) -> Polynomial:
    """Return a `Polynomial` of degree 4 and three squares with a masked perceptron (one hidden layer of ``10 D``) and a random order.

    The constants are outputs of the network, not D free parameters as in Pyro.
    """
    return Polynomial.of(made("polynomial", SumOfSquares(4, 3), input_dim, None, hidden_dims, lambda features: [10 * features]), 1)


class BlockAutoregressive(Planned):
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

    autoregressive = True

    def __init__(
        self, input_dim: int, hidden_factors: Sequence[int] = (8, 8), activation: str = "tanh", residual: str | None = None
    ) -> None:
        if activation not in ACTIVATIONS:
            raise PlanError(f"BlockAutoregressive: expected activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        bent = "leaky_tanh" if residual is None else "tanh"
        chosen = bent if activation in ("tanh", "sigmoid") else "leaky_relu"
        plan = blocks.BlockAutoregressive(hidden_factors, chosen, residual)
        super().__init__(plan.build(size("BlockAutoregressive", "input_dim", input_dim)), 1)


def block_autoregressive(input_dim: int, **kwargs: Any) -> BlockAutoregressive:
    """Return a `BlockAutoregressive` of ``input_dim`` numbers."""
    return BlockAutoregressive(input_dim, **kwargs)
