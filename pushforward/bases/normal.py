"""Normal bases: standard, diagonal and of full covariance."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.bases.elements import ElementsModule
from pushforward.bases.moments import apart, images
from pushforward.bases.tails import Tails, normal_quantile, normal_tails
from pushforward.core.base import Base, BaseModule
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import Positive
from pushforward.core.layer import Shape
from pushforward.kernels.affine import Affine
from pushforward.kernels.linear import Linear
from pushforward.nets.net import NetLike


@dataclass(frozen=True, repr=False)
class StandardNormal(Base):
    r"""Independent standard normals, :math:`\mathcal{N}(0, I)`, on events of any shape. No parameters.

    >>> StandardNormal().build((2,)).log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return NormalModule(self, event_shape, context_shape)


@dataclass(frozen=True, repr=False)
class DiagNormal(Base):
    r"""Independent normals, :math:`\mathcal{N}(\mu, \sigma^2)`, whose parameters are learned: free, or a function of the context.

    Two parameters an element; it starts as the standard normal.

    Args:
        net: The network from context to mu and log-sigma (None: free parameters).
        bound: The largest absolute log-sigma, as in `Affine`.

    >>> sorted(name for name, _ in DiagNormal().build((2,)).named_parameters())
    ['parameters_of.offset']
    """

    net: NetLike | None = None
    bound: Positive = 3.0

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return NormalModule(self, event_shape, context_shape, Affine(self.bound), self.net)


@dataclass(frozen=True, repr=False)
class FullNormal(Base):
    r"""A normal of full covariance, :math:`\mathcal{N}(\mu, L D^2 L^T)`, with L unit triangular and D diagonal, both learned.

    The event, of any shape, is one vector of D elements: :math:`D (D + 3) / 2` parameters, free or a function of the context. The
    factors are bounded smoothly as in `Linear`, so the covariance always has an inverse. It starts as the standard normal.

    Args:
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log of a diagonal entry.

    >>> FullNormal().build((3,)).parameters_of.size
    9
    """

    net: NetLike | None = None
    bound: Positive = 3.0

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return NormalModule(self, event_shape, context_shape, Linear(bound=self.bound), self.net)


class NormalModule(ElementsModule):
    """A standard normal, or one that a kernel has moved."""

    facts = BaseFacts(gaussian=True)

    def __init__(
        self,
        plan: Base,
        event_shape: Shape,
        context_shape: Shape | None,
        kernel: Affine | Linear | None = None,
        net: NetLike | None = None,
    ) -> None:
        init = kernel.init((math.prod(event_shape),)) if kernel else {}
        init.pop("upper", None)  # a covariance needs one triangle only
        super().__init__(plan, event_shape, context_shape, init, net, kernel is None or kernel.event_dim == 0)
        self.kernel = kernel
        self.facts = dataclasses.replace(self.facts, has_tails=kernel is None or kernel.event_dim == 0)

    def theta(self, context: Tensor | None) -> dict[str, Tensor]:
        theta = super().theta(context)
        return {**theta, "upper": torch.zeros_like(theta["lower"])} if "lower" in theta else theta

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        if self.kernel is None:
            return standard_normal(x)
        z, ladj = self.kernel.inverse(x, **theta)
        return standard_normal(z) + (ladj if self.kernel.event_dim else ladj.sum(-1))

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        z = self.normal(shape, generator)
        return z if self.kernel is None else self.kernel.forward(z, **theta)[0]

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        return self.events(self._moved(self.filled(0.0), self.theta(context))[0])

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        theta = self.theta(context)
        return self.events(images(lambda z: self._moved(z, theta)[0], self.filled(0.0), apart(self.filled(1.0))))

    def element_entropy(self, theta: dict[str, Tensor]) -> Tensor | None:
        return self._moved(self.filled(0.0), theta)[1] + 0.5 * math.log(2 * math.pi * math.e) * self.elements

    def _moved(self, z: Tensor, theta: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the kernel makes of standard normal vectors, and its log-determinant."""
        if self.kernel is None:
            return z, z.new_zeros(z.shape[:-1])
        x, ladj = self.kernel.forward(z, **theta)
        return x, ladj if self.kernel.event_dim else ladj.sum(-1)

    def tails(self, x: Tensor, theta: dict[str, Tensor]) -> Tails:
        return normal_tails(x if self.kernel is None else self.kernel.inverse(x, **theta)[0])

    def at_odds(self, odds: Tensor, theta: dict[str, Tensor]) -> Tensor:
        z = normal_quantile(odds)
        return z if self.kernel is None else self.kernel.forward(z, **theta)[0]


def standard_normal(z: Tensor) -> Tensor:
    """Return the log-density of standard normal vectors."""
    # One operator for what would be two: the constant minus half the sum.
    return torch.rsub((z * z).sum(-1), -0.5 * math.log(2 * math.pi) * z.shape[-1], alpha=0.5)
