"""A flow of this library as a Zuko flow, for tools that ask for one."""

from __future__ import annotations

from typing import Any

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.distributions.constraints import Constraint

from pushforward import supports
from pushforward.estimates import Estimated
from pushforward.flow import Flow
from pushforward.parameters import Parameters


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


class ZukoTransform(Transform):
    """The transform of a flow for a context, data to base (base to data if ``forward``), value and ladj in one pass."""

    bijective = True

    def __init__(self, flow: Flow, context: Tensor | None, forward: bool = False) -> None:
        super().__init__()
        self.flow, self.context, self.is_forward = flow, context, forward

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        """The set of values that it takes."""
        return self._sides()[0]

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        """The set of values that it gives."""
        return self._sides()[1]

    def _sides(self) -> tuple[Constraint, Constraint]:
        base = supports.independent(self.flow.base.support, len(self.flow.base.event_shape))
        return (base, self.flow.support) if self.is_forward else (self.flow.support, base)

    @property
    def inv(self) -> ZukoTransform:
        """The other direction."""
        return ZukoTransform(self.flow, self.context, not self.is_forward)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of ``(*batch, *event)`` and the log-determinant ``(*batch)``."""
        return self.flow.from_base(x, self.context) if self.is_forward else self.flow.to_base(x, self.context)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inv.call_and_ladj(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]


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
