"""Matrices by their factors: each a short name for layers that exist."""

from __future__ import annotations

from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.kernels.affine import Affine
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Elementwise, Kernel
from pushforward.kernels.triangular import Triangular
from pushforward.nets.net import NetLike


def _given(kernel: Kernel, net: NetLike | None) -> Bijector:
    return kernel if net is None else Elementwise(kernel, net)


def QR(reflections: int = 2, bound: float = 3.0, net: NetLike | None = None) -> Compose:
    r"""Linear map by its QR factors, :math:`y = Q (R x + b)`: R upper triangular, Q a product of Householder reflections.

    It starts as the identity if the number of reflections is even.

    Args:
        reflections: Number of reflections, as in `Householder`.
        bound: The largest absolute log of a diagonal entry of R.
        net: The network from context to the parameters of each factor (None: free parameters).

    >>> QR(4)
    Compose((Triangular(upper=True), Householder(reflections=4)))
    """
    return Compose([_given(Triangular(upper=True, bound=bound), net), _given(Householder(reflections), net)])


def SVD(reflections: int = 2, bound: float = 3.0, net: NetLike | None = None) -> Compose:
    r"""Linear map by its singular values, :math:`y = U (S V x + b)`: S diagonal, U and V products of Householder reflections.

    It starts as the identity if the number of reflections is even.

    Args:
        reflections: Number of reflections of U, and of V, as in `Householder`.
        bound: The largest absolute log of a singular value.
        net: The network from context to the parameters of each factor (None: free parameters).

    >>> SVD(4)
    Compose((Householder(reflections=4), Affine(), Householder(reflections=4)))
    """
    return Compose([_given(Householder(reflections), net), _given(Affine(bound), net), _given(Householder(reflections), net)])
