"""FlowTorch's learnable bijectors, each a function that returns a plan of ours."""

from __future__ import annotations

from typing import Any

from pushforward.contrib.flowtorch.lazy import Made, Sizes, made
from pushforward.contrib.flowtorch.parameters import DenseAutoregressive, as_parameters
from pushforward.kernel import Elementwise, Kernel
from pushforward.kernels import affine, spline
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import InverseAutoregressive


def _elementwise(name: str, kernel: Kernel, params_fn: Any, shape: Sizes, context_shape: Sizes) -> Made:
    parameters = as_parameters(name, params_fn)
    if parameters.order is not None:
        raise PlanError(f"{name}: expected params_fn to be Tensor() or a net of the context, got one with an order of the features")
    return made(kernel if parameters.net is None else Elementwise(kernel, parameters.net), shape, context_shape)


def _autoregressive(name: str, kernel: Kernel, params_fn: Any, shape: Sizes, context_shape: Sizes) -> Made:
    parameters = as_parameters(name, DenseAutoregressive if params_fn is None else params_fn)
    if parameters.net is None:
        raise PlanError(f"{name}: expected params_fn to be DenseAutoregressive() or another masked net, got free parameters")
    return made(InverseAutoregressive(kernel, parameters.order, net=parameters.net), shape, context_shape)


def _affine(name: str, low: float, high: float) -> Kernel:
    if not low < high:
        raise PlanError(f"{name}: expected log_scale_min_clip < log_scale_max_clip, got {low} and {high}")
    return affine.Affine(max(abs(low), abs(high)))


def Affine(
    params_fn: Any = None,
    *,
    shape: Sizes = None,
    context_shape: Sizes = None,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
    sigmoid_bias: float = 2.0,
) -> Made:
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
    return _elementwise("Affine", _affine("Affine", log_scale_min_clip, log_scale_max_clip), params_fn, shape, context_shape)


def AffineAutoregressive(
    params_fn: Any = None,
    *,
    shape: Sizes = None,
    context_shape: Sizes = None,
    log_scale_min_clip: float = -5.0,
    log_scale_max_clip: float = 3.0,
    sigmoid_bias: float = 2.0,
) -> Made:
    """`Affine` with parameters of the earlier inputs and the context: sampled in one pass (``Invert`` of it is scored in one).

    Args:
        params_fn: None, ``DenseAutoregressive(...)``, a `Net` plan or a masked module.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        log_scale_min_clip: As in `Affine`.
        log_scale_max_clip: As in `Affine`.
        sigmoid_bias: As in `Affine`.
    """
    kernel = _affine("AffineAutoregressive", log_scale_min_clip, log_scale_max_clip)
    return _autoregressive("AffineAutoregressive", kernel, params_fn, shape, context_shape)


def Spline(
    params_fn: Any = None,
    *,
    shape: Sizes = None,
    context_shape: Sizes = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> Made:
    """`pushforward.bijectors.Spline`, elementwise with free parameters, or a function of the context.

    Args:
        params_fn: As in `Affine`.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        count_bins: Number of bins.
        bound: Half the width of the box outside which it is the identity.
        order: ``"linear"`` or ``"quadratic"``.
    """
    return _elementwise("Spline", spline.Spline(count_bins, bound, order), params_fn, shape, context_shape)


def SplineAutoregressive(
    params_fn: Any = None,
    *,
    shape: Sizes = None,
    context_shape: Sizes = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> Made:
    """`Spline` with parameters of the earlier inputs and the context: sampled in one pass (``Invert`` of it is scored in one).

    Args:
        params_fn: As in `AffineAutoregressive`.
        shape: Shape of the event: build the bijector.
        context_shape: Shape of the context.
        count_bins: As in `Spline`.
        bound: As in `Spline`.
        order: As in `Spline`.
    """
    return _autoregressive("SplineAutoregressive", spline.Spline(count_bins, bound, order), params_fn, shape, context_shape)
