"""Short names: the usual layers, as functions that return plans."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.kernels.affine import Affine
from pushforward.kernels.spline import Spline
from pushforward.layers.autoregressive import InverseAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.nets.mlp import MLP
from pushforward.nets.net import NetLike


def AffineAutoregressive(net: NetLike = MLP(), order: Sequence[int] | None = None, bound: float = 3.0) -> InverseAutoregressive:
    """Inverse autoregressive layer, affine: sampled with depth 1, scored with a depth of the number of features.

    `Autoregressive(Affine())` is the layer that is scored with depth 1.

    >>> AffineAutoregressive() == InverseAutoregressive(Affine())
    True
    """
    return InverseAutoregressive(Affine(bound), order=order, net=net)


def SplineAutoregressive(bins: int = 8, bound: float = 5.0, order: str = "quadratic", net: NetLike = MLP()) -> InverseAutoregressive:
    """Inverse autoregressive layer of splines: sampled with depth 1, scored with a depth of the number of features.

    `Autoregressive(Spline())` is the layer that is scored with depth 1.

    >>> SplineAutoregressive(bins=4).kernel
    Spline(bins=4)
    """
    return InverseAutoregressive(Spline(bins, bound, order), net=net)


def AffineCoupling(mask: str | Sequence[int] = "halves", flip: bool = False, net: NetLike = MLP(), bound: float = 3.0) -> Coupling:
    """Affine coupling: one network evaluation to sample and one to score.

    >>> AffineCoupling() == Coupling(Affine())
    True
    """
    return Coupling(Affine(bound), mask, flip, net)


def SplineCoupling(
    bins: int = 8,
    bound: float = 5.0,
    order: str = "quadratic",
    mask: str | Sequence[int] = "halves",
    flip: bool = False,
    net: NetLike = MLP(),
) -> Coupling:
    """Spline coupling: one network evaluation to sample and one to score.

    >>> SplineCoupling(bins=4).kernel
    Spline(bins=4)
    """
    return Coupling(Spline(bins, bound, order), mask, flip, net)
