"""Conditional distributions: what becomes a distribution once a context is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from pushforward.contrib.pyro.face.conditional import conditionally
from pushforward.contrib.pyro.face.distribution import TransformedDistribution
from pushforward.contrib.pyro.face.held import AsModule, released

__all__ = ["ConditionalDistribution", "ConditionalTransformedDistribution", "ConstantConditionalDistribution"]


class ConditionalDistribution(ABC):
    """What becomes a distribution once a context is given."""

    @abstractmethod
    def condition(self, context: Tensor) -> Distribution:
        """Return the distribution for a context."""


class ConstantConditionalDistribution(ConditionalDistribution, nn.Module):
    """A distribution that is the same for every context."""

    def __init__(self, base_dist: Distribution) -> None:
        super().__init__()
        self.held = AsModule.of(base_dist)

    @property
    def base_dist(self) -> Any:
        """The distribution."""
        return released(self.held)

    def condition(self, context: Tensor) -> Any:
        return released(self.held)


class ConditionalTransformedDistribution(ConditionalDistribution, nn.Module):
    """A base through transforms, either of which may be conditional: `condition` gives the `TransformedDistribution` for a context.

    It is an `nn.Module`; what it gives shares its parameters. A batch of contexts needs no batch of the base.

    Args:
        base_dist: A distribution, or a conditional one.
        transforms: Transforms and conditional transforms, in order from base to data.

    >>> import torch
    >>> from pushforward.transforms import conditional_spline
    >>> base = torch.distributions.Normal(torch.zeros(2), 1.0)
    >>> ConditionalTransformedDistribution(base, [conditional_spline(2, 3)]).condition(torch.zeros(7, 3)).batch_shape
    torch.Size([7, 2])
    """

    def __init__(self, base_dist: Any, transforms: Sequence[Any]) -> None:
        super().__init__()
        conditional = base_dist if isinstance(base_dist, ConditionalDistribution) else ConstantConditionalDistribution(base_dist)
        self._base = conditional if isinstance(conditional, nn.Module) else [conditional]
        self.parts = nn.ModuleList(map(conditionally, transforms))

    @property
    def base_dist(self) -> Any:
        """The base, as a conditional distribution."""
        return self._base[0] if isinstance(self._base, list) else self._base

    @property
    def transforms(self) -> list[Any]:
        """The transforms, as conditional ones."""
        return list(self.parts)

    def condition(self, context: Tensor) -> TransformedDistribution:
        return TransformedDistribution(self.base_dist.condition(context), [part.condition(context) for part in self.transforms])

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""
