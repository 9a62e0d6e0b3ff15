"""Kernels and networks of Pyro's transforms as ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pushforward.contrib.conversion import CopiedNet, Outputs, RawAffine, RawSpline, mlp
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel


def affine(options: Any) -> tuple[RawAffine, float]:
    """Return the kernel of an affine transform, and what is added to the raw scale before it."""
    if getattr(options, "stable", False):
        return RawAffine("sigmoid", convex=True), float(getattr(options, "sigmoid_bias", 2.0))
    return RawAffine(clip=(getattr(options, "log_scale_min_clip", -5.0), getattr(options, "log_scale_max_clip", 3.0))), 0.0


def spline(options: Any) -> RawSpline:
    """Return the kernel of a spline."""
    # Its slope is 1 only outside the box, and 0.999 at the ends.
    bins, bound = getattr(options, "count_bins", 8), getattr(options, "bound", 3.0)
    return RawSpline(bins, float(bound), getattr(options, "order", "linear"), end_slope=0.999)


def copied(net: Any, kernel: Kernel, elements: int, context: int, shift: float = 0.0, of_context: bool = False) -> CopiedNet:
    """Copy one of Pyro's four networks.

    Args:
        net: The network.
        kernel: What its outputs are parameters of.
        elements: How many numbers the kernel maps.
        context: How many context features the flow has.
        shift: What is added to the second parameter.
        of_context: Whether all that it sees is the context.
    """
    name, counts = type(net).__name__, [value.numel() for value in kernel.init((1,)).values()]
    if name not in ("AutoRegressiveNN", "ConditionalAutoRegressiveNN", "DenseNN", "ConditionalDenseNN"):
        raise PlanError(f"expected a network of pyro.nn, got {name}")
    if getattr(net, "skip_layer", None) is not None:
        raise PlanError("expected a network without skip connections, got one with them")
    masked = "AutoRegressive" in name
    if list(net.param_dims) != [count * (1 if masked else elements) for count in counts]:
        raise PlanError(f"expected {counts} parameters for each of {elements} features, got a network with param_dims {net.param_dims}")
    linears = list(net.layers)
    if not masked:  # of a dense one each parameter goes feature by feature
        starts = [sum(counts[:i]) * elements for i in range(len(counts))]
        rows = [a + s * n + k for a, n in zip(starts, counts, strict=True) for k in range(n) for s in range(elements)]
        linears[-1] = SimpleNamespace(weight=linears[-1].weight[rows], bias=linears[-1].bias[rows])
    add = [shift * (i == 1) for i in range(sum(counts))]
    own, inputs = (net.input_dim, 0) if of_context else (net.context_dim, net.input_dim)
    columns = [*range(own, own + inputs), *range(own)]  # Pyro has the context first
    return mlp(linears, net.f, inputs, context, Outputs(elements, range(sum(counts)), False, None, add), columns)


def vector(shape: Shape) -> int:
    """Return the length of events of one axis."""
    if len(shape) != 1:
        raise PlanError(f"expected events of one axis, got shape {shape}")
    return shape[0]
