"""Several transforms as one module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.transforms import ComposeTransform, Transform

from pushforward.contrib.pyro.face.transform import AtOnce, OnePass, TransformModule, observed, through

__all__ = ["ComposeTransformModule", "iterated"]


class ComposeTransformModule(AtOnce, TransformModule, ComposeTransform):
    """Transforms one after the other, in list order from base to data; those that are modules are its parts as a module.

    It is as long as the list and true even if nothing in it learns; `append` adds a transform at the end.

    Args:
        parts: Transforms of this library, of torch, or of Pyro.
        cache_size: As in `TransformModule`.

    >>> from pushforward.transforms import ExpTransform, Planar
    >>> stack = ComposeTransformModule([Planar(2), ExpTransform()])
    >>> len(stack), stack(torch.zeros(5, 2)).shape
    (2, torch.Size([5, 2]))
    """

    def __init__(self, parts: Iterable[Transform], cache_size: int = 0) -> None:
        ComposeTransform.__init__(self, list(parts))
        for index, part in enumerate(self.parts):
            self._register(index, part)

    def _register(self, index: int, part: Any) -> None:
        if not isinstance(part, Transform):
            raise ValueError(f"ComposeTransformModule: expected part {index} to be a transform, got {part!r}")
        if isinstance(part, nn.Module):
            self.add_module(str(index), part)

    __hash__ = nn.Module.__hash__

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.parts)

    def __getitem__(self, index: int) -> Transform:
        return self.parts[index]

    def __bool__(self) -> bool:
        return True

    def append(self, part: Transform) -> ComposeTransformModule:
        """Add a transform at the end."""
        self._register(len(self.parts), part)
        self.parts.append(part)
        return self

    @property
    def inv(self) -> ComposeTransformModule:
        return ComposeTransformModule([part.inv for part in reversed(self.parts)])

    @property
    def context_batch(self) -> torch.Size:
        return context_batch(self.parts)

    def observe(self, y: Tensor, inverse: bool = False) -> Tensor:
        for part in self.parts if inverse else reversed(self.parts):
            y = observed(part, y, inverse)
        return y

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return through(self.parts, x, self.domain.event_dim)

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return through(self.parts, y, self.codomain.event_dim, inverse=True)


def iterated(repeats: int, base_fn: Callable[..., Transform], *args: Any, **kwargs: Any) -> ComposeTransformModule:
    """Return ``repeats`` transforms, each made by ``base_fn(*args, **kwargs)``, one after the other.

    Couplings that all split alike never change what passes through; put a `permute` between them.

    >>> from pushforward.transforms import affine_autoregressive
    >>> len(iterated(3, affine_autoregressive, 5))
    3
    """
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"iterated: expected repeats to be a whole number of at least 1, got {repeats!r}")
    return ComposeTransformModule([base_fn(*args, **kwargs) for _ in range(repeats)])


def context_batch(parts: Iterable[Any]) -> torch.Size:
    """Return the shape to which the context batches of transforms broadcast."""
    shapes = [part.context_batch for part in parts if isinstance(part, OnePass)]
    return torch.Size(torch.broadcast_shapes(*shapes)) if shapes else torch.Size()
