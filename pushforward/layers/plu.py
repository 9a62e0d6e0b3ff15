"""The linear map by its PLU factors, of which the permutation is a layer of its own."""

from __future__ import annotations

from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.linear import Linear
from pushforward.layers.rearrange import OnAxis, Shuffle
from pushforward.nets.net import NetLike


def PLU(seed: int = 0, bound: float = 3.0, net: NetLike | None = None, axis: int = -1) -> Compose:
    r"""Linear map by its PLU factors, :math:`y = P (L U x + b)`, P a permutation that ``seed`` sets: an invertible 1x1 convolution.

    For the channels of an image take ``axis=0``. Source: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018).

    Args:
        seed: Seed of the permutation.
        bound: The largest absolute log of a diagonal entry.
        net: The network from context to the entries (None: free parameters).
        axis: The event axis that the vectors lie along.

    >>> PLU(seed=3, axis=0)
    Compose((OnAxis(Linear()), Shuffle(seed=3)))
    """
    linear = Linear(bound=bound)
    parts: list[Bijector] = [linear if net is None else Elementwise(linear, net), Shuffle(seed)]
    return Compose([part if part.axis == axis else OnAxis(part, axis) for part in parts])
