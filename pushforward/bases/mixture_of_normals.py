"""Mixtures of normals as a base, with samples that carry gradients."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from pushforward.bases.clusters import check_rows, clusters, moments
from pushforward.bases.elements import ElementsModule
from pushforward.bases.em import maximised
from pushforward.bases.moments import apart, together
from pushforward.bases.tails import Tails, normal_tails
from pushforward.core.base import Base, BaseModule
from pushforward.core.budget import reserve
from pushforward.core.fields import Count, OneOf, Place, Within
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp, finer, soft_clamp, soft_clamp_inverse
from pushforward.core.roots import root
from pushforward.kernels.affine import Affine
from pushforward.kernels.linear import shortened, strictly_lower
from pushforward.kernels.triangular import Triangular
from pushforward.nets.net import NetLike


@dataclass(frozen=True, repr=False)
class MixtureOfNormals(Base):
    r"""A mixture of K normals, :math:`p(x) = \sum_k w_k \, \mathcal{N}(x | \mu_k, \Sigma_k)`.

    Weights, locations and covariances are learned, free or a function of the context; on events of any shape. For D elements these are
    :math:`K (2 D + 1)` numbers where the covariances are diagonal. It starts with equal weights, unit covariances and locations drawn
    from a standard normal (equal components would stay equal), or from clusters of the data. Samples carry gradients to all parameters:
    each element's conditional distribution function is kept constant, whichever component a value came from.
    Source: Stochastic Backpropagation through Mixture Density Distributions (Graves, 2016); Implicit Reparameterization
    Gradients (Figurnov et al., 2018); Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird, Rubin, 1977).

    Args:
        components: K.
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log-scale, as in `Affine`; at most 40.
        seed: Seed of the locations that it starts with, and of clusters.
        covariance: ``"diagonal"``, ``"spherical"`` (one scale for all elements) or ``"full"``, by factors as in `Triangular`.
        tied: Whether all components share one covariance.
        start: Where it starts: ``"normal"``, see above, or from clusters of the rows that `Flow.calibrate` is given, which `fit` calls:
            ``"kmeans"``, ``"kmeans++"`` (only as k-means begins), ``"rows"`` (about rows at random) or ``"em"`` (expectation maximisation
            from clusters, or from one component on that is split: the mixture fitted to the rows, as far as the bounds let it). A net
            then starts as a constant.

    >>> MixtureOfNormals(3).build((2,)).parameters_of.size
    15
    >>> MixtureOfNormals(3, covariance="full", tied=True).build((2,)).parameters_of.size
    12
    """

    components: Count = 8
    net: NetLike | None = None
    bound: Annotated[float, Within(above=0.0, most=40.0)] = 3.0
    seed: Place = 0
    covariance: Annotated[str, OneOf("diagonal", "spherical", "full")] = "diagonal"
    tied: bool = False
    start: Annotated[str, OneOf("normal", "kmeans", "kmeans++", "rows", "em")] = "normal"

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        made = MixtureModule if self.start == "normal" else StartedMixtureModule
        return made(self, event_shape, context_shape)


class MixtureModule(ElementsModule):
    """Built `MixtureOfNormals`."""

    plan: MixtureOfNormals

    def __init__(self, plan: MixtureOfNormals, event_shape: Shape, context_shape: Shape | None) -> None:
        elements = math.prod(event_shape)
        size, shared = (plan.components, elements), 1 if plan.tied else plan.components
        self.kernel, self.full = Affine(plan.bound), plan.covariance == "full" and elements > 1
        self.triangular = Triangular(bias=False, bound=plan.bound, row_bound=math.exp(plan.bound))
        triangle = elements * (elements - 1) // 2 if self.full else 0
        reserve(math.prod(size) + shared * triangle, 16)
        loc = np.random.default_rng(plan.seed).standard_normal(size) if plan.components > 1 else np.zeros(size)
        init = {"logits": torch.zeros(plan.components), "loc": torch.tensor(loc, dtype=torch.get_default_dtype())}
        init["log_scale"] = torch.zeros(shared, 1 if plan.covariance == "spherical" else elements)
        if self.full:
            init["entries"] = torch.zeros(shared, triangle)
        super().__init__(plan, event_shape, context_shape, init, plan.net)
        # Several are not independent: a component brings all of its own.
        self.facts = dataclasses.replace(self.facts, has_tails=self.elements == 1)

    def distribution(self, context: Tensor | None = None) -> MixtureSameFamily:
        """Return the mixture as a distribution of torch: its ``mixture_distribution.logits``, and means and covariances of its components.

        Args:
            context: ``(*batch, *context_shape)``; None where it was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.

        >>> MixtureOfNormals(3).build((2,)).distribution().mixture_distribution.logits.shape
        torch.Size([3])
        """
        theta = self.theta(self.admit_context(context))
        logits, loc = theta["logits"], theta["loc"]
        scale = torch.exp(soft_clamp(theta["log_scale"], self.plan.bound)).expand(loc.shape)
        normals: Any = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        if self.full:
            eye = torch.eye(self.elements, dtype=loc.dtype, device=loc.device)
            factor = (self._below(theta) + eye * scale.unsqueeze(-2)).expand(*loc.shape, self.elements)
            normals = MultivariateNormal(loc, scale_tril=factor, validate_args=False)
        return MixtureSameFamily(Categorical(logits=logits, validate_args=False), normals, validate_args=False)

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        size = self.elements * math.log(2 * math.pi)
        log_scale = soft_clamp(theta["log_scale"], self.plan.bound).expand(theta["loc"].shape)
        parts = -log_scale.sum(-1) - 0.5 * (self._noise(x, theta).square().sum(-1) + size)
        return torch.logsumexp(torch.log_softmax(theta["logits"], -1) + parts, -1)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        thresholds = torch.softmax(theta["logits"], -1).cumsum(-1)[..., :-1]
        chosen = (self.uniform((*shape[:-1], 1), generator) >= thresholds).sum(-1)[..., None, None]
        own = {
            name: torch.take_along_dim(value.expand(*shape[:-1], self.plan.components, -1), chosen, -2).squeeze(-2)
            for name, value in theta.items()
            if name != "logits"
        }
        z = self.normal(shape, generator)
        if self.full:
            x = own["loc"] + self.triangular.forward(z, own["entries"], own["log_scale"])[0]
        else:
            x = self.kernel.forward(z, own["loc"], own["log_scale"])[0]
        return self._with_gradient(x.detach(), theta) if torch.is_grad_enabled() else x

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        mean, _ = self._weighted(self.theta(context))
        return self.events(mean)

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        theta = self.theta(context)
        mean, root = self._weighted(theta)
        scale = torch.exp(soft_clamp(theta["log_scale"], self.plan.bound)).expand(theta["loc"].shape)
        # Within the components, and between them.
        if self.full:
            factor = root.unsqueeze(-1) * (self._below(theta) + torch.diag_embed(scale))
            within = factor.movedim((-3, -1), (0, 1)).flatten(0, 1)
        else:
            within = apart(torch.sqrt((root * scale).square().sum(-2)))
        return self.events(together([within, (root * (theta["loc"] - mean.unsqueeze(-2))).movedim(-2, 0)]))

    def _weighted(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean of vectors, and the roots of the weights ``(*batch, K, 1)``."""
        root = torch.softmax(theta["logits"], -1).sqrt().unsqueeze(-1)
        return (root.square() * theta["loc"]).sum(-2), root

    def tails(self, x: Tensor, theta: dict[str, Tensor]) -> Tails:
        weights = torch.log_softmax(theta["logits"], -1).unsqueeze(-1)
        lower, upper = normal_tails(self._noise(x, theta))
        return torch.logsumexp(weights + lower, -2), torch.logsumexp(weights + upper, -2)

    def at_odds(self, odds: Tensor, theta: dict[str, Tensor]) -> Tensor:
        def function(x: Tensor) -> Tails:
            lower, upper = self.tails(x, theta)
            return lower - upper, self.density(x, theta).unsqueeze(-1) - lower - upper

        return root(function, odds)

    def _noise(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return the noise of each element under each component, ``(*batch, K, D)``."""
        loc, log_scale = theta["loc"], theta["log_scale"]
        if not self.full:
            return self.kernel.inverse(x.unsqueeze(-2), loc, log_scale)[0]
        if loc.dim() > 2:
            return self.triangular.inverse(x.unsqueeze(-2) - loc, theta["entries"], log_scale)[0]
        # The same components for all rows: one product of matrices, many times as fast as a solve for each row.
        whitening = self.triangular.inverse_matrix(theta["entries"], log_scale)
        z = (finer(x) @ whitening.flatten(0, 1).mT).reshape(*x.shape[:-1], *whitening.shape[:2])
        return (z - (whitening @ finer(loc).unsqueeze(-1)).squeeze(-1)).to(x.dtype)

    def _of_noise(self, z: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
        return z, ladj - 0.5 * (z * z + math.log(2 * math.pi))

    def _below(self, theta: dict[str, Tensor]) -> Tensor:
        """Return of each component how the noise of an element moves the later ones, ``(*batch, K, D, D)``, strictly lower triangular."""
        scale = torch.exp(soft_clamp(theta["log_scale"], self.plan.bound))
        return shortened(strictly_lower(theta["entries"], self.elements), math.exp(self.plan.bound)) * scale.unsqueeze(-2)

    def _with_gradient(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        """Return ``x`` itself with the gradients that keep each ``F_d(x_d | x_1 ... x_{d-1})`` constant.

        Newton steps at the solution do not move the value; two of them carry first and second derivatives.
        """
        log_weight = torch.log_softmax(theta["logits"], -1)
        below = self._below(theta) if self.full else None
        found: list[Tensor] = []
        noise: list[Tensor] = []
        for element in range(x.shape[-1]):
            value, loc = x[..., element : element + 1], theta["loc"][..., element]
            log_scale = theta["log_scale"][..., element if theta["log_scale"].shape[-1] > 1 else 0]
            for earlier, z in enumerate(noise):
                loc = loc if below is None else loc + below[..., element, earlier] * z
            weight = torch.softmax(log_weight, -1)
            z = self.kernel.inverse(value, loc, log_scale)[0].detach()
            # The smaller tail, signed: near 1 a distribution function has lost what tells values apart.
            sign = torch.where((weight.detach() * torch.special.ndtr(z)).sum(-1, keepdim=True) < 0.5, 1.0, -1.0).to(z.dtype)
            fixed = None
            for _ in range(2):
                z, log_density = self._of_noise(*self.kernel.inverse(value, loc, log_scale))
                tail = sign * (weight * torch.special.ndtr(sign * z)).sum(-1, keepdim=True)
                fixed = tail.detach() if fixed is None else fixed
                log_slope = torch.logsumexp(torch.log_softmax(log_weight, -1) + log_density, -1, keepdim=True)
                value = value - (tail - fixed) * torch.exp(-log_slope)
            z, log_density = self._of_noise(*self.kernel.inverse(value, loc, log_scale))
            log_weight = log_weight + log_density
            noise.append(z)
            found.append(value)
        return torch.cat(found, -1)


class StartedMixtureModule(MixtureModule):
    """A built mixture that starts from clusters of the rows it is calibrated on."""

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        rows = self.flat(value.detach().double()).reshape(-1, self.elements)
        plan = self.plan
        if plan.start == "em":
            check_rows(rows, plan.components)
            share, loc, covariance = maximised(rows, plan.components, plan.covariance, plan.tied, plan.seed)
        else:
            share, loc, covariance = moments(rows, clusters(rows, plan.components, plan.start, plan.seed), plan.components, plan.tied)
        if self.full:
            factor = _cholesky(covariance)
            diagonal = factor.diagonal(dim1=-2, dim2=-1)
            log_scale, entries = diagonal.log(), below_of(factor / diagonal.unsqueeze(-2), math.exp(plan.bound))
        else:
            variance = covariance.diagonal(dim1=-2, dim2=-1)
            variance = variance.mean(-1, keepdim=True) if self.plan.covariance == "spherical" else variance
            log_scale, entries = 0.5 * variance.log(), variance.new_zeros(0)
        # A column that hardly varies has the least scale that there is.
        log_scale = soft_clamp_inverse(clamp(log_scale, -LIMIT * self.plan.bound, LIMIT * self.plan.bound), self.plan.bound)
        self.parameters_of.start_at(torch.cat([part.flatten() for part in (share.log(), loc, log_scale, entries)]))


LIMIT = 0.95
"""How much of the bound of a log-scale it starts with at most: at the bound itself nothing is learned."""


def _cholesky(covariance: Tensor) -> Tensor:
    """Return the factors of covariances, which may be singular: their diagonals count a little more."""
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    least = 1e-6 * diagonal.mean(-1, keepdim=True) + torch.finfo(covariance.dtype).tiny
    factor: Tensor = torch.linalg.cholesky(covariance + torch.diag_embed(least.expand(diagonal.shape)))
    return factor


def below_of(factor: Tensor, bound: float) -> Tensor:
    """Return the entries that `shortened` makes the rows below the diagonals of unit factors of, as far as the bound lets it."""
    rows = factor.tril(-1)
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    rows = rows * clamp(LIMIT * bound / clamp(length, min=torch.finfo(rows.dtype).tiny), max=1.0)
    rows = rows * torch.rsqrt(1 - (rows * rows).sum(-1, keepdim=True) / bound**2)
    row, column = torch.tril_indices(rows.shape[-1], rows.shape[-1], -1, device=rows.device)
    return rows[..., row, column]
