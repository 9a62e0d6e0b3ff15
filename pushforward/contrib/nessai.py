"""nessai: a flow of this library as the one that its nested sampler trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from nessai.flows.base import BaseFlow
from torch import Tensor, nn
from torch.distributions import constraints

from pushforward import flows
from pushforward.bases import StandardNormal
from pushforward.core import sets
from pushforward.core.layer import Layer
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import measured
from pushforward.layers.standardize import Standardize
from pushforward.recipes.choice import NAMED, Choice, look_up, make_flow


def flow_class(flow: Choice = flows.NSF, **options: Any) -> Callable[..., NessaiFlow]:
    """Return what nessai takes as ``flow_config=dict(flow=...)``, for both of its samplers.

    Args:
        flow: A named flow such as ``NSF`` or its name; or a function ``(features, **options) -> Flow``; or plans from base to data, over
            the standard normal.
        options: Arguments of the named flow or function. A named flow whose ``transforms`` and ``widths`` are not given here takes
            nessai's ``n_blocks`` for the one and ``n_layers`` times ``n_neurons`` for the other; nessai's defaults are small.

    Raises:
        TypeError: ``flow`` is none of these, or options are given beside plans.

    Example::

        config = dict(flow=flow_class(pf.NSF, widths=(32, 32)))
        sampler = nessai.flowsampler.FlowSampler(model, output="out", nlive=500, flow_config=config)
        sampler.run()
    """
    look_up("flow_class", flow, options)
    return partial(NessaiFlow, recipe=flow, **options)


class NessaiFlow(BaseFlow):  # type: ignore[misc]
    """A flow as nessai's ``BaseFlow``: ``forward`` is data to base there, ``inverse`` base to data. The flow itself is ``.flow``.

    The first batch that it is trained on is what its `Standardize` measures, where it has one, and where its layers begin to learn
    (`Flow.standardize`): nessai trains for hundreds of epochs of one step each, of which finding location and scale takes many.

    Args:
        n_inputs: Number of parameters that are sampled.
        n_neurons: Width of each hidden layer of a named flow.
        n_blocks: Number of layers of a named flow.
        n_layers: Number of hidden layers of each network of a named flow.
        recipe: What the flow is made of, as in `flow_class`.
        options: Arguments of the named flow or function: those of `flow_class`, and further ones of nessai's ``flow_config``.

    Raises:
        ValueError: The flow made is not one of n_inputs real values over the standard normal.
    """

    def __init__(self, n_inputs: int, n_neurons: int, n_blocks: int, n_layers: int, *, recipe: Choice, **options: Any) -> None:
        super().__init__()
        maker = look_up("flow_class", recipe, options)
        if callable(maker) and maker in NAMED.values():
            sizes = {"transforms": n_blocks, "widths": (n_neurons,) * n_layers}
            options = {name: size for name, size in sizes.items() if name in signature(maker).parameters} | options
        self.make = partial(make_flow, "flow_class", maker, n_inputs, 0, options)
        self.flow = self.make().to(torch.get_default_dtype())
        _check(self.flow)

    def reset_parameters(self) -> None:
        """Start anew, as nessai asks between trainings."""
        self.flow.load_state_dict(self.make().state_dict())

    def apply(self, fn: Callable[[nn.Module], None]) -> NessaiFlow:
        """Apply a function to the flow as one piece: a layer alone, whose start depends on its place, cannot be reset."""
        fn(self)
        return self

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data ``(*batch, n_inputs)`` to the base; return values and log-determinant."""
        return self.flow.to_base(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map the base to data; return values and log-determinant."""
        return self.flow.from_base(z, context)

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        return self.flow.sample((n,), context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.training and not measured(self.flow):
            self._begin(x.detach())
        return self.flow.log_prob(x, context)

    def _begin(self, x: Tensor) -> None:
        """Let a flow that measures meet its first rows. Nothing is put in or taken away: the optimiser has the parameters already."""
        standardises = any(isinstance(part.plan, Standardize) for part in self.flow.modules() if isinstance(part, Layer))
        # What are no rows of the flow's is for its log_prob to say.
        rows = x.is_floating_point() and x.dim() == 2 and x.shape[1:] == self.flow.event_shape
        if standardises and rows and len(x) > 1 and bool((x.std(0) > 0).all()):
            self.flow.standardize(x, scores=False)

    def sample_latent_distribution(self, n: int, context: Tensor | None = None) -> Tensor:
        return self.flow.base.rsample((n,), context)

    def base_distribution_log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.flow.base.log_prob(z, context)

    def forward_and_log_prob(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, ladj = self.forward(x, context)
        return z, self.base_distribution_log_prob(z, context) + ladj

    def sample_and_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.flow.rsample_and_log_prob((n,), context)

    def freeze_transform(self) -> None:
        """Let training leave the layers as they are."""
        self.flow.transform.requires_grad_(False)

    def unfreeze_transform(self) -> None:
        """Let training move the layers again."""
        self.flow.transform.requires_grad_(True)


def _check(flow: Flow) -> None:
    """Raise ValueError for a flow whose latent space is not the one in which nessai draws."""
    if not isinstance(flow.base.plan, StandardNormal):
        raise ValueError(f"flow_class: expected the base StandardNormal(), from which nessai draws itself, got {flow.base.plan!r}")
    if not sets.same(flow.support, constraints.real):
        raise ValueError(
            f"flow_class: expected values in (-inf, inf), got {sets.name(flow.support)}; "
            "nessai maps the prior's bounds itself, so leave out support="
        )
