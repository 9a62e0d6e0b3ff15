"""FlowTorch's bijectors without parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import constraints

from pushforward.contrib.flowtorch.base import Bijector
from pushforward.core.bijector import Bijector as Plan
from pushforward.core.spec import PlanError
from pushforward.kernels import fixed
from pushforward.kernels.kernel import Kernel
from pushforward.layers.rearrange import OnAxis, Shuffle
from pushforward.layers.rearrange import Permute as PermutePlan


class Fixed(Bijector):
    """What bijectors without parameters derive from. ``params_fn`` is taken for FlowTorch's sake, and has to be None."""

    kernel: ClassVar[Kernel]
    """The map of a name that has no other argument."""

    @classmethod
    def plan(cls, params_fn: None = None) -> Plan:
        _expect_none(cls.__name__, params_fn)
        return cls.kernel if hasattr(cls, "kernel") else super().plan()


class VolumePreserving(Bijector):
    """What bijectors that keep volumes derive from."""


class AffineFixed(Fixed):
    """The map ``y = loc + scale x`` with given numbers."""

    @classmethod
    def plan(cls, params_fn: None = None, *, loc: float = 0.0, scale: float = 1.0) -> Plan:
        _expect_none(cls.__name__, params_fn)
        return fixed.AffineFixed(loc, scale)


class Power(Fixed):
    """The map ``y = x ** exponent`` of positive values."""

    domain = codomain = constraints.positive

    @classmethod
    def plan(cls, params_fn: None = None, *, exponent: float = 2.0) -> Plan:
        _expect_none(cls.__name__, params_fn)
        return fixed.Power(exponent)


class Permute(Fixed, VolumePreserving):
    """Another order of the entries of the last axis: entry ``i`` of y is entry ``permutation[i]`` of x.

    Without a permutation the order is left open: a random one that a seed in the plan fixes, so a saved flow is the same flow, and in a
    `Compose` another one for each layer (FlowTorch draws it in the first call and saves it nowhere).
    """

    domain = codomain = constraints.real_vector

    @classmethod
    def plan(cls, params_fn: None = None, *, permutation: Tensor | Sequence[int] | None = None) -> Plan:
        _expect_none(cls.__name__, params_fn)
        return OnAxis(Shuffle() if permutation is None else PermutePlan([int(i) for i in permutation]), -1)


class ELU(Fixed):
    """The map ``y = x`` above zero and ``exp(x) - 1`` below; its values are above -1."""

    kernel = fixed.ELU()
    codomain = kernel.codomain


class Exp(Fixed):
    """The map ``y = exp(x)``."""

    kernel = fixed.Exp()
    codomain = kernel.codomain


class LeakyReLU(Fixed):
    """The map ``y = x`` above zero and ``0.01 x`` below."""

    kernel = fixed.LeakyReLU()


class Sigmoid(Fixed):
    """The map ``y = 1 / (1 + exp(-x))``."""

    kernel = fixed.Sigmoid()
    codomain = kernel.codomain


class Softplus(Fixed):
    """The map ``y = log(1 + exp(x))``."""

    kernel = fixed.Softplus()
    codomain = kernel.codomain


class Tanh(Fixed):
    """The map ``y = tanh(x)``."""

    kernel = fixed.Tanh()
    codomain = kernel.codomain


def _expect_none(name: str, params_fn: Any) -> None:
    if params_fn is not None:
        raise PlanError(f"{name}: expected no params_fn, since it has no parameters, got {params_fn!r}")
