"""kl_divergence: between flows, where it has a closed form, and between what torch knows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.distributions import kl_divergence as torchs

from pushforward.bases import moments
from pushforward.core.estimates import no_form
from pushforward.flow.conditioned import ConditionedFlow
from pushforward.flow.flow import Flow


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    r"""Return :math:`KL(p \| q) = E_p[\log p - \log q]` in nats, ``(*batch)``, with gradients.

    Where one of the two is a flow: q is a normal distribution (affine layers on a normal base, or torch's `Normal` and
    `MultivariateNormal`), so that :math:`\log q` is quadratic, and mean, covariance and entropy of p are known, such as those of affine
    layers on any of the bases. For anything else ``p.estimate("kl_divergence", other=q)`` is the way. Two other distributions are left to
    `torch.distributions.kl_divergence`, which can be told of flows, too::

        torch.distributions.register_kl(Flow, Distribution)(kl_divergence)

    Raises:
        NotImplementedError: There is no closed form.
        ValueError: Events of different shapes, or a conditional flow without its context.

    >>> from torch.distributions import Independent, Normal
    >>> from pushforward.distributions import StandardNormal
    >>> q = Independent(Normal(torch.tensor([1.0]), 1.0), 1)
    >>> kl_divergence(Flow(StandardNormal(), [], 1), q)
    tensor(0.5000)
    """
    if not any(isinstance(each, Flow | ConditionedFlow) for each in (p, q)):
        return torchs(p, q)
    one, other = _known(p), _known(q)
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: expected distributions on events of one shape, got {tuple(p.event_shape)} and {tuple(q.event_shape)}; "
            "torch.distributions.Independent makes batch axes those of an event"
        )
    if one is None or one.spread is None or one.entropy is None or other is None or not other.gaussian:
        raise NotImplementedError(no_form(type(p).__name__, "kl_divergence").replace("ence'", "ence', other=q"))
    mean, vectors = one.mean, one.spread
    batch = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    at = mean.expand(batch + p.event_shape)

    def slope(x: Tensor, v: Tensor) -> Tensor:
        derivative: Tensor = torch.func.jvp(q.log_prob, (x,), (v,))[1]
        return derivative

    # E log q of a quadratic log q is its value at the mean, and half of its second derivatives along the vectors of the covariance.
    bends = torch.func.vmap(lambda v: torch.func.jvp(lambda x: slope(x, v), (at,), (v,))[1])(moments.widened(vectors, at.shape))
    result: Tensor = -one.entropy - q.log_prob(at) - 0.5 * bends.sum(0)
    return result


@dataclass(frozen=True)
class _Known:
    """What has a closed form of a distribution."""

    mean: Tensor
    spread: Tensor | None
    entropy: Tensor | None
    gaussian: bool


def _known(given: Any) -> _Known | None:
    if isinstance(given, Flow):
        given = given.condition()
    if isinstance(given, ConditionedFlow):
        flow, context = given.flow, given.inner()
        mean, spread, entropy = (f(flow.transform, flow.base, context) for f in (moments.mean, moments.spread, moments.entropy))
        return None if mean is None else _Known(mean, spread, entropy, flow.base.facts.gaussian and moments.affine(flow.transform))
    if isinstance(given, MultivariateNormal):
        return _Known(given.mean, given.scale_tril.movedim(-1, 0), given.entropy(), True)
    inner, rank = given, len(given.event_shape)
    while isinstance(inner, Independent):
        inner = inner.base_dist
    if isinstance(inner, Normal):
        deviation = inner.stddev
        flat = deviation.reshape(*given.batch_shape, math.prod(given.event_shape))
        return _Known(inner.mean, moments.apart(flat).reshape(-1, *deviation.shape) if rank else deviation[None], given.entropy(), True)
    return None
