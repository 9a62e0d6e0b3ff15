"""Simulators whose posteriors are known: draws of the posterior given an observation, with their log-densities.

Two moons, SLCP and the linear Gaussian of Benchmarking Simulation-Based Inference (Lueckmann et al., 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

Posterior = Callable[[Tensor, int], tuple[Tensor, Tensor]]
CANDIDATES = 100_000
"""Draws by which what the prior cuts off is measured."""


class Task(NamedTuple):
    """A prior, a simulator ``(n, D) -> (n, d)``, and a function from one observation and a number to exact draws and log-densities."""

    prior: Distribution
    simulate: Callable[[Tensor], Tensor]
    posterior: Posterior


def noise_of_moons(n: int) -> Tensor:
    angle, radius = math.pi * (torch.rand(n) - 0.5), 0.1 + 0.01 * torch.randn(n)
    return torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)


def two_moons(theta: Tensor) -> Tensor:
    return noise_of_moons(len(theta)) + torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2)


def moons_given(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Draw noise, and solve x = noise + shift(theta), which has two solutions and keeps volumes; the prior cuts some off."""
    noise = noise_of_moons(CANDIDATES)
    shift = x - noise
    signs = 2.0 * torch.randint(2, (CANDIDATES,)) - 1
    first, second = -signs * shift[:, 0], shift[:, 1]
    theta = torch.stack([first - second, first + second], 1) / math.sqrt(2)
    radius = (noise - torch.tensor([0.25, 0.0])).norm(dim=1)
    log_density = torch.distributions.Normal(0.1, 0.01).log_prob(radius) - radius.log() - math.log(math.pi) - math.log(2)
    inside = (theta.abs() < 1).all(1) & (shift[:, 0] < 0) & (radius > 0)
    return theta[inside][:n], log_density[inside][:n] - inside.double().mean().log().float()


def slcp(theta: Tensor) -> Tensor:
    """Four points of a normal in the plane: its mean, roots of its deviations, and the inverse tanh of its correlation."""
    first, second, correlation = theta[:, 2] ** 2, theta[:, 3] ** 2, theta[:, 4].tanh()
    a, b = torch.randn(2, len(theta), 4)
    one = theta[:, :1] + first[:, None] * a
    two = theta[:, 1:2] + second[:, None] * (correlation[:, None] * a + (1 - correlation**2).sqrt()[:, None] * b)
    return torch.stack([one, two], 2).flatten(1)


def log_slcp(theta: Tensor, x: Tensor) -> Tensor:
    """Return log p(x | theta) of one observation."""
    first, second, correlation = theta[:, 2] ** 2, theta[:, 3] ** 2, theta[:, 4].tanh()
    points = x.reshape(4, 2)
    a = (points[:, 0] - theta[:, :1]) / first[:, None]
    b = (points[:, 1] - theta[:, 1:2]) / second[:, None]
    rest = 1 - correlation**2
    form = (a**2 + b**2 - 2 * correlation[:, None] * a * b).sum(1) / rest
    return -0.5 * form - 4 * math.log(2 * math.pi) - 4 * (first * second).log() - 2 * rest.log()


def slcp_given(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Draw by importance: scales from a grid, on which the mean has been integrated out, and the mean given them, a normal."""
    cells = 96
    line = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    grid = torch.cartesian_prod(3 * line, 3 * line, 6 * line - 3)
    points = x.double().reshape(4, 2)
    mean = points.mean(0)
    scales = grid.new_zeros(len(grid), 5)
    scales[:, :2], scales[:, 2:] = mean, grid
    # At its own mean the likelihood is largest; over the mean it integrates to that times the volume of the normal.
    volume = 2 * (grid[:, 0] * grid[:, 1]).log() + 0.5 * (1 - grid[:, 2].tanh() ** 2).log() + math.log(2 * math.pi / 4)
    weights = torch.softmax(log_slcp(scales, points) + volume, 0)
    drawn = torch.multinomial(weights, CANDIDATES, replacement=True)
    scale = grid[drawn] + (torch.rand(CANDIDATES, 3).double() - 0.5) * torch.tensor([3.0, 3.0, 6.0]) / cells
    log_cell = weights[drawn].log() - math.log(3 * 3 * 6 / cells**3)
    first, second, correlation = scale[:, 0] ** 2, scale[:, 1] ** 2, scale[:, 2].tanh()
    a, b = torch.randn(2, CANDIDATES).double()
    centre = torch.stack([mean[0] + first * a / 2, mean[1] + second * (correlation * a + (1 - correlation**2).sqrt() * b) / 2], 1)
    log_mean = -0.5 * (a**2 + b**2) - math.log(2 * math.pi / 4) - (first * second).log() - 0.5 * (1 - correlation**2).log()
    theta = torch.cat([centre, scale], 1)
    log_weight = log_slcp(theta, points) - log_cell - log_mean
    log_weight[(theta.abs() >= 3).any(1)] = -math.inf
    log_evidence = torch.logsumexp(log_weight, 0) - math.log(CANDIDATES)  # of positive scales, a quarter of all
    kept = torch.multinomial(torch.softmax(log_weight, 0), n, replacement=True)
    theta = theta[kept]
    log_density = log_slcp(theta, points) - log_evidence - math.log(4)
    theta[:, 2:4] *= 2.0 * torch.randint(2, (n, 2)) - 1
    return theta.float(), log_density.float()


VARIANCE = 0.1
"""Of the linear Gaussian's prior, and of its noise."""


def linear(theta: Tensor) -> Tensor:
    return theta + math.sqrt(VARIANCE) * torch.randn_like(theta)


def linear_given(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Draw from a normal of half the observation and half the variance."""
    exact = MultivariateNormal(x.reshape(-1) / 2, VARIANCE / 2 * torch.eye(x.numel()))
    theta = exact.sample((n,))
    return theta, exact.log_prob(theta)


def box(side: float, features: int) -> BoxUniform:
    return BoxUniform(-side * torch.ones(features), side * torch.ones(features))


TASKS = {
    "two moons": Task(box(1.0, 2), two_moons, moons_given),
    "linear Gaussian": Task(MultivariateNormal(torch.zeros(10), VARIANCE * torch.eye(10)), linear, linear_given),
    "SLCP": Task(box(3.0, 5), slcp, slcp_given),
}
