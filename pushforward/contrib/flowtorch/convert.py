"""Trained flows of FlowTorch as flows of ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from pushforward.bases import wrap
from pushforward.contrib.conversion import Converted, Outputs, RawAffine, RawSpline, assemble, autoregressive, each, free, mlp
from pushforward.core.bijector import Bijector
from pushforward.core.extras import require
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.kernels import fixed
from pushforward.kernels.kernel import Kernel
from pushforward.layers.rearrange import OnAxis, Permute

FIXED: dict[str, Callable[[Any], Bijector]] = {
    "AffineFixed": lambda layer: fixed.AffineFixed(layer.loc, layer.scale),
    "ELU": lambda layer: fixed.ELU(),
    "Exp": lambda layer: fixed.Exp(),
    "LeakyReLU": lambda layer: fixed.LeakyReLU(),
    "Power": lambda layer: fixed.Power(layer.exponent),
    "Sigmoid": lambda layer: fixed.Sigmoid(),
    "Softplus": lambda layer: fixed.Softplus(),
    "Tanh": lambda layer: fixed.Tanh(),
}


def convert(model: Any) -> Flow:
    """Turn a trained ``flowtorch.distributions.Flow`` into a `Flow` with the same density, which needs FlowTorch no more.

    Every bijector of FlowTorch 0.8 is taken. The networks are copied, masks and all, and their outputs are bounded as there. Of a flow
    with an ``Invert`` the density is that of its samples, which FlowTorch's own ``log_prob`` gets wrong. For example::

        flow = convert(trained)
        flow.save("flow.safetensors")  # to load it, import pushforward.contrib.conversion first

    Args:
        model: The flow.

    Raises:
        PlanError: A layer that cannot be moved, by its index and class.
    """
    if not isinstance(model, require("flowtorch.distributions", "flowtorch").Flow):
        raise PlanError(f"convert: expected a flowtorch.distributions.Flow, got {type(model).__name__}")
    top: Any = model.bijector
    shape = tuple(top._shape)
    parts = top.bijectors if type(top).__name__ == "Compose" else [top]
    return assemble(each(parts, partial(_layers, shape=shape)), shape, 0, model, wrap(model.base_dist))


def _layers(layer: Any, shape: Shape) -> list[Converted]:
    name = type(layer).__name__
    if name == "Compose":
        return [found for part in layer.bijectors for found in _layers(part, shape)]
    if name == "Invert":
        return [found.inv for found in reversed(_layers(layer.bijector, shape))]
    if name in FIXED:
        return [Converted(FIXED[name](layer), {})]
    if name == "Permute":
        if layer.permutation is None:
            raise PlanError("expected a permutation, got one that is not drawn yet, which the first call does")
        plan = Permute(layer.permutation.tolist())
        return [Converted(plan if len(shape) == 1 else OnAxis(plan, -1), {})]
    return [_learned(layer, _kernel(layer), shape)]


def _kernel(layer: Any) -> Kernel:
    name = type(layer).__name__
    if name in ("Spline", "SplineAutoregressive"):
        # Its slope is 1 only outside the box, and 0.999 at the ends.
        return RawSpline(layer.count_bins, float(layer.bound), layer.order, end_slope=0.999)
    if name not in ("Affine", "AffineAutoregressive") or any("scale_fn" in key for key in vars(layer)):
        raise PlanError(f"expected a bijector of FlowTorch 0.8, got {layer!r}")
    return RawAffine(clip=(layer.log_scale_min_clip, layer.log_scale_max_clip))


def _learned(layer: Any, kernel: Kernel, shape: Shape) -> Converted:
    parameters, elements = layer._params_fn, math.prod(shape)
    if type(parameters).__name__ == "Tensor":
        return free(kernel, *(value.reshape(elements, -1).mT for value in parameters.params))
    if type(parameters).__name__ != "DenseAutoregressive" or parameters.skip_connections:
        raise PlanError(f"expected parameters of the kind Tensor or DenseAutoregressive without skip connections, got {parameters!r}")
    if len(shape) != 1:
        raise PlanError(f"expected events of one axis, got shape {shape}")
    linears = [part for part in parameters.layers if isinstance(part, nn.Linear)]
    count = sum(value.numel() for value in kernel.init((1,)).values())
    return autoregressive(kernel, mlp(linears, parameters.layers[1], elements, 0, Outputs(elements, range(count))))
