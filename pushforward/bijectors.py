"""All plans by name, and the short names that users know; no logic of its own."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.core import Bijector, Compose, Inverse
from pushforward.kernel import Elementwise, Kernel
from pushforward.kernels.affine import Additive, Affine
from pushforward.kernels.fixed import ELU, AffineFixed, Exp, LeakyReLU, Power, Sigmoid, Softplus, Tanh
from pushforward.kernels.linear import Linear
from pushforward.kernels.spline import Spline
from pushforward.nets import MLP, ResidualMLP
from pushforward.parameters import NetLike
from pushforward.structures.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.structures.coupling import Coupling
from pushforward.structures.rearrange import OnAxis, Permute, Reverse, Shuffle
from pushforward.structures.standardize import Standardize


def AffineAutoregressive(net: NetLike = MLP(), order: Sequence[int] | None = None, bound: float = 3.0) -> InverseAutoregressive:
    """Sampled in one step, scored in one for each feature: parameters computed from the inputs (inverse autoregressive flow).

    `Autoregressive(Affine())` is the layer that is scored in one step.

    >>> AffineAutoregressive() == InverseAutoregressive(Affine())
    True
    """
    return InverseAutoregressive(Affine(bound), order=order, net=net)


def SplineAutoregressive(bins: int = 8, bound: float = 5.0, order: str = "quadratic", net: NetLike = MLP()) -> InverseAutoregressive:
    """Sampled in one step, scored in one for each feature: parameters computed from the inputs (inverse autoregressive flow).

    `Autoregressive(Spline())` is the layer that is scored in one step.

    >>> SplineAutoregressive(bins=4).kernel
    Spline(bins=4)
    """
    return InverseAutoregressive(Spline(bins, bound, order), net=net)


def AffineCoupling(mask: str | Sequence[int] = "halves", flip: bool = False, net: NetLike = MLP(), bound: float = 3.0) -> Coupling:
    """Affine coupling: one pass to sample and one to score.

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
    """Spline coupling: one pass to sample and one to score.

    >>> SplineCoupling(bins=4).kernel
    Spline(bins=4)
    """
    return Coupling(Spline(bins, bound, order), mask, flip, net)


__all__ = [
    "ELU", "MLP", "Additive", "Affine", "AffineAutoregressive", "AffineCoupling", "AffineFixed", "Autoregressive", "Bijector",
    "Compose", "Coupling", "Elementwise", "Exp", "Inverse", "InverseAutoregressive", "Kernel", "LeakyReLU", "Linear", "OnAxis",
    "Permute", "Power", "ResidualMLP", "Reverse", "Shuffle", "Sigmoid", "Softplus", "Spline", "SplineAutoregressive",
    "SplineCoupling", "Standardize", "Tanh",
]  # fmt: skip
