"""Where a conditional flow may begin: with a linear regression of the values on the conditions."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.flow.flow import Flow
from pushforward.flow.standardising import chain, inserted
from pushforward.kernels.affine import Additive
from pushforward.kernels.kernel import Elementwise
from pushforward.layers.standardize import Standardize
from pushforward.nets.mlp import MLP
from pushforward.nets.perceptron import Perceptron

ROWS = 10
"""Rows that there have to be for each coefficient of a feature, else the regression is left out."""


def unbounded(flow: Flow, value: Tensor) -> Tensor:
    """Return rows as they leave the last `Standardize`, without the maps that bound them."""
    layers = chain(flow.transform)
    while layers and not isinstance(layers[-1].plan, Standardize):
        value = layers.pop().pull(value, None)[0]
    return value


def begin_with_regression(flow: Flow, value: Tensor, context: Tensor) -> None:
    r"""Put :math:`y = x + W c` behind the last `Standardize`, with W by least squares, and another `Standardize` behind that.

    The new one measures the values, the other what the regression leaves, which is all that the layers before it have to model.
    The net that gives :math:`W c = W \max(c, 0) - W \max(-c, 0)` is a perceptron like any other, which training bends.

    Args:
        flow: A flow given a context, whose layers have measured nothing yet.
        value: Rows as they leave the last `Standardize`, ``(n, features)``.
        context: What the flow sees beside them, ``(n, context)``.
    """
    layers, seen = chain(flow.transform), context.shape[-1]
    places = [place + 1 for place, layer in enumerate(layers) if isinstance(layer.plan, Standardize)]
    if not places or len(value) < ROWS * (seen + 1):
        return
    rows = torch.cat([context, torch.ones_like(context[:, :1])], 1).double().cpu()
    units = ((value - value.mean(0)) / value.std(0, correction=0)).double().cpu()
    if not bool(torch.isfinite(rows).all() and torch.isfinite(units).all()):
        return  # what measures says what is wrong with them
    weights = torch.linalg.lstsq(rows, units).solution[:-1].T  # (features, seen)
    shapes = (flow.base.event_shape, flow.context_shape)
    for part in (Standardize(), Elementwise(Additive(), MLP((2 * seen,)))):
        flow.transform = inserted(chain(flow.transform), places[-1], part, shapes, value.new_empty(()))
    flow.plan = flow.transform.plan
    net: Perceptron = chain(flow.transform)[places[-1]].parameters_of.net  # type: ignore[assignment,union-attr]
    entrance, leave = net.dense()
    with torch.no_grad():
        entrance.weight.copy_(torch.cat([torch.eye(seen), -torch.eye(seen)]))
        entrance.bias.zero_()
        leave.weight.copy_(torch.cat([weights, -weights], 1) / leave.gain)
