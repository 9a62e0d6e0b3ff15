"""Spline couplings: a part of the numbers sets the splines of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.core import Bijector, Compose
from pushforward.parameters import NetLike
from pushforward.structures.coupling import Coupling
from pushforward.structures.parts import Concatenate
from pushforward.transforms.coupling import split_of
from pushforward.transforms.elementwise import spline_kernel
from pushforward.transforms.given import _Given
from pushforward.transforms.planned import Planned
from pushforward.transforms.sizes import perceptron, size


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
        rows = spline_kernel(self.label(), count_bins, bound, order)[1]
        split_of(self.label(), split_dim)
        features = size(self.label(), "input_dim", input_dim)
        plan = _spline(features, split_dim, _Given(hypernet, rows=rows), count_bins, bound, order, identity)
        super().__init__(plan.build(features), 1, hypernet)


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

    Half of the numbers set the splines of the others unless ``split_dim`` says how many; a number alone has a spline that nothing sets.
    Pyro's has no ``order`` and ``identity``.

    >>> spline_coupling(2, count_bins=16)(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    features = size("spline_coupling", "input_dim", input_dim)
    net = perceptron("spline_coupling", hidden_dims, [10 * features] * 2)
    split = features // 2 if split_dim is None else split_dim
    return SplineCoupling.of(_spline(features, split, net, count_bins, bound, order, identity).build(features), 1)


def _spline(features: int, split: int, net: NetLike, bins: int, bound: float, order: str, identity: bool) -> Bijector:
    kernel = spline_kernel("SplineCoupling", bins, bound, order)[0]
    upper = Coupling(kernel, split_of("SplineCoupling", split, features), net=net)
    # The splines of the others are set by what comes in, so the own splines of the first come last.
    return upper if identity or not split else Compose([upper, Concatenate([kernel, Compose([])], [split, features - split])])
