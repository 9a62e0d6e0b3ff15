"""Transforms of torch that are modules: what a learnable transform derives from, and its inverse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

from pushforward import doors


class TransformModule(Transform, nn.Module):
    """A `torch.distributions.Transform` that is an `nn.Module`: what a learnable transform derives from.

    A subclass writes ``_call``, ``_inverse`` and ``log_abs_det_jacobian``, and states ``domain``, ``codomain`` and ``bijective``.
    Nothing is remembered from call to call, so no value is ever one of earlier parameters.

    Args:
        cache_size: Taken for the sake of code written for Pyro; there is no cache.

    >>> from pushforward.transforms import Planar
    >>> isinstance(Planar(2), TransformModule), Planar(2).inv.inv.event_dim
    (True, 1)
    """

    domain: Constraint
    codomain: Constraint

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cache_size=0)

    __hash__ = nn.Module.__hash__

    def label(self) -> str:
        """Return the class's name: what errors begin with."""
        return type(self).__name__

    def admit(self, what: str, value: Any) -> None:
        """Raise TypeError or ValueError unless a value is a tensor of the parameters' precision, where they are."""
        doors.check_tensor(self, what, value, (), *doors.place(self))

    @property
    def inv(self) -> TransformModule:
        """The inverse: a module that shares the parameters; its inverse is the transform itself."""
        return Inverted(self)

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

    def with_cache(self, cache_size: int = 1) -> TransformModule:
        """Return the transform itself, which has no cache and needs none."""
        return self


class Inverted(TransformModule):
    """The inverse of a transform, as a module that holds it."""

    def __init__(self, transform: TransformModule) -> None:
        super().__init__()
        self.transform = transform

    @property
    def inv(self) -> TransformModule:
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
        return isinstance(other, Inverted) and self.transform == other.transform

    __hash__ = nn.Module.__hash__

    def _call(self, x: Tensor) -> Tensor:
        return self.transform.inverse_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.transform.call_and_ladj(y)[0]

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


def forward_with_ladj(transform: Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return image and log-determinant, in one pass of a transform that has `call_and_ladj`."""
    if isinstance(transform, TransformModule):
        return transform.call_and_ladj(x)
    y: Tensor = transform(x)
    return y, transform.log_abs_det_jacobian(x, y)


def inverse_with_ladj(transform: Transform, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return origin and log-determinant of the inverse, in one pass of a transform that has `inverse_and_ladj`."""
    if isinstance(transform, TransformModule):
        return transform.inverse_and_ladj(y)
    x: Tensor = transform.inv(y)
    return x, -transform.log_abs_det_jacobian(x, y)
