"""Mixtures of von Mises and Fisher's distributions as a base, with samples that carry gradients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pushforward.bases import moments
from pushforward.bases.clusters import clusters
from pushforward.bases.directions import maximised_directions
from pushforward.bases.sphere import SphereModule, below, log_top, mean_length, spread_about, unit
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.budget import reserve
from pushforward.core.fields import Count, OneOf, Place, Positive, Within
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError
from pushforward.nets.net import NetLike

LIMIT = 0.95
"""How much of the bound of a concentration it starts with at most: at the bound itself nothing is learned."""


@dataclass(frozen=True, repr=False)
class MixtureOfVonMisesFisher(Base):
    r"""A mixture of K von Mises-Fisher distributions, :math:`p(x) = \sum_k w_k \kappa_k e^{\kappa_k \mu_k^\top x} / 4 \pi \sinh \kappa_k`.

    Events are unit vectors of three numbers, and the density is with respect to the area of the sphere; what is no unit vector has the
    density 0. Weights, mean directions and concentrations are learned, free or a function of the context: 5 K numbers. It starts with equal
    weights and random directions, or from the data: under a continuous flow, which begins as the identity, the whole then begins
    as the mixture fitted to the rows. Samples carry gradients to all parameters, first ones alone: a point turns with the components that
    it may come from, and moves along the meridians of each by what its share and concentration take across the circle.
    Sources: Dispersion on a Sphere (Fisher, 1953); Clustering on the Unit Hypersphere using von Mises-Fisher Distributions (Banerjee et
    al., 2005); that fields with the divergence of a change carry gradients: Pathwise Derivatives Beyond the Reparameterization Trick
    (Jankowiak, Obermeyer, 2018).

    Args:
        components: K.
        concentration: kappa of all components at the start, if that is not the data's; at most 1e30.
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log-ratio of a concentration to ``concentration``.
        seed: Seed of the directions that it starts with, and of the rows.
        start: Where it starts: ``"uniform"``, see above, or ``"em"``: as the mixture fitted to the rows that `Flow.calibrate` is given,
            which `fit` calls, by expectation maximisation from rows that lie apart. A net then starts as a constant.

    >>> MixtureOfVonMisesFisher(3).build((3,)).parameters_of.size
    15
    """

    components: Count = 8
    concentration: Annotated[float, Within(above=0.0, most=1e30)] = 10.0
    net: NetLike | None = None
    bound: Positive = 12.0
    seed: Place = 0
    start: Annotated[str, OneOf("uniform", "em")] = "uniform"

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        if event_shape != (3,):
            raise PlanError(f"MixtureOfVonMisesFisher: expected vectors of 3 numbers, got event_shape {event_shape}")
        made = DirectionsModule if self.start == "uniform" else StartedDirectionsModule
        return made(self, event_shape, context_shape)


class DirectionsModule(SphereModule):
    """Built `MixtureOfVonMisesFisher`."""

    plan: MixtureOfVonMisesFisher

    def __init__(self, plan: MixtureOfVonMisesFisher, event_shape: Shape, context_shape: Shape | None) -> None:
        count = plan.components
        reserve(5 * count, 16)
        drawn = torch.tensor(np.random.default_rng(plan.seed).standard_normal((count, 3)), dtype=torch.get_default_dtype())
        init = {"logits": torch.zeros(count), "loc": _long(unit(drawn), torch.full((count,), plan.concentration))}
        init["log_concentration"] = torch.zeros(count)
        super().__init__(plan, event_shape, context_shape, init, plan.net)
        self.facts = dataclasses.replace(self.facts, support=sets.SPHERE)

    def density_inside(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        return torch.logsumexp(self._log_joint(x, *self._of(theta)), -1)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        log_share, direction, kappa = self._of(theta)
        thresholds = torch.exp(log_share).cumsum(-1)[..., :-1]
        chosen = (self.uniform((*shape[:-1], 1), generator) >= thresholds).sum(-1, keepdim=True)
        batch, count = shape[:-1], self.plan.components
        own = torch.take_along_dim(direction.expand(*batch, count, 3), chosen.unsqueeze(-1), -2).squeeze(-2)
        x = self.draw_about(shape, own, torch.take_along_dim(kappa.expand(*batch, count), chosen, -1).squeeze(-1), generator)
        return self._with_gradient(x.detach(), log_share, direction, kappa) if torch.is_grad_enabled() else x

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        log_share, direction, kappa = self._of(self.theta(context))
        return ((torch.exp(log_share) * mean_length(kappa)).unsqueeze(-1) * direction).sum(-2)

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        log_share, direction, kappa = self._of(self.theta(context))
        root, each = torch.exp(0.5 * log_share).unsqueeze(-1), mean_length(kappa).unsqueeze(-1) * direction
        # Within the components, and between them.
        within = (root * spread_about(direction, kappa)).movedim(-2, 0).flatten(0, 1)
        between = root * (each - (root.square() * each).sum(-2, keepdim=True))
        return moments.together([within, between.movedim(-2, 0)])

    def _of(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logs of shares ``(*batch, K)``, mean directions ``(*batch, K, 3)`` and concentrations ``(*batch, K)``."""
        ratio = numerics.soft_clamp(theta["log_concentration"], self.plan.bound)
        return torch.log_softmax(theta["logits"], -1), unit(theta["loc"]), self.plan.concentration * torch.exp(ratio)

    @staticmethod
    def _log_joint(x: Tensor, log_share: Tensor, direction: Tensor, kappa: Tensor) -> Tensor:
        """Return the log of each component's part of the density of unit vectors, ``(*batch, K)``."""
        return log_share + log_top(kappa) - kappa * below(x.unsqueeze(-2), direction)

    def _with_gradient(self, x: Tensor, log_share: Tensor, direction: Tensor, kappa: Tensor) -> Tensor:
        r"""Return ``x`` itself with first gradients: a field v of which :math:`\operatorname{div}(p v)` is minus the change of p.

        With a mean direction its component turns, of which x has its part. What share and concentration change within the circle about a
        component through x, beside what the uniform distribution has there, flows across it.
        """
        wide = x.unsqueeze(-2)
        fixed = [t.detach() for t in (log_share, direction, kappa)]
        log_share, direction, kappa = numerics.differentiable(FIRST, None, log_share, direction, kappa)
        joint = self._log_joint(x, *fixed)
        density = torch.logsumexp(joint, -1, keepdim=True)
        of, under = torch.exp(joint - density).unsqueeze(-1), below(wide, fixed[1])
        height = (1 - under).unsqueeze(-1)
        turn = direction - fixed[1]
        turned = of * (height * turn - fixed[1] * (turn * wide).sum(-1, keepdim=True))
        within = torch.exp(log_share) * (torch.expm1(-kappa * under) / torch.expm1(-2 * kappa) - 0.5 * under)
        side = (under * (2 - under)).clamp(min=torch.finfo(x.dtype).eps ** 2)
        towards = (fixed[1] - height * wide) * (torch.exp(-density) / (2 * math.pi * side)).unsqueeze(-1)
        moved = turned + (within - within.detach()).unsqueeze(-1) * towards
        return x + moved.sum(-2)


class StartedDirectionsModule(DirectionsModule):
    """A built mixture that starts as the one fitted to the rows it is calibrated on."""

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        plan = self.plan
        rows = unit(value.detach().double().reshape(-1, 3))
        found = clusters(rows, plan.components, "kmeans++", plan.seed, "MixtureOfVonMisesFisher")
        share, direction, kappa = maximised_directions(rows, found, plan.components)
        ratio = numerics.clamp(torch.log(kappa / plan.concentration), -LIMIT * plan.bound, LIMIT * plan.bound)
        start = share.log(), _long(direction, kappa), numerics.soft_clamp_inverse(ratio, plan.bound)
        self.parameters_of.start_at(torch.cat([part.flatten() for part in start]))


def _known(_: None, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.clone() for t in tensors)


def _once(_: None, tensors: Sequence[Tensor], y: None, *cotangents: Tensor) -> tuple[Tensor, ...]:
    return cotangents


def _twice(_: None, *tensors: Tensor) -> tuple[Tensor, ...]:
    raise NotImplementedError(
        "MixtureOfVonMisesFisher: expected gradients of samples without create_graph=True, since they have first ones alone; take those of "
        "log_prob, or VonMisesFisher, which has all"
    )


FIRST = numerics.Rule(_known, _once, _twice, keep=False)
"""The identity of tensors whose gradient has none: of fields with a given divergence, second derivatives depend on the way."""


def _long(direction: Tensor, kappa: Tensor) -> Tensor:
    """Return vectors in some directions that are the longer the narrower their components are: a step turns all by like shares of that."""
    return direction * torch.sqrt(kappa).unsqueeze(-1)
