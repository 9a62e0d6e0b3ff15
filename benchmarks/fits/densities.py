"""Eight densities with a known formula and exact draws, in two to five dimensions: what a fit has lost is known without a reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet, StudentT

from pushforward import targets

Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Density:
    """A density.

    Args:
        features: Number of features.
        draw: Returns ``(count, features)`` in float64.
        log_prob: The log-density of such rows.
    """

    features: int
    draw: Draw
    log_prob: Callable[[Tensor], Tensor]


def of_target(target: targets.Target) -> Density:
    """Return a target of the library."""
    return Density(target.length, lambda count, g: target.sample((count,), generator=g).double(), target.log_prob)


def numbers(generator: torch.Generator) -> np.random.Generator:
    """Return numpy's generator, with a seed from torch's."""
    return np.random.default_rng(int(torch.randint(0, 2**31, (), generator=generator)))


FREEDOM = torch.tensor([2.0, 3.0, 4.0, 5.0, 8.0], dtype=torch.float64)
MIXING = torch.eye(5, dtype=torch.float64) + 0.4 * torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()
SHARES = torch.tensor([0.8, 1.5, 2.0, 3.0], dtype=torch.float64)


def student(count: int, generator: torch.Generator) -> Tensor:
    """Draw five Student t variables of 2 to 8 degrees of freedom, mixed linearly."""
    return torch.from_numpy(numbers(generator).standard_t(FREEDOM.numpy(), (count, 5))) @ MIXING.T


def log_student(x: Tensor) -> Tensor:
    """Return the log-density of `student`."""
    alone = torch.linalg.solve(MIXING, x.T).T
    return StudentT(FREEDOM).log_prob(alone).sum(-1) - torch.linalg.slogdet(MIXING)[1]


def dirichlet(count: int, generator: torch.Generator) -> Tensor:
    """Draw three of four shares that sum to one."""
    return torch.from_numpy(numbers(generator).dirichlet(SHARES.numpy(), count)[:, :3].copy())


def log_dirichlet(x: Tensor) -> Tensor:
    """Return the log-density of `dirichlet`."""
    rest = torch.clamp(1 - x.sum(-1, keepdim=True), min=torch.finfo(x.dtype).tiny)
    return Dirichlet(SHARES).log_prob(torch.cat([x, rest], -1) / (x.sum(-1, keepdim=True) + rest))


DENSITIES = {
    "banana": of_target(targets.Banana()),
    "eight Gaussians": of_target(targets.GaussianRing(8)),
    "rings": of_target(targets.Circles()),
    "checkerboard": of_target(targets.Checkerboard()),
    "spirals": of_target(targets.Spirals()),
    "Student t, mixed": Density(5, student, log_student),
    "Dirichlet": Density(3, dirichlet, log_dirichlet),
    "funnel": of_target(targets.Funnel()),
}
TRAINING, UNSEEN = 50_000, 20_000
"""Rows to train on, and to score on."""


def rows(density: Density, seed: int) -> tuple[Tensor, Tensor, float]:
    """Return rows to train on, rows to score on, in float32, and the mean log-density of the latter."""
    generator = torch.Generator().manual_seed(seed)
    train, unseen = density.draw(TRAINING, generator).float(), density.draw(UNSEEN, generator).float()
    return train, unseen, density.log_prob(unseen.double()).mean().item()
