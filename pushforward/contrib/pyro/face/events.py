"""What Pyro's users call on every distribution: `to_event`, `expand_by`, `shape`, and a call that draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributions

from pushforward.core.checks import as_size

__all__ = ["Independent"]


class Events:
    """What Pyro adds to a distribution of torch; each name of `pushforward.distributions` is torch's class with this.

    >>> import pushforward.distributions as dist
    >>> made = dist.Normal(0.0, 1.0).expand((4, 3)).to_event(1)
    >>> made.batch_shape, made.event_dim, made.shape((2,))
    (torch.Size([4]), 1, torch.Size([2, 4, 3]))
    """

    batch_shape: torch.Size
    event_shape: torch.Size

    def __call__(self, sample_shape: int | Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, *batch, *event)``, with gradients where there are any."""
        own: Any = self
        draw = own.rsample if own.has_rsample else own.sample
        return draw(as_size(sample_shape))  # type: ignore[no-any-return]

    @property
    def event_dim(self) -> int:
        """How many axes an event has."""
        return len(self.event_shape)

    def shape(self, sample_shape: int | Sequence[int] = ()) -> torch.Size:
        """Return the shape of samples, ``(*sample_shape, *batch, *event)``."""
        return as_size(sample_shape) + self.batch_shape + self.event_shape

    def expand_by(self, sample_shape: int | Sequence[int]) -> Any:
        """Return the same distribution with axes before those of the batch."""
        own: Any = self
        return own.expand(as_size(sample_shape) + self.batch_shape)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Any:
        """Return the distribution whose last batch axes are axes of the event, so that they are scored together.

        Args:
            reinterpreted_batch_ndims: How many (None: all). A negative number gives axes back that an earlier call took.

        Raises:
            TypeError: It is no whole number.
            ValueError: There are not so many batch axes, or none to give back.
        """
        count = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"to_event: expected reinterpreted_batch_ndims to be a whole number or None, got {count!r}")
        inner: Any = self
        taken = 0
        while isinstance(inner, distributions.Independent):
            inner, taken = inner.base_dist, taken + inner.reinterpreted_batch_ndims
        if not -taken <= count <= len(self.batch_shape):
            limits = f"-{taken} and {len(self.batch_shape)}" if taken else f"0 and {len(self.batch_shape)}"
            raise ValueError(f"to_event: expected reinterpreted_batch_ndims between {limits}, got {count} for {self!r}")
        return inner if count + taken == 0 else Independent(inner, count + taken)


class Independent(Events, distributions.Independent):  # type: ignore[type-arg]
    """torch's class of that name; `Events.to_event` makes it."""
