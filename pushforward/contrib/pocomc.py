"""pocoMC: a flow of this library as the one that preconditions its sampler."""

from __future__ import annotations

import torch
from torch.distributions import constraints

from pushforward.contrib.zuko.adapter import ZukoFlow, to_zuko
from pushforward.core import sets
from pushforward.flow.flow import Flow


def to_pocomc(flow: Flow) -> ZukoFlow:
    """Return a flow in the form that ``pocomc.Sampler(flow=...)`` takes.

    pocoMC trains it on its particles, whose prior it has mapped to all real values and scaled, and proposes in the space of the base.
    It draws in one pass and scores in another, thousands of times: coupling flows are quick both ways, autoregressive ones slow one way.
    Its options ``laplace_scale`` and ``gaussian_scale`` shrink the weights of the flow's networks. Train a new flow for each sampler.
    Source: Accelerating astronomical and cosmological inference with preconditioned Monte Carlo (Karamanis et al., 2022).

    Args:
        flow: A flow of D real features in float32, without context.

    Raises:
        TypeError: It is not a flow of this library.
        ValueError: The flow is conditional, of another precision, of events that are not vectors, or does not map all real values onto all.

    Example::

        prior = pocomc.Prior([scipy.stats.uniform(-10, 20), scipy.stats.uniform(-10, 20)])
        sampler = pocomc.Sampler(prior, log_likelihood, vectorize=True, flow=to_pocomc(pf.NSF(2)))
        sampler.run()
        logz, error = sampler.evidence()
    """
    made = to_zuko(flow)
    if flow.context_shape is not None:
        raise ValueError(f"to_pocomc: expected a flow without context, got one with context_shape {flow.context_shape}")
    if flow.dtype != torch.float32:
        raise ValueError(f"to_pocomc: expected a flow in torch.float32, as pocoMC's values are, got {flow.dtype}; use flow.float()")
    if len(flow.event_shape) != 1:
        raise ValueError(f"to_pocomc: expected events of one axis, got event_shape {tuple(flow.event_shape)}")
    for what, support in (("values", flow.support), ("a base", flow.base.support)):
        if not sets.same(support, constraints.real):
            raise ValueError(
                f"to_pocomc: expected {what} in (-inf, inf), got {sets.name(support)}; "
                "pocoMC maps the prior's bounds to all real values itself, so leave out support="
            )
    return made
