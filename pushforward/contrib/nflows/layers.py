"""Layers of nflows as plans of this library, each with the tensors of what it builds."""

from __future__ import annotations

from typing import Any

import torch
from nflows import transforms
from nflows.nn.nets import ResidualNet

from pushforward.contrib import conversion
from pushforward.contrib.conversion import Converted, Outputs, RawAffine
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.kernels.affine import Additive
from pushforward.kernels.fixed import AffineFixed
from pushforward.kernels.kernel import Kernel
from pushforward.layers.rearrange import Permute

AFFINE = transforms.MaskedAffineAutoregressiveTransform
SPLINE = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
SPLINE_COUPLING = transforms.PiecewiseRationalQuadraticCouplingTransform
AFFINE_COUPLING, ADDITIVE_COUPLING = transforms.AffineCouplingTransform, transforms.AdditiveCouplingTransform
PERMUTATIONS = (transforms.Permutation, transforms.RandomPermutation, transforms.ReversePermutation)
LINEAR = (transforms.LULinear, transforms.QRLinear, transforms.SVDLinear, transforms.NaiveLinear, transforms.HouseholderSequence)


def layer(part: Any, context: int, features: int) -> Converted:
    """Return a layer in nflows' direction, data to noise."""
    kind = type(part)
    if kind is transforms.InverseTransform:
        return layer(part._transform, context, features).inv
    if kind is transforms.IdentityTransform:
        return Converted(Compose([]), {})
    if kind in PERMUTATIONS and part._dim == 1:
        return Converted(Permute(part._permutation.tolist()), {})
    if kind in LINEAR:  # by its values: all of them are x -> W x + b
        with torch.no_grad():
            eye = torch.eye(features).to(next(part.parameters()))
            loc = part(eye[:1] * 0)[0]
            return conversion.linear((part(eye)[0] - loc).mT, loc)
    if kind is transforms.BatchNorm:
        scale = part.weight / torch.sqrt(part.running_var + part.eps)
        return conversion.normal(part.bias - part.running_mean * scale, scale.log())
    if kind is transforms.ActNorm:
        return conversion.normal(part.shift, part.log_scale)
    if kind in (transforms.PointwiseAffineTransform, transforms.AffineTransform):
        return Converted(AffineFixed(part._shift.expand(features), part._scale.expand(features)), {})
    if kind is AFFINE:
        net = conversion.made(part.autoregressive_net, context, Outputs(features, [1, 0]))
        return conversion.autoregressive(RawAffine("softplus", part._epsilon), net)
    if kind is SPLINE:
        kernel, outputs = conversion.rational_quadratic(part, part.autoregressive_net, features)
        return conversion.autoregressive(kernel, conversion.made(part.autoregressive_net, context, outputs))
    if kind in (AFFINE_COUPLING, ADDITIVE_COUPLING, SPLINE_COUPLING):
        return _coupling(part, context)
    raise PlanError(
        "expected an autoregressive, coupling, linear, permutation or normalisation layer; there is no counterpart for this one"
    )


def _coupling(part: Any, context: int) -> Converted:
    """Return a coupling."""
    kernel: Kernel
    kind, elements, probe = type(part), int(part.num_transform_features), torch.linspace(-3.0, 3.0, 7)
    if part.unconditional_transform is not None:
        raise PlanError("expected a coupling that leaves what passes through as it is, got one with an unconditional transform")
    if kind is SPLINE_COUPLING:
        kernel, outputs = conversion.rational_quadratic(part, part.transform_net, elements)
    elif kind is ADDITIVE_COUPLING:
        kernel, outputs = Additive(), Outputs(elements, [0])
    elif not hasattr(part, "scale_activation") or torch.allclose(part.scale_activation(probe), torch.sigmoid(probe + 2) + 1e-3):
        kernel, outputs = RawAffine("sigmoid", 1e-3), Outputs(elements, [0, 1], by_element=False, shift=[0.0, 2.0])
    else:
        raise PlanError("expected nflows' default scale_activation, got another function")
    passing, net = part.identity_features.tolist(), part.transform_net
    if type(net) is ResidualNet:
        return conversion.coupling(kernel, passing, conversion.residual_net(net, len(passing), context, outputs))
    if not passing and hasattr(net, "spline_predictor"):  # sbi's network for a single parameter, which sees the context alone
        return conversion.coupling(kernel, passing, conversion.mlp(*conversion.stack(net.spline_predictor), 0, context, outputs))
    raise PlanError(f"expected a ResidualNet as network, got {type(net).__name__}")
