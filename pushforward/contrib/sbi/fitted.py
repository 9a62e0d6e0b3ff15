"""A conditional flow that has been fitted elsewhere, as sbi's estimator."""

from __future__ import annotations

import torch
from torch import nn

from pushforward.contrib.sbi.estimator import Conditions, FlowEstimator
from pushforward.flow.flow import Flow
from pushforward.layers.standardize import Standardize


def as_estimator(flow: Flow) -> FlowEstimator:
    r"""Return a conditional flow as the estimator of which sbi makes a posterior, without sbi's training.

    `pushforward.fit` has what sbi's loop lacks: rates that fall over the run, averaged weights, a limit of time. The flow is shared, and
    sees conditions as they are, since it has their units itself.

    Args:
        flow: p(value | condition), of values ``(*batch, features)``, with a context of the shape of a condition.

    Raises:
        TypeError: It is no flow.
        ValueError: It has no context, or events of several axes.

    Example::

        flow = pf.CNF(theta.shape[1], context=x.shape[1])
        pf.fit(flow, theta, context=x, objective="flow_matching", schedule="cosine")
        posterior = sbi.inference.DirectPosterior(as_estimator(flow), prior)
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"as_estimator: expected a Flow, got {type(flow).__name__}")
    if flow.context_shape is None:
        raise ValueError("as_estimator: expected a conditional flow, got one without context; build it with context=")
    if len(flow.event_shape) != 1:
        raise ValueError(f"as_estimator: expected a flow of vectors, got event_shape {tuple(flow.event_shape)}")
    units = Standardize().build(tuple(flow.context_shape)).to(flow.device)
    return FlowEstimator(flow, Conditions(units.to(flow.dtype), nn.Identity(), torch.Size(flow.context_shape)))
