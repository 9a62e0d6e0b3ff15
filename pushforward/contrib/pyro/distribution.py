"""A flow as a distribution of Pyro, for the sites of models and guides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pushforward.contrib.pyro.once import Once
from pushforward.contrib.pyro.support import as_known
from pushforward.core.estimates import Estimated
from pushforward.flow.conditioned import ConditionedFlow
from pushforward.flow.flow import Flow


def as_pyro(flow: Flow | ConditionedFlow, context: Tensor | None = None) -> PyroFlow:
    """Return a flow as a distribution of Pyro: what ``pyro.sample`` takes, in a model (a prior) and in a guide.

    Plates, masks, enumerated sites and particles work as for Pyro's own distributions. A drawn value is scored in the pass that drew it.
    Parameters are registered as those of any module, by ``pyro.module``::

        def guide(x):
            pyro.module("flow", flow)
            with pyro.plate("data", len(x)):
                pyro.sample("z", as_pyro(flow, x))

    Args:
        flow: A flow, or the view that ``flow.condition(c)`` gives.
        context: The context ``(*batch, *context)`` of a conditional flow; its batch becomes the batch of the distribution.

    Raises:
        TypeError: ``flow`` is something else.
        ValueError: The context does not fit, or there is none for a conditional flow.
    """
    if isinstance(flow, ConditionedFlow):
        if context is not None:
            raise ValueError("as_pyro: expected no context for a flow that is conditioned already, got one")
        return PyroFlow(flow)
    if not isinstance(flow, Flow):
        hint = f"; write {flow.__name__}(features)" if callable(flow) and hasattr(flow, "__name__") else ""
        raise TypeError(f"as_pyro: expected a pushforward.Flow, or one that is conditioned, got {flow!r}{hint}")
    return PyroFlow(flow.condition(context))


class PyroFlow(Estimated, TorchDistribution):  # type: ignore[misc]
    """A conditioned flow as a distribution of Pyro; `as_pyro` makes it.

    The score of a drawn value is kept with this object (see `Once`): its gradient runs through the draw to the parameters, which is the
    gradient that SVI takes. A detached or a changed value, and one that was not drawn here, is scored afresh.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's interface)
    has_rsample = True

    def __init__(self, view: ConditionedFlow) -> None:
        self.view = view
        self.has_rsample = view.has_rsample  # of this object, since Pyro sets it to force detached samples
        self._once = Once(view.flow, view.context)
        super().__init__(view.batch_shape, view.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The set of values that the flow can give."""
        return as_known(self.view.support, len(self.event_shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` with gradients, and keep the score that comes with it."""
        value, score = self.view.rsample_and_log_prob(sample_shape)
        self._once.keep(value, score)
        return value

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` without gradients."""
        return self.view.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``(*sample, *batch, *event)`` as ``(*sample, *batch)``."""
        score = self._once.score(value)
        return self.view.log_prob(value) if score is None else score

    def closed(self, quantity: str) -> Tensor:
        return self.view.closed(quantity)

    def cdf(self, value: Tensor) -> Tensor:
        return self.view.cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        return self.view.icdf(value)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> PyroFlow:
        """Return the same distribution with a larger batch shape."""
        expanded = PyroFlow(self.view.expand(torch.Size(batch_shape)))
        expanded.has_rsample = self.has_rsample
        return expanded

    def __repr__(self) -> str:
        return f"PyroFlow({self.view!r}, batch_shape={tuple(self.batch_shape)})"
