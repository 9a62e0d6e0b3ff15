"""Costs of a way: its kinetic energy and how much its field stretches, integrated beside value and log-determinant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.nets.divergence import along
from pushforward.solvers.steps import Rates

COSTS = 2
"""How many numbers stand behind a row's log-determinant."""


class FieldOf(Protocol):
    """A field of the tensors that it depends on."""

    def __call__(self, used: Sequence[Tensor]) -> Rates:
        """Return the rates of a place and its log-determinant."""

    def velocity(self, used: Sequence[Tensor]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """Return the velocity of times, places and contexts."""

    def probes(self, used: Sequence[Tensor]) -> Tensor | None:
        """Return the probes that estimate its trace, or None: it is exact."""


@dataclass(frozen=True)
class Costly:
    r"""The rates of a field, with those of two costs behind them: :math:`|v|^2 / D` and :math:`\|\partial v / \partial x\|_F^2 / D`.

    The norm of the Jacobian is exact where the trace is, by D tangents; else the mean of :math:`|J e|^2` over the same probes e.
    Source: How to Train Your Neural ODE: the World of Jacobian and Kinetic Regularization (Finlay et al., 2020).

    Args:
        of: The field.
    """

    of: FieldOf

    def __call__(self, used: Sequence[Tensor]) -> Rates:
        """Return the rates of rows ``(n, D + 3)``."""
        plain, velocity, probes = self.of(used), self.of.velocity(used), self.of.probes(used)

        def rates(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            made, x = plain(t, z[..., :-COSTS], context), z[..., : -COSTS - 1]
            size = x.shape[-1]
            vectors = torch.eye(size, dtype=x.dtype, device=x.device) if probes is None else probes
            stretched = along(lambda x: velocity(t, x, context), x, vectors).square().sum(-1)
            stretched = stretched.sum(-1) / size if probes is None else stretched.mean(-1) / size
            kinetic = made[..., :-1].square().mean(-1)
            return torch.cat([made, kinetic.unsqueeze(-1), stretched.unsqueeze(-1)], -1)

        return rates
