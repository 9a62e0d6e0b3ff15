"""normflows: its transforms with a plain MLP and its own MADE; features mixed by its random permutation."""

from __future__ import annotations

import normflows as nf
import torch
from normflows.flows.affine.autoregressive import MaskedAffineAutoregressive
from normflows.flows.neural_spline.autoregressive import MaskedPiecewiseRationalQuadraticAutoregressive
from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
from torch import Tensor, nn

from ..works import Work
from .torched import Built, CannotError, perceptron


class Net(nn.Module):
    """A plain network with the context beside the inputs; its couplings hand over both."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.net = perceptron(sizes)
        self.hidden_features = sizes[1]  # what the spline divides its logits by

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(x if context is None else torch.cat([x, context], -1))
        return out


class Turned(nf.flows.Flow):
    """A layer whose forward is data to base, with a context; its own `Reverse` takes none."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.inner.inverse(z, context)
        return out

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.inner(z, context)
        return out


def layers_of(work: Work) -> list[nn.Module]:
    box = {"num_bins": work.bins, "tails": "linear", "tail_bound": work.bound}
    layers: list[nn.Module] = []
    for index in range(work.layers):
        if work.kind == "coupling":
            moved = [int((i >= work.features // 2) != (index % 2 == 1)) for i in range(work.features)]
            net = lambda a, b: Net((a + work.context, *work.widths, b))  # noqa: E731
            layers.append(Turned(PiecewiseRationalQuadraticCoupling(torch.tensor(moved), net, **box)))
            continue
        if len(set(work.widths)) > 1 or len(work.widths) < 2:
            raise CannotError("its MADE has hidden layers of one width, at least two")
        made = {"hidden_features": work.widths[0], "num_blocks": len(work.widths) - 1, "use_residual_blocks": False}
        if work.kernel == "spline":
            layers.append(Turned(MaskedPiecewiseRationalQuadraticAutoregressive(work.features, **made, **box)))
        else:
            layers.append(Turned(MaskedAffineAutoregressive(work.features, **made)))
        layers.append(nf.flows.Permute(work.features))
    return layers


def build(work: Work) -> Built:
    note = ""
    if work.name == "FlowTorch's job":
        layers: list[nn.Module] = [MaskedAffineAutoregressive(2, 256, num_blocks=1, use_residual_blocks=False)]
    elif work.kind == "job":
        raise CannotError("has no linear rational spline")
    else:
        layers = layers_of(work)
    if work.kind != "coupling":
        note = "its MADE has no activation after the first layer"
    base = nf.distributions.DiagGaussian(work.features, trainable=False)
    flow = nf.ConditionalNormalizingFlow(base, layers) if work.context else nf.NormalizingFlow(base, layers)

    def given(rows: int, c: Tensor | None) -> tuple[Tensor, ...]:
        return () if c is None else (c.expand(rows, -1),)

    return Built(
        [flow],
        lambda x, c: flow.log_prob(x, *given(len(x), c)),
        lambda rows, c: flow.sample(rows, *given(rows, c))[0],
        lambda rows, c: flow.sample(rows, *given(rows, c)),
        note=note,
    )
