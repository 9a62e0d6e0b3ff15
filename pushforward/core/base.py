"""Base: the plan of a base distribution, and what it builds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core.budget import LAYER, reserve
from pushforward.core.built import BuiltModule
from pushforward.core.checks import as_size, check_batch
from pushforward.core.facts import BaseFacts
from pushforward.core.layer import Action, Layer, Shape
from pushforward.core.spec import Spec

FACTS = tuple(field.name for field in dataclasses.fields(BaseFacts))


class Base(Spec):
    """A plan of a base distribution."""

    _called = ("a base plan, such as StandardNormal() or what wrap() gives for a torch distribution", "base plans")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        """Build the base for events of a shape."""
        raise NotImplementedError


class BaseModule(BuiltModule):
    """A base distribution with its shapes fixed; its tensors move with the module and are in its ``state_dict``.

    The public methods check what they are given. A subclass writes those that do the work: `score`, `draw`, and what else it has.
    """

    noun = "base"
    plan: Base
    facts: BaseFacts = BaseFacts()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if loose := [name for name in FACTS if name in vars(cls)]:
            raise TypeError(
                f"{cls.__name__}: expected {loose[0]} to be declared as a fact, as in facts = BaseFacts({loose[0]}=...), "
                f"got a class attribute of that name"
            )

    def __init__(self, plan: Base, event_shape: Shape, context_shape: Shape | None = None) -> None:
        super().__init__(plan, event_shape, context_shape)
        #: The event shape with which the plan was built; another than ``event_shape`` where a bijection inside changes it.
        self.in_shape = event_shape
        reserve(1, LAYER + math.prod(event_shape))

    @property
    def support(self) -> Constraint:
        """The set of values that it gives."""
        return self.facts.support

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of distributions side by side that it is."""
        return self.facts.batch_shape

    @property
    def has_rsample(self) -> bool:
        """Whether samples have gradients to the parameters."""
        return self.facts.has_rsample

    @final
    def log_prob(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-density ``(*batch)``, at least float32.

        Args:
            value: ``(*batch, *event)``, of the parameters' precision.
            context: ``(*batch, *context)``, whose batch broadcasts; None where it was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        context = self.admit("value", value, self.event_shape, context)
        check_batch(self, "value", value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)
        return self.score(value, context)

    @final
    def rsample(self, batch: Sequence[int] = (), context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(*batch, *event)``; ``batch`` includes the base's own batch shape, and that of the context, at its end."""
        size, given = as_size(batch), self.admit_context(context)
        own = () if context is None or self.context_shape is None else context.shape[: context.dim() - len(self.context_shape)]
        needed = check_batch(self, "the context", own, self.batch_shape)
        if check_batch(self, "the sample", needed, size) != size:
            raise ValueError(f"{self.label()}: expected a batch to which {tuple(needed)} broadcasts, got {tuple(size)}")
        return self.draw(size, given, generator)

    @final
    def log_tails(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log P(X <= value) and log P(X > value) at each element, ``(*batch, *event)``, in float64, where it ``has_tails``."""
        self._expect_tails()
        return self.tails_at(value, self.admit("value", value, self.event_shape, context))

    @final
    def quantile(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        """Return ``(*batch, *event)`` whose `log_tails` differ by ``odds``, the log-odds of the distribution function."""
        self._expect_tails()
        return self.value_at(odds, self.admit("odds", odds, self.event_shape, context))

    @final
    def calibrate(self, value: Tensor, context: Tensor | None = None) -> None:
        """Set what depends on data from values of the base; only bases with bijections inside have something to set."""
        self.measure(value, self.admit("value", value, self.event_shape, context))

    @final
    def update(self, value: Tensor, context: Tensor | None = None) -> None:
        """Move what follows the data of a training step by values of the base; see `Layer.update`."""
        self.follow(value, self.admit("value", value, self.event_shape, context))

    def beneath(self) -> tuple[BaseModule, Layer] | None:
        """Return the base and the bijection through which it is pushed, where it is made of two such."""
        return None

    def members(self) -> Sequence[BaseModule]:
        """Return the bases that it is a mixture or a product of, if it is one."""
        return ()

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the work of `log_prob`, on what has been checked."""
        raise NotImplementedError

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Do the work of `rsample`."""
        raise NotImplementedError

    def tails_at(self, value: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the work of `log_tails`."""
        raise NotImplementedError

    def value_at(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the work of `quantile`."""
        raise NotImplementedError

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return the mean ``(*batch, *event)`` given a context that has been checked, or None where it has no closed form."""
        return None

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return vectors ``(n, *batch, *event)`` whose outer products add up to the covariance, or None where it has no closed form."""
        return None

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        """Return the entropy ``(*batch)`` in nats, or None where it has no closed form."""
        return None

    def _expect_tails(self) -> None:
        if not self.facts.has_tails:
            raise NotImplementedError(f"{self.label()}: its distribution function is not known, or its elements depend on one another")

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        """Do the work of `calibrate`."""

    def follow(self, value: Tensor, context: Tensor | None = None) -> None:
        """Do the work of `update`."""


def propagate(action: Action, value: Tensor, context: Tensor | None, transform: Layer, base: BaseModule) -> None:
    """Let a bijection, and then the base under it, ``measure`` or ``follow``, each by the values on its own data side."""
    value = transform.observe(action, value, context)
    if base.facts.has_statistics if action == "follow" else type(base).measure is not BaseModule.measure:
        getattr(base, action)(value, context)
