"""Couplings: a part of the values passes through and sets the parameters of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pushforward.core import Bijector, Shape
from pushforward.kernels.affine import Affine
from pushforward.parameters import NetLike
from pushforward.spec import PlanError
from pushforward.structures.coupling import Coupling
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Sized
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import negative, perceptron, shape, size


def affine_kernel(log_scale_min_clip: float, log_scale_max_clip: float) -> Affine:
    """Return an affine map whose smooth bound of the log-scale is the larger of Pyro's two clips."""
    if not log_scale_min_clip < 0 < log_scale_max_clip:
        raise PlanError(f"expected log_scale_min_clip < 0 < log_scale_max_clip, got {log_scale_min_clip} and {log_scale_max_clip}")
    return Affine(max(-log_scale_min_clip, log_scale_max_clip))


def split_of(name: str, split_dim: int, length: int | None = None) -> tuple[int, ...]:
    """Return the entries that pass through, or raise `PlanError`.

    Args:
        name: What errors begin with.
        split_dim: How many.
        length: Of how many (None: that is not known yet). With a network of the user's, which sees what passes, it is at least one.
    """
    least = 0 if length is not None else 1
    if not isinstance(split_dim, int) or isinstance(split_dim, bool) or split_dim < least or (length is not None and split_dim >= length):
        limit = f"between 0 and {length - 1}" if length is not None else "of at least 1, since the network sees what passes through"
        raise PlanError(f"{name}: expected split_dim to be a whole number {limit}, got {split_dim!r}")
    return tuple(range(split_dim))


def _affine(passing: tuple[int, ...], net: NetLike, low: float, high: float) -> Coupling:
    return Coupling(affine_kernel(low, high), passing, net=net)


class AffineCoupling(Planned):
    """Affine coupling along an axis: of the D entries of the axis, the first ``split_dim`` set location and scale of the others.

    `affine_coupling` makes the network. The log-scale is bounded smoothly by the larger of the two clips, not clipped.

    Args:
        split_dim: How many pass through.
        hypernet: ``hypernet(x1)`` gives location and log-scale, ``(*batch, size of x2)`` each; x1 is flat.
        dim: The axis, negative; an event has ``-dim`` axes.
        log_scale_min_clip: See above.
        log_scale_max_clip: See above.

    >>> from pushforward.transforms import DenseNN
    >>> AffineCoupling(2, DenseNN(2, [20], [3, 3]))(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    """

    def __init__(
        self,
        split_dim: int,
        hypernet: Callable[..., Any],
        *,
        dim: int = -1,
        log_scale_min_clip: float = -5.0,
        log_scale_max_clip: float = 3.0,
    ) -> None:
        plan = _affine(split_of(self.label(), split_dim), _Given(hypernet), log_scale_min_clip, log_scale_max_clip)
        super().__init__(Sized(plan, -negative(self.label(), dim), once=True), -dim, hypernet)


class ConditionalAffineCoupling(PlannedConditional):
    """`AffineCoupling` whose network sees a context as well: ``hypernet(x1, context=c)``; the keywords are the same."""

    def __init__(self, split_dim: int, hypernet: Callable[..., Any], **kwargs: Any) -> None:
        dim, low, high = _keywords(**kwargs)
        plan = _affine(split_of(self.label(), split_dim), _Given(hypernet), low, high)
        super().__init__(Sized(plan, -negative(self.label(), dim), SOME, once=True), -dim, hypernet)


def affine_coupling(
    input_dim: int | Sequence[int], hidden_dims: Sequence[int] | None = None, split_dim: int | None = None, dim: int = -1, **kwargs: Any
) -> AffineCoupling:
    """Return an `AffineCoupling` with a perceptron; half of the axis passes through unless ``split_dim`` says how much.

    Args:
        input_dim: D, or the shape of an event of ``-dim`` axes.
        hidden_dims: Widths of the perceptron (None: one layer, ten units for each value).
        split_dim: How many entries pass through.
        dim: The axis, negative.
        **kwargs: The clips of `AffineCoupling`.

    >>> affine_coupling((4, 8, 8), dim=-3)(torch.zeros(5, 4, 8, 8)).shape
    torch.Size([5, 4, 8, 8])
    """
    plan, event = _planned(input_dim, hidden_dims, split_dim, dim, kwargs)
    return AffineCoupling.of(plan.build(event), -dim)


def conditional_affine_coupling(
    input_dim: int | Sequence[int],
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    split_dim: int | None = None,
    dim: int = -1,
    **kwargs: Any,
) -> ConditionalAffineCoupling:
    """Return a `ConditionalAffineCoupling` with a perceptron; the arguments are those of `affine_coupling`.

    >>> conditional_affine_coupling(4, 3).condition(torch.zeros(5, 3))(torch.zeros(4)).shape
    torch.Size([5, 4])
    """
    plan, event = _planned(input_dim, hidden_dims, split_dim, dim, kwargs)
    context = size("conditional_affine_coupling", "context_dim", context_dim)
    return ConditionalAffineCoupling.of(plan.build(event, context), -dim)


def _planned(input_dim: Any, hidden_dims: Any, split_dim: int | None, dim: int, kwargs: dict[str, Any]) -> tuple[Bijector, Shape]:
    event = shape("affine_coupling", "input_dim", input_dim, -negative("affine_coupling", dim))
    _, low, high = _keywords(**kwargs)
    net = perceptron("affine_coupling", hidden_dims, [10 * math.prod(event)])
    passing = split_of("affine_coupling", event[0] // 2 if split_dim is None else split_dim, event[0])
    return _affine(passing, net, low, high), event


def _keywords(dim: int = -1, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0) -> tuple[int, float, float]:
    return dim, log_scale_min_clip, log_scale_max_clip
