"""AutoFlow: a flow over all latent variables of a Pyro model at once, as a guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.infer.autoguide import AutoContinuous
from pyro.infer.autoguide.initialization import init_to_median
from torch import Tensor
from torch.distributions import biject_to, constraints

from pushforward.contrib.pyro.distribution import PyroFlow, as_pyro
from pushforward.contrib.pyro.start import BOUND, Plans, started
from pushforward.contrib.pyro.transform import FlowTransform
from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.flow.flow import Flow
from pushforward.flows import IAF

DRAWS = 10_000
"""Draws of which medians and quantiles are taken."""


def _default(latent: int) -> Flow:
    return IAF(latent, transforms=2, mix="linear")


class AutoFlow(AutoContinuous):  # type: ignore[misc]
    r"""A flow over all continuous latent variables of a model, as a guide: :math:`z = \mu + \sigma f(x)` on their unconstrained values.

    The flow f starts as the identity, and :math:`\mu, \sigma`, its last layer, where ``init_loc_fn`` and ``init_scale`` say; all of it
    is learned. A step of SVI costs one pass of the flow. After the first call ``guide.flow`` is an ordinary `Flow` of this library. A
    trained guide goes into ``pyro.infer.reparam.NeuTraReparam`` as it is, for HMC and NUTS in the coordinates of its base::

        guide = AutoFlow(model, NSF)
        svi = SVI(model, guide, Adam({"lr": 0.005}), Trace_ELBO())

    Sources: Automatic Differentiation Variational Inference (Kucukelbir et al., 2017); Variational Inference with Normalizing Flows
    (Rezende, Mohamed, 2015); for the reparametrisation NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural Transport
    (Hoffman et al., 2019).

    Args:
        model: The model; discrete latent variables are to be blocked or enumerated, as for every continuous guide of Pyro.
        flow: A function from the number of latent variables to a flow or its layers, such as `NSF`, or layers: a plan or a list of them.
            A guide is only sampled, so autoregressive layers are inverted to sample in one step. Or a flow that is built, with its
            weights, which is used as it is. Default: two affine inverse autoregressive layers, each with a linear one.
        init_loc_fn: Where to start, one of Pyro's functions.
        init_scale: Scale to start with, of the unconstrained values.

    Raises:
        TypeError: ``flow`` is none of these.
        ValueError: The flow does not fit the latent variables, or ``init_scale`` is not positive.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        flow: Flow | Plans | Callable[[int], Flow | Plans] = _default,
        *,
        init_loc_fn: Callable[..., Any] = init_to_median,
        init_scale: float = 0.1,
    ) -> None:
        super().__init__(model, init_loc_fn=init_loc_fn)
        if not (isinstance(init_scale, int | float) and 0 < init_scale < math.exp(BOUND)):
            raise ValueError(f"AutoFlow: expected init_scale between 0 and {math.exp(BOUND):.0f}, got {init_scale!r}")
        if isinstance(flow, Flow):
            self.flow = flow
        elif not (callable(flow) or isinstance(flow, Bijector | Sequence)):
            raise TypeError(f"AutoFlow: expected a flow, layers, or a function from the number of latent variables to them, got {flow!r}")
        self._given = None if isinstance(flow, Flow) else flow
        self._init_scale = float(init_scale)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        if self._given is not None:
            self.flow = started(self._given, self._init_loc(), self._init_scale)
        _check(self.flow, self.latent_dim)

    def get_posterior(self, *args: Any, **kwargs: Any) -> PyroFlow:
        """Return the guide's distribution of all unconstrained latent values, one vector."""
        return as_pyro(self.flow)

    def get_transform(self, *args: Any, **kwargs: Any) -> FlowTransform:
        """Return the map from the base to the unconstrained latent values."""
        return FlowTransform(self.flow.transform)

    def get_base_dist(self) -> PyroFlow:
        """Return the base of the flow."""
        base = Flow(self.flow.base.plan, [], self.latent_dim)
        base.base = self.flow.base
        return as_pyro(base)

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each latent variable, from draws."""
        return {name: values[0] for name, values in self.quantiles([0.5]).items()}

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return quantiles of each latent variable, from 10,000 draws: for each site ``(len(quantiles), *shape)``."""
        places = torch.as_tensor(quantiles, dtype=torch.float64)
        if places.dim() != 1 or not bool(((places >= 0) & (places <= 1)).all()):
            raise ValueError(f"AutoFlow: expected a list of quantiles between 0 and 1, got {quantiles!r}")
        if self.prototype_trace is None:
            raise RuntimeError("AutoFlow: expected a guide that was called before, since the first call builds the flow; call it once")
        draws = self.flow.sample((DRAWS,)).sort(0).values
        result: dict[str, list[Tensor]] = {}
        for latent in draws[torch.round(places * (DRAWS - 1)).long()]:
            for site, value in self._unpack_latent(latent):
                result.setdefault(site["name"], []).append(biject_to(site["fn"].support)(value))
        return {name: torch.stack(values) for name, values in result.items()}


def _check(flow: Flow, latent: int) -> None:
    if flow.context_shape is not None or flow.batch_shape or tuple(flow.event_shape) != (latent,):
        context = "" if flow.context_shape is None else f" given a context of shape {flow.context_shape}"
        got = f"{tuple(flow.event_shape)}{context}"
        raise ValueError(f"AutoFlow: expected a flow of ({latent},), one value for each latent variable, got {got}")
    if not sets.same(flow.support, constraints.real):
        raise ValueError(f"AutoFlow: expected a flow onto all real values, got one onto {sets.name(flow.support)}")
