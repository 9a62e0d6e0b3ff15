"""Divergences between a flow and an unnormalised density, and estimators of their gradients from draws of the flow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.inference.density import Density
from pushforward.inference.weights import effective_size, log_mean_exp
from pushforward.train import options as check
from pushforward.train.randomness import Randomness

NAMES = ("reverse_kl", "forward_kl", "alpha")
ESTIMATORS = ("path", "total", "score")
MONITORED = 0.5
"""The largest order by which flows are compared: estimates of higher orders reward a flow that has lost a part of the target."""


@dataclass(frozen=True)
class Divergence:
    r"""The alpha divergence :math:`D_\alpha(p \| q) = \frac{1}{\alpha (\alpha - 1)} \left(\int p^\alpha q^{1 - \alpha} - 1\right)`.

    Its limit at 0 is the reverse KL divergence :math:`KL(q \| p)`, that at 1 the forward one, :math:`KL(p \| q)`, and at 2 it is half the
    variance of the weights :math:`w = p / q`. With draws :math:`x_i = g(z_i)` of the flow, shares :math:`\nu_i \propto w_i^\alpha` and
    :math:`\ell = \log q - \log p`, the gradient of its logarithm, on the scale of the KL divergences at both limits, is estimated by

    * ``"path"``: :math:`\sum_i \nu_i\, \nabla_x \ell(x_i)\, \partial_\theta g(z_i)`, the parameters inside :math:`\ell` held fixed;
    * ``"total"``: :math:`\frac{1}{1 - \alpha} \sum_i \nu_i\, \partial_\theta [\ell_\theta(g_\theta(z_i))]`, not for :math:`\alpha = 1`;
    * ``"score"``: :math:`-\frac{1}{\alpha} \sum_i \nu_i\, \partial_\theta \log q_\theta(x_i)`; for :math:`\alpha = 0`
      :math:`\frac{1}{n} \sum_i (\ell(x_i) - b_i)\, \partial_\theta \log q_\theta(x_i)`, with the mean of the other rows as baseline b.

    Sources: Variational Inference via Chi Upper Bound Minimization (Dieng et al., 2017); Renyi Divergence Variational Inference (Li,
    Turner, 2016); Sticking the Landing (Roeder et al., 2017); Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives
    (Tucker et al., 2019); Gradients Should Stay on Path (Vaitl et al., 2022).

    Args:
        order: :math:`\alpha`.
        estimator: ``"path"``, ``"total"`` or ``"score"``.
    """

    order: float
    estimator: str

    def bound(self, log_weights: Tensor, contexts: int = 1) -> tuple[Tensor, Tensor]:
        r"""Return a lower bound of the log-evidence, and its standard error.

        It is :math:`\frac{1}{\alpha} \log \frac{1}{n} \sum w^\alpha`, at 0 the mean of log w. The order is this divergence's, but at most
        `MONITORED`. Of rows of several contexts in turn, which have evidences of their own, the error is that within each.
        """
        order, n = min(self.order, MONITORED), max(len(log_weights), 1)
        if not order:
            return log_weights.mean(), _spread_within(log_weights, contexts) / math.sqrt(n)
        spread = n / effective_size(order * log_weights) - 1
        return log_mean_exp(order * log_weights) / order, torch.sqrt(torch.clamp(spread, min=0) / n) / order

    def objective(self, density: Density, index: Tensor, beta: float, random: Randomness) -> tuple[Tensor, Tensor, Tensor]:
        r"""Draw a row for each index and return what to differentiate, with :math:`p^\beta` as target.

        Returns:
            A number whose gradient is that of the divergence; the log-weights ``(n,)`` of the density itself; and which rows counted:
            those where the log-density and its gradient are finite.
        """
        flow, (sizes, context) = density.flow, density.rows(index)
        with random.layers():
            if self.estimator == "total":
                x, log_q = flow.rsample_and_log_prob(sizes, context, generator=random.generator)
            else:
                draw = flow.rsample if self.estimator == "path" else flow.sample
                x = draw(sizes, context, generator=random.generator)
            # Gradients with respect to draws alone: the parameters behind them, and inside log q, are out of sight.
            leaf = x.detach().requires_grad_(self.estimator != "score")
            if self.estimator != "total":
                log_q = flow.log_prob(leaf, context)
        log_p = density(leaf, context, random)
        counted = torch.isfinite(log_p.detach()) & torch.isfinite(log_q.detach())
        if self.estimator == "score":
            terms = log_q
        else:
            slope = -beta * _slope(log_p, leaf, density.owner)
            if self.estimator == "path":
                slope = slope + torch.autograd.grad(log_q.sum(), leaf, materialize_grads=True)[0]
            rows = slope.reshape(len(x), -1)
            counted = counted & torch.isfinite(rows).all(1)
            terms = (torch.where(counted[:, None], rows, 0) * x.reshape(len(x), -1)).sum(1)
            if self.estimator == "total":
                terms = terms + log_q
        shares = self._shares((beta * log_p - log_q).detach()[counted])
        return (shares * terms[counted]).sum(), (log_p - log_q).detach(), counted

    def _shares(self, log_weights: Tensor) -> Tensor:
        """Return what each row's term is multiplied by."""
        if self.order == 0:
            if self.estimator == "score":
                return (log_weights.mean() - log_weights) / max(len(log_weights) - 1, 1)
            return torch.full_like(log_weights, 1 / max(len(log_weights), 1))
        shares = torch.softmax(self.order * log_weights, 0)
        return shares / {"path": 1.0, "total": 1 - self.order, "score": -self.order}[self.estimator]


def _spread_within(log_weights: Tensor, contexts: int) -> Tensor:
    """Return the standard deviation of rows of contexts in turn about the mean of their own context; 0 where each has but one row."""
    each = len(log_weights) // contexts
    if contexts == 1:
        return log_weights.std(correction=0)
    if each < 2:
        return log_weights.new_zeros(())
    apart = log_weights[: each * contexts].reshape(each, contexts)
    return torch.sqrt((apart - apart.mean(0)).square().sum() / ((each - 1) * contexts))


def _slope(values: Tensor, x: Tensor, owner: str) -> Tensor:
    """Return the gradient of each row's value with respect to the row."""
    slope = torch.autograd.grad(values.sum(), x, allow_unused=True)[0] if values.requires_grad else None
    if slope is None:
        raise ValueError(
            f"{owner}: expected a log_density through which torch differentiates, got a result without a gradient (detached, flat, or "
            "from numpy?); write it in torch, or take estimator='score', which needs no gradient"
        )
    return slope


def make_divergence(owner: str, name: object, alpha: object, estimator: object) -> Divergence:
    """Return the divergence of a name; raise ValueError for names and combinations that do not exist."""
    check.choice(owner, "divergence", name, NAMES)
    check.choice(owner, "estimator", estimator, ESTIMATORS)
    if name != "alpha":
        if alpha is not None:
            raise ValueError(f"{owner}: expected alpha with divergence='alpha' only, got alpha={alpha!r} with {name!r}")
        alpha = 0.0 if name == "reverse_kl" else 1.0
    if not check.is_number(alpha) or not 0 <= float(alpha) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"{owner}: expected alpha to be a number of at least 0 (0 reverse KL, 1 forward KL, 2 chi-squared), got {alpha!r}")
    if alpha == 1 and estimator == "total":
        raise ValueError(f"{owner}: expected estimator 'path' or 'score' for the forward KL divergence, which has no 'total', got 'total'")
    return Divergence(float(alpha), str(estimator))  # type: ignore[arg-type]
