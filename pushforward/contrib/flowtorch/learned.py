"""FlowTorch's learnable bijectors."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints

from pushforward.contrib.flowtorch.base import Bijector
from pushforward.contrib.flowtorch.parameters import DenseAutoregressive, as_parameters
from pushforward.core.bijector import Bijector as Plan
from pushforward.core.spec import PlanError
from pushforward.kernels import affine, spline
from pushforward.kernels.kernel import Elementwise as ElementwisePlan
from pushforward.kernels.kernel import Kernel
from pushforward.layers.autoregressive import InverseAutoregressive


class Elementwise(Bijector):
    """What bijectors of each number derive from, with parameters of its own or of the context."""

    @classmethod
    def of(cls, kernel: Kernel, params_fn: Any) -> Plan:
        """Return the plan of a kernel whose parameters come from ``params_fn``."""
        name, parameters = cls.__name__, as_parameters(cls.__name__, params_fn)
        if parameters.order is not None:
            raise PlanError(f"{name}: expected params_fn to be Tensor() or a net of the context, got one with an order of the features")
        return kernel if parameters.net is None else ElementwisePlan(kernel, parameters.net)


class Autoregressive(Bijector):
    """What bijectors derive from whose parameters see the earlier features and the context: sampled in one pass."""

    domain = codomain = constraints.real_vector

    @classmethod
    def of(cls, kernel: Kernel, params_fn: Any) -> Plan:
        """Return the plan of a kernel whose parameters come from ``params_fn``."""
        name, parameters = cls.__name__, as_parameters(cls.__name__, DenseAutoregressive() if params_fn is None else params_fn)
        if parameters.net is None:
            raise PlanError(f"{name}: expected params_fn to be DenseAutoregressive() or another masked net, got free parameters")
        return InverseAutoregressive(kernel, parameters.order, net=parameters.net)


def _affine(name: str, low: float, high: float) -> Kernel:
    for what, value in (("log_scale_min_clip", low), ("log_scale_max_clip", high)):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise PlanError(f"{name}: expected {what} to be a number, got {value!r}")
    if not low < high:
        raise PlanError(f"{name}: expected log_scale_min_clip < log_scale_max_clip, got {low} and {high}")
    return affine.Affine(max(abs(low), abs(high)))


class Affine(Elementwise):
    """`pushforward.bijectors.Affine`, elementwise with free parameters, or a function of the context.

    Args:
        params_fn: None or ``Tensor()`` for free parameters; a `Net` plan or module from the context to the parameters.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        log_scale_min_clip: With the other clip, the larger absolute value bounds the log-scale, smoothly and both ways (in FlowTorch a
            hard clip, whose gradient is faked).
        log_scale_max_clip: See there.
        sigmoid_bias: Taken for FlowTorch's sake, which does not use it either.
    """

    @classmethod
    def plan(
        cls, params_fn: Any = None, *, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0, sigmoid_bias: float = 2.0
    ) -> Plan:
        return cls.of(_affine(cls.__name__, log_scale_min_clip, log_scale_max_clip), params_fn)


class AffineAutoregressive(Autoregressive):
    """`Affine` with parameters of the earlier inputs and the context: sampled in one pass (``Invert`` of it is scored in one).

    Args:
        params_fn: None, ``DenseAutoregressive(...)``, a `Net` plan or a masked module.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        log_scale_min_clip: As in `Affine`.
        log_scale_max_clip: As in `Affine`.
        sigmoid_bias: As in `Affine`.
    """

    @classmethod
    def plan(
        cls, params_fn: Any = None, *, log_scale_min_clip: float = -5.0, log_scale_max_clip: float = 3.0, sigmoid_bias: float = 2.0
    ) -> Plan:
        return cls.of(_affine(cls.__name__, log_scale_min_clip, log_scale_max_clip), params_fn)


class Spline(Elementwise):
    """`pushforward.bijectors.Spline`, elementwise with free parameters, or a function of the context.

    Args:
        params_fn: As in `Affine`.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        count_bins: Number of bins.
        bound: Half the width of the box outside which it is the identity.
        order: ``"linear"`` or ``"quadratic"``.
    """

    @classmethod
    def plan(cls, params_fn: Any = None, *, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Plan:
        return cls.of(spline.Spline(count_bins, bound, order), params_fn)


class SplineAutoregressive(Autoregressive):
    """`Spline` with parameters of the earlier inputs and the context: sampled in one pass (``Invert`` of it is scored in one).

    Args:
        params_fn: As in `AffineAutoregressive`.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        count_bins: As in `Spline`.
        bound: As in `Spline`.
        order: As in `Spline`.
    """

    @classmethod
    def plan(cls, params_fn: Any = None, *, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> Plan:
        return cls.of(spline.Spline(count_bins, bound, order), params_fn)
