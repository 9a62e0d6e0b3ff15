"""FlowTorch's bijectors by name; no logic of its own.

Each is a class that takes FlowTorch's arguments with its defaults. Given a ``shape`` it returns the built bijector, as there; without
one a `Lazy`, which takes the ``shape`` later, and which every part of pushforward takes as a plan.
"""

from __future__ import annotations

from pushforward.contrib.flowtorch.base import Bijector
from pushforward.contrib.flowtorch.bijectors import utils
from pushforward.contrib.flowtorch.combined import Compose, Invert
from pushforward.contrib.flowtorch.fixed import (
    ELU,
    AffineFixed,
    Exp,
    Fixed,
    LeakyReLU,
    Permute,
    Power,
    Sigmoid,
    Softplus,
    Tanh,
    VolumePreserving,
)
from pushforward.contrib.flowtorch.learned import Affine, AffineAutoregressive, Autoregressive, Elementwise, Spline, SplineAutoregressive

_STANDARD: tuple[type[Bijector], ...] = (
    Affine, AffineAutoregressive, AffineFixed, ELU, Exp, LeakyReLU, Permute, Power, Sigmoid, Softplus, Spline, SplineAutoregressive, Tanh
)  # fmt: skip
_META: tuple[type[Bijector], ...] = (Elementwise, Autoregressive, Fixed, Bijector, Compose, Invert, VolumePreserving)
standard_bijectors = [(name.__name__, name) for name in _STANDARD]
meta_bijectors = [(name.__name__, name) for name in _META]
invertible_bijectors = list(standard_bijectors)

__all__ = [
    "ELU", "Affine", "AffineAutoregressive", "AffineFixed", "Autoregressive", "Bijector", "Compose", "Elementwise", "Exp", "Fixed",
    "Invert", "LeakyReLU", "Permute", "Power", "Sigmoid", "Softplus", "Spline", "SplineAutoregressive", "Tanh", "VolumePreserving",
    "invertible_bijectors", "meta_bijectors", "standard_bijectors", "utils",
]  # fmt: skip
