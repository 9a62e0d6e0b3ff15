"""Averaging: exponential moving averages of weights, which are scored beside the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

START = 9
"""By how many steps the averages forget faster at first, so that the weights that a flow came with do not linger."""


class Averages:
    r"""Moving averages of parameters, :math:`m \leftarrow d\,m + (1 - d)\,p` after each step, with d at most n / (n + 9) at step n.

    Source: Acceleration of Stochastic Approximation by Averaging (Polyak, Juditsky, 1992); the exponential form as in Adam: A Method for
    Stochastic Optimization (Kingma, Ba, 2015), section 7.2.

    Args:
        parameters: What is averaged.
        decay: The largest d, in (0, 1).

    >>> p = nn.Parameter(torch.zeros(1))
    >>> averages = Averages([p], 0.5)
    >>> _ = p.data.fill_(1.0), averages.follow()
    >>> averages.means
    [tensor([0.9000])]
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.steps = parameters, decay, 0
        self.means: list[Tensor] = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averages towards the parameters, after a step."""
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + START))
        torch._foreach_lerp_(self.means, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Let the parameters and their averages change places."""
        own = [p.detach().clone() for p in self.parameters]
        for p, mean, value in zip(self.parameters, self.means, own, strict=True):
            p.data.copy_(mean)
            mean.copy_(value)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the parameters be their averages within a block."""
        own = [p.detach().clone() for p in self.parameters]
        for p, mean in zip(self.parameters, self.means, strict=True):
            p.data.copy_(mean)
        try:
            yield
        finally:
            for p, value in zip(self.parameters, own, strict=True):
                p.data.copy_(value)
