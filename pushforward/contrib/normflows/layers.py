"""Layers of normflows as ours, each from base to data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.contrib.conversion import Converted, Outputs, RawAffine, RawSpline, autoregressive, coupling, free, linear
from pushforward.contrib.normflows.networks import dense, pair, residual_net
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.kernels.affine import Additive
from pushforward.layers.rearrange import OnAxis, Permute


def _vector(shape: Shape) -> int:
    if len(shape) != 1:
        raise PlanError(f"expected events of one axis, got shape {shape}")
    return shape[0]


def _constant(flow: Any, shape: Shape) -> list[Converted]:
    if not float(getattr(flow, "data_dep_init_done", 1.0)):
        raise PlanError("expected one that has met data, which its first call measures, got one that has not")
    return [free(RawAffine(), flow.t[0].expand(shape), flow.s[0].expand(shape))]


def _masked(flow: Any, shape: Shape, context: int) -> list[Converted]:
    mask = flow.b.reshape(-1).tolist()
    if len(mask) != _vector(shape) or not set(mask) <= {0, 1}:
        raise PlanError(f"expected a mask of zeros and ones for {shape[0]} features, got {mask}")
    passing, moving = ([i for i, b in enumerate(mask) if b == side] for side in (1, 0))
    loc, scale = (net if isinstance(net, torch.nn.Module) else None for net in (flow.t, flow.s))
    return [coupling(RawAffine(), passing, pair(loc, scale, passing, moving, context))]


def _block(flow: Any, shape: Shape, context: int) -> list[Converted]:
    split, inner, _ = flow.flows
    features, mode = _vector(shape), split.mode
    ways = {
        "channel": range((features + 1) // 2),
        "channel_inv": range((features + 1) // 2, features),
        "checkerboard": range(1, features, 2),
        "checkerboard_inv": range(0, features, 2),
    }
    passing = ways[mode]
    elements, kernel, take, add = features - len(passing), Additive(), [0], [0.0]
    scales = {"exp": ("exp", 0.0), "sigmoid": ("inverse sigmoid", 2.0), "sigmoid_inv": ("sigmoid", 2.0)}
    if inner.scale:
        name, shift = scales[inner.scale_map]
        kernel, take, add = RawAffine(name), [0, 1], [0.0, shift]  # type: ignore[assignment]
    return [coupling(kernel, passing, dense(inner.param_map, len(passing), context, Outputs(elements, take, shift=add)))]


def _affine_autoregressive(flow: Any, shape: Shape, context: int) -> list[Converted]:
    kernel = RawAffine("sigmoid", least=1e-3)
    outputs = Outputs(_vector(shape), (1, 0), shift=(0.0, 2.0))
    return [autoregressive(kernel, residual_net(flow.autoregressive_net, shape[0], context, outputs))]


def _spline(inner: Any, net: Any) -> tuple[RawSpline, list[float]]:
    """Return the kernel of a spline, and what each of a network's outputs counts."""
    if inner.tails != "linear" or isinstance(inner.tail_bound, Tensor):
        raise PlanError(f"expected linear tails and one bound for all features, got tails {inner.tails!r} and bound {inner.tail_bound!r}")
    leasts = (inner.min_bin_width, inner.min_bin_height, inner.min_derivative)
    kernel = RawSpline(inner.num_bins, float(inner.tail_bound), "quadratic", "softplus", *leasts)
    share = 1 / math.sqrt(net.hidden_features) if hasattr(net, "hidden_features") else 1.0
    return kernel, [share] * (2 * kernel.bins) + [1.0] * (kernel.bins - 1)


def _spline_autoregressive(flow: Any, shape: Shape, context: int) -> list[Converted]:
    net = flow.mprqat.autoregressive_net
    kernel, gain = _spline(flow.mprqat, net)
    outputs = Outputs(_vector(shape), range(len(gain)), gain=gain)
    return [autoregressive(kernel, residual_net(net, shape[0], context, outputs)).inv]


def _spline_coupling(flow: Any, shape: Shape, context: int) -> list[Converted]:
    inner, features = flow.prqct, _vector(shape)
    kernel, gain = _spline(inner, inner.transform_net)
    passing = inner.identity_features.tolist()
    outputs = Outputs(features - len(passing), range(len(gain)), gain=gain)
    layers = [coupling(kernel, passing, residual_net(inner.transform_net, len(passing), context, outputs)).inv]
    if inner.unconditional_transform is not None:
        layers.insert(0, _passing_spline(inner.unconditional_transform, kernel, passing, features).inv)
    return layers


def _passing_spline(free_spline: Any, kernel: RawSpline, passing: list[int], features: int) -> Converted:
    """Return the spline of the features that pass through, which leaves the others as they are: bins of one size, slopes of one."""
    neutral = (0.0, 0.0, math.log(math.expm1(1 - kernel.least_slope)))
    given = (free_spline.unnormalized_widths, free_spline.unnormalized_heights, free_spline.unnormalized_derivatives)
    found = []
    for value, start in zip(given, neutral, strict=True):
        whole = value.detach().new_full((value.shape[-1], features), start)
        whole[:, passing] = value.detach().mT
        found.append(whole)
    return free(kernel, *found)


def _permute(flow: Any, shape: Shape) -> list[Converted]:
    half = flow.num_channels // 2
    return [Converted(Permute(flow.perm.tolist() if flow.mode == "shuffle" else [*range(half, flow.num_channels), *range(half)]), {})]


def _lu_permute(flow: Any, shape: Shape) -> list[Converted]:
    matrix, order = flow.linear.weight(), flow.permutation._permutation
    return [linear(matrix[:, torch.argsort(order)], flow.linear.bias).inv]


def _matrix(flow: Any, shape: Shape) -> Tensor:
    found: Tensor = flow._assemble_W() if flow.use_lu else flow.W
    return found


def _affine(flow: Any, shape: Shape) -> list[Converted]:
    matrix = _matrix(flow, shape)
    return [linear(matrix.mT, matrix.new_zeros(len(matrix))).inv]


def _convolution(flow: Any, shape: Shape) -> list[Converted]:
    made = linear(_matrix(flow, shape), flow.log_S.new_zeros(shape[0]) if flow.use_lu else flow.W.new_zeros(shape[0]))
    return [Converted(OnAxis(made.plan, 0), {f"module.{name}": value for name, value in made.tensors.items()}).inv]


MAKERS: dict[str, Callable[[Any, Shape, int], list[Converted]]] = {
    "AffineConstFlow": lambda flow, shape, c: _constant(flow, shape),
    "ActNorm": lambda flow, shape, c: _constant(flow, shape),
    "MaskedAffineFlow": _masked,
    "AffineCouplingBlock": _block,
    "MaskedAffineAutoregressive": _affine_autoregressive,
    "AutoregressiveRationalQuadraticSpline": _spline_autoregressive,
    "CoupledRationalQuadraticSpline": _spline_coupling,
    "Permute": lambda flow, shape, c: _permute(flow, shape),
    "LULinearPermute": lambda flow, shape, c: _lu_permute(flow, shape),
    "InvertibleAffine": lambda flow, shape, c: _affine(flow, shape),
    "Invertible1x1Conv": lambda flow, shape, c: _convolution(flow, shape),
}
