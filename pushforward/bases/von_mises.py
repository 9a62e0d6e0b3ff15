"""The von Mises distribution as a base, for angles."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.bases.elements import ElementsModule, expect_positive, per_element
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.fields import Numbers, Positive
from pushforward.core.layer import Shape
from pushforward.nets.net import NetLike

# A proposal is accepted with a probability of at least 0.65, so that all of them fail once in 10^11 draws.
PROPOSALS = 24


@dataclass(frozen=True, repr=False)
class VonMises(Base):
    r"""Independent von Mises distributions of angles in :math:`[-\pi, \pi]`, :math:`p(x) = e^{\kappa \cos(x - \mu)} / 2 \pi I_0(\kappa)`.

    Location (any angle, modulo :math:`2\pi`) and concentration are learned: two parameters an element, free or a function of the
    context; on events of any shape. Samples carry gradients to both.
    Source: Efficient Simulation of the von Mises Distribution (Best, Fisher, 1979); Implicit Reparameterization Gradients
    (Figurnov et al., 2018).

    Args:
        concentration: kappa at the start, a number or one for each feature.
        net: The network from context to the parameters (None: free parameters).
        bound: The largest absolute log-ratio of the concentration to its start.

    >>> VonMises().build((1,)).log_prob(torch.zeros(1)).exp() / VonMises().build((1,)).log_prob(torch.tensor([torch.pi])).exp()
    tensor(7.3891, grad_fn=<DivBackward0>)
    """

    concentration: Numbers = 1.0
    net: NetLike | None = None
    bound: Positive = 5.0

    def check(self) -> None:
        expect_positive(self, "concentration", self.concentration)

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return VonMisesModule(self, event_shape, context_shape)


class VonMisesModule(ElementsModule):
    """Built `VonMises`."""

    def __init__(self, plan: VonMises, event_shape: Shape, context_shape: Shape | None) -> None:
        elements = math.prod(event_shape)
        super().__init__(
            plan, event_shape, context_shape, {"loc": torch.zeros(elements), "log_concentration": torch.zeros(elements)}, plan.net
        )
        self.start: list[float] = per_element(plan, "concentration", plan.concentration, event_shape).log().tolist()
        self.bound = plan.bound
        self.facts = dataclasses.replace(self.facts, support=constraints.interval(-math.pi, math.pi))
        nodes, weights = np.polynomial.legendre.leggauss(64)
        self.rule: tuple[list[float], list[float]] = (0.5 * (nodes + 1)).tolist(), (0.5 * weights).tolist()

    def density(self, x: Tensor, theta: dict[str, Tensor]) -> Tensor:
        angle, outside = sets.enter(x, (-math.pi, math.pi), closed=True)
        assert outside is not None
        log_density = _log_density(angle - theta["loc"], self._concentration(theta)).sum(-1)
        return torch.where(sets.any_element(outside, 1), -math.inf, log_density)

    def draw_elements(self, shape: Shape, theta: dict[str, Tensor], generator: torch.Generator | None) -> Tensor:
        kappa = self._concentration(theta)
        with torch.no_grad():
            angle = self._propose(shape, kappa, generator)
        if torch.is_grad_enabled():
            angle = self._with_gradient(angle, kappa)
        return torch.remainder(angle + theta["loc"] + math.pi, 2 * math.pi) - math.pi

    def _concentration(self, theta: dict[str, Tensor]) -> Tensor:
        ratio = theta["log_concentration"]
        return torch.exp(torch.tensor(self.start, dtype=ratio.dtype, device=ratio.device) + numerics.soft_clamp(ratio, self.bound))

    def _propose(self, shape: Shape, kappa: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw by rejection from a wrapped Cauchy: the first accepted of a fixed number of proposals."""
        # The paper's tau and rho in a form that does not cancel for a small concentration.
        tau = 1 + torch.sqrt(1 + 4 * kappa * kappa)
        rho = 2 * kappa / (torch.sqrt(tau) * (torch.sqrt(tau) + math.sqrt(2)))
        angle, done = kappa.new_zeros(shape), torch.zeros(shape, dtype=torch.bool, device=kappa.device)
        for _ in range(PROPOSALS):
            tangent = (1 - rho) / (1 + rho) * torch.tan(math.pi * (self.uniform(shape, generator) - 0.5))
            excess = kappa * ((1 - rho) ** 2 / (2 * rho) + 2 / (1 + tangent**-2))
            angle = torch.where(done, angle, 2 * torch.atan(tangent))
            done = done | (torch.log(excess) + 1 - excess >= torch.log(self.uniform(shape, generator)))
        return angle

    def _with_gradient(self, angle: Tensor, kappa: Tensor) -> Tensor:
        """Return ``angle`` itself with the gradients that keep its distribution function constant, as in `MixtureOfNormals`."""
        nodes, weights = (torch.tensor(v, dtype=angle.dtype, device=angle.device) for v in self.rule)

        def integral(start: Tensor, stop: Tensor) -> Tensor:
            between = start.unsqueeze(-1) + (stop - start).unsqueeze(-1) * nodes
            return (stop - start) * (torch.exp(_log_density(between, kappa.unsqueeze(-1))) * weights).sum(-1)

        centre = torch.zeros_like(angle)
        # From the middle or from the end, whichever is nearer in probability: a small tail keeps its digits.
        far = torch.abs(integral(centre, angle)).detach() > 0.25
        start, fixed, value = torch.where(far, torch.copysign(centre + math.pi, angle), centre), None, angle
        for _ in range(2):
            tail = integral(start, value)
            fixed = tail.detach() if fixed is None else fixed
            value = value - (tail - fixed) * torch.exp(-_log_density(value, kappa))
        return value


def _log_density(angle: Tensor, kappa: Tensor) -> Tensor:
    half = torch.sin(0.5 * angle)
    return -2 * kappa * half * half - torch.log(2 * math.pi * torch.special.i0e(kappa))
