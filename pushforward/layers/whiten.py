"""Whitening: location and covariance of vectors, measured from data and kept with the flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer, Shape
from pushforward.core.numerics import finer, working
from pushforward.core.spec import PlanError
from pushforward.kernels.linear import apply, solve

LEAST = 1e-7
"""What is added to each variance, as a share of the mean one: columns that others determine have a covariance without an inverse."""


@dataclass(frozen=True, repr=False)
class Whiten(Bijector):
    r"""Mean and covariance of vectors, measured from data by `calibrate` and saved with the flow; the identity until then.

    :math:`y = \mathrm{loc} + L x`, where :math:`L L^\top` is the covariance and L lower triangular with a positive diagonal: each element
    is what those before it do not tell by a linear regression. On the base side the rows are uncorrelated, with mean 0 and variance 1; so
    over a `StandardNormal` it is the normal distribution fitted to the rows, and a flow begins where that one ends. All are buffers, of
    which no optimiser moves any; acts on the last event axis; all real vectors to all real vectors.

    >>> layer, rows = Whiten().build(2), torch.tensor([[0.0, 0.0], [2.0, 2.0], [4.0, 4.1], [6.0, 5.9]] * 25)
    >>> layer.calibrate(rows)
    >>> torch.corrcoef(layer.inverse(rows)[0].T)[0, 1].abs() < 0.1 < torch.corrcoef(rows.T)[0, 1]
    tensor(True)
    """

    event_dim = 1
    measured_turned = False
    formula = "y = loc + L x, both measured from data"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return WhitenModule(self, event_shape, context_shape)


class WhitenModule(Layer):
    """A built whitening: the diagonal of L is ``scale``, its rows are those of ``unit`` times it."""

    loc: Tensor
    scale: Tensor
    unit: Tensor
    calibrated: Tensor
    facts = Facts(is_affine=True)

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        size = event_shape[-1]
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("unit", torch.eye(size))
        self.register_buffer("calibrated", torch.tensor(False))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = finer(self.loc) + finer(self.scale) * apply(finer(self.unit), finer(x))
        return y.to(x.dtype), self._ladj(x)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = solve(finer(self.unit), (finer(y) - finer(self.loc)) / finer(self.scale), upper=False)
        return x.to(y.dtype), -self._ladj(y)

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Measure mean and covariance over the rows of values, and over all axes but the last."""
        if inverse:
            raise PlanError("Whiten: expected values of the data side to measure, got the layer inverted; write it without .inv")
        rows = values.detach().reshape(-1, len(self.loc)).double()
        if not len(rows) or not bool(torch.isfinite(rows).all()):
            raise ValueError(f"Whiten: expected finite rows to measure, got {len(rows)} of which some are not")
        mean = rows.mean(0)
        covariance = (rows - mean).mT @ (rows - mean) / len(rows)
        variance = covariance.diagonal().mean()
        if not bool(variance > 0):
            raise ValueError("Whiten: expected values that vary, got constant ones")
        factor: Tensor = torch.linalg.cholesky(covariance + LEAST * variance * torch.eye(len(mean)).to(covariance))
        diagonal = factor.diagonal()
        self.loc.copy_(mean)
        self.scale.copy_(diagonal)
        self.unit.copy_(factor / diagonal[:, None])
        self.calibrated.fill_(True)

    def _ladj(self, value: Tensor) -> Tensor:
        total = torch.log(finer(self.scale)).sum() * (value.shape[-len(self.event_shape) : -1].numel())
        return total.to(working(value).dtype).expand(value.shape[: value.dim() - len(self.event_shape)])
