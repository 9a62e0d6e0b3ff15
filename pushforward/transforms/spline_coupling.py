"""Spline couplings: a part of the numbers sets the splines of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.core import Bijector, Compose
from pushforward.nets import MLP
from pushforward.parameters import NetLike
from pushforward.spec import PlanError
from pushforward.structures.coupling import Coupling
from pushforward.structures.parts import Concatenate
from pushforward.transforms.elementwise import spline_kernel
from pushforward.transforms.given import _Given
from pushforward.transforms.planned import Planned


class SplineCoupling(Planned):
    """Spline coupling: the first ``split_dim`` of D numbers set the splines of the others, and have splines of their own.

    `spline_coupling` makes the network. Parameters beside it: ``split_dim (4K - 1)``, none if ``identity``.

    Args:
        input_dim: D.
        split_dim: How many numbers set the splines of the others.
        hypernet: ``hypernet(x1)`` gives widths, heights, slopes and (order ``"linear"``) middles as in `ConditionalSpline`.
        count_bins: As in `Spline`.
        bound: As in `Spline`.
        order: As in `Spline`.
        identity: Whether the first numbers stay as they are.
    """

    def __init__(
        self,
        input_dim: int,
        split_dim: int,
        hypernet: Callable[..., Any],
        count_bins: int = 8,
        bound: float = 3.0,
        order: str = "linear",
        identity: bool = False,
    ) -> None:
        rows = spline_kernel(count_bins, bound, order)[1]
        plan = _spline(input_dim, split_dim, _Given(hypernet, rows=rows), count_bins, bound, order, identity)
        super().__init__(plan.build(input_dim), 1, hypernet)


def spline_coupling(
    input_dim: int,
    split_dim: int | None = None,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
    identity: bool = False,
) -> SplineCoupling:
    """Return a `SplineCoupling` with a perceptron of two hidden layers, ten units wide for each number.

    Half of the numbers set the splines of the others unless ``split_dim`` says how many; Pyro's has no ``order`` and ``identity``.

    >>> spline_coupling(2, count_bins=16)(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    net = MLP([10 * input_dim] * 2 if hidden_dims is None else hidden_dims)
    split = input_dim // 2 if split_dim is None else split_dim
    return SplineCoupling.of(_spline(input_dim, split, net, count_bins, bound, order, identity).build(input_dim), 1)


def _spline(size: int, split: int, net: NetLike, bins: int, bound: float, order: str, identity: bool) -> Bijector:
    if not 0 < split < size:
        raise PlanError(f"SplineCoupling: expected split_dim between 1 and {size - 1}, got {split}")
    kernel = spline_kernel(bins, bound, order)[0]
    upper = Coupling(kernel, tuple(range(split)), net=net)
    # The splines of the others are set by what comes in, so the own splines of the first come last.
    return upper if identity else Compose([upper, Concatenate([kernel, Compose([])], [split, size - split])])
