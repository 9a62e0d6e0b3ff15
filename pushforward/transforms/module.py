"""Transforms of torch that give value and log-determinant in one pass, those of them that are modules, and their inverses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

from pushforward import doors


class OnePass(Transform):
    """A `torch.distributions.Transform` that gives a value and the log-determinant there in one pass, in either direction.

    A subclass writes ``_call``, ``_inverse`` and ``log_abs_det_jacobian``, or the two methods below that do both at once, and states
    ``domain``, ``codomain`` and ``bijective``. Nothing is remembered from call to call, so no value is ever one of earlier parameters.

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
        doors.check_tensor(self, what, value, (), None, None)

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
        y: Tensor = self._call(x)  # type: ignore[no-untyped-call]
        return y, self.log_abs_det_jacobian(x, y)  # type: ignore[no-untyped-call]

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is mapped onto ``y``, and the log-determinant of the inverse there."""
        x: Tensor = self._inverse(y)  # type: ignore[no-untyped-call]
        return x, -self.log_abs_det_jacobian(x, y)  # type: ignore[no-untyped-call]

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""

    def with_cache(self, cache_size: int = 1) -> OnePass:
        """Return the transform itself, which has no cache and needs none."""
        return self


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
        doors.check_tensor(self, what, value, (), *doors.place(self))

    @property
    def inv(self) -> TransformModule:
        """The inverse: a module that shares the parameters; its inverse is the transform itself."""
        return Inverted(self)


class Turned(OnePass):
    """The inverse of a transform."""

    def __init__(self, transform: OnePass) -> None:
        super().__init__()
        self.transform = transform

    @property
    def inv(self) -> Any:
        return self.transform

    @property
    def context_batch(self) -> torch.Size:
        return self.transform.context_batch

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return self.transform.codomain

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return self.transform.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self.transform.bijective

    @property
    def sign(self) -> Any:
        """Whether it increases (1) or decreases (-1), where the transform says so."""
        return self.transform.sign

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Turned) and self.transform == other.transform

    __hash__ = object.__hash__

    def _call(self, x: Tensor) -> Tensor:
        origin: Tensor = self.transform._inverse(x)  # type: ignore[no-untyped-call]
        return origin

    def _inverse(self, y: Tensor) -> Tensor:
        image: Tensor = self.transform._call(y)  # type: ignore[no-untyped-call]
        return image

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform.inverse_and_ladj(x)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform.call_and_ladj(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        ladj: Tensor = self.transform.log_abs_det_jacobian(y, x)  # type: ignore[no-untyped-call]
        return -ladj

    def forward_shape(self, shape: Any) -> torch.Size:
        return self.transform.inverse_shape(shape)  # type: ignore[no-any-return,no-untyped-call]

    def inverse_shape(self, shape: Any) -> torch.Size:
        return self.transform.forward_shape(shape)  # type: ignore[no-any-return,no-untyped-call]


class Inverted(Turned, TransformModule):
    """The inverse of a transform that is a module, as a module that holds it."""


def summed(ladj: Tensor, axes: int) -> Tensor:
    """Return a log-determinant summed over its last axes; torch's own sum fails for a batch of nothing."""
    return ladj.flatten(ladj.dim() - axes).sum(-1) if axes else ladj


def forward_with_ladj(transform: Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return image and log-determinant, in one pass of a transform that has `call_and_ladj`."""
    if isinstance(transform, OnePass):
        return transform.call_and_ladj(x)
    y: Tensor = transform(x)
    return y, transform.log_abs_det_jacobian(x, y)


def inverse_with_ladj(transform: Transform, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return origin and log-determinant of the inverse, in one pass of a transform that has `inverse_and_ladj`."""
    if isinstance(transform, OnePass):
        return transform.inverse_and_ladj(y)
    x: Tensor = transform.inv(y)
    return x, -transform.log_abs_det_jacobian(x, y)
