"""Target: the interface of the densities for experiments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core import numerics
from pushforward.core.checks import as_size
from pushforward.core.estimates import Estimated


@dataclass(eq=False)
class Target(Estimated):
    """A density on vectors with a normalised ``log_prob`` and exact samples; it holds numbers only, and so has no dtype or device.

    A subclass is a dataclass of its arguments and writes `density` and `draw`.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's interface)

    def __post_init__(self) -> None:
        super().__init__(torch.Size(), torch.Size((self.length,)), validate_args=False)
        for name, value in vars(self).items():
            if name in self._positive and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"{type(self).__name__}: expected {name} > 0, got {value!r}")
            whole = isinstance(value, int) and not isinstance(value, bool)
            if name in self._at_least and not (whole and value >= self._at_least[name]):
                raise ValueError(
                    f"{type(self).__name__}: expected {name} to be a whole number of at least {self._at_least[name]}, got {value!r}"
                )

    _positive = ("noise", "width", "spread", "radius", "turns", "scale", "extent", "a", "b")
    _at_least = {"modes": 1, "arms": 1, "side": 1, "features": 2, "cells": 2, "rings": 1}  # noqa: RUF012 (a constant)

    @property
    def length(self) -> int:
        """Number of features."""
        return 2

    @property
    def support(self) -> constraints.Constraint:
        """The set of values: all real vectors."""
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normalised log-density ``(*batch)`` of ``(*batch, features)``, in the value's precision, at least float32."""
        if not isinstance(value, Tensor) or not value.dim() or value.shape[-1] != self.length or not value.is_floating_point():
            got = (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{type(self).__name__}: expected floating-point values of shape (*batch, {self.length}), got {got}")
        x = numerics.working(value)
        log_density = self.density(x)
        return torch.where(torch.isnan(x).any(-1), math.nan, log_density)

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*sample_shape, features)``.

        Args:
            sample_shape: A number or a shape.
            generator: Where the randomness comes from (None: torch's global generator).
            dtype: Precision of the samples (None: torch's default).
            device: Where they are made (None: the generator's device, or torch's default).
        """
        shape = as_size(sample_shape)
        source = Source(generator, dtype or torch.get_default_dtype(), device if device or generator is None else generator.device)
        with torch.no_grad():
            return self.draw(math.prod(shape), source).reshape((*shape, self.length))

    def density(self, x: Tensor) -> Tensor:
        """Return the log-density of vectors."""
        raise NotImplementedError

    def draw(self, rows: int, source: Source) -> Tensor:
        """Draw ``(rows, features)``."""
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in inspect.signature(type(self)).parameters)
        return f"{type(self).__name__}({arguments})"


@dataclass(frozen=True)
class Source:
    """Where random numbers come from, and how precise they are."""

    generator: torch.Generator | None
    dtype: torch.dtype
    device: Any

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normals."""
        return torch.randn(shape, generator=self.generator, dtype=self.dtype, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniforms on [0, 1)."""
        return torch.rand(shape, generator=self.generator, dtype=self.dtype, device=self.device)

    def whole(self, stop: int, *shape: int) -> Tensor:
        """Draw whole numbers below ``stop``, as floating-point numbers."""
        return torch.randint(stop, shape, generator=self.generator, device=self.device).to(self.dtype)

    def chosen(self, weights: Sequence[float], rows: int) -> Tensor:
        """Draw indices with probabilities in proportion to weights."""
        total = torch.tensor(weights, dtype=self.dtype, device=self.device).cumsum(0)
        return (self.uniform(rows, 1) >= (total / total[-1])[:-1]).sum(-1)

    def accepted(self, rows: int, propose: Callable[[int], tuple[Tensor, Tensor]]) -> Tensor:
        """Draw by rejection: ``propose(n)`` gives n proposals and the probabilities with which to accept them."""
        found: list[Tensor] = []
        missing = rows
        while missing > 0 or not found:
            proposal, probability = propose(max(2 * missing, 64))
            found.append(proposal[self.uniform(len(proposal)) < probability][:missing])
            missing -= len(found[-1])
        return torch.cat(found)


def log_normal(z: Tensor) -> Tensor:
    """Return the log-density of a standard normal at each number."""
    return -0.5 * (z * z + math.log(2 * math.pi))


def length(x: Tensor) -> Tensor:
    """Return the lengths of vectors, with a gradient of zero at the origin."""
    return torch.sqrt(torch.clamp((x * x).sum(-1), min=torch.finfo(x.dtype).tiny))
