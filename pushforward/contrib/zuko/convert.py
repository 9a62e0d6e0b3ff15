"""Trained Zuko flows as flows of this library."""

from __future__ import annotations

import functools
from typing import Any

import torch
import zuko
from torch.distributions import AffineTransform, Independent, Normal
from zuko.nn import Residual

from pushforward.contrib import conversion
from pushforward.contrib.conversion import Converted, Outputs
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.kernels.affine import Additive
from pushforward.kernels.fixed import AffineFixed
from pushforward.kernels.kernel import Kernel
from pushforward.layers.rearrange import Permute

LAYERS = (zuko.flows.MaskedAutoregressiveTransform, zuko.flows.GeneralCouplingTransform, zuko.flows.ElementWiseTransform)


def convert(model: zuko.flows.Flow) -> Flow:
    """Return a trained Zuko flow as a `Flow` of the same density, which needs Zuko no more.

    It takes MAF, NSF, NICE and RealNVP with any order, mask, ``passes`` or ``adjacency``, residual networks, and flows put together of
    their layers, of permutations, rotations, LU and affine maps, over a diagonal normal. What Zuko samples in a pass for each feature is
    sampled in the work of one.

    Args:
        model: The flow; it is not changed.

    Raises:
        TypeError: It is not a Zuko flow.
        PlanError: It has a layer or a base that there is no counterpart for; the message has its index and class.

    Example::

        flow = convert(zuko.flows.NSF(3, context=5))
        flow.condition(c).sample((1000,))
    """
    if not isinstance(model, zuko.flows.Flow) or not hasattr(model, "transform"):
        raise TypeError(f"zuko.convert: expected a zuko.flows.Flow of transforms and a base, got {type(model).__name__}")
    transforms = _flat(model.transform)
    context = max([_context(layer) for layer in transforms], default=0)
    base = model.base() if isinstance(model.base, zuko.lazy.UnconditionalDistribution) else None
    if not (isinstance(base, Independent) and isinstance(base.base_dist, Normal) and len(base.event_shape) == 1):
        raise PlanError(f"convert: base {type(base or model.base).__name__}: expected a DiagNormal of vectors that no context changes")
    normals, learned = base.base_dist, any(True for _ in model.base.parameters())
    standard = bool((normals.loc == 0).all() and (normals.scale == 1).all()) and not learned
    first = [] if standard else [_affine(normals.loc, normals.scale, len(normals.loc), learned)]
    layers = conversion.each(transforms, lambda layer: [_layer(layer, context, len(normals.loc))])
    return conversion.assemble([*first, *(layer.inv for layer in reversed(layers))], base.event_shape, context, model)


def _flat(transform: Any) -> list[Any]:
    if isinstance(transform, zuko.lazy.LazyComposedTransform):
        return [part for inner in transform.transforms for part in _flat(inner)]
    return [transform]


def _inputs(layer: Any) -> int:
    """Return how many features the network of a layer sees."""
    if isinstance(layer, zuko.flows.MaskedAutoregressiveTransform):
        return int(layer.hyper.out_features) // int(layer.total)
    return int(layer.mask.sum()) if isinstance(layer, zuko.flows.GeneralCouplingTransform) else 0


def _context(layer: Any) -> int:
    """Return how many context features a layer sees."""
    if isinstance(layer, zuko.lazy.LazyInverse):
        return _context(layer.transform)
    return int(layer.hyper.in_features) - _inputs(layer) if isinstance(layer, LAYERS) and hasattr(layer, "hyper") else 0


def _layer(layer: Any, context: int, features: int) -> Converted:
    """Return a layer in Zuko's direction, data to base."""
    if isinstance(layer, zuko.lazy.LazyInverse):
        return _layer(layer.transform, context, features).inv
    if isinstance(layer, zuko.lazy.UnconditionalTransform):
        return _unconditional(layer(), features, learned=any(True for _ in layer.parameters()))
    if type(layer) not in LAYERS:
        raise PlanError("expected an autoregressive, coupling, elementwise or unconditional layer; there is no counterpart for this one")
    kernel = _kernel(layer.univariate, layer.shapes)
    if not hasattr(layer, "hyper"):
        # Ours go parameter by parameter, and each of theirs has its features first.
        return conversion.free(kernel, *(phi.mT if phi.dim() > 1 else phi for phi in layer.phi))
    if isinstance(layer, zuko.flows.MaskedAutoregressiveTransform):
        return conversion.autoregressive(kernel, _network(layer, features, context))
    if isinstance(layer, zuko.flows.ElementWiseTransform):
        return conversion.elementwise(kernel, _network(layer, features, context))
    passing = layer.mask.nonzero().flatten().tolist()
    return conversion.coupling(kernel, passing, _network(layer, features - len(passing), context))


def _network(layer: Any, elements: int, context: int) -> conversion.CopiedNet:
    """Copy the network of a layer."""
    outputs, inputs, parts = Outputs(elements, range(layer.total)), _inputs(layer), list(layer.hyper)
    if all(isinstance(part, Residual) for part in parts[1:-1]) and parts[1:-1]:
        blocks = [list(part) for part in parts[1:-1]]
        plan = conversion.CopiedResidual(len(parts[0].bias), len(blocks), conversion.activation_name(blocks[0][1]), preactivated=False)
        flat = [parts[0], *(block[i] for block in blocks for i in (0, 2)), parts[-1]]
        return conversion.residual(plan, flat, inputs, context, outputs)
    return conversion.mlp(*conversion.stack(parts), inputs, context, outputs)


def _kernel(univariate: Any, shapes: Any) -> Kernel:
    """Return the kernel of a univariate transformation, whose parameters have the given shapes."""
    function, options = (univariate.func, univariate.keywords) if isinstance(univariate, functools.partial) else (univariate, {})
    name = getattr(function, "__name__", repr(function))
    if function is zuko.transforms.MonotonicAffineTransform and set(options) <= {"slope"}:
        return conversion.RawAffine("softclip", options.get("slope", 1e-3))
    if function is zuko.transforms.MonotonicRQSTransform and set(options) <= {"slope", "bound"}:
        return conversion.RawSpline(int(shapes[0][0]), options.get("bound", 5.0), form="softclip", least_slope=options.get("slope", 1e-3))
    if function is zuko.transforms.AdditiveTransform and not options:
        return Additive()
    raise PlanError(
        f"expected MonotonicAffineTransform, MonotonicRQSTransform or AdditiveTransform as univariate, got {name} with {options}"
    )


def _unconditional(transform: Any, features: int, learned: bool) -> Converted:
    """Return a transformation that no context changes."""
    if type(transform) is zuko.transforms.PermutationTransform:
        return Converted(Permute(transform.order.tolist()), {})
    if type(transform) is zuko.transforms.RotationTransform:
        return conversion.linear(transform.R, torch.zeros_like(transform.R[0]))
    if type(transform) is zuko.transforms.LULinearTransform:
        return conversion.linear(transform.L @ transform.U, torch.zeros_like(transform.L[0]))
    if type(transform) is zuko.transforms.MonotonicAffineTransform:
        return _affine(transform.shift, transform.scale, features, learned)
    if type(transform) is AffineTransform:
        return _affine(transform.loc, transform.scale, features, learned)
    raise PlanError(f"expected a permutation, a rotation, an LU or an affine map, got {transform!r}")


def _affine(loc: Any, scale: Any, features: int, learned: bool) -> Converted:
    """Return ``y = loc + scale x``, learnable if it was and its scale is positive."""
    loc, scale = (torch.as_tensor(value).detach().broadcast_to((features,)) for value in (loc, scale))
    return conversion.normal(loc, scale.log()) if learned and bool((scale > 0).all()) else Converted(AffineFixed(loc, scale), {})
