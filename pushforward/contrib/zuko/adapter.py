"""A flow of this library as a Zuko flow, for tools that ask for one."""

from __future__ import annotations

from typing import Any

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core.estimates import Estimated
from pushforward.flow.flow import Flow
from pushforward.flow.to_base import ToBase
from pushforward.nets.conditioner import Parameters


def to_zuko(flow: Flow) -> ZukoFlow:
    """Return a flow as a ``zuko.flows.Flow``: the same weights and density, in Zuko's conventions.

    ``made(c)`` is a ``zuko.distributions.NormalizingFlow``, whose ``transform`` goes from data to base. Training either flow trains both.
    Zuko switches argument validation of all torch distributions off when it is imported; this library's flows keep their own switch.

    Args:
        flow: A flow without a batch shape; its context, if any, has one axis.

    Raises:
        TypeError: It is not a flow of this library.
        ValueError: The flow has a batch shape, or a context of several axes.

    Example::

        made = to_zuko(pf.NSF(3, context=5))
        x, log_prob = made(torch.zeros(5)).rsample_and_log_prob((64,))
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"to_zuko: expected a pushforward.Flow, got {type(flow).__name__}")
    if flow.batch_shape:
        raise ValueError(
            f"to_zuko: expected a flow without a batch shape, got {tuple(flow.batch_shape)}; "
            "wrap its base in torch.distributions.Independent"
        )
    if flow.context_shape is not None and len(flow.context_shape) != 1:
        raise ValueError(f"to_zuko: expected a context of one axis, as Zuko's are, got context_shape {flow.context_shape}")
    return ZukoFlow(flow)


class ZukoFlow(zuko.flows.Flow):  # type: ignore[misc]
    """What `to_zuko` returns: a module that holds the flow and gives Zuko's distribution for a context."""

    def __init__(self, flow: Flow) -> None:
        # Not Zuko's own: it wants transform and base as modules of their own, which would list the flow's tensors twice.
        nn.Module.__init__(self)
        self.flow = flow

    def forward(self, c: Tensor | None = None) -> Any:
        """Return the ``zuko.distributions.NormalizingFlow`` for a context ``(*batch, context)``."""
        base = ZukoBase(self.flow, c, self.flow.condition(c).batch_shape)
        return zuko.distributions.NormalizingFlow(ZukoTransform(self.flow, c), base)

    @property
    def transforms(self) -> list[Hyper]:
        """The networks of the layers, whose weights a sampler such as pocoMC may regularise."""
        return [Hyper(part.net) for part in self.flow.modules() if isinstance(part, Parameters) and part.net is not None]


class Hyper:
    """A layer as far as regularisation sees it: the network ``hyper`` that gives its parameters."""

    def __init__(self, hyper: nn.Module) -> None:
        self.hyper = hyper


class ZukoTransform(ToBase):
    """The map from data to base, with shapes as Zuko takes them: of an event that of its image, without the batch of the context."""

    def forward_shape(self, shape: Any) -> torch.Size:
        return ToBase(self.flow, None, self.inverted).forward_shape(shape)


class ZukoBase(Estimated):
    """The base of a flow for a context, with a batch shape."""

    arg_constraints: dict[str, Constraint] = {}  # noqa: RUF012 (torch's interface)

    def __init__(self, flow: Flow, context: Tensor | None, batch_shape: torch.Size) -> None:
        self.flow, self.context, self.has_rsample = flow, context, flow.has_rsample
        super().__init__(batch_shape, torch.Size(flow.base.event_shape), validate_args=False)

    @property
    def support(self) -> Constraint:
        """The set of values that the base can give."""
        return constraints.independent(self.flow.base.support, len(self.event_shape) - self.flow.base.support.event_dim)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZukoBase:
        """Return the same base with a larger batch shape."""
        return ZukoBase(self.flow, self.context, torch.Size(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)``."""
        return self.flow.base.rsample(torch.Size(sample_shape) + self.batch_shape, self.context)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``(*batch, *event)``."""
        return self.flow.base.log_prob(value, self.context)
