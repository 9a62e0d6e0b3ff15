"""Transforms of vectors with few parameters or matrices; those that Pyro cannot invert have an inverse here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernel import Elementwise, Kernel
from pushforward.kernels import householder as reflections
from pushforward.kernels import planar as planes
from pushforward.kernels import radial as radials
from pushforward.kernels import sylvester as sylvesters
from pushforward.nets import MLP
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Sized
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional


def _perceptron(kernel: Kernel, input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None) -> Any:
    net = MLP([10 * input_dim] * 2 if hidden_dims is None else hidden_dims)
    return Elementwise(kernel, net).build(input_dim, context_dim)


class Planar(Planned):
    """Planar map of vectors, pushed along one direction; `pushforward.bijectors.Planar` has the formulas. 2D + 1 parameters.

    >>> import torch
    >>> layer = Planar(3)
    >>> layer.inv(layer(torch.ones(3))).detach()
    tensor([1., 1., 1.])
    """

    def __init__(self, input_dim: int) -> None:
        super().__init__(planes.Planar().build(input_dim), 1)


class ConditionalPlanar(PlannedConditional):
    """`Planar` whose parameters a network gives: ``nn(context)`` is bias ``(*batch, 1)``, u and w ``(*batch, D)``."""

    def __init__(self, nn: Callable[..., Any]) -> None:
        # The kernel takes w, u and the bias. Its random w of the start is no part of the map that the network gives.
        super().__init__(Sized(Elementwise(planes.Planar(), _Given(nn, (2, 1, 0), plain=True)), 1, SOME, once=True), 1, nn)


def planar(input_dim: int) -> Planar:
    """Return a `Planar` of ``input_dim`` numbers."""
    return Planar(input_dim)


def conditional_planar(input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None) -> ConditionalPlanar:
    """Return a `ConditionalPlanar` with a perceptron of two hidden layers of ``10 D``."""
    return ConditionalPlanar.of(_perceptron(planes.Planar(), input_dim, context_dim, hidden_dims), 1)


class Radial(Planned):
    """Radial map of vectors, about a centre; `pushforward.bijectors.Radial` has the formulas. D + 2 parameters."""

    def __init__(self, input_dim: int) -> None:
        super().__init__(radials.Radial().build(input_dim), 1)


class ConditionalRadial(PlannedConditional):
    """`Radial` whose parameters a network gives: ``nn(context)`` is the centre ``(*batch, D)``, alpha and beta ``(*batch, 1)``."""

    def __init__(self, nn: Callable[..., Any]) -> None:
        super().__init__(Sized(Elementwise(radials.Radial(), _Given(nn)), 1, SOME, once=True), 1, nn)


def radial(input_dim: int) -> Radial:
    """Return a `Radial` of ``input_dim`` numbers."""
    return Radial(input_dim)


def conditional_radial(input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None) -> ConditionalRadial:
    """Return a `ConditionalRadial` with a perceptron of two hidden layers of ``10 D``."""
    return ConditionalRadial.of(_perceptron(radials.Radial(), input_dim, context_dim, hidden_dims), 1)


class Sylvester(Planned):
    """Sylvester map of vectors; `pushforward.bijectors.Sylvester` has the formulas.

    D^2 + 2 D parameters and D for each reflection; Pyro's has more, of which the lower triangles and diagonals count for nothing.

    Args:
        input_dim: D.
        count_transforms: How many reflections make the orthogonal matrix.
    """

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        super().__init__(sylvesters.Sylvester(reflections=count_transforms).build(input_dim), 1)


def sylvester(input_dim: int, count_transforms: int | None = None) -> Sylvester:
    """Return a `Sylvester` with ``D // 2 + 1`` reflections unless ``count_transforms`` says how many."""
    return Sylvester(input_dim, input_dim // 2 + 1 if count_transforms is None else count_transforms)


class Householder(Planned):
    """Reflections one after the other, which keep volumes; `pushforward.bijectors.Householder` has the formulas. K D parameters.

    Args:
        input_dim: D.
        count_transforms: K; an even number starts as the identity.
    """

    volume_preserving = True

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        super().__init__(reflections.Householder(count_transforms).build(input_dim), 1)


class ConditionalHouseholder(PlannedConditional):
    """`Householder` whose vectors a network gives: ``nn(context)`` is ``count_transforms`` tensors ``(*batch, D)``."""

    volume_preserving = True

    def __init__(self, input_dim: int, nn: Callable[..., Any], count_transforms: int = 1) -> None:
        plan = Elementwise(reflections.Householder(count_transforms), _Given(nn))
        super().__init__(plan.build(input_dim, SOME), 1, nn)


def householder(input_dim: int, count_transforms: int | None = None) -> Householder:
    """Return a `Householder` with ``D // 2 + 1`` reflections unless ``count_transforms`` says how many."""
    return Householder(input_dim, input_dim // 2 + 1 if count_transforms is None else count_transforms)


def conditional_householder(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, count_transforms: int = 1
) -> ConditionalHouseholder:
    """Return a `ConditionalHouseholder` with a perceptron of two hidden layers of ``10 D``."""
    return ConditionalHouseholder.of(_perceptron(reflections.Householder(count_transforms), input_dim, context_dim, hidden_dims), 1)
