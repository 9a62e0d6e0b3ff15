"""How exact a continuous flow is that was fitted: how far off its log-densities are stated to be, and what they take."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core import sets
from pushforward.flow.flow import Flow
from pushforward.layers.continuous import ContinuousModule

LOOKED_AT = 64
"""Rows that are scored for it at most."""


@torch.no_grad()
def exactness(flow: Flow, value: Tensor, context: Tensor | None) -> tuple[float, float] | None:
    """Return the median of the errors that are stated of log-densities, and the mean evaluations of the fields that a row's takes.

    Args:
        flow: The flow.
        value: Rows ``(n, *event)``.
        context: ``(n, *context)``.

    Returns:
        None where no `Continuous` layer is in the list of layers.

    >>> from pushforward.flows import CNF
    >>> exactness(CNF(2, method="rk4"), torch.zeros(5, 2), None)[1]
    80.0
    """
    layers = [*flow.transform.leaves()]
    if not any(isinstance(layer, ContinuousModule) for layer in layers):
        return None
    value, context = value[:LOOKED_AT], None if context is None else context[:LOOKED_AT]
    error = flow.log_prob_and_error(value, context)[1]
    inner, calls = flow._admit(value, flow.event_shape, context), torch.zeros(len(value), dtype=torch.float64)
    for layer in reversed(layers):
        if isinstance(layer, ContinuousModule):
            calls += layer.evaluations(value, inner).double().cpu()
        value = sets.leave(layer.pull(value, inner)[0], sets.limits(layer.domain))
    return float(error.double().nanmedian()), float(calls.mean())
