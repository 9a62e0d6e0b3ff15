"""Mixtures of normals as a base, with samples that carry gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.bases.sites import SitesModule
from pushforward.bases.tails import Tails, normal_tails
from pushforward.budget import reserve
from pushforward.core import Base, BaseModule, Shape
from pushforward.fields import Count, Place, Positive
from pushforward.kernels.affine import Affine
from pushforward.moments import apart, together
from pushforward.parameters import NetLike
from pushforward.roots import root


@dataclass(frozen=True, repr=False)
class MixtureOfNormals(Base):
    r"""A mixture of K normals with diagonal covariances, :math:`p(x) = \sum_k w_k \prod_d \mathcal{N}(x_d | \mu_{kd}, \sigma_{kd}^2)`.

    Weights, locations and scales are learned: :math:`K (2 D + 1)` parameters for D sites, free or a function of the context; on
    events of any shape. It starts with equal weights, unit scales and locations drawn from a standard normal (equal components would
    stay equal). Samples carry gradients to all parameters: each site's conditional distribution function is kept constant,
    whichever component a value came from.
    Source: Stochastic Backpropagation through Mixture Density Distributions (Graves, 2016); Implicit Reparameterization
    Gradients (Figurnov et al., 2018).

    Args:
        components: K.
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log-scale, as in `Affine`.
        seed: Seed of the locations that it starts with.

    >>> MixtureOfNormals(3).build((2,)).parameters_of.size
    15
    """

    components: Count = 8
    net: NetLike | None = None
    bound: Positive = 3.0
    seed: Place = 0

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return MixtureModule(self, event_shape, context_shape)


class MixtureModule(SitesModule):
    """Built `MixtureOfNormals`."""

    def __init__(self, plan: MixtureOfNormals, event_shape: Shape, context_shape: Shape | None) -> None:
        size = (plan.components, math.prod(event_shape))
        self.kernel = Affine(plan.bound)
        reserve(math.prod(size), 16)
        loc = np.random.default_rng(plan.seed).standard_normal(size) if plan.components > 1 else np.zeros(size)
        init = {"logits": torch.zeros(plan.components), "loc": torch.tensor(loc, dtype=torch.get_default_dtype())}
        super().__init__(plan, event_shape, context_shape, init | {"log_scale": torch.zeros(size)}, plan.net)
        self.has_tails = self.sites == 1  # several are not independent: a component brings all of its own

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        parts = self._log_normal(x.unsqueeze(-2), theta["loc"], theta["log_scale"])[1].sum(-1)
        return torch.logsumexp(torch.log_softmax(theta["logits"], -1) + parts, -1)

    def draw_sites(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        thresholds = torch.softmax(theta["logits"], -1).cumsum(-1)[..., :-1]
        chosen = (self.uniform((*shape[:-1], 1), generator) >= thresholds).sum(-1)[..., None, None]
        loc, log_scale = (
            torch.take_along_dim(theta[name].expand(*shape[:-1], -1, -1), chosen, -2).squeeze(-2) for name in ("loc", "log_scale")
        )
        x = self.kernel.forward(self.normal(shape, generator), loc, log_scale)[0]
        return self._with_gradient(x.detach(), theta) if torch.is_grad_enabled() else x

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        mean, _ = self._weighted(self.theta(context))
        return self.events(mean)

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        theta = self.theta(context)
        mean, root = self._weighted(theta)
        loc, ladj = self.kernel.forward(torch.zeros_like(theta["loc"]), theta["loc"], theta["log_scale"])
        # Within the components, and between them.
        within = apart(torch.sqrt((root * torch.exp(ladj)).square().sum(-2)))
        return self.events(together([within, (root * (loc - mean.unsqueeze(-2))).movedim(-2, 0)]))

    def _weighted(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean of vectors, and the roots of the weights ``(*batch, K, 1)``."""
        root = torch.softmax(theta["logits"], -1).sqrt().unsqueeze(-1)
        loc = self.kernel.forward(torch.zeros_like(theta["loc"]), theta["loc"], theta["log_scale"])[0]
        return (root.square() * loc).sum(-2), root

    def tails(self, x: Tensor, theta: dict[str, Tensor]) -> Tails:
        weights = torch.log_softmax(theta["logits"], -1).unsqueeze(-1)
        lower, upper = normal_tails(self._log_normal(x.unsqueeze(-2), theta["loc"], theta["log_scale"])[0])
        return torch.logsumexp(weights + lower, -2), torch.logsumexp(weights + upper, -2)

    def at_odds(self, odds: Tensor, theta: dict[str, Tensor]) -> Tensor:
        def function(x: Tensor) -> Tails:
            lower, upper = self.tails(x, theta)
            return lower - upper, self.density(x, theta).unsqueeze(-1) - lower - upper

        return root(function, odds)

    def _log_normal(self, x: Tensor, loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = self.kernel.inverse(x, loc, log_scale)
        return z, ladj - 0.5 * (z * z + math.log(2 * math.pi))

    def _with_gradient(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return ``x`` itself with the gradients that keep each ``F_d(x_d | x_1 ... x_{d-1})`` constant.

        Newton steps at the solution do not move the value; two of them carry first and second derivatives.
        """
        log_weight = torch.log_softmax(theta["logits"], -1)
        found = []
        for site in range(x.shape[-1]):
            value, loc, log_scale = x[..., site : site + 1], theta["loc"][..., site], theta["log_scale"][..., site]
            weight = torch.softmax(log_weight, -1)
            z = self._log_normal(value, loc, log_scale)[0].detach()
            # The smaller tail, signed: near 1 a distribution function has lost what tells values apart.
            sign = torch.where((weight.detach() * torch.special.ndtr(z)).sum(-1, keepdim=True) < 0.5, 1.0, -1.0).to(z.dtype)
            fixed = None
            for _ in range(2):
                z, log_density = self._log_normal(value, loc, log_scale)
                tail = sign * (weight * torch.special.ndtr(sign * z)).sum(-1, keepdim=True)
                fixed = tail.detach() if fixed is None else fixed
                log_slope = torch.logsumexp(torch.log_softmax(log_weight, -1) + log_density, -1, keepdim=True)
                value = value - (tail - fixed) * torch.exp(-log_slope)
            log_weight = log_weight + self._log_normal(value, loc, log_scale)[1]
            found.append(value)
        return torch.cat(found, -1)
