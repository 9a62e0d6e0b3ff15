"""FlowTorch's bijectors without parameters, each a function that returns a plan of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pushforward.contrib.flowtorch.lazy import Made, Sizes, made
from pushforward.core import Bijector
from pushforward.kernel import Kernel
from pushforward.kernels import fixed
from pushforward.spec import PlanError
from pushforward.structures.rearrange import OnAxis, Shuffle
from pushforward.structures.rearrange import Permute as PermutePlan


def AffineFixed(params_fn: None = None, *, shape: Sizes = None, context_shape: Sizes = None, loc: float = 0.0, scale: float = 1.0) -> Made:
    """The map ``y = loc + scale x`` with given numbers."""
    return _fixed("AffineFixed", fixed.AffineFixed(loc, scale), params_fn, shape, context_shape)


def Power(params_fn: None = None, *, shape: Sizes = None, context_shape: Sizes = None, exponent: float = 2.0) -> Made:
    """The map ``y = x ** exponent`` of positive values."""
    return _fixed("Power", fixed.Power(exponent), params_fn, shape, context_shape)


def Permute(
    params_fn: None = None, *, shape: Sizes = None, context_shape: Sizes = None, permutation: Tensor | Sequence[int] | None = None
) -> Made:
    """Put the entries of the last axis into another order: entry ``i`` of y is entry ``permutation[i]`` of x.

    Without a permutation the order is left open: a random one that a seed in the plan fixes, so a saved flow is the same flow, and in a
    `Compose` another one for each layer (FlowTorch draws it in the first call and saves it nowhere).
    """
    plan = Shuffle() if permutation is None else PermutePlan([int(i) for i in permutation])
    return _fixed("Permute", OnAxis(plan, -1), params_fn, shape, context_shape)


def _fixed(name: str, plan: Bijector, params_fn: Any, shape: Sizes, context_shape: Sizes) -> Made:
    if params_fn is not None:
        raise PlanError(f"{name}: expected no params_fn, since it has no parameters, got {params_fn!r}")
    return made(plan, shape, context_shape)


def _named(plan: Kernel, text: str) -> Callable[..., Made]:
    def function(params_fn: None = None, *, shape: Sizes = None, context_shape: Sizes = None) -> Made:
        return _fixed(function.__name__, plan, params_fn, shape, context_shape)

    function.__name__ = function.__qualname__ = type(plan).__name__
    function.__doc__ = f"The map ``{text}``."
    return function


ELU = _named(fixed.ELU(), fixed.ELU.formula)
Exp = _named(fixed.Exp(), fixed.Exp.formula)
LeakyReLU = _named(fixed.LeakyReLU(), fixed.LeakyReLU.formula)
Sigmoid = _named(fixed.Sigmoid(), fixed.Sigmoid.formula)
Softplus = _named(fixed.Softplus(), fixed.Softplus.formula)
Tanh = _named(fixed.Tanh(), fixed.Tanh.formula)
