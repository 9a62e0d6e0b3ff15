"""Permutations of an axis, and invertible 1x1 convolutions, which mix the channels of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pushforward.core import Bijector, Compose
from pushforward.core import TransformModule as Layer
from pushforward.kernel import Elementwise
from pushforward.kernels.linear import Linear
from pushforward.parameters import NetLike
from pushforward.spec import PlanError
from pushforward.structures import rearrange
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Along
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import negative, perceptron, shape, size


class Permute(Planned):
    """Another order of the entries of an axis: entry i of y is entry ``permutation[i]`` of x. The order is saved.

    Args:
        permutation: Every index once.
        dim: The axis, negative; an event has ``-dim`` axes.
        cache_size: As in `TransformModule`.

    >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([10.0, 11.0, 12.0]))
    tensor([12., 10., 11.])
    """

    volume_preserving = True

    def __init__(self, permutation: Tensor | Sequence[int], *, dim: int = -1, cache_size: int = 1) -> None:
        negative("Permute", dim)
        plan = rearrange.Permute(permutation)  # type: ignore[arg-type]
        super().__init__(Along(plan.build(len(plan.order)), dim), -dim)


def permute(input_dim: int | Sequence[int], permutation: Tensor | Sequence[int] | None = None, dim: int = -1) -> Permute:
    """Return a `Permute`, at random unless ``permutation`` is given, of the axis ``dim`` of events of a shape.

    >>> permute((3, 4), dim=-2)(torch.zeros(5, 3, 4)).shape
    torch.Size([5, 3, 4])
    """
    event = shape("permute", "input_dim", input_dim, -negative("permute", dim))
    if permutation is not None and len(permutation) != event[0]:
        raise PlanError(f"permute: expected a permutation of {event[0]} entries, got {len(permutation)}")
    return Permute(torch.randperm(event[0]) if permutation is None else permutation, dim=dim)


def _channels(channels: int, permutation: Tensor | Sequence[int] | None, net: NetLike | None, context: Any) -> Layer:
    channels = size("GeneralizedChannelPermute", "channels", channels)
    order = torch.randperm(channels) if permutation is None else torch.as_tensor(permutation)
    if len(order) != channels:
        raise PlanError(f"GeneralizedChannelPermute: expected a permutation of {channels} channels, got {len(order)}")
    linear: Bijector = Linear(bias=False)
    linear = linear if net is None else Elementwise(Linear(bias=False), net)
    return Along(Compose([linear, rearrange.Permute(order)]).build(channels, context), -3)  # type: ignore[arg-type]


class GeneralizedChannelPermute(Planned):
    """Invertible 1x1 convolution of images ``(*batch, C, H, W)`` by PLU factors; P is fixed, at random unless given, and saved.

    C^2 parameters; it starts as P alone. The diagonal of U is positive and bounded, see `pushforward.bijectors.Linear`.

    Args:
        channels: C.
        permutation: The order of the channels that P makes.

    >>> GeneralizedChannelPermute(3)(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 3, 8, 8])
    """

    def __init__(self, channels: int = 3, permutation: Tensor | Sequence[int] | None = None) -> None:
        super().__init__(_channels(channels, permutation, None, None), 3)


class ConditionalGeneralizedChannelPermute(PlannedConditional):
    """`GeneralizedChannelPermute` whose C^2 numbers a network gives: ``nn(context)`` is ``(*batch, C^2)``, for a batch of contexts too."""

    def __init__(self, nn: Callable[..., Any], channels: int = 3, permutation: Tensor | Sequence[int] | None = None) -> None:
        super().__init__(_channels(channels, permutation, _Given(nn), SOME), 3, nn)


def generalized_channel_permute(**kwargs: Any) -> GeneralizedChannelPermute:
    """Return a `GeneralizedChannelPermute`."""
    return GeneralizedChannelPermute(**kwargs)


def conditional_generalized_channel_permute(
    context_dim: int, channels: int = 3, hidden_dims: Sequence[int] | None = None
) -> ConditionalGeneralizedChannelPermute:
    """Return a `ConditionalGeneralizedChannelPermute` with a perceptron of two hidden layers of ``10 C``."""
    owner = "conditional_generalized_channel_permute"
    net = perceptron(owner, hidden_dims, [10 * size(owner, "channels", channels)] * 2)
    return ConditionalGeneralizedChannelPermute.of(_channels(channels, None, net, size(owner, "context_dim", context_dim)), 3)
