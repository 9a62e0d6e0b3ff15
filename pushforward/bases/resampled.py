"""A base resampled by learned acceptance (LARS)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.bases.elements import ElementsModule
from pushforward.bases.normal import standard_normal
from pushforward.core import numerics
from pushforward.core.base import Base, BaseModule
from pushforward.core.budget import reserve
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import Count
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp
from pushforward.core.promise import Tolerance
from pushforward.core.spec import PlanError
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.mlp import MLP
from pushforward.nets.net import NetLike

# Bound of the acceptance's logit: acceptance and refusal both stay likely enough that no logarithm meets zero.
LOGIT_BOUND = 10.0


@dataclass(frozen=True, repr=False)
class Resampled(Base):
    r"""A standard normal resampled by a learned acceptance a(x): of up to T proposals the first accepted one, or else the last.

    .. math:: p(x) = \mathcal{N}(x | 0, I) \Big[ \big(1 - (1 - Z)^{T - 1}\big) \frac{a(x)}{Z} + (1 - Z)^{T - 1} \Big],
        \quad Z = \mathbb{E}_{\mathcal{N}(0, I)}\, a(x)

    It can have holes, rings and several modes where a normal has one. Z is the mean of the acceptance over fixed quasi-random points,
    computed with the density: always that of the parameters as they are, with its gradient and with no state. For D elements its logarithm
    is within 2D/nodes, which the base promises of its density (``normalizer`` measures it). The parameters are the network's; it starts as
    the standard normal. Samples carry no gradients.
    Source: Resampled Priors for Variational Autoencoders (Bauer, Mnih, 2019); Resampling Base Distributions of Normalizing Flows
    (Stimper et al., 2022).

    Args:
        net: The network from a vector (and the context) to the logit of its acceptance.
        trials: T, the largest number of proposals.
        nodes: Number of points for Z.
        conditional: Whether the acceptance sees the context too; then Z is computed for each row of it.

    >>> Resampled(MLP((8,)), trials=20).build((2,)).log_prob(torch.zeros(2)).round(decimals=3)
    tensor(-1.8380, grad_fn=<RoundBackward1>)
    """

    net: NetLike = MLP()
    trials: Count = 100
    nodes: Count = 2048
    conditional: bool = False

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return ResampledModule(self, event_shape, context_shape)


class ResampledModule(ElementsModule):
    """Built `Resampled`."""

    def __init__(self, plan: Resampled, event_shape: Shape, context_shape: Shape | None) -> None:
        if plan.conditional and context_shape is None:
            raise PlanError(f"{plan!r}: expected a context, got none; give context_shape, or leave out conditional")
        super().__init__(plan, event_shape, context_shape)
        context = math.prod(context_shape) if plan.conditional and context_shape is not None else 0
        self.conditional, self.trials = context > 0, plan.trials
        accuracy = Tolerance(2 * self.elements / plan.nodes)
        self.facts = BaseFacts(has_rsample=False, uses_context=self.conditional, accuracy=accuracy)
        self.acceptance = Parameters({"logit": torch.zeros(1)}, plan.net, event_shape or (1,), context_shape if context else None)
        reserve(plan.nodes * self.elements, 16)
        nodes = torch.tensor(_points(plan.nodes, self.elements), dtype=torch.float64)
        self.register_buffer("nodes", torch.special.ndtri(nodes).to(torch.get_default_dtype()), persistent=False)

    nodes: Tensor

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        x, given = self.flat(numerics.working(value)), self._given(context)
        accepted = F.logsigmoid(self._logit(x, given))
        log_mean, log_refused = self._log_normalizer(self.nodes, given)
        log_last = (self.trials - 1) * log_refused
        # The two ways to be drawn: accepted in time, or the last of T.
        in_time = torch.log(-torch.expm1(clamp(log_last, max=-1e-30))) + accepted - log_mean
        return standard_normal(x) + (torch.logaddexp(in_time, log_last) if self.trials > 1 else torch.zeros_like(accepted))

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        shape, given = (*batch, self.elements), self._given(context)
        x, done = self.normal(shape, generator), torch.zeros(batch, dtype=torch.bool, device=self.anchor.device)
        for _ in range(self.trials - 1):
            done = done | (self.uniform(tuple(batch), generator) < torch.sigmoid(self._logit(x, given)))
            x = torch.where(done.unsqueeze(-1), x, self.normal(shape, generator))
        return x.reshape((*batch, *self.event_shape))

    def normalizer(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Z as the mean acceptance of points ``(points, *event)`` of a standard normal, to hold against that of the nodes."""
        given = self._given(self.admit("x", x, self.event_shape, context))
        return self._log_normalizer(self.flat(x), given)[0].exp()

    def _given(self, context: Tensor | None) -> Tensor | None:
        return flat_context(context, self.context_shape) if self.conditional else None

    def _logit(self, x: Tensor, given: Tensor | None) -> Tensor:
        return numerics.soft_clamp(self.acceptance.flat(x, given).squeeze(-1), LOGIT_BOUND)

    def _log_normalizer(self, points: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logarithms of the mean acceptance and of the mean refusal."""
        if given is not None:
            points = points.reshape((len(points), *(1 for _ in given.shape[:-1]), self.elements))
        logit = self._logit(numerics.working(points), given)
        log_count = math.log(len(points))
        return torch.logsumexp(F.logsigmoid(logit), 0) - log_count, torch.logsumexp(F.logsigmoid(-logit), 0) - log_count


def _points(count: int, dimension: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return quasi-random points of the unit cube: equidistant in the first axis, Kronecker's sequence in the others."""
    golden = 2.0
    for _ in range(60):
        golden = (1 + golden) ** (1 / dimension)
    index = np.arange(count)[:, None]
    steps = golden ** -np.arange(1.0, dimension)
    return np.concatenate([(index + 0.5) / count, (0.5 + index * steps) % 1], 1).clip(1e-9, 1 - 1e-9)
