"""Couplings: a part of the values passes through and sets the parameters of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.core import Bijector, Shape
from pushforward.kernels.affine import Affine
from pushforward.nets import MLP
from pushforward.parameters import NetLike
from pushforward.spec import PlanError
from pushforward.structures.coupling import Coupling
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Sized
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional


def affine_kernel(log_scale_min_clip: float, log_scale_max_clip: float) -> Affine:
    """Return an affine map whose smooth bound of the log-scale is the larger of Pyro's two clips."""
    if not log_scale_min_clip < 0 < log_scale_max_clip:
        raise PlanError(f"expected log_scale_min_clip < 0 < log_scale_max_clip, got {log_scale_min_clip} and {log_scale_max_clip}")
    return Affine(max(-log_scale_min_clip, log_scale_max_clip))


def _affine(split_dim: int, net: NetLike, low: float, high: float) -> Coupling:
    return Coupling(affine_kernel(low, high), tuple(range(split_dim)), net=net)


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
        plan = _affine(split_dim, _Given(hypernet), log_scale_min_clip, log_scale_max_clip)
        super().__init__(Sized(plan, _rank(dim), once=True), -dim, hypernet)


class ConditionalAffineCoupling(PlannedConditional):
    """`AffineCoupling` whose network sees a context as well: ``hypernet(x1, context=c)``; the keywords are the same."""

    def __init__(self, split_dim: int, hypernet: Callable[..., Any], **kwargs: Any) -> None:
        dim, low, high = _keywords(**kwargs)
        super().__init__(Sized(_affine(split_dim, _Given(hypernet), low, high), _rank(dim), SOME, once=True), -dim, hypernet)


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
    return ConditionalAffineCoupling.of(plan.build(event, context_dim), -dim)


def _planned(input_dim: Any, hidden_dims: Any, split_dim: int | None, dim: int, kwargs: dict[str, Any]) -> tuple[Bijector, Shape]:
    event = (input_dim,) if isinstance(input_dim, int) else tuple(input_dim)
    if len(event) != _rank(dim):
        raise PlanError(f"affine_coupling: expected input_dim to be the shape of an event of {-dim} axes, got {input_dim!r}")
    _, low, high = _keywords(**kwargs)
    size = 10
    for length in event:
        size *= length
    net = MLP([size] if hidden_dims is None else hidden_dims)
    return _affine(event[0] // 2 if split_dim is None else split_dim, net, low, high), event


def _keywords(dim: int = -1, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0) -> tuple[int, float, float]:
    return dim, log_scale_min_clip, log_scale_max_clip


def _rank(dim: int) -> int:
    if dim >= 0:
        raise PlanError(f"AffineCoupling: expected dim to be negative, got {dim}")
    return -dim
