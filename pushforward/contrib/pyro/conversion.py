"""Trained flows of Pyro as flows of ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.distributions import ComposeTransform, Distribution, Transform
from torch.distributions.transforms import _InverseTransform

from pushforward.bases import wrap
from pushforward.contrib.conversion import Converted, assemble, each
from pushforward.contrib.pyro.layers import MAKERS
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow


def convert(model: Any, base: Distribution | None = None) -> Flow:
    """Turn a trained flow of Pyro into a `Flow` with the same density, which needs Pyro no more.

    Taken are the affine and spline transforms of every kind (elementwise, coupling, autoregressive, each conditional or not, with the
    networks of `pyro.nn`, which are copied), permutations, the linear transforms (`GeneralizedChannelPermute`, `Householder`,
    `MatrixExponential`, `LowerCholeskyAffine`, `BatchNorm` as in evaluation), torch's fixed maps, their inverses and compositions. An
    event has at least one axis: ``T.Spline(2)`` on scalars with the batch shape (2,) becomes a flow of vectors, whose log-density is
    the sum of theirs. For example::

        flow = convert(pyro.distributions.TransformedDistribution(base, transforms))
        flow = convert(transforms, base)
        flow.save("flow.safetensors")  # to load it, import pushforward.contrib.conversion first

    Args:
        model: A `TransformedDistribution`, a `ConditionalTransformedDistribution`, or a list of transforms from base to data.
        base: The base of a list of transforms.

    Raises:
        PlanError: A transform that cannot be moved, by its index and class.
    """
    transforms = model
    if isinstance(getattr(model, "transforms", None), list):
        transforms, base = [_opened(t) for t in model.transforms], _opened(model.base_dist)
    if not isinstance(transforms, Sequence | nn.ModuleList) or not isinstance(base, Distribution):
        raise PlanError(f"convert: expected a TransformedDistribution, or a list of transforms and its base, got {model!r} and {base!r}")
    parts = [part for transform in transforms for part in (_parts(transform) or [transform])]
    sizes = {size for part in parts for size in _contexts(part)}
    if len(sizes) > 1:
        raise PlanError(f"convert: expected one context, got networks that take {sorted(sizes)} features of it")
    context = next(iter(sizes), 0)
    rank = max(1, len(base.event_shape), *(part.event_dim for part in parts if isinstance(part, Transform)))
    own = (*base.batch_shape, *base.event_shape)
    if len(own) < rank:
        raise PlanError(f"convert: expected a base with at least {rank} axes, got shape {own}")
    event = own[len(own) - rank :]
    like = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
    return assemble(each(parts, partial(_layers, shape=event, context=context)), event, context, like, wrap(base))


def _opened(given: Any) -> Any:
    """Return what Pyro made conditional only in name."""
    name = type(given).__name__
    inner = {"ConstantConditionalDistribution": "base_dist", "ConstantConditionalTransform": "transform"}.get(name)
    return given if inner is None else getattr(given, inner)


def _parts(transform: Any) -> list[Any]:
    """Return what a composition is made of."""
    parts = getattr(transform, "parts" if isinstance(transform, ComposeTransform) else "transforms", [])
    return [found for part in parts for found in (_parts(_opened(part)) or [_opened(part)])]


def _turned(transform: Any) -> Any:
    """Return what a transform is the inverse of, or None."""
    if isinstance(transform, _InverseTransform):  # by class, since Zuko gives it another name when it is imported
        return transform._inv
    return transform._transform if type(transform).__name__ == "_ConditionalInverseTransformModule" else None


def _contexts(transform: Any) -> set[int]:
    """Return how many features of the context the network of a transform takes."""
    turned = _turned(transform)
    if turned is not None:
        return {size for part in (_parts(turned) or [turned]) for size in _contexts(part)}
    net = getattr(transform, "nn", getattr(transform, "arn", None))
    size = getattr(net, "input_dim" if type(transform).__name__ == "ConditionalSpline" else "context_dim", 0)
    return {size} if size else set()


def _layers(transform: Any, shape: Shape, context: int) -> list[Converted]:
    turned = _turned(transform)
    if turned is not None:
        parts = _parts(turned) or [turned]
        return [found.inv for part in reversed(parts) for found in reversed(_layers(part, shape, context))]
    maker = MAKERS.get(type(transform).__name__)
    if maker is None:
        raise PlanError(f"expected one of {', '.join(MAKERS)}")
    return maker(transform, shape, context)
