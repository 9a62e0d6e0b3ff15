"""Distributions through transforms, as modules: what moves, learns or is saved of base and transforms belongs to them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.distributions import TransformedDistribution as TorchTransformedDistribution
from torch.distributions.transforms import Transform

from pushforward.contrib.pyro.face.compose import context_batch
from pushforward.contrib.pyro.face.events import Events
from pushforward.contrib.pyro.face.held import AsModule, released
from pushforward.contrib.pyro.face.transform import observed, summed, through
from pushforward.core import mode, sets
from pushforward.core.checks import as_size, check_batch, check_tensor
from pushforward.core.estimates import EstimatedModule

__all__ = ["TransformedDistribution"]


class TransformedDistribution(EstimatedModule, nn.Module, Events, TorchTransformedDistribution):
    """The distribution of what transforms make of draws from a base; torch's class of that name as an `nn.Module`.

    Tensors of base and transforms move with ``.to()`` and are in the ``state_dict``; ``parameters()`` are those of both. A value is
    scored in one pass of each transform, and `rsample_and_log_prob` scores a sample while drawing it.

    Given a batch of contexts, it has their batch shape, each with draws of its own; as in Pyro, a sample shape equal to it draws once each.

    Args:
        base_distribution: A distribution of torch, Pyro or this library.
        transforms: Transforms in order from base to data.
        validate_args: As in torch.

    >>> from pushforward.transforms import Spline
    >>> made = TransformedDistribution(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), [Spline(2)])
    >>> made.log_prob(made.sample((5,))).shape, len(list(made.parameters()))
    (torch.Size([5, 2]), 1)
    """

    noun = "distribution"

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | Sequence[Transform], validate_args: bool | None = None
    ) -> None:
        nn.Module.__init__(self)
        parts = [transforms] if isinstance(transforms, Transform) else list(transforms)
        for part in parts:
            if not isinstance(part, Transform):
                hint = "; use ConditionalTransformedDistribution" if hasattr(part, "condition") else ""
                raise TypeError(f"TransformedDistribution: expected transforms, got {type(part).__name__}{hint}")
        TorchTransformedDistribution.__init__(self, base_distribution, parts, validate_args)
        # Not torch's default, which is one for the process, and which compiling anything sets to False.
        self._validate_args = validate_args is None or bool(validate_args)
        self._pairs = True

    # torch's class sets and reads these two; here they live in modules.

    @property
    def base_dist(self) -> Any:
        """The base, whose shape is that of the transforms' input."""
        return released(self._modules["base_dist"])

    @base_dist.setter
    def base_dist(self, distribution: Distribution) -> None:
        self._modules["base_dist"] = AsModule.of(distribution)

    @property
    def transforms(self) -> list[Any]:
        """The transforms, in order from base to data."""
        held = self._modules["transforms"]
        assert isinstance(held, nn.ModuleList)
        return list(map(released, held))

    @transforms.setter
    def transforms(self, transforms: Sequence[Transform]) -> None:
        self._modules["transforms"] = nn.ModuleList(map(AsModule.of, transforms))

    def forward(self, sample_shape: Any = ()) -> Tensor:
        """Draw a sample, as calling a distribution of Pyro does."""
        return self.rsample(sample_shape) if self.has_rsample else self.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``(*batch, *event)`` as ``(*batch)``, in one pass of each transform."""
        inside = self._inside(value)
        value, ladj = through(self.transforms, value, len(self.event_shape), inverse=True)
        out = self._base_log_prob(value) + ladj
        return out if inside is None else torch.where(inside, out, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """Return the distribution function, of maps of numbers on a base that knows its own; NotImplementedError for others."""
        return self._of_numbers("cdf", value)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantiles, where `cdf` is known and the base knows its own."""
        return self._of_numbers("icdf", value)

    def _of_numbers(self, name: str, value: Tensor) -> Tensor:
        if not self.event_shape:
            try:
                found: Tensor = getattr(TorchTransformedDistribution, name)(self, value)
                return found
            except NotImplementedError:
                pass
        raise NotImplementedError(
            f"{self.label()}: expected maps of numbers that rise or fall, on a base that knows its {name}, to return it, got events of "
            f"shape {tuple(self.event_shape)} from {type(self.base_dist).__name__}; sample gives draws to count"
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` without gradients."""
        drawn: Tensor = super().sample(self._shape(sample_shape))  # type: ignore[no-untyped-call]
        return drawn

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)`` with gradients."""
        drawn: Tensor = super().rsample(self._shape(sample_shape))
        return drawn

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draw and score in one pass of each transform."""
        base = self.base_dist.rsample(self._shape(sample_shape))
        value, ladj = through(self.transforms, base, len(self.base_dist.event_shape))
        return value, self._base_log_prob(base) - ladj

    def expand(self, batch_shape: Any, _instance: Any = None) -> TransformedDistribution:
        """Return the same distribution with a larger batch shape; it shares the transforms."""
        shape = torch.Size(batch_shape) + self.event_shape
        for transform in reversed(self.transforms):
            shape = transform.inverse_shape(shape)
        base = self.base_dist
        made = TransformedDistribution(base.expand(shape[: len(shape) - len(base.event_shape)]), self.transforms, self._validate_args)
        made._pairs = False
        return made

    def update(self, value: Tensor) -> None:
        """Move what transforms follow from step to step (`BatchNorm`) by the rows of a training step."""
        with torch.no_grad():
            for transform in reversed(self.transforms):
                value = observed(transform, value)

    def clear_cache(self) -> None:
        """Clear the caches of torch's own transforms, where there are any; those of this library have none."""
        for transform in self.transforms:
            if hasattr(transform, "clear_cache"):
                transform.clear_cache()

    def _inside(self, value: Tensor) -> Tensor | None:
        """Return which events are in the support (None: all are); raise ValueError for others, unless ``validate_args`` is False."""
        check_tensor(self, "value", value, self.event_shape, None, None)
        check_batch(self, "value", value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)
        inside = sets.inside(self.support, value)
        if not self._validate_args or mode.watched():
            return inside | sets.any_element(torch.isnan(value), len(self.event_shape))
        if not bool(inside.all()):
            place = tuple((~inside).nonzero()[0].tolist())
            raise ValueError(
                f"{self.label()}: expected value to be in {sets.name(self.support)}, got others, the first at {place}; "
                "validate_args=False gives them the density 0"
            )
        return None

    def label(self) -> str:
        """Return what errors begin with."""
        return type(self).__name__

    def _base_log_prob(self, value: Tensor) -> Tensor:
        base = self.base_dist if self._validate_args else _lax(self.base_dist)
        rank = len(base.event_shape)
        while type(base).log_prob is Independent.log_prob:  # whose sum fails for a batch of nothing
            base = base.base_dist
        return summed(base.log_prob(value), rank - len(base.event_shape))

    def _shape(self, sample_shape: Any) -> torch.Size:
        shape = as_size(sample_shape)
        once_each = self._pairs and bool(shape) and shape == context_batch(self.transforms)
        return torch.Size() if once_each else shape

    __hash__ = nn.Module.__hash__


def _lax(distribution: Any) -> Any:
    """Return a distribution, and those inside it, without validation: what a value outside the support comes from may be no number."""
    if isinstance(distribution, nn.Module):
        return distribution
    made = copy.copy(distribution)
    inner = {name: _lax(value) for name, value in vars(made).items() if isinstance(value, Distribution)}
    vars(made).update(inner, _validate_args=False)
    return made
