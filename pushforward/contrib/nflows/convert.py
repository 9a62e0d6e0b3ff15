"""Trained nflows flows as flows of this library."""

from __future__ import annotations

from typing import Any

import torch
from nflows import distributions, flows, transforms
from torch import Tensor, nn

from pushforward.contrib import conversion
from pushforward.contrib.conversion import Converted, Outputs, RawAffine
from pushforward.contrib.nflows.layers import layer
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow


def convert(model: flows.Flow) -> Flow:
    """Return a trained nflows flow as a `Flow` of the same density, which needs nflows no more.

    It takes affine and rational-quadratic autoregressive layers, affine, additive and rational-quadratic couplings with a ResidualNet,
    linear layers, permutations, batch and activation normalisation and PointwiseAffineTransform, over a standard, diagonal or conditional
    diagonal normal. The model is taken as in evaluation: stored statistics of batch normalisation become part of a learnable affine map,
    dropout is left out. An embedding net that standardises the context, as sbi's does, becomes part of the flow.

    Args:
        model: The flow, such as the ``net`` of sbi's density estimator; it is not changed.

    Raises:
        TypeError: It is not an nflows flow.
        PlanError: It has a layer, a network or a base that there is no counterpart for; the message has its index and class.

    Example::

        flow = convert(model)
        flow.condition(c).sample((1000,))
    """
    if not isinstance(model, flows.Flow):
        raise TypeError(f"nflows.convert: expected an nflows.flows.Flow, got {type(model).__name__}")
    units = [unit for part in _flat(model._embedding_net) for unit in _units(part)]
    parts, base, shape = _flat(model._transform), model._distribution, tuple(getattr(model._distribution, "_shape", (0,)))
    if len(shape) != 1:
        raise PlanError(f"convert: expected a flow of vectors, got events of shape {shape}; images are not taken")
    context = max(context_of(part) for part in (*parts, base))
    first = conversion.each([base], lambda base: _base(base, context, shape[0]), "base")
    layers = conversion.each(parts, lambda part: [layer(part, context, shape[0])])
    flow = conversion.assemble([*first, *(made.inv for made in reversed(layers))], shape, context, model)
    if flow.context_units is not None:
        for mean, std in units:
            flow.context_units.load_state_dict(
                {"loc": mean.expand(context), "scale": std.expand(context), "calibrated": torch.tensor(True)}
            )
    return flow


def _flat(part: Any) -> list[Any]:
    inner = part._transforms if isinstance(part, transforms.CompositeTransform) else part if isinstance(part, nn.Sequential) else None
    return [part] if inner is None else [deeper for item in inner for deeper in _flat(item)]


def _units(part: Any) -> list[tuple[Tensor, Tensor]]:
    """Return mean and standard deviation by which a part of an embedding net standardises."""
    if isinstance(part, nn.Identity):
        return []
    if type(part).__name__ == "Standardize" and {name for name, _ in part.named_buffers()} == {"_mean", "_std"}:
        return [(part._mean, part._std)]
    raise PlanError(
        f"convert: embedding net {type(part).__name__}: expected one that standardises at most; convert "
        "nflows.flows.Flow(model._transform, model._distribution), and give that flow model._embedding_net(context)"
    )


def context_of(part: Any) -> int:
    """Return how many context features a layer or a base sees."""
    if isinstance(part, transforms.InverseTransform):
        return context_of(part._transform)
    if isinstance(part, distributions.ConditionalDiagonalNormal):
        return int(next(part.parameters(), torch.empty(1, 2 * part._shape[0])).shape[1])
    net: Any = getattr(part, "autoregressive_net", getattr(part, "transform_net", None))
    if hasattr(net, "spline_predictor"):
        return int(net.spline_predictor[0].in_features)
    return int(net.context_layer.in_features if hasattr(net, "context_layer") else getattr(net, "context_features", None) or 0)


def _base(base: Any, context: int, features: int) -> list[Converted]:
    """Return the layers that make the base of standard normals."""
    if type(base) is distributions.StandardNormal:
        return []
    if type(base) is distributions.DiagonalNormal:
        return [conversion.normal(base.mean_, base.log_std_)]
    if type(base) is distributions.ConditionalDiagonalNormal:
        encoder, probe = base._context_encoder, torch.zeros(1, context)
        if not isinstance(encoder, nn.Module) and encoder(probe) is probe:  # its default: the context itself is mean and log-scale
            encoder = nn.utils.skip_init(nn.Linear, context, context)
            encoder.load_state_dict({"weight": torch.eye(context), "bias": torch.zeros(context)})
        linears, activation = conversion.stack(encoder if isinstance(encoder, nn.Sequential) else [encoder])
        net = conversion.mlp(linears, activation, 0, context, Outputs(features, [0, 1], by_element=False))
        return [conversion.elementwise(RawAffine(), net)]
    raise PlanError("expected a standard, diagonal or conditional diagonal normal")
