"""nflows: its transforms with its own plain MLP and MADE, so that the parameters are those that the work states."""

from __future__ import annotations

import torch
from nflows import transforms as T
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets import MLP
from torch import Tensor

from ..works import Work
from .torched import Built, CannotError


class Net(MLP):
    """Its MLP with the context beside the inputs; its couplings hand over both."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = super().forward(inputs if context is None else torch.cat([inputs, context], -1))
        return out


def layers_of(work: Work) -> list[T.Transform]:
    box = {"num_bins": work.bins, "tails": "linear", "tail_bound": work.bound}
    layers: list[T.Transform] = []
    for index in range(work.layers):
        if work.kind == "coupling":
            moved = [int((i >= work.features // 2) != (index % 2 == 1)) for i in range(work.features)]
            net = lambda a, b: Net([a + work.context], [b], work.widths)  # noqa: E731
            layers.append(T.PiecewiseRationalQuadraticCouplingTransform(moved, net, **box))
            continue
        if len(set(work.widths)) > 1 or len(work.widths) < 2:
            raise CannotError("its MADE has hidden layers of one width, at least two")
        made = {"hidden_features": work.widths[0], "num_blocks": len(work.widths) - 1, "use_residual_blocks": False}
        if work.kernel == "spline":
            layers.append(T.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(work.features, **made, **box))
        else:
            layers.append(T.MaskedAffineAutoregressiveTransform(work.features, **made))
        layers.append(T.ReversePermutation(work.features))
    return layers


def build(work: Work) -> Built:
    if work.name == "FlowTorch's job":
        made = {"hidden_features": 256, "num_blocks": 1, "use_residual_blocks": False}
        layers: list[T.Transform] = [T.InverseTransform(T.MaskedAffineAutoregressiveTransform(2, **made))]
    elif work.kind == "job":
        raise CannotError("has no linear rational spline")
    else:
        layers = layers_of(work)
    flow = Flow(T.CompositeTransform(layers), StandardNormal([work.features]))

    def log_prob(x: Tensor, c: Tensor | None) -> Tensor:
        return flow.log_prob(x, None if c is None else c.expand(len(x), -1))

    def sample(rows: int, c: Tensor | None) -> Tensor:
        y = flow.sample(rows, None if c is None else c[None])
        return y if c is None else y[0]

    return Built([flow], log_prob, sample, lambda rows, c: flow.sample_and_log_prob(rows, None if c is None else c[None]))
