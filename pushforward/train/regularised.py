"""Likelihood with what the ways of a continuous flow cost: its loss, and the training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core import numerics
from pushforward.data.rows import Rows
from pushforward.flow.flow import Flow
from pushforward.layers.continuous import ContinuousModule
from pushforward.train.likelihood import Training
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.objective import Likelihood, check_loss


class RegularisedLoss(nn.Module):
    """Mean negative log-density of rows, and what their ways cost: see `Likelihood`.

    Args:
        flow: The flow, whose parameters the module shares.
        plan: Which costs count how much.

    Raises:
        TypeError: No flow, or no plan.
        ValueError: The flow has no `Continuous` layer in its list of layers; other than one weight a row; what `Flow.log_prob` raises.

    >>> from pushforward.flows import CNF
    >>> RegularisedLoss(CNF(2), Likelihood(kinetic=0.1))(torch.zeros(5, 2))
    tensor(1.8379, grad_fn=<AddBackward0>)
    """

    def __init__(self, flow: Flow, plan: Likelihood) -> None:
        super().__init__()
        check_loss("RegularisedLoss", flow, plan, Likelihood)
        self.flow, self.plan = flow, plan

    def forward(self, value: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the mean over rows ``(*batch, *event)``, each times its weight ``(*batch)`` where there are weights."""
        log_prob, costs = self.of_rows(value, context)
        if weights is not None and weights.shape != log_prob.shape:
            raise ValueError(f"RegularisedLoss: expected one weight a row, of shape {tuple(log_prob.shape)}, got {tuple(weights.shape)}")
        each = self.plan.kinetic * costs[..., 0] + self.plan.jacobian * costs[..., 1]
        return torch.mean(-log_prob if weights is None else -weights * log_prob) + torch.mean(each if weights is None else weights * each)

    def of_rows(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the log-densities ``(*batch)`` of rows, and the two costs of their ways ``(*batch, 2)``."""
        inner = self.flow._admit(value, self.flow.event_shape, context)
        x, total, costs = numerics.working(value), torch.zeros(()), torch.zeros(2)
        for layer in reversed(list(self.flow.transform.leaves())):
            if isinstance(layer, ContinuousModule):
                x, ladj, cost = layer.pull_with_costs(x, inner)
                costs = costs.to(cost) + cost
            else:
                x, ladj = layer.pull(x, inner)
            total = total.to(ladj) + ladj
        return self.flow.base.score(x, inner) + total, costs


class RegularisedTraining(Training):
    """One run of likelihood with costs; held-out rows are scored by their nats alone.

    Args:
        plan: Which costs count how much.
        arguments: Those of `Training`.
    """

    def __init__(self, plan: Likelihood, *arguments: Any) -> None:
        self.plan = plan
        super().__init__(*arguments)
        self.nats = NegativeLogLikelihood(self.flow)

    def make_loss(self) -> nn.Module:
        return RegularisedLoss(self.flow, self.plan)

    def evaluate(self) -> float:
        assert self.held is not None
        self.flow.eval()
        with torch.no_grad():
            return self.mean_over(self.held, self._of)

    def _of(self, rows: Rows) -> Tensor:
        loss: Tensor = self.nats(rows.x, rows.context, rows.weights)
        return loss
