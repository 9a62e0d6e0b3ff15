"""Standardisation: location and scale that are measured from data and kept with the flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer, Shape


@dataclass(frozen=True, repr=False)
class Standardize(Bijector):
    """Location and scale of each element, measured from data by `calibrate` and saved with the flow; the identity until then.

    ``y = loc + scale x``. Loc and scale are buffers: no optimiser moves them.

    >>> layer = Standardize().build(2)
    >>> layer.calibrate(torch.tensor([[0.0, 10.0], [2.0, 30.0]]))
    >>> layer.inverse(torch.tensor([[2.0, 10.0]]))[0]
    tensor([[ 1., -1.]])
    """

    event_dim = 0
    formula = "y = loc + scale x, both measured from data"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return StandardizeModule(self, event_shape, context_shape)


class StandardizeModule(Layer):
    """A built standardisation; its buffer ``calibrated`` tells whether it has met data."""

    loc: Tensor
    scale: Tensor
    calibrated: Tensor
    facts = Facts(is_affine=True)

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.register_buffer("loc", torch.zeros(event_shape))
        self.register_buffer("scale", torch.ones(event_shape))
        self.register_buffer("calibrated", torch.tensor(False))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        loc, scale = numerics.working(self.loc), numerics.working(self.scale)
        y = loc + scale * numerics.working(x)
        return y.to(x.dtype), torch.log(scale).sum().expand(x.shape[: x.dim() - len(self.event_shape)])

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        loc, scale = numerics.working(self.loc), numerics.working(self.scale)
        x = (numerics.working(y) - loc) / scale
        return x.to(y.dtype), -torch.log(scale).sum().expand(y.shape[: y.dim() - len(self.event_shape)])

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Measure the mean and the standard deviation (of the population) of every element over the rows of values."""
        rows = values.detach().reshape(-1, *self.event_shape).double()
        if not len(rows):
            raise ValueError("Standardize: expected at least one row, got none")
        scale = rows.std(0, correction=0)
        if bool((scale == 0).any()) or not bool(torch.isfinite(rows).all()):
            raise ValueError("Standardize: expected finite values that vary at every element, got a constant or a non-finite one")
        mean = rows.mean(0)
        self.loc.copy_(-mean / scale if inverse else mean)
        self.scale.copy_(1 / scale if inverse else scale)
        self.calibrated.fill_(True)
