"""Mixtures: a base that is a weighted sum of other bases or of flows."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pushforward.bases import moments
from pushforward.core import sets
from pushforward.core.base import Base, BaseModule, propagate
from pushforward.core.bijector import Bijector
from pushforward.core.blocks import in_blocks
from pushforward.core.compose import Compose
from pushforward.core.facts import parts_of
from pushforward.core.fields import Length, Within
from pushforward.core.layer import Layer, Shape, expect_bijections
from pushforward.core.promise import Tolerance
from pushforward.core.spec import PlanError
from pushforward.layers.standardize import Standardize
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.net import NetLike


@dataclass(frozen=True, repr=False)
class Pushforward(Base):
    r"""A base pushed through a bijection, which is a base again: :math:`\log p(y) = \log p_{base}(x) - \log|\det dg/dx|`, y = g(x).

    Its parameters are those of the two. As a component of a `Mixture` it is a whole flow.

    Args:
        base: The plan of the distribution of x.
        bijector: The plan from x to y, or a list of plans.

    >>> from pushforward.distributions import StandardNormal
    >>> from pushforward.bijectors import Exp
    >>> Pushforward(StandardNormal(), Exp()).build((1,)).log_prob(torch.ones(1))
    tensor(-0.9189)
    """

    base: Base
    bijector: Bijector | Sequence[Bijector]

    def check(self) -> None:
        self.chain()  # a list of layers is as deep as the composition that it stands for

    def chain(self) -> Bijector:
        """Return the bijector as one plan."""
        return self.bijector if isinstance(self.bijector, Bijector) else Compose(self.bijector)

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return PushforwardModule(self, event_shape, context_shape)


class PushforwardModule(BaseModule):
    """A built base with a built bijection on top."""

    def __init__(self, plan: Pushforward, event_shape: Shape, context_shape: Shape | None) -> None:
        base = plan.base.build(event_shape, context_shape)
        transform = plan.chain().build(base.event_shape, context_shape)
        super().__init__(plan, transform.out_shape, context_shape)
        expect_bijections("Pushforward", transform)
        self.base, self.transform, self.in_shape = base, transform, base.in_shape
        uses_context = base.facts.uses_context or transform.facts.uses_context
        # Contexts in the units of this flow alone, as a `Flow` has them: flows that were fitted apart have measured different ones.
        self.context_units = Standardize().build(context_shape) if uses_context and context_shape is not None else None
        try:
            support = transform.image(base.support)
        except PlanError as error:
            raise PlanError(f"{plan!r}: {error}") from error
        self.facts = dataclasses.replace(
            base.facts,
            support=support,
            has_tails=False,
            gaussian=base.facts.gaussian and moments.affine(transform),
            uses_context=uses_context,
            has_statistics=base.facts.has_statistics or transform.facts.has_statistics,
            # How far values are off counts by the slope of the density, which is nobody's to say here.
            accuracy=base.facts.accuracy + transform.facts.accuracy[1].ladj,
        )

    def beneath(self) -> tuple[BaseModule, Layer] | None:
        return self.base, self.transform

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        context = self._enter(context)
        x, ladj = self.transform.pull(value, context)
        return self.base.score(x, context) + ladj

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        context = self._enter(context)
        x = self.base.draw(batch, context, generator)
        given = (x, len(self.base.event_shape)), (context, len(self.context_shape or ()))
        return in_blocks(lambda x, context: self.transform.push(x, context)[:1], self.transform, batch, len(self.base.batch_shape), *given)[
            0
        ]

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        return moments.mean(self.transform, self.base, self._enter(context))

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        return moments.spread(self.transform, self.base, self._enter(context))

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        return moments.entropy(self.transform, self.base, self._enter(context))

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        if self.context_units is not None and context is not None:
            self.context_units.measure(context)
        propagate("measure", value, self._enter(context), self.transform, self.base)

    def follow(self, value: Tensor, context: Tensor | None = None) -> None:
        propagate("follow", value, self._enter(context), self.transform, self.base)

    def _enter(self, context: Tensor | None) -> Tensor | None:
        return context if context is None or self.context_units is None else self.context_units.pull(context)[0]


@dataclass(frozen=True, repr=False)
class Mixture(Base):
    r"""Weighted sum of distributions, :math:`p(y) = \sum_k w_k\, p_k(y)`, :math:`w = \mathrm{softmax}(\lambda)`: bases or whole flows.

    The density is exact, a logsumexp over the components. A sample is drawn from each component and one of them kept, so it
    costs K draws; the choice has no gradient, so there is no ``rsample``. K weights, free or a function of the context, and the
    parameters of the components. The support is the interval that spans those of the components.
    Components that are alike would have the same gradients for ever, so a new mixture moves their parameters apart by some noise.
    Source: Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird, Rubin, 1977), trained by gradients.

    Args:
        components: The plans of the components; `Pushforward` for a flow.
        net: The network from context to the logits of the weights (None: free logits); it starts with equal weights.
        noise: Size of the noise on the parameters of a new mixture.

    >>> from pushforward.distributions import DiagNormal, StandardNormal
    >>> Mixture([StandardNormal(), DiagNormal()], noise=0.0).build((2,)).log_prob(torch.zeros(2)).detach()
    tensor(-1.8379)
    """

    components: Annotated[Sequence[Base], Length(1)]
    net: NetLike | None = None
    noise: Annotated[float, Within(least=0.0, most=1e6)] = 0.1

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        if self.net is not None and context_shape is None:
            raise PlanError(f"{self!r}: expected a context for its net, got none; give context_shape, or leave out net")
        return MixtureModule(self, event_shape, context_shape)


class MixtureModule(BaseModule):
    """Built components and the logits of their weights."""

    def __init__(self, plan: Mixture, event_shape: Shape, context_shape: Shape | None) -> None:
        built = [component.build(event_shape, context_shape) for component in plan.components]
        super().__init__(plan, built[0].event_shape, context_shape)
        self.in_shape = event_shape
        for index, component in enumerate(built):
            if component.event_shape != self.event_shape or component.batch_shape:
                raise PlanError(
                    f"Mixture: expected all components on events of shape {self.event_shape} and without a batch, got component {index} "
                    f"on {component.event_shape} with a batch of {tuple(component.batch_shape)}"
                )
        support = _span([component.support for component in built])
        with torch.no_grad():
            for parameter in (p for component in built for p in component.parameters()):
                fan = parameter.shape[-1] if parameter.dim() > 1 else 1
                parameter.add_(torch.randn_like(parameter), alpha=plan.noise / fan**0.5)
        self.components = nn.ModuleList(built)
        context = 0 if plan.net is None or context_shape is None else math.prod(context_shape)
        self.parameters_of = Parameters({"logits": torch.zeros(len(built))}, plan.net, None, context_shape)
        self.weighted = context > 0
        own = parts_of([component.facts for component in built])
        # A weighted mean of densities is as exact as the worst of them.
        accuracy = functools.reduce(Tolerance.worse, [component.facts.accuracy for component in built])
        uses_context = own.uses_context or self.weighted
        self.facts = dataclasses.replace(
            own, support=support, has_rsample=False, gaussian=False, uses_context=uses_context, accuracy=accuracy
        )

    def members(self) -> Sequence[BaseModule]:
        return [*self.components]

    def log_weights(self, context: Tensor | None = None) -> Tensor:
        """Return the logs of the weights, ``(*batch of the context, K)``."""
        return self._log_weights(self.admit_context(context))

    def _log_weights(self, context: Tensor | None) -> Tensor:
        logits = self.parameters_of.flat(None, flat_context(context, self.context_shape) if self.weighted else None)
        return torch.log_softmax(logits, -1)

    def log_joint(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the logs of weight times density, ``(*batch, K)``; a softmax over them says from which component a value comes."""
        return self._log_joint(value, self.admit("value", value, self.event_shape, context))

    def _log_joint(self, value: Tensor, context: Tensor | None) -> Tensor:
        weights = self._log_weights(context).unbind(-1)
        terms = [component.score(value, context) + weight for component, weight in zip(self.components, weights, strict=True)]  # type: ignore[operator]
        return torch.stack(torch.broadcast_tensors(*terms), -1)

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        joint = self._log_joint(value, context)
        # Where every component is -inf, the gradient of logsumexp is NaN.
        nowhere = (joint == -math.inf).all(-1)
        inside = torch.where(nowhere.unsqueeze(-1), 0.0, joint)
        return torch.where(nowhere, -math.inf, torch.logsumexp(inside, -1))

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        means = [component.mean_at(context) for component in self.components]  # type: ignore[operator]
        if any(mean is None for mean in means):
            return None
        total: Tensor = sum(self._share(k, context) ** 2 * mean for k, mean in enumerate(means))
        return total

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        mean, each = self.mean_at(context), [component.spread_at(context) for component in self.components]  # type: ignore[operator]
        if mean is None or any(vectors is None for vectors in each):
            return None
        # Within each component, and from their means to that of all.
        away = [(component.mean_at(context) - mean).unsqueeze(0) for component in self.components]  # type: ignore[operator]
        shares = [self._share(k, context) for k in range(len(each))]
        wide = [torch.broadcast_shapes(share.shape, v.shape[1:], mean.shape) for share, v in zip(shares, each, strict=True)]
        found = [share * moments.widened(v, shape) for lot in (each, away) for share, v, shape in zip(shares, lot, wide, strict=True)]
        return moments.together(found)

    def _share(self, k: int, context: Tensor | None) -> Tensor:
        """Return the root of a component's weight, with axes for the event."""
        weight = torch.exp(0.5 * self._log_weights(context)[..., k])
        return weight.reshape(weight.shape + (1,) * len(self.event_shape))

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        for component, *rows in self._rows_of_each(value, context):
            component.measure(*rows)  # type: ignore[operator]

    def follow(self, value: Tensor, context: Tensor | None = None) -> None:
        for component, *rows in self._rows_of_each(value, context):
            component.follow(*rows)  # type: ignore[operator]

    def _rows_of_each(self, value: Tensor, context: Tensor | None) -> Iterator[tuple[nn.Module, Tensor, Tensor | None]]:
        """Give each component with the rows that lie in its support; one row alone says nothing of location and scale."""
        rank = len(self.event_shape)
        batch = value.shape[: value.dim() - rank]
        if context is not None and self.context_shape is not None:
            context = context.expand(*batch, *self.context_shape)
        for component in self.components:
            inside = sets.independent(component.support, rank).check(value)  # type: ignore[arg-type]
            if inside.sum() > 1:
                yield component, value[inside], None if context is None else context[inside]

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        weights = torch.cumsum(torch.exp(self._log_weights(context)), -1)
        place = torch.rand(batch, dtype=weights.dtype, device=weights.device, generator=generator)
        chosen = (place.unsqueeze(-1) >= weights[..., :-1]).sum(-1)
        drawn = torch.stack([component.draw(batch, context, generator) for component in self.components])  # type: ignore[operator]
        chosen = chosen.reshape(1, *batch, *(1 for _ in self.event_shape)).expand(1, *batch, *self.event_shape)
        return torch.gather(drawn, 0, chosen).squeeze(0)


def _expect_base(owner: Base, plan: object) -> None:
    if not isinstance(plan, Base):
        raise PlanError(
            f"{type(owner).__name__}: expected the plan of a distribution, got {plan!r}; wrap() gives that of a torch distribution, "
            "and Pushforward(base, bijector) that of a flow"
        )


def _span(parts: Sequence[Constraint]) -> Constraint:
    """Return the interval from the lowest end of some supports to the highest."""
    if all(sets.same(part, parts[0]) for part in parts):
        return parts[0]
    ends = [sets.bounds(part) for part in parts]
    if any(end is None for end in ends):
        raise PlanError(f"Mixture: expected components on intervals or on the same set, got {[sets.name(part) for part in parts]}")
    return sets.interval(min(end[0] for end in ends if end), max(end[1] for end in ends if end))
