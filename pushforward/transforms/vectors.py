"""Transforms of vectors with few parameters or matrices; those that Pyro cannot invert have an inverse here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernel import Elementwise, Kernel
from pushforward.kernels import householder as reflections
from pushforward.kernels import planar as planes
from pushforward.kernels import radial as radials
from pushforward.kernels import sylvester as sylvesters
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Sized
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import perceptron, size


def _given_context(owner: str, kernel: Kernel, input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None) -> Any:
    features, context = size(owner, "input_dim", input_dim), size(owner, "context_dim", context_dim)
    return Elementwise(kernel, perceptron(owner, hidden_dims, [10 * features] * 2)).build(features, context)


class Planar(Planned):
    """Planar map of vectors, pushed along one direction; `pushforward.bijectors.Planar` has the formulas. 2D + 1 parameters.

    >>> import torch
    >>> layer = Planar(3)
    >>> layer.inv(layer(torch.ones(3))).detach()
    tensor([1., 1., 1.])
    """

    def __init__(self, input_dim: int) -> None:
        super().__init__(planes.Planar().build(size("Planar", "input_dim", input_dim)), 1)


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
    return ConditionalPlanar.of(_given_context("conditional_planar", planes.Planar(), input_dim, context_dim, hidden_dims), 1)


class Radial(Planned):
    """Radial map of vectors, about a centre; `pushforward.bijectors.Radial` has the formulas. D + 2 parameters."""

    def __init__(self, input_dim: int) -> None:
        super().__init__(radials.Radial().build(size("Radial", "input_dim", input_dim)), 1)


class ConditionalRadial(PlannedConditional):
    """`Radial` whose parameters a network gives: ``nn(context)`` is the centre ``(*batch, D)``, alpha and beta ``(*batch, 1)``."""

    def __init__(self, nn: Callable[..., Any]) -> None:
        super().__init__(Sized(Elementwise(radials.Radial(), _Given(nn)), 1, SOME, once=True), 1, nn)


def radial(input_dim: int) -> Radial:
    """Return a `Radial` of ``input_dim`` numbers."""
    return Radial(input_dim)


def conditional_radial(input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None) -> ConditionalRadial:
    """Return a `ConditionalRadial` with a perceptron of two hidden layers of ``10 D``."""
    return ConditionalRadial.of(_given_context("conditional_radial", radials.Radial(), input_dim, context_dim, hidden_dims), 1)


class Sylvester(Planned):
    """Sylvester map of vectors; `pushforward.bijectors.Sylvester` has the formulas.

    D^2 + 2 D parameters and D for each reflection; Pyro's has more, of which the lower triangles and diagonals count for nothing.

    Args:
        input_dim: D.
        count_transforms: How many reflections make the orthogonal matrix.
    """

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        plan = sylvesters.Sylvester(reflections=size("Sylvester", "count_transforms", count_transforms))
        super().__init__(plan.build(size("Sylvester", "input_dim", input_dim)), 1)


def sylvester(input_dim: int, count_transforms: int | None = None) -> Sylvester:
    """Return a `Sylvester` with ``D // 2 + 1`` reflections unless ``count_transforms`` says how many."""
    return Sylvester(input_dim, size("sylvester", "input_dim", input_dim) // 2 + 1 if count_transforms is None else count_transforms)


class Householder(Planned):
    """Reflections one after the other, which keep volumes; `pushforward.bijectors.Householder` has the formulas. K D parameters.

    Args:
        input_dim: D.
        count_transforms: K; an even number starts as the identity.
    """

    volume_preserving = True

    def __init__(self, input_dim: int, count_transforms: int = 1) -> None:
        plan = reflections.Householder(size("Householder", "count_transforms", count_transforms))
        super().__init__(plan.build(size("Householder", "input_dim", input_dim)), 1)


class ConditionalHouseholder(PlannedConditional):
    """`Householder` whose vectors a network gives: ``nn(context)`` is ``count_transforms`` tensors ``(*batch, D)``."""

    volume_preserving = True

    def __init__(self, input_dim: int, nn: Callable[..., Any], count_transforms: int = 1) -> None:
        name = "ConditionalHouseholder"
        plan = Elementwise(reflections.Householder(size(name, "count_transforms", count_transforms)), _Given(nn))
        super().__init__(plan.build(size(name, "input_dim", input_dim), SOME), 1, nn)


def householder(input_dim: int, count_transforms: int | None = None) -> Householder:
    """Return a `Householder` with ``D // 2 + 1`` reflections unless ``count_transforms`` says how many."""
    return Householder(input_dim, size("householder", "input_dim", input_dim) // 2 + 1 if count_transforms is None else count_transforms)


def conditional_householder(
    input_dim: int, context_dim: int, hidden_dims: Sequence[int] | None = None, count_transforms: int = 1
) -> ConditionalHouseholder:
    """Return a `ConditionalHouseholder` with a perceptron of two hidden layers of ``10 D``."""
    kernel = reflections.Householder(size("conditional_householder", "count_transforms", count_transforms))
    return ConditionalHouseholder.of(_given_context("conditional_householder", kernel, input_dim, context_dim, hidden_dims), 1)
