"""Transforms of Pyro as layers of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from pushforward.contrib.conversion import Converted, RawAffine, autoregressive, coupling, elementwise, free, linear
from pushforward.contrib.pyro.copying import affine, copied, spline, vector
from pushforward.core.compose import Compose
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.kernels import fixed
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Kernel
from pushforward.layers.parts import Concatenate
from pushforward.layers.rearrange import OnAxis, Permute


def _sequential(kernel: Kernel, shift: float, net: Any, shape: Shape, context: int) -> list[Converted]:
    return [autoregressive(kernel, copied(net, kernel, vector(shape), context, shift))]


def _affine_coupling(options: Any, split: int, net: Any, shape: Shape, context: int) -> list[Converted]:
    if getattr(options, "dim", -1) != -len(shape):
        raise PlanError(f"expected it to split the first of the event's axes, {shape}, got dim {getattr(options, 'dim', -1)}")
    kernel = affine(options)[0]
    return [coupling(kernel, range(split), copied(net, kernel, (shape[0] - split) * math.prod(shape[1:]), context))]


def _free_spline(t: Any, shape: Shape) -> Converted:
    if t.input_dim != shape[-1]:
        raise PlanError(f"expected events whose last axis has {t.input_dim} entries, got shape {shape}")
    given = [t.unnormalized_widths, t.unnormalized_heights, t.unnormalized_derivatives]
    given += [t.unnormalized_lambdas] if t.order == "linear" else []
    return free(spline(t), *(value.expand(*shape[:-1], *value.shape).reshape(-1, value.shape[-1]).mT for value in given))


def _spline_coupling(t: Any, shape: Shape, context: int) -> list[Converted]:
    features, kernel = vector(shape), spline(t.upper_spline)
    upper = coupling(kernel, range(t.split_dim), copied(t.upper_spline.nn, kernel, features - t.split_dim, context))
    if t.identity:
        return [upper]
    lower = _free_spline(t.lower_spline, (t.split_dim,))
    plan = Concatenate([lower.plan, Compose([])], (t.split_dim, features - t.split_dim))
    return [upper, Converted(plan, {f"parts.0.{name}": value for name, value in lower.tensors.items()})]


def _conditional_spline(t: Any, shape: Shape, context: int) -> list[Converted]:
    kernel = spline(t)
    return [elementwise(kernel, copied(t.nn, kernel, vector(shape), context, of_context=True))]


def _permute(t: Any, shape: Shape) -> list[Converted]:
    plan = Permute(t.permutation.tolist())
    return [Converted(plan if len(shape) == 1 else OnAxis(plan, t.dim), {})]


def _channels(t: Any, shape: Shape) -> list[Converted]:
    matrix = t.permutation @ t.L @ t.U
    made = linear(matrix, matrix.new_zeros(len(matrix)))
    return [Converted(OnAxis(made.plan, -3), {f"module.{name}": value for name, value in made.tensors.items()})]


def _exponential(t: Any, shape: Shape) -> list[Converted]:
    weights = t.weights.detach()
    term = matrix = torch.eye(len(weights)).to(weights)
    for power in range(1, t.iterations + 1):
        term = weights @ term / power
        matrix = matrix + term
    wrong = abs(float(torch.linalg.slogdet(matrix.double()).logabsdet) - float(weights.trace()))
    if wrong > 1e-5:
        raise PlanError(f"expected a series that has converged, got a log-determinant that is wrong by {wrong:.1g} there")
    return [linear(matrix, matrix.new_zeros(len(matrix)))]


def _batchnorm(t: Any, shape: Shape) -> list[Converted]:
    vector(shape)
    scale = torch.sqrt(t.moving_variance + t.epsilon) / t.constrained_gamma
    return [free(RawAffine(), t.moving_mean - t.beta * scale, torch.log(scale))]


def _number(value: Tensor | float, shape: Shape) -> float | Sequence[float]:
    return [float(v) for v in value.expand(shape).flatten()] if isinstance(value, Tensor) else float(value)


Maker = Callable[[Any, Shape, int], list[Converted]]
MAKERS: dict[str, Maker] = {
    "AffineAutoregressive": lambda t, shape, c: _sequential(*affine(t), t.arn, shape, c),
    "ConditionalAffineAutoregressive": lambda t, shape, c: _sequential(*affine(SimpleNamespace(**t.kwargs)), t.nn, shape, c),
    "SplineAutoregressive": lambda t, shape, c: _sequential(spline(t.spline), 0.0, t.arn, shape, c),
    "ConditionalSplineAutoregressive": lambda t, shape, c: _sequential(spline(SimpleNamespace(**t.kwargs)), 0.0, t.nn, shape, c),
    "AffineCoupling": lambda t, shape, c: _affine_coupling(t, t.split_dim, t.nn, shape, c),
    "ConditionalAffineCoupling": lambda t, shape, c: _affine_coupling(SimpleNamespace(**t.kwargs), t.split_dim, t.nn, shape, c),
    "SplineCoupling": _spline_coupling,
    "Spline": lambda t, shape, c: [_free_spline(t, shape)],
    "ConditionalSpline": _conditional_spline,
    "Permute": lambda t, shape, c: _permute(t, shape),
    "GeneralizedChannelPermute": lambda t, shape, c: _channels(t, shape),
    "Householder": lambda t, shape, c: [free(Householder(len(t.u_unnormed)), t.u_unnormed)],
    "MatrixExponential": lambda t, shape, c: _exponential(t, shape),
    "LowerCholeskyAffine": lambda t, shape, c: [linear(t.scale_tril, t.loc)],
    "BatchNorm": lambda t, shape, c: _batchnorm(t, shape),
    "AffineTransform": lambda t, shape, c: [Converted(fixed.AffineFixed(_number(t.loc, shape), _number(t.scale, shape)), {})],  # type: ignore[arg-type]
    "ExpTransform": lambda t, shape, c: [Converted(fixed.Exp(), {})],
    "SigmoidTransform": lambda t, shape, c: [Converted(fixed.Sigmoid(), {})],
    "TanhTransform": lambda t, shape, c: [Converted(fixed.Tanh(), {})],
    "SoftplusTransform": lambda t, shape, c: [Converted(fixed.Softplus(), {})],
    "ELUTransform": lambda t, shape, c: [Converted(fixed.ELU(), {})],
    "LeakyReLUTransform": lambda t, shape, c: [Converted(fixed.LeakyReLU(), {})],
}
