"""Autoregressive transforms, sampled in one pass: the parameters of each number see the numbers before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pushforward.core import TransformModule as Layer
from pushforward.kernel import Kernel
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import InverseAutoregressive
from pushforward.transforms.coupling import affine_kernel
from pushforward.transforms.gate import _Gated
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import perceptron, size


def _affine(low: float = -5.0, high: float = 3.0, sigmoid_bias: float = 2.0, stable: bool = False) -> Kernel:
    affine = affine_kernel(low, high)
    return _Gated(affine.bound, sigmoid_bias) if stable else affine


def _names(log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0, **rest: Any) -> Kernel:
    return _affine(log_scale_min_clip, log_scale_max_clip, **rest)


def given(
    nn: Callable[..., Any], kernel: Kernel, conditional: bool, rows: int = 0, order: Sequence[int] | None = None, free: bool = False
) -> Layer:
    """Build the layer of a user's network; its ``permutation`` is the order of the features."""
    permutation = getattr(nn, "permutation", None)
    if permutation is None:
        raise PlanError(f"expected a network with an attribute permutation, the order of its features, as AutoRegressiveNN has, got {nn!r}")
    size = len(permutation)
    net = _Given(nn, order, rows, size if free else 0)
    return InverseAutoregressive(kernel, permutation, net=net).build(size, SOME if conditional else None)


def sized(input_dim: int, layer: Layer) -> Layer:
    """Return a layer of a user's network, or raise `PlanError` if its features are not ``input_dim``."""
    if layer.event_shape != (input_dim,):
        raise PlanError(f"expected a network of {input_dim} features, the input_dim, got one of {layer.event_shape[0]}")
    return layer


def made(
    owner: str, kernel: Kernel, input_dim: int, context_dim: int | None, hidden_dims: Sequence[int] | None, default: Callable[[int], Any]
) -> Layer:
    """Build the layer with a masked perceptron, and the features in a random order, as Pyro does.

    Args:
        owner: What errors begin with.
        kernel: The maths of one feature.
        input_dim: D.
        context_dim: Length of the context, checked (None: there is none).
        hidden_dims: Widths of the perceptron.
        default: Gives the widths where there are none, from D.
    """
    features = size(owner, "input_dim", input_dim)
    net = perceptron(owner, hidden_dims, default(features))
    return InverseAutoregressive(kernel, torch.randperm(features), net=net).build(features, context_dim)  # type: ignore[arg-type]


class AffineAutoregressive(Planned):
    """Inverse autoregressive flow: location and log-scale of each number see the numbers before it.

    `affine_autoregressive` makes the network, whose inverse takes the work of one pass; a network of your own is asked once for each
    number then. The log-scale is bounded smoothly by the larger of the two clips, not clipped.

    Args:
        autoregressive_nn: As `AutoRegressiveNN`: ``nn(x)`` gives location and log-scale; ``nn.permutation`` is its order.
        log_scale_min_clip: See above.
        log_scale_max_clip: See above.
        sigmoid_bias: The gate's logit at the start, if ``stable``.
        stable: Whether a gate g in (0, 1) takes the place of the scale: ``y = g x + (1 - g) location``.

    >>> from pushforward.transforms import AutoRegressiveNN
    >>> AffineAutoregressive(AutoRegressiveNN(10, [40])).inv(torch.zeros(5, 10)).shape
    torch.Size([5, 10])
    """

    sign = 1
    autoregressive = True

    def __init__(
        self,
        autoregressive_nn: Callable[..., Any],
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
        sigmoid_bias: float = 2.0,
        stable: bool = False,
    ) -> None:
        kernel = _affine(log_scale_min_clip, log_scale_max_clip, sigmoid_bias, stable)
        super().__init__(given(autoregressive_nn, kernel, conditional=False), 1, autoregressive_nn)


class ConditionalAffineAutoregressive(PlannedConditional):
    """`AffineAutoregressive` whose network sees a context as well, ``nn(x, context=c)``; the keywords are the same."""

    def __init__(self, autoregressive_nn: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(given(autoregressive_nn, _names(**kwargs), conditional=True), 1, autoregressive_nn)


def affine_autoregressive(input_dim: int, hidden_dims: Sequence[int] | None = None, **kwargs: Any) -> AffineAutoregressive:
    """Return an `AffineAutoregressive` with a masked perceptron (one hidden layer of ``3 D + 1``) and a random order.

    >>> affine_autoregressive(5)(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    """
    layer = made("affine_autoregressive", _names(**kwargs), input_dim, None, hidden_dims, lambda features: [3 * features + 1])
    return AffineAutoregressive.of(layer, 1)


def conditional_affine_autoregressive(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, **kwargs: Any
) -> ConditionalAffineAutoregressive:
    """Return a `ConditionalAffineAutoregressive` with a masked perceptron (one hidden layer of ``10 D``) and a random order."""
    owner = "conditional_affine_autoregressive"
    layer = made(owner, _names(**kwargs), input_dim, size(owner, "context_dim", context_dim), hidden_dims, lambda features: [10 * features])
    return ConditionalAffineAutoregressive.of(layer, 1)
