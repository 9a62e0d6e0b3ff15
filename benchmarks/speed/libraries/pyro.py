"""Pyro: its transforms, turned round where that lets it score an autoregressive flow in one pass."""

from __future__ import annotations

import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro.nn import AutoRegressiveNN, DenseNN
from torch import Tensor, nn

from ..works import Work
from .torched import Built, CannotError


def layers_of(work: Work) -> tuple[list[nn.Module], list[torch.distributions.Transform]]:
    """Return the networks and, base to data, the transforms.

    Its coupling holds a further spline even where the first half passes through; that is left out, for it is not used.
    """
    nets: list[nn.Module] = []
    transforms: list[torch.distributions.Transform] = []
    reverse = torch.arange(work.features - 1, -1, -1)
    sizes = [work.bins, work.bins, work.bins - 1]
    for _ in range(work.layers):
        if work.kind == "coupling":
            still = work.features // 2
            net = DenseNN(still, list(work.widths), [(work.features - still) * n for n in sizes])
            layer = T.SplineCoupling(work.features, still, net, work.bins, work.bound, "quadratic", identity=True)
            transforms.append(layer)
        else:
            if min(work.widths) < work.features:
                raise CannotError("its network needs hidden widths of at least D")
            order = torch.arange(work.features)
            net = AutoRegressiveNN(work.features, list(work.widths), sizes if work.kernel == "spline" else [1, 1], permutation=order)
            if work.kernel == "spline":
                layer = T.SplineAutoregressive(work.features, net, work.bins, work.bound, "quadratic")
            else:
                layer = T.AffineAutoregressive(net)
            transforms.append(layer.inv)
        nets.append(net)
        transforms.append(T.Permute(reverse))
    return nets, transforms


def conditional_job() -> Built:
    base = dist.Normal(torch.zeros(1), torch.ones(1))
    first, second = T.spline(1), T.conditional_spline(1, context_dim=1)
    one, two = dist.TransformedDistribution(base, [first]), dist.ConditionalTransformedDistribution(base, [second])

    def log_prob(x: Tensor, _: Tensor | None) -> Tensor:
        a, b = x[:, :1], x[:, 1:]
        return (one.log_prob(a) + two.condition(a.detach()).log_prob(b.detach())).sum(-1)

    def sample(rows: int, _: Tensor | None) -> Tensor:
        a = one.rsample(torch.Size([rows]))
        return torch.cat([a, two.condition(a).rsample(torch.Size([rows]))], -1)

    def after() -> None:
        one.clear_cache()
        two.clear_cache()

    return Built([first, second], log_prob, sample, after=after)


def build(work: Work) -> Built:
    base = dist.Normal(torch.zeros(work.features), torch.ones(work.features))
    if work.context:
        raise CannotError("has no conditional spline coupling")
    if work.name == "Pyro's conditional job":
        return conditional_job()
    modules: list[nn.Module]
    transforms: list[torch.distributions.Transform]
    if work.kind == "job":
        chosen = {
            "Pyro's spline job": lambda: T.Spline(2, count_bins=work.bins),
            "Pyro's spline coupling job": lambda: T.spline_coupling(2, count_bins=work.bins),
            "FlowTorch's job": lambda: T.affine_autoregressive(2, hidden_dims=[256, 256]),
        }[work.name]()
        modules, transforms = [chosen], [chosen]
    else:
        modules, transforms = layers_of(work)
    flow = dist.TransformedDistribution(base, transforms)

    def after() -> None:
        for transform in transforms:
            transform.inv.clear_cache()
        flow.clear_cache()

    def score(x: Tensor, _: Tensor | None) -> Tensor:
        out: Tensor = flow.log_prob(x)
        return out if out.dim() == 1 else out.sum(-1)

    def sample(rows: int, _: Tensor | None) -> Tensor:
        draw = flow.rsample if torch.is_grad_enabled() else flow.sample
        out: Tensor = draw(torch.Size([rows]))
        return out

    def draw(rows: int, c: Tensor | None) -> tuple[Tensor, Tensor]:
        y = sample(rows, c)
        return y, score(y, c)

    return Built(modules, score, sample, draw, after)
