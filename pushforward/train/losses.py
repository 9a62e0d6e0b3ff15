"""Losses as modules: wrappers that distribute training hook a module's forward, so the forward is the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.flow.flow import Flow


class NegativeLogLikelihood(nn.Module):
    """Mean negative log-density of rows under a flow, in nats per row and in the units of the data.

    Args:
        flow: The flow, whose parameters the module shares.

    Raises:
        TypeError: No flow.
        ValueError: Other than one weight a row; of values and contexts what `Flow.log_prob` raises.

    >>> from pushforward.flows import MAF
    >>> NegativeLogLikelihood(MAF(2))(torch.zeros(5, 2))
    tensor(1.8379, grad_fn=<NegBackward0>)
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        if not isinstance(flow, Flow):
            raise TypeError(f"NegativeLogLikelihood: expected a Flow, got {type(flow).__name__}")
        self.flow = flow

    def forward(self, value: Tensor, context: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the mean over rows ``(*batch, *event)``, each times its weight ``(*batch)`` where there are weights."""
        log_prob = self.flow.log_prob(value, context)
        if weights is not None and weights.shape != log_prob.shape:
            raise ValueError(
                f"NegativeLogLikelihood: expected one weight a row, of shape {tuple(log_prob.shape)}, got {tuple(weights.shape)}"
            )
        return -torch.mean(log_prob if weights is None else weights * log_prob)
