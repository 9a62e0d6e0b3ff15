"""Log-determinants of bijections that map each number of an event alone, number by number, as FlowTorch and torch have them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.core import numerics, sets
from pushforward.core.bijector import InverseModule
from pushforward.core.compose import ComposeModule
from pushforward.core.layer import Layer
from pushforward.kernels.kernel import KernelModule
from pushforward.nets.conditioner import flat_context


def alone(module: Layer) -> bool:
    """Tell whether a built bijection maps each number of an event alone."""
    if isinstance(module, InverseModule):
        return alone(module.module)
    if isinstance(module, ComposeModule):
        return all(alone(layer) for layer in module.layers)  # type: ignore[arg-type]
    return isinstance(module, KernelModule) and module.kernel.event_dim == 0


def log_det_of_numbers(module: Layer, x: Tensor, context: Tensor | None, inverse: bool = False) -> Tensor:
    """Return the log-determinant of each number, ``(*batch, *event)``, of a bijection that maps each `alone`.

    Args:
        module: The bijection.
        x: Events, checked.
        context: The context as layers take it.
        inverse: Whether of the inverse.
    """
    if isinstance(module, InverseModule):
        return log_det_of_numbers(module.module, x, context, not inverse)
    if isinstance(module, ComposeModule):
        layers, total = [*module.layers][::-1] if inverse else [*module.layers], x.new_zeros(())
        for layer in layers:
            assert isinstance(layer, Layer)
            total = total + log_det_of_numbers(layer, x, context, inverse)
            x = (layer.pull if inverse else layer.push)(x, context)[0]
        return total.expand(x.shape)
    assert isinstance(module, KernelModule)
    theta = module.parameters_of.flat(None, flat_context(context, module.context_shape) if module.facts.uses_context else None)
    values, outside = sets.enter(numerics.working(x), module.ends[1] if inverse else module.ends[0])
    batch = values.shape[: values.dim() - module.rank]
    function = module.kernel.inverse if inverse else module.kernel.forward
    y, ladj = function(values.reshape(*batch, *module.elements), **module.parameters_of.named(theta))
    ladj = ladj.expand(y.shape).reshape(*y.shape[:-1], *module.event_shape)
    return ladj if outside is None else torch.where(outside, -math.inf, ladj)
