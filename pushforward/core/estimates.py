"""Estimates: what a distribution says of its mean, variance and entropy, in closed form, by Monte Carlo, or not at all."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from pushforward.core.numerics import finer, working

QUANTITIES = ("mean", "variance", "stddev", "entropy", "kl_divergence")
"""What `Estimated.estimate` knows by name."""


class Estimate(NamedTuple):
    """A Monte Carlo value and its standard error, of one shape."""

    value: Tensor
    error: Tensor


class NoClosedFormError(AttributeError, NotImplementedError):
    """A property that a distribution does not have: ``hasattr`` answers False, and what catches torch's own error catches this one."""


class Estimated(Distribution):
    """The part of `torch.distributions.Distribution` that few densities have in closed form: each says what to do where there is none."""

    @property
    def mean(self) -> Tensor:
        """The mean ``(*batch, *event)``, where it has a closed form."""
        return self.closed("mean")

    @property
    def variance(self) -> Tensor:
        """The variance of each number ``(*batch, *event)``, where it has a closed form."""
        return self.closed("variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.closed("stddev")

    @property
    def mode(self) -> Tensor:
        """The mode, where it has a closed form."""
        return self.closed("mode")

    def entropy(self) -> Tensor:
        """Return the entropy ``(*batch)`` in nats, where it has a closed form."""
        return self.closed("entropy")

    def cdf(self, value: Tensor) -> Tensor:
        """Return the distribution function, where it is known."""
        raise NotImplementedError(
            f"{type(self).__name__}: cdf is known for flows of one number whose base knows its own; .sample gives draws to count"
        )

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile function, where it is known."""
        raise NotImplementedError(
            f"{type(self).__name__}: icdf is known for flows of one number whose base knows its cdf; .sample gives draws to sort"
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Raise NotImplementedError: a density has no list of values."""
        raise NotImplementedError(f"{type(self).__name__}: expected a distribution of discrete values to list, got a density; use .sample")

    def closed(self, quantity: str) -> Tensor:
        """Return a quantity in closed form, or raise `NoClosedFormError`."""
        raise NoClosedFormError(no_form(type(self).__name__, quantity))

    def estimate(
        self,
        quantity: str | Callable[[Tensor], Tensor],
        samples: int = 10_000,
        *,
        other: Distribution | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        r"""Return a Monte Carlo value with its standard error.

        Args:
            quantity: ``"mean"``, ``"variance"`` or ``"stddev"`` of each number; ``"entropy"``, :math:`-E[\log p]`, or
                ``"kl_divergence"``, :math:`E[\log p - \log q]` with q the ``other``, in nats; or a function of draws ``(samples,
                *batch, *event)`` to ``(samples, *shape)``, of which the expectation is estimated.
            samples: How many draws to average over, at least 2; the error falls like the inverse of its square root.
            other: The distribution q, on the same events.
            generator: Where the draws come from (None: torch's global generator).

        Returns:
            ``(value, error)``: ``(*batch, *event)`` for the moments, ``(*batch)`` for the others, without gradients. Where the
            distribution has no variance, as one with heavy tails, the error says nothing.

        Raises:
            ValueError: Another word, too few draws, an ``other`` that is missing or not expected, or on other events.

        >>> from pushforward.flows import NSF
        >>> value, error = NSF(2).estimate("mean", generator=torch.Generator().manual_seed(0))
        >>> bool((value.abs() < 5 * error).all()), error.shape
        (True, torch.Size([2]))
        """
        check(type(self).__name__, self, quantity, samples, other)
        name = type(self).__name__
        if generator is not None and "generator" not in inspect.signature(self.sample).parameters:
            raise ValueError(f"{name}: expected no generator, since its draws come from torch's global one, got one")
        with torch.no_grad():
            if quantity == "entropy":
                return _mean(self.information(samples, generator))
            if quantity == "kl_divergence" and other is not None:
                x, log_p = self.scored(samples, generator)
                return _mean(log_p - other.log_prob(x))
            x = self._drawn(samples, generator)
            if callable(quantity):
                return _mean(_values(name, quantity(x), samples))
            return _mean(x) if quantity == "mean" else _variance(x, root=quantity == "stddev")

    def scored(self, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return draws and their log-densities."""
        x = self._drawn(samples, generator)
        return x, self.log_prob(x)

    def information(self, samples: int, generator: torch.Generator | None) -> Tensor:
        """Return numbers ``(samples, *batch)`` whose expectation is the entropy."""
        return -self.scored(samples, generator)[1]

    def _drawn(self, samples: int, generator: torch.Generator | None) -> Tensor:
        told: dict[str, Any] = {} if generator is None else {"generator": generator}
        return self.sample(torch.Size((samples,)), **told)


class EstimatedModule(Estimated):
    """The same for one that is an `nn.Module`, which asks `__getattr__` for a property that raises AttributeError, and loses its words."""

    def __getattr__(self, name: str) -> Any:
        if name in ("mean", "variance", "stddev", "mode"):
            return self.closed(name)
        return super().__getattr__(name)  # type: ignore[misc]


def no_form(owner: str, quantity: str) -> str:
    """Return what to do where a quantity has no closed form."""
    if quantity == "mode":
        return f"{owner}: the mode has no closed form; maximise log_prob from the best of some draws"
    return f"{owner}: no closed form of {quantity} is known; .estimate({quantity!r}) gives a Monte Carlo value and its standard error"


def check(owner: str, distribution: Distribution, quantity: Any, samples: Any, other: Any) -> None:
    """Raise ValueError for arguments of `Estimated.estimate` that are none."""
    if not callable(quantity) and quantity not in QUANTITIES:
        raise ValueError(f"{owner}: expected quantity to be a function or one of {', '.join(map(repr, QUANTITIES))}, got {quantity!r}")
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 2:
        raise ValueError(f"{owner}: expected samples to be a whole number of at least 2, got {samples!r}")
    if (quantity == "kl_divergence") != (other is not None):
        got = "none" if other is None else f"one with {quantity!r}"
        raise ValueError(f"{owner}: expected other, a distribution, with 'kl_divergence' and with nothing else, got {got}")
    if other is not None and not isinstance(other, Distribution):
        raise ValueError(f"{owner}: expected other to be a distribution, got {type(other).__name__}")
    if other is not None and other.event_shape != distribution.event_shape:
        raise ValueError(
            f"{owner}: expected other on events of shape {tuple(distribution.event_shape)}, got one on {tuple(other.event_shape)}; "
            "torch.distributions.Independent makes batch axes those of an event"
        )


def _values(owner: str, values: Any, samples: int) -> Tensor:
    if not isinstance(values, Tensor) or not values.dim() or len(values) != samples:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{owner}: expected the function to return a tensor of shape ({samples}, ...), one value for each draw, got {got}")
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _mean(values: Tensor) -> Estimate:
    fine, kind = finer(values), working(values).dtype
    return Estimate(fine.mean(0).to(kind), (fine.std(0) / math.sqrt(len(values))).to(kind))


def _variance(x: Tensor, root: bool) -> Estimate:
    fine, kind, n = finer(x), working(x).dtype, len(x)
    off = (fine - fine.mean(0)).square()
    variance = off.sum(0) / (n - 1)
    # The variance of a sample variance, with the fourth moment; that of its root is the same by its slope.
    error = torch.sqrt(((off.square().mean(0) - variance.square() * (n - 3) / (n - 1)) / n).clamp(min=0))
    if root:
        deviation = variance.sqrt()
        return Estimate(deviation.to(kind), (0.5 * error / deviation).to(kind))
    return Estimate(variance.to(kind), error.to(kind))
