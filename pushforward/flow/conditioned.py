"""A flow for one context: a distribution that looks at the flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.bases import moments
from pushforward.core.checks import broadcast, check_tensor
from pushforward.core.estimates import Estimated, NoClosedFormError, no_form
from pushforward.flow import quantiles
from pushforward.flow.to_base import ToBase

if TYPE_CHECKING:
    from pushforward.flow.flow import Flow

Sizes = torch.Size | Sequence[int]


class ConditionedFlow(Estimated):
    """A flow for a given context, or with a larger batch shape: a `torch.distributions.Distribution` that looks at the flow.

    >>> from pushforward.flows import MAF
    >>> MAF(2, context=3)(torch.zeros(7, 3)).log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's interface)

    def __init__(self, flow: Flow, context: Tensor | None, batch_shape: torch.Size | None = None) -> None:
        flow._check_context(context)
        own = flow.batch_of(context)
        if batch_shape is not None and broadcast(own, batch_shape, "expand: the batch") != batch_shape:
            raise ValueError(f"expand: expected a batch shape that {tuple(own)} broadcasts to, got {tuple(batch_shape)}")
        self.flow, self.context = flow, context
        super().__init__(own if batch_shape is None else batch_shape, flow.event_shape, validate_args=False)
        self._validate_args = flow._validate_args

    @property
    def support(self) -> constraints.Constraint:
        """The set of values that the flow can give."""
        return self.flow.support

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients."""
        return self.flow.has_rsample

    @property
    def transform(self) -> ToBase:
        """The map for the context from data to base, as Zuko has it: a torch ``Transform``, whose ``inv`` goes from base to data."""
        return ToBase(self.flow, self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``(*batch, *event)`` as ``(*batch)``."""
        result = self.flow.log_prob(value, self.context)
        return result.expand(broadcast(result.shape, self.batch_shape, "log_prob: the batch of the value"))

    def rsample(self, sample_shape: Sizes = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` with gradients."""
        return self.flow._draw(sample_shape, self.context, generator, self.batch_shape)[0]

    def sample(self, sample_shape: Sizes = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` without gradients."""
        with torch.no_grad():
            return self.flow._draw(sample_shape, self.context, generator, self.batch_shape, reparametrised=False)[0]

    def rsample_and_log_prob(self, sample_shape: Sizes = (), *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw and score in one pass."""
        y, x, ladj, context = self.flow._draw(sample_shape, self.context, generator, self.batch_shape)
        return y, self.flow.base.score(x, context) - ladj

    def closed(self, quantity: str) -> Tensor:
        flow, context = self.flow, self.inner()
        made: Tensor | None = None
        if quantity == "mean":
            made = moments.mean(flow.transform, flow.base, context)
        elif quantity in ("variance", "stddev"):
            vectors = moments.spread(flow.transform, flow.base, context)
            made = None if vectors is None else vectors.square().sum(0)
            made = made.sqrt() if made is not None and quantity == "stddev" else made
        elif quantity == "entropy":
            made = moments.entropy(flow.transform, flow.base, context)
        if made is None:
            raise NoClosedFormError(no_form("Flow", quantity))
        return made.expand(self.batch_shape if quantity == "entropy" else self.batch_shape + self.event_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the distribution function ``(*batch)`` at ``(*batch, *event)``; see `Flow.cdf`."""
        self._expect_quantiles("cdf")
        context = self.flow._admit(value, self.event_shape, self.context)
        return quantiles.cdf(self.flow.transform, self.flow.base, value, context, self.batch_shape)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the values ``(*batch, *event)`` below which probabilities ``(*batch)`` lie; see `Flow.icdf`."""
        self._expect_quantiles("icdf")
        check_tensor(self.flow, "value", value, (), *self.flow._place())
        broadcast(value.shape, self.batch_shape, "Flow: the batch of the value")
        if bool(((value < 0) | (value > 1)).any()):
            raise ValueError("Flow: expected value to have probabilities from 0 to 1, got others")
        return quantiles.icdf(self.flow.transform, self.flow.base, value, self.inner(), self.batch_shape)

    def inner(self) -> Tensor | None:
        """Return the context as the flow's layers and base take it."""
        return self.flow._inner(self.context)

    def _expect_quantiles(self, name: str) -> None:
        if words := quantiles.missing(self.flow.transform, self.flow.base):
            raise NotImplementedError(f"Flow: {name} expects {words}; .estimate(lambda y: ...) gives the probability of anything")

    def scored(self, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        y, x, ladj, context = self.flow._draw((samples,), self.context, generator, self.batch_shape, reparametrised=False)
        return y, self.flow.base.score(x, context) - ladj

    def information(self, samples: int, generator: torch.Generator | None) -> Tensor:
        _, x, ladj, context = self.flow._draw((samples,), self.context, generator, self.batch_shape, reparametrised=False)
        # What is known of the base need not be drawn for.
        known = self.flow.base.entropy_at(context)
        return ladj - self.flow.base.score(x, context) if known is None else ladj + known

    def expand(self, batch_shape: Sizes, _instance: Any = None) -> ConditionedFlow:
        """Return the same distribution with a larger batch shape."""
        return ConditionedFlow(self.flow, self.context, torch.Size(batch_shape))

    def __repr__(self) -> str:
        given = "" if self.context is None else f", given a context of shape {tuple(self.context.shape)}"
        return f"{self.flow!r}{given}"
