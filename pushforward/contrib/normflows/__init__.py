"""Trained flows of normflows as flows of ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from pushforward.contrib.conversion import Converted, Outputs, RawAffine, assemble, each, elementwise, normal
from pushforward.contrib.normflows.layers import MAKERS
from pushforward.contrib.normflows.networks import dense, perceptron
from pushforward.core.extras import require
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow


def convert(model: Any) -> Flow:
    """Turn a trained normflows model into a `Flow` with the same density, which needs normflows no more.

    Taken are affine couplings with an ``MLP``, masked affine flows and affine autoregressive ones, rational-quadratic splines of
    couplings and autoregressive, with or without context, `LULinearPermute`, `InvertibleAffine`, `Invertible1x1Conv`, `ActNorm`,
    `AffineConstFlow`, `Permute`, their `Reverse` and `Composite`, over a `DiagGaussian` or a `ConditionalDiagGaussian`. Dropout is off,
    as in evaluation. For example::

        flow = convert(nf.NormalizingFlow(nf.distributions.DiagGaussian(2), flows))
        flow.save("flow.safetensors")  # to load it, import pushforward.contrib.conversion first

    Args:
        model: A `NormalizingFlow` or a `ConditionalNormalizingFlow`.

    Raises:
        PlanError: A layer that cannot be moved, by its index and class.
    """
    there = require("normflows", "normflows")
    if type(model) not in (there.NormalizingFlow, there.ConditionalNormalizingFlow):
        raise PlanError(f"convert: expected a NormalizingFlow or a ConditionalNormalizingFlow, got {type(model).__name__}")
    if type(model.q0).__name__ not in ("DiagGaussian", "ConditionalDiagGaussian"):
        raise PlanError(f"convert: expected a DiagGaussian or a ConditionalDiagGaussian as base, got {type(model.q0).__name__}")
    shape = tuple(model.q0.shape)
    sizes = {size for part in model.modules() if (size := _context_of(part))}
    if len(sizes) > 1:
        raise PlanError(f"convert: expected one context, got networks that take {sorted(sizes)} features of it")
    context = next(iter(sizes), 0)
    layers = [_base(model.q0, shape, context), *each(model.flows, partial(_layers, shape=shape, context=context))]
    return assemble(layers, shape, context, model)


def _context_of(part: nn.Module) -> int:
    """Return how many features of the context a network takes."""
    name = type(part).__name__
    if name == "ConditionalDiagGaussian":
        return int(perceptron(part.context_encoder)[0][0].in_features)
    if name == "ResidualNet":
        return int(part.context_features or 0)  # type: ignore[arg-type]
    return int(part.context_layer.in_features) if name == "MADE" and hasattr(part, "context_layer") else 0  # type: ignore[union-attr,arg-type]


def _base(q0: Any, shape: Shape, context: int) -> Converted:
    if type(q0).__name__ == "DiagGaussian":
        if q0.temperature is not None:
            raise PlanError(f"convert: expected a base without temperature, got {q0.temperature}")
        return normal(q0.loc[0], q0.log_scale[0])
    return elementwise(RawAffine(), dense(q0.context_encoder, 0, context, Outputs(q0.d, (0, 1), by_element=False)))


def _layers(flow: Any, shape: Shape, context: int) -> list[Converted]:
    name = type(flow).__name__
    if name == "Reverse":
        return [found.inv for found in reversed(_layers(flow.flow, shape, context))]
    if name == "Composite":
        return [found for part in flow._flows for found in _layers(part, shape, context)]
    if name not in MAKERS:
        raise PlanError(f"expected one of {', '.join(MAKERS)}, Reverse and Composite")
    return MAKERS[name](flow, shape, context)


__all__ = ["convert"]
