"""Bases with tails of another weight than the normal's: Student's t and the generalized normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.bases.elements import ElementsModule, expect_positive, per_element
from pushforward.core import numerics
from pushforward.core.base import Base, BaseModule
from pushforward.core.fields import Numbers, Positive
from pushforward.core.layer import Shape
from pushforward.core.numerics import clamp
from pushforward.kernels.affine import Affine
from pushforward.nets.net import NetLike


@dataclass(frozen=True, repr=False)
class StudentT(Base):
    r"""Independent Student's t with learned location, scale and weight of the tails.

    .. math:: p(x) = \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2}) \sqrt{\nu\pi}\,\sigma}
        \Big(1 + \frac{z^2}{\nu}\Big)^{-\frac{\nu + 1}{2}}, \quad z = \frac{x - \mu}{\sigma}

    Three parameters an element (two when ``learn_df`` is False), free or a function of the context; on events of any shape. Samples
    carry gradients to all of them.
    Source: Tails of Lipschitz Triangular Flows (Jaini et al., 2020); Polar Generation of Random Variates with the t-Distribution
    (Bailey, 1994).

    Args:
        df: The degrees of freedom, a number or one for each feature: where they start, or stay.
        learn_df: Whether they are learned, within a factor of :math:`e^{\pm b}`.
        net: The network from context to the parameters (None: free parameters).
        bound: b, the largest absolute log-scale, as in `Affine`, and log-ratio of ``df``.

    >>> StudentT(df=1.0).build((2,)).log_prob(torch.zeros(2)).exp().round(decimals=3)
    tensor(0.1010, grad_fn=<RoundBackward1>)
    """

    df: Numbers = 5.0
    learn_df: bool = True
    net: NetLike | None = None
    bound: Positive = 3.0

    def check(self) -> None:
        expect_positive(self, "df", self.df)

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return StudentModule(self, event_shape, context_shape, "df", self.df, self.learn_df, self.net, self.bound)


@dataclass(frozen=True, repr=False)
class GeneralizedNormal(Base):
    r"""Independent generalized normals, from Laplace (power 1) through normal (2) towards uniform.

    .. math:: p(x) = \frac{\beta}{2 \sigma \Gamma(1 / \beta)} e^{-|z|^\beta}, \quad z = \frac{x - \mu}{\sigma}

    Three parameters an element (two when ``learn_power`` is False), free or a function of the context; on events of any shape. Samples
    carry gradients to all of them.
    Source: A Generalized Normal Distribution (Nadarajah, 2005).

    Args:
        power: beta, a number or one for each feature: where it starts, or stays.
        learn_power: Whether it is learned, within a factor of :math:`e^{\pm b}`.
        net: The network from context to the parameters (None: free parameters).
        bound: b, the largest absolute log-scale, as in `Affine`, and log-ratio of ``power``.

    >>> GeneralizedNormal(power=1.0).build((1,)).log_prob(torch.zeros(1)).exp()
    tensor(0.5000, grad_fn=<ExpBackward0>)
    """

    power: Numbers = 2.0
    learn_power: bool = True
    net: NetLike | None = None
    bound: Positive = 3.0

    def check(self) -> None:
        expect_positive(self, "power", self.power)

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return GeneralizedModule(self, event_shape, context_shape, "power", self.power, self.learn_power, self.net, self.bound)


class LocationScaleModule(ElementsModule):
    """Independent elements of a standard density, moved by an affine kernel, with one more parameter that shapes the tails."""

    def __init__(
        self,
        plan: Base,
        event_shape: Shape,
        context_shape: Shape | None,
        name: str,
        start: float | Sequence[float],
        learn: bool,
        net: NetLike | None,
        bound: float,
    ) -> None:
        self.kernel = Affine(bound)
        elements = (math.prod(event_shape),)
        init = self.kernel.init(elements) | ({f"log_{name}": torch.zeros(elements)} if learn else {})
        super().__init__(plan, event_shape, context_shape, init, net, independent=True)
        self.start: list[float] = per_element(plan, name, start, event_shape).log().tolist()

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        z, ladj = self.kernel.inverse(x, theta["loc"], theta["log_scale"])
        return (self.standard_density(z, self._shape(theta)) + ladj).sum(-1)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        return self.kernel.forward(self.standard_draw(shape, self._shape(theta), generator), theta["loc"], theta["log_scale"])[0]

    def _shape(self, theta: dict[str, Tensor]) -> Tensor:
        """Return the parameter that shapes the tails, one for each element."""
        loc, _, *ratio = theta.values()
        start = torch.tensor(self.start, dtype=loc.dtype, device=loc.device)
        return torch.exp(start + numerics.soft_clamp(ratio[0], self.kernel.bound) if ratio else start)

    def element_moments(self, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        mean, variance = self.standard_moments(self._shape(theta))
        loc, ladj = self.kernel.forward(mean, theta["loc"], theta["log_scale"])
        return loc, torch.exp(ladj) * torch.sqrt(variance)

    def element_entropy(self, theta: dict[str, Tensor]) -> Tensor | None:
        shape = self._shape(theta)
        ladj = self.kernel.forward(torch.zeros_like(shape), theta["loc"], theta["log_scale"])[1]
        return (self.standard_entropy(shape) + ladj).sum(-1)

    def standard_density(self, z: Tensor, shape: Tensor) -> Tensor:
        """Return the log-density at each element."""
        raise NotImplementedError

    def standard_moments(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each element; infinite or NaN where there is none."""
        raise NotImplementedError

    def standard_entropy(self, shape: Tensor) -> Tensor:
        """Return the entropy of each element."""
        raise NotImplementedError

    def standard_draw(self, size: Shape, shape: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw each element."""
        raise NotImplementedError


class StudentModule(LocationScaleModule):
    """Built `StudentT`."""

    def standard_density(self, z: Tensor, shape: Tensor) -> Tensor:
        constant = torch.lgamma(0.5 * (shape + 1)) - torch.lgamma(0.5 * shape) - 0.5 * torch.log(math.pi * shape)
        # A hypotenuse, since a heavy tail has values whose square overflows.
        return constant - (shape + 1) * torch.log(torch.hypot(z * torch.rsqrt(shape), torch.ones_like(z)))

    def standard_draw(self, size: Shape, shape: Tensor, generator: torch.Generator | None) -> Tensor:
        u, angle = self.uniform(size, generator), self.uniform(size, generator)
        # Bailey's polar method: radius^2 = df (u^(-2/df) - 1), in logarithms, with u kept off both ends.
        eps = torch.finfo(u.dtype).eps
        growth = -2 * torch.log(u * (1 - eps) + 0.5 * eps) / shape
        radius = torch.exp(0.5 * (torch.log(shape) + growth + torch.log(-torch.expm1(-growth))))
        return radius * torch.cos(2 * math.pi * angle)

    def standard_moments(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.where(shape > 1, 0.0, math.nan)
        return mean, torch.where(shape > 2, shape / torch.where(shape > 2, shape - 2, 1.0), mean + math.inf)

    def standard_entropy(self, shape: Tensor) -> Tensor:
        half, one = 0.5 * shape, torch.full_like(shape, 0.5)
        log_beta = torch.lgamma(half) + torch.lgamma(one) - torch.lgamma(half + 0.5)
        return (half + 0.5) * (torch.digamma(half + 0.5) - torch.digamma(half)) + 0.5 * torch.log(shape) + log_beta


class GeneralizedModule(LocationScaleModule):
    """Built `GeneralizedNormal`."""

    def standard_density(self, z: Tensor, shape: Tensor) -> Tensor:
        size = clamp(torch.abs(z), min=torch.finfo(z.dtype).tiny)
        return torch.log(0.5 * shape) - torch.lgamma(1 / shape) - torch.exp(shape * torch.log(size))

    def standard_draw(self, size: Shape, shape: Tensor, generator: torch.Generator | None) -> Tensor:
        # |z|^beta is Gamma(1/beta), which underflows; |z| is also a uniform times the root of Gamma(1 + 1/beta), which does not.
        gamma = torch._standard_gamma((1 + 1 / shape).expand(size), generator=generator)
        return (2 * self.uniform(size, generator) - 1) * torch.exp(torch.log(gamma) / shape)

    def standard_moments(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(shape), torch.exp(torch.lgamma(3 / shape) - torch.lgamma(1 / shape))

    def standard_entropy(self, shape: Tensor) -> Tensor:
        return 1 / shape - torch.log(0.5 * shape) + torch.lgamma(1 / shape)
