"""pushforward: flows without a linear mix and without standardisation, so that all parameters are those of the networks."""

from __future__ import annotations

import torch
from torch import Tensor

import pushforward.bijectors as bij
from pushforward.distributions import Flow
from pushforward.distributions import StandardNormal as Normal

from ..works import Work
from .torched import Built


def plan(work: Work) -> list[bij.Bijector]:
    """Return the layers of a work, base to data."""
    kernel: bij.Kernel = bij.Affine() if work.kernel == "affine" else bij.Spline(work.bins, work.bound)
    net = bij.MLP(work.widths)
    layers: list[bij.Bijector] = []
    for index in range(work.layers):
        if work.kind == "coupling":
            layers.append(bij.Coupling(kernel, flip=index % 2 == 1, net=net))
        else:
            layers += [bij.Autoregressive(kernel, net=net), bij.Reverse()]
    return layers


def of(flow: Flow) -> Built:
    def draw(rows: int, c: Tensor | None) -> tuple[Tensor, Tensor]:
        y, score = flow.rsample_and_log_prob((rows,), c)
        return y, score

    def sample(rows: int, c: Tensor | None) -> Tensor:
        # `sample` is what a user calls who wants no gradients.
        return flow.rsample((rows,), c) if torch.is_grad_enabled() else flow.sample((rows,), c)

    return Built([flow], flow.log_prob, sample, draw)


def conditional_job(work: Work) -> Built:
    spline = bij.Spline(8, work.bound, "linear")
    first = Flow(Normal(), spline, 1)
    second = Flow(Normal(), bij.Elementwise(spline, net=bij.MLP((10, 10))), 1, 1)

    def log_prob(x: Tensor, _: Tensor | None) -> Tensor:
        return first.log_prob(x[:, :1]) + second.log_prob(x[:, 1:], x[:, :1])

    def sample(rows: int, _: Tensor | None) -> Tensor:
        one = first.rsample((rows,))
        return torch.cat([one, second.rsample((), one)], -1)

    return Built([first, second], log_prob, sample)


def job(work: Work) -> Built:
    if work.name == "Pyro's conditional job":
        return conditional_job(work)
    if work.name == "FlowTorch's job":
        return of(Flow(Normal(), bij.AffineAutoregressive(net=bij.MLP((256, 256))), 2))
    spline = bij.Spline(work.bins, work.bound, "linear")
    if work.name == "Pyro's spline job":
        return of(Flow(Normal(), spline, 2))
    couple = bij.SplineCoupling(work.bins, work.bound, "linear", net=bij.MLP((20, 20)))
    # Pyro's coupling has a free spline on the half that passes through.
    free = bij.Concatenate([spline, bij.Compose([])])
    return of(Flow(Normal(), [couple, free], 2))


def build(work: Work) -> Built:
    if work.kind == "job":
        return job(work)
    return of(Flow(Normal(), plan(work), work.features, work.context or None))
