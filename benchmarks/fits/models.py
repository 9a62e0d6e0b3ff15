"""Posteriors of known evidence, as Pyro models and as log-densities of unconstrained values: for guides and for `fit_target`.

Eight schools: Bayesian Data Analysis (Gelman et al., 2013); the funnel: Slice Sampling (Neal, 2003).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pyro
import torch
from pyro import distributions as dist
from sklearn.datasets import load_breast_cancer
from torch import Tensor

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
SPREAD = 5.0
"""Deviation of the mean effect, and scale of the half-Cauchy of the effects' deviation."""
FEATURES, NECK = 10, 3.0
"""Of the funnel."""


class Model(NamedTuple):
    """A Pyro model; the logarithm of its evidence; and rough draws and the log-density of its latent values, all of them real."""

    model: Callable[[], None]
    log_evidence: float
    rough: Callable[[int], Tensor]
    log_density: Callable[[Tensor], Tensor]


def normal(x: Tensor, mean: Tensor | float, log_deviation: Tensor | float) -> Tensor:
    """Return the log-densities of normal distributions."""
    log_deviation = torch.as_tensor(log_deviation)
    return -0.5 * ((x - mean) * (-log_deviation).exp()) ** 2 - log_deviation - 0.5 * math.log(2 * math.pi)


def eight_schools() -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, SPREAD))
    deviation = pyro.sample("deviation", dist.HalfCauchy(SPREAD))
    with pyro.plate("schools", len(EFFECTS)):
        effect = pyro.sample("effect", dist.Normal(mean, deviation))
        pyro.sample("observed", dist.Normal(effect, ERRORS), obs=EFFECTS)


def rough_schools(n: int) -> Tensor:
    """Draw from the prior, but for the tail of the deviation."""
    mean, log_deviation = SPREAD * torch.randn(n, 1), math.log(SPREAD) + torch.randn(n, 1)
    return torch.cat([mean, log_deviation, mean + log_deviation.exp() * torch.randn(n, len(EFFECTS))], 1)


def log_schools(z: Tensor) -> Tensor:
    mean, log_deviation, effect = z[:, :1], z[:, 1:2], z[:, 2:]
    half_cauchy = math.log(2 / (math.pi * SPREAD)) - torch.log1p((log_deviation.exp() / SPREAD) ** 2) + log_deviation
    given = normal(effect, mean, log_deviation) + normal(EFFECTS, effect, ERRORS.log())
    return (normal(mean, 0.0, math.log(SPREAD)) + half_cauchy).squeeze(1) + given.sum(1)


def evidence_of_schools() -> float:
    """Integrate the effects and their mean, which are normal, out of the joint density, and the deviation by the midpoint rule."""
    line = torch.linspace(-12.0, 12.0, 20_001, dtype=torch.float64)
    covariance = SPREAD**2 + torch.diag_embed(ERRORS.double() ** 2 + line.exp()[:, None] ** 2)
    given = torch.distributions.MultivariateNormal(torch.zeros(8, dtype=torch.float64), covariance).log_prob(EFFECTS.double())
    prior = torch.distributions.HalfCauchy(torch.tensor(SPREAD, dtype=torch.float64)).log_prob(line.exp()) + line
    return (torch.logsumexp(given + prior, 0) + math.log(line[1] - line[0])).item()


def funnel() -> None:
    width = pyro.sample("width", dist.Normal(0.0, NECK))
    with pyro.plate("features", FEATURES - 1):
        pyro.sample("values", dist.Normal(0.0, (width / 2).exp()))


def log_funnel(z: Tensor) -> Tensor:
    return normal(z[:, 0], 0.0, math.log(NECK)) + normal(z[:, 1:], 0.0, z[:, :1] / 2).sum(1)


def table() -> tuple[Tensor, Tensor]:
    """Return the standardised columns of scikit-learn's breast cancers, and whether each is benign."""
    x, y = load_breast_cancer(return_X_y=True)
    return torch.as_tensor((x - x.mean(0)) / x.std(0)).float(), torch.as_tensor(y).float()


COLUMNS, BENIGN = table()


def logistic() -> None:
    bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
    with pyro.plate("columns", COLUMNS.shape[1]):
        weights = pyro.sample("weights", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(COLUMNS)):
        pyro.sample("observed", dist.Bernoulli(logits=weights @ COLUMNS.T + bias), obs=BENIGN)


def log_logistic(z: Tensor) -> Tensor:
    signs = (2 * BENIGN - 1).to(z)
    logits = z[:, 1:] @ COLUMNS.T.to(z) + z[:, :1]
    return torch.nn.functional.logsigmoid(signs * logits).sum(1) + normal(z, 0.0, 0.0).sum(1)


def student(n: int, mean: Tensor, factor: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Draw from a Student t with this mean and Cholesky factor, and return the log-densities too."""
    features = len(mean)
    normals, chi2 = torch.randn(n, features, dtype=torch.float64), torch.distributions.Chi2(degrees).sample((n, 1)).double()
    t = normals * (degrees / chi2).sqrt()
    log_norm = math.lgamma((degrees + features) / 2) - math.lgamma(degrees / 2) - features / 2 * math.log(degrees * math.pi)
    log_density = log_norm - factor.diagonal().log().sum() - (degrees + features) / 2 * torch.log1p((t**2).sum(1) / degrees)
    return mean + t @ factor.T, log_density


def evidence_of_logistic(draws: int = 400_000) -> tuple[float, float]:
    """Weigh draws of a Student t around the mode, twice of one with the moments of those before; return the evidence and its error."""
    torch.manual_seed(0)
    mean = torch.zeros(COLUMNS.shape[1] + 1, dtype=torch.float64)
    for _ in range(50):  # Newton's steps to the mode
        at = mean.requires_grad_()
        gradient = torch.autograd.grad(log_logistic(at[None])[0], at)[0]
        hessian = torch.autograd.functional.hessian(lambda w: log_logistic(w[None])[0], at)
        mean = (at - torch.linalg.solve(hessian, gradient)).detach()
    covariance = torch.linalg.inv(-hessian)
    for count in (draws // 10, draws // 10, draws):
        z, log_density = student(count, mean, torch.linalg.cholesky(covariance), 15.0)
        log_weights = torch.cat([log_logistic(part) for part in z.split(20_000)]) - log_density
        weights = torch.softmax(log_weights, 0)
        mean = weights @ z
        covariance = ((z - mean) * weights[:, None]).T @ (z - mean)
    error = ((weights**2).sum() - 1 / draws).sqrt()
    return (torch.logsumexp(log_weights, 0) - math.log(draws)).item(), error.item()


MODELS = {
    "eight schools": Model(eight_schools, evidence_of_schools(), rough_schools, log_schools),
    "funnel": Model(funnel, 0.0, lambda n: torch.randn(n, FEATURES), log_funnel),
    "logistic regression": Model(logistic, -55.2254, lambda n: torch.randn(n, COLUMNS.shape[1] + 1), log_logistic),
}
"""The evidence of the last is `evidence_of_logistic`'s, within 0.002."""


if __name__ == "__main__":
    print(evidence_of_logistic())
