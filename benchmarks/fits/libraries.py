"""Spline flows of one architecture, here and in the peers: five layers, nets of two hidden layers of 64, 8 bins on [-5, 5]."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import pushforward as pf

LAYERS, WIDTH, BINS, BOUND = 5, 64, 8, 5.0


class Made(NamedTuple):
    """A flow: its module, and the log-density of rows."""

    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]


def ours(rows: Tensor, **how: Any) -> Made:
    """Return our own, with its defaults; ``how`` as in `Flow.standardize`."""
    flow = pf.NSF(rows.shape[1])
    flow.standardize(rows, **how)
    return Made(flow, flow.log_prob)


def standardised(rows: Tensor, module: nn.Module, log_prob: Callable[[Tensor], Tensor]) -> Made:
    """Return a flow of rows that are standardised before it."""
    mean, deviation = rows.mean(0), rows.std(0)
    return Made(module, lambda x: log_prob((x - mean) / deviation) - deviation.log().sum())


def of_nflows(rows: Tensor) -> Made:
    """Return nflows', as its examples have it: residual nets and linear layers."""
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import ResidualNet

    features = rows.shape[1]
    layers: list[Any] = []
    for index in range(LAYERS):
        mask = torch.arange(features) % 2 == index % 2
        layers += [
            transforms.LULinear(features, identity_init=True),
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                2 * mask.int() - 1, lambda i, o: ResidualNet(i, o, WIDTH, num_blocks=2), BINS, tails="linear", tail_bound=BOUND
            ),
        ]
    flow = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([features]))
    return standardised(rows, flow, flow.log_prob)


def of_zuko(rows: Tensor) -> Made:
    """Return Zuko's, with its defaults but for the number of layers."""
    from zuko.flows import NSF

    flow = NSF(rows.shape[1], transforms=LAYERS, bins=BINS, hidden_features=(WIDTH, WIDTH), randperm=True)
    return standardised(rows, flow, lambda x: flow().log_prob(x))


def of_normflows(rows: Tensor) -> Made:
    """Return normflows', as its examples have it: residual nets and linear layers."""
    import normflows

    features = rows.shape[1]
    layers: list[Any] = []
    for _ in range(LAYERS):
        layers.append(normflows.flows.CoupledRationalQuadraticSpline(features, 2, WIDTH, num_bins=BINS, tail_bound=BOUND))
        layers.append(normflows.flows.LULinearPermute(features))
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(features, trainable=False), layers)
    return standardised(rows, flow, flow.log_prob)


LIBRARIES: dict[str, Callable[[Tensor], Made]] = {
    "pushforward": ours,
    "pushforward from a mixture": lambda rows: ours(rows, whiten=True, mixture=None),
    "pushforward, starts=False": lambda rows: ours(rows, starts=False),
    "nflows": of_nflows,
    "zuko": of_zuko,
    "normflows": of_normflows,
}


def installed() -> Iterator[str]:
    """Give the names of the libraries that are installed."""
    return (name for name in LIBRARIES if importlib.util.find_spec(name.partition(",")[0].partition(" ")[0]))
