"""FlowTorch: autoregressive layers and splines; it has no coupling, and its autoregressive layers take no context."""

from __future__ import annotations

import flowtorch.bijectors as bij
import flowtorch.distributions as dist
import flowtorch.parameters as params
import torch
from torch import Tensor

from ..works import Work
from .torched import Built, CannotError


def plan(work: Work) -> bij.Bijector:
    """Return the layers of a work, data to base."""
    if min(work.widths) < work.features:
        raise CannotError("its network needs hidden widths of at least D")
    layers = []
    order = torch.arange(work.features)
    for index in range(work.layers):
        net = params.DenseAutoregressive(hidden_dims=work.widths, permutation=order if index % 2 == 0 else order.flip(0))
        if work.kernel == "spline":
            layers.append(bij.SplineAutoregressive(net, count_bins=work.bins, bound=work.bound, order="quadratic"))
        else:
            layers.append(bij.AffineAutoregressive(net))
    return bij.Compose(layers)


def plain(value: Tensor) -> Tensor:
    """Return a tensor that does not remember where it came from."""
    made: Tensor = value.detach_from_flow() if hasattr(value, "detach_from_flow") else value
    return made


def turned(base: torch.distributions.Distribution, work: Work) -> Built:
    """Return an autoregressive flow that is scored in one pass.

    Its `Invert` fails inside its `Compose`, and forgets the sign of the log-determinant, so its layers run from data to base.
    """
    layers = plan(work)(shape=base.event_shape)

    def log_prob(y: Tensor, _: Tensor | None) -> Tensor:
        x = layers.forward(y)
        return plain(base.log_prob(plain(x)) + layers.log_abs_det_jacobian(y, x))

    def sample(rows: int, _: Tensor | None) -> Tensor:
        return plain(layers.inverse(base.sample(torch.Size([rows]))))

    def draw(rows: int, _: Tensor | None) -> tuple[Tensor, Tensor]:
        x = base.sample(torch.Size([rows]))
        y = layers.inverse(x)
        return plain(y), plain(base.log_prob(x) + layers.log_abs_det_jacobian(y, x))

    return Built([layers], log_prob, sample, draw, note="its layers run from data to base by hand, since its `Invert` fails in a `Compose`")


def build(work: Work) -> Built:
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(work.features), torch.ones(work.features)), 1)
    if work.kind == "coupling":
        raise CannotError("has no coupling layer")
    if work.kind == "autoregressive":
        return turned(base, work)
    if work.name == "FlowTorch's job":
        chosen = bij.AffineAutoregressive()
    elif work.name == "Pyro's spline job":
        chosen = bij.Spline(count_bins=work.bins)
    else:
        raise CannotError("has no coupling layer" if "coupling" in work.name else "its elementwise splines take no context")
    flow = dist.Flow(base, chosen)
    return Built([flow], lambda x, _: plain(flow.log_prob(x)), lambda rows, _: plain(flow.rsample(torch.Size([rows]))))
