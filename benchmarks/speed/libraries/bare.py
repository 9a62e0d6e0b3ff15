"""The limit: the same networks on the same inputs, unmasked, and no bijection at all."""

from __future__ import annotations

import torch
from torch import Tensor

from ..works import Work
from .torched import Built, CannotError, perceptron, refuse


def build(work: Work) -> Built:
    if not work.nets:
        raise CannotError("has no network")
    nets = torch.nn.ModuleList(perceptron(sizes) for sizes in work.nets)

    def outputs(x: Tensor, c: Tensor | None) -> list[Tensor]:
        if c is not None:
            x = torch.cat([x, c.expand(len(x), -1)], -1)
        # Networks see the features that pass through, and the context.
        return [net(x[:, x.shape[1] - net[0].in_features :]) for net in nets]

    def loss(x: Tensor, c: Tensor | None) -> Tensor:
        return torch.stack([out.square().mean() for out in outputs(x, c)]).sum()

    def forward(x: Tensor, c: Tensor | None) -> Tensor:
        return outputs(x, c)[-1]

    def sample(rows: int, c: Tensor | None) -> Tensor:
        return forward(torch.randn(rows, work.features), c)

    note = f"without the {work.free} parameters that belong to no network" if work.free else ""
    return Built([nets], forward, sample, refuse("has no density"), loss=loss, note=note)
