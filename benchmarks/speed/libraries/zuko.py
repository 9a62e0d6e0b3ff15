"""Zuko: its own NSF and MAF where they build the work, couplings from its parts."""

from __future__ import annotations

from functools import partial

import torch
import zuko
from torch import Tensor

from ..works import Work
from .torched import Built, CannotError


def flow_of(work: Work) -> zuko.flows.Flow:
    nets = {"hidden_features": work.widths}
    spline = {
        "univariate": partial(zuko.transforms.MonotonicRQSTransform, bound=work.bound),
        "shapes": [(work.bins,), (work.bins,), (work.bins - 1,)],
    }
    shared = {"features": work.features, "context": work.context, "transforms": work.layers, **nets}
    if work.kind == "coupling":
        return zuko.flows.NICE(**shared, **spline)
    return zuko.flows.MAF(**shared, **(spline if work.kernel == "spline" else {}))


def build(work: Work) -> Built:
    if work.name == "FlowTorch's job":
        # Parameters from the inputs, as in the tutorial: Zuko's transform the other way round.
        made = zuko.flows.MaskedAutoregressiveTransform(2, hidden_features=(256, 256))

        class Turned(zuko.lazy.LazyTransform):
            def __init__(self) -> None:
                super().__init__()
                self.inner = made

            def forward(self, c: Tensor | None = None) -> torch.distributions.Transform:
                return self.inner(c).inv

        base = zuko.lazy.UnconditionalDistribution(zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2), buffer=True)
        flow = zuko.flows.Flow([Turned()], base)
    elif work.kind == "job":
        raise CannotError("has no linear rational spline")
    else:
        flow = flow_of(work)

    def sample(rows: int, c: Tensor | None) -> Tensor:
        return flow(c).rsample((rows,)) if torch.is_grad_enabled() else flow(c).sample((rows,))

    return Built([flow], lambda x, c: flow(c).log_prob(x), sample, lambda rows, c: flow(c).rsample_and_log_prob((rows,)))
