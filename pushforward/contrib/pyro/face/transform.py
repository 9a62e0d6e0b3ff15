"""Transforms of torch that give value and log-determinant in one pass, those of them that are modules, and their inverses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import ComposeTransform, IndependentTransform, Transform

from pushforward.core import checks

__all__ = ["TransformModule"]


class OnePass(Transform):
    """A `torch.distributions.Transform` that gives a value and the log-determinant there in one pass, in either direction.

    A subclass writes ``_call``, ``_inverse`` and ``log_abs_det_jacobian``, or derives from `AtOnce`, and states ``domain``, ``codomain``
    and ``bijective``. Nothing is remembered from call to call, so no value is ever one of earlier parameters.

    Args:
        cache_size: Taken for the sake of code written for Pyro; there is no cache.
    """

    noun = "transform"
    domain: Constraint
    codomain: Constraint

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cache_size=0)

    __hash__ = object.__hash__

    def label(self) -> str:
        """Return the class's name: what errors begin with."""
        return type(self).__name__

    def admit(self, what: str, value: Any) -> None:
        """Raise TypeError or ValueError unless a value is a tensor of floating point."""
        checks.check_tensor(self, what, value, (), None, None)

    @property
    def inv(self) -> OnePass:
        """The inverse; its inverse is the transform itself."""
        return Turned(self)

    @property
    def context_batch(self) -> torch.Size:
        """Batch shape of the context that the transform is conditioned on; empty if there is none."""
        return torch.Size()

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of ``x`` and the log-determinant there: one pass for a transform of this library."""
        y = self._call(x)  # type: ignore[no-untyped-call]
        return y, self.log_abs_det_jacobian(x, y)  # type: ignore[no-untyped-call]

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is mapped onto ``y``, and the log-determinant of the inverse there."""
        x = self._inverse(y)  # type: ignore[no-untyped-call]
        return x, -self.log_abs_det_jacobian(x, y)  # type: ignore[no-untyped-call]

    def observe(self, y: Tensor, inverse: bool = False) -> Tensor:
        """Move what follows data by values of the data side (``inverse``: of the base side), and return them on the other side."""
        moved: Tensor = self(y) if inverse else self.inv(y)
        return moved

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""

    def with_cache(self, cache_size: int = 1) -> Any:
        """Return the transform itself, which has no cache and needs none."""
        return self


class AtOnce(OnePass):
    """A transform that writes `call_and_ladj` and `inverse_and_ladj`, from which it has the rest."""

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_ladj(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]


class TransformModule(OnePass, nn.Module):
    """A `torch.distributions.Transform` that is an `nn.Module`: what derives from it has tensors that it learns, or keeps.

    A subclass writes what one of `OnePass` does.

    Args:
        cache_size: As in `OnePass`.

    >>> from pushforward.transforms import Planar
    >>> isinstance(Planar(2), TransformModule), Planar(2).inv.inv.event_dim
    (True, 1)
    """

    __hash__ = nn.Module.__hash__

    def admit(self, what: str, value: Any) -> None:
        """Raise TypeError or ValueError unless a value is a tensor of the parameters' precision, where they are."""
        checks.check_tensor(self, what, value, (), *checks.place(self))

    @property
    def inv(self) -> TransformModule:
        """The inverse: a module that shares the parameters; its inverse is the transform itself."""
        return Inverted(self)


class Turned(OnePass):
    """The inverse of a transform: all that the transform has, the other way round."""

    transform: Any

    def __init__(self, transform: OnePass) -> None:
        super().__init__()
        self.transform = transform

    inv = property(lambda self: self.transform)
    domain = property(lambda self: self.transform.codomain)
    codomain = property(lambda self: self.transform.domain)
    bijective = property(lambda self: self.transform.bijective)
    sign = property(lambda self: self.transform.sign)
    context_batch = property(lambda self: self.transform.context_batch)

    def _call(self, x: Tensor) -> Any:
        return self.transform._inverse(x)

    def _inverse(self, y: Tensor) -> Any:
        return self.transform._call(y)

    def observe(self, y: Tensor, inverse: bool = False) -> Any:
        return self.transform.observe(y, not inverse)

    def call_and_ladj(self, x: Tensor) -> Any:
        return self.transform.inverse_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor) -> Any:
        return self.transform.call_and_ladj(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Any:
        return -self.transform.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self.transform.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self.transform.forward_shape(shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Turned) and self.transform == other.transform

    __hash__ = object.__hash__


class Inverted(Turned, TransformModule):
    """The inverse of a transform that is a module, as a module that holds it."""


def observed(part: Transform, value: Tensor, inverse: bool = False) -> Tensor:
    """Let a transform, or what one of torch holds, `OnePass.observe` a value; return it on the other side."""
    if isinstance(part, OnePass):
        return part.observe(value, inverse)
    if isinstance(part, ComposeTransform):
        for inner in part.parts if inverse else reversed(part.parts):
            value = observed(inner, value, inverse)
        return value
    if isinstance(part, IndependentTransform):
        return observed(part.base_transform, value, inverse)
    moved: Tensor = part(value) if inverse else part.inv(value)
    return moved


def through(transforms: Sequence[Transform], value: Tensor, rank: int, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Return what transforms one after the other make of a value, and the log-determinant.

    Args:
        transforms: In order from base to data. One that is `OnePass` is asked once.
        value: ``(*batch, *event)``.
        rank: How many axes an event has.
        inverse: Whether to go from data to base.
    """
    total = value.new_zeros(())
    for part in reversed(transforms) if inverse else transforms:
        first, last = (part.codomain, part.domain) if inverse else (part.domain, part.codomain)
        if isinstance(part, OnePass):
            value, ladj = (part.inverse_and_ladj if inverse else part.call_and_ladj)(value)
        elif inverse:
            origin: Tensor = part.inv(value)
            value, ladj = origin, -part.log_abs_det_jacobian(origin, value)
        else:
            image: Tensor = part(value)
            value, ladj = image, part.log_abs_det_jacobian(value, image)
        total = total + summed(ladj, rank - first.event_dim)
        rank += last.event_dim - first.event_dim
    return value, total


def summed(ladj: Tensor, axes: int) -> Tensor:
    """Return a log-determinant summed over its last axes; torch's own sum fails for a batch of nothing."""
    return ladj.flatten(ladj.dim() - axes).sum(-1) if axes else ladj
