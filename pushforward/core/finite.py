"""Log-densities that are not finite: zero density far out, NaN for NaN alone, and losses that name the rows that spoil them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import mode, sets


def settled(log_prob: Tensor, value: Tensor, support: Constraint) -> Tensor:
    """Return log-densities of which one is NaN only where its row, or a parameter, is: -inf where a value is infinite or too large.

    Layers and base square and subtract such values, which gives inf - inf where the density is zero to all digits. And where a loss is
    made of the result, its gradient says which rows spoil it, before they spoil the parameters: see `_Watch`.

    Args:
        log_prob: ``(*batch)``, as layers and base gave it.
        value: ``(*batch, *event)``, whose batch broadcasts to that of ``log_prob``.
        support: The support of the flow.
    """
    traced = mode.watched()
    # What is no number shows in the result; on another device to look would be to wait for it.
    if not traced and log_prob.is_cpu and bool(torch.isfinite(log_prob).all()):
        return log_prob
    axes = support.event_dim
    largest = math.sqrt(torch.finfo(log_prob.dtype).max)
    far = sets.any_element(torch.abs(value) > largest, axes) & ~sets.any_element(torch.isnan(value), axes)
    result = torch.where(far & ~torch.isfinite(log_prob), -math.inf, log_prob)
    if not traced and log_prob.is_cpu and result.requires_grad and not value.requires_grad:
        result.register_hook(_Watch(result.detach(), value.detach(), support))
    return result


class _Watch:
    """Stands at the gradient of log-densities, and raises ValueError where a row with a density of zero or none is part of a loss.

    One such row makes the gradients of all parameters NaN, and the next step of the optimiser the parameters. A row that the loss leaves
    out, or gives no weight, is left alone; so is one whose values are in the support, since the parameters are at fault there.
    """

    def __init__(self, log_prob: Tensor, value: Tensor, support: Constraint) -> None:
        self.log_prob, self.value, self.support = log_prob, value, support

    def __call__(self, gradient: Tensor) -> None:
        value = self.value.expand(self.log_prob.shape + self.value.shape[self.value.dim() - self.support.event_dim :])
        inside = sets.inside(self.support, value) & torch.isfinite(value).flatten(self.log_prob.dim()).all(-1)
        bad = (~torch.isfinite(self.log_prob) & ~inside & (gradient != 0)).nonzero()
        if not len(bad):
            return
        place = tuple(bad[0].tolist())
        row, numbers = place[0] if len(place) == 1 else place, value[place].reshape(-1)
        columns = (~torch.isfinite(numbers)).nonzero().squeeze(-1).tolist()
        what = f"{numbers[columns[0]].item()} in column {columns[0]}" if columns else f"a value outside {sets.name(self.support)}"
        more = f", and {len(bad) - 1} more such rows" if len(bad) > 1 else ""
        raise ValueError(
            f"Flow: expected a loss of rows that have a density, got {what} of row {row}{more}: its gradient is no number, and the "
            "parameters would be none after the next step. Drop such rows, or fill them in"
        )
