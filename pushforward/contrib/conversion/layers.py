"""Layers of another library as plans of ours, each with the tensors of what it builds, and the flow that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.bases.normal import StandardNormal
from pushforward.contrib.conversion.copying import CopiedNet
from pushforward.contrib.conversion.kernels import RawAffine, RawLinear
from pushforward.contrib.conversion.weights import Tensors
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector, Inverse
from pushforward.core.draws import Drawing
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.kernels.kernel import Elementwise, Kernel
from pushforward.layers.autoregressive import InverseAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.layers.rearrange import Permute


class Converted(NamedTuple):
    """A plan, and the tensors of what it builds by their names there."""

    plan: Bijector
    tensors: Tensors

    @property
    def inv(self) -> Converted:
        """The layer inverted."""
        if isinstance(self.plan, Inverse):
            return Converted(self.plan.inv, {name.removeprefix("module."): value for name, value in self.tensors.items()})
        if isinstance(self.plan, Permute):
            return Converted(Permute(np.argsort(self.plan.order).tolist()), {})
        return Converted(self.plan.inv, _under("module", self.tensors))


def free(kernel: Kernel, *parameters: Tensor) -> Converted:
    """Return a layer whose parameters, in the order of the kernel's ``init``, see nothing."""
    return Converted(kernel, {"parameters_of.offset": torch.cat([value.detach().flatten() for value in parameters])})


def elementwise(kernel: Kernel, net: CopiedNet) -> Converted:
    """Return a layer whose parameters are computed from the context."""
    return Converted(Elementwise(kernel, net.plan), _under("parameters_of.net", net.tensors))


def coupling(kernel: Kernel, passing: Iterable[int], net: CopiedNet) -> Converted:
    """Return a coupling; ``passing`` are the features that pass through and set the parameters of the others."""
    return Converted(Coupling(kernel, tuple(passing), net=net.plan), _under("parameters_of.net", net.tensors))


def autoregressive(kernel: Kernel, net: CopiedNet) -> Converted:
    """Return a layer whose forward map has parameters that see its inputs; as a layer from data to base it is to be inverted."""
    if net.mask is None:
        raise PlanError("expected a masked network, got one whose outputs see all features")
    earlier = net.mask.sum(1)
    order = np.argsort(earlier, kind="stable")
    place = np.argsort(order)
    chain = net.mask.shape[1] == len(place) and bool((net.mask == (place[None] < place[:, None])).all())
    if chain:
        graph: dict[str, Any] = {} if (order == np.arange(len(order))).all() else {"order": order}
    else:
        graph = {"adjacency": net.mask}
    return Converted(InverseAutoregressive(kernel, net=net.plan, **graph), _under("parameters_of.net", net.tensors))


def linear(matrix: Tensor, loc: Tensor) -> Converted:
    """Return the map ``y = W x + b`` of vectors."""
    return free(RawLinear(), matrix, loc)


def normal(loc: Tensor, log_scale: Tensor) -> Converted:
    """Return the layer that makes a standard normal one of given location and scale."""
    return free(RawAffine(), loc, log_scale)


def each(layers: Iterable[Any], function: Callable[[Any], Sequence[Converted]], what: str = "layer") -> list[Converted]:
    """Return what a function makes of layers of another library; its `PlanError` is raised again with the layer's index and class."""
    found: list[Converted] = []
    for index, layer in enumerate(layers):
        try:
            found += function(layer)
        except PlanError as error:
            raise PlanError(f"convert: {what} {index}, {type(layer).__name__}: {error}") from error
    return found


def assemble(layers: Sequence[Converted], event_shape: Sequence[int], context: int, like: nn.Module, base: Base | None = None) -> Flow:
    """Return the flow of layers from base to data, in the precision and on the device of ``like``.

    Args:
        layers: The layers.
        event_shape: Shape of one event.
        context: How many context features there are (0: the flow is not conditional).
        like: The model that is converted.
        base: The base (None: standard normals).
    """
    with Drawing(0):  # the weights that are replaced cost the user no random numbers
        flow = Flow(base or StandardNormal(), [layer.plan for layer in layers], tuple(event_shape), (context,) if context else None)
    first = next((t for t in (*like.parameters(), *like.buffers()) if t.is_floating_point()), torch.empty(0))
    flow = flow.to(first.device, first.dtype)
    given = {f"layers.{index}.{name}": value for index, layer in enumerate(layers) for name, value in layer.tensors.items()}
    wanted = dict(flow.transform.named_parameters())
    if set(given) != set(wanted):
        raise PlanError(
            f"convert: expected tensors for {sorted(set(wanted) - set(given))}, got some for {sorted(set(given) - set(wanted))}"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != given[name].shape:
                raise PlanError(f"convert: expected {name} of shape {tuple(parameter.shape)}, got {tuple(given[name].shape)}")
            parameter.copy_(given[name])
    return flow


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}
