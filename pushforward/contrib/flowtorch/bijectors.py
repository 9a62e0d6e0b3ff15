"""FlowTorch's bijectors by name; no logic of its own.

Each is a function that takes FlowTorch's arguments with its defaults. Given a ``shape`` it returns the built bijector, as there; without
one it returns a plan, which every part of pushforward takes, and given only a ``context_shape`` a plan that states it.
"""

from __future__ import annotations

from typing import Any

from pushforward.contrib.flowtorch.combined import Compose, Invert
from pushforward.contrib.flowtorch.fixed import ELU, AffineFixed, Exp, LeakyReLU, Permute, Power, Sigmoid, Softplus, Tanh
from pushforward.contrib.flowtorch.learned import Affine, AffineAutoregressive, Spline, SplineAutoregressive
from pushforward.core import Bijector
from pushforward.kernel import Elementwise, Kernel
from pushforward.structures.autoregressive import InverseAutoregressive as Autoregressive

# Abstract in FlowTorch: what a new bijection without parameters, or one that keeps volumes, is derived from.
Fixed = VolumePreserving = Kernel

_STANDARD = (
    Affine, AffineAutoregressive, AffineFixed, ELU, Exp, LeakyReLU, Permute, Power, Sigmoid, Softplus, Spline, SplineAutoregressive, Tanh
)  # fmt: skip
standard_bijectors = [(function.__name__, function) for function in _STANDARD]
invertible_bijectors = list(standard_bijectors)
meta_bijectors: list[tuple[str, Any]] = [
    ("Elementwise", Elementwise), ("Autoregressive", Autoregressive), ("Fixed", Fixed), ("Bijector", Bijector), ("Compose", Compose),
    ("Invert", Invert), ("VolumePreserving", VolumePreserving),
]  # fmt: skip

__all__ = [
    "ELU", "Affine", "AffineAutoregressive", "AffineFixed", "Autoregressive", "Bijector", "Compose", "Elementwise", "Exp", "Fixed",
    "Invert", "LeakyReLU", "Permute", "Power", "Sigmoid", "Softplus", "Spline", "SplineAutoregressive", "Tanh", "VolumePreserving",
    "invertible_bijectors", "meta_bijectors", "standard_bijectors",
]  # fmt: skip
