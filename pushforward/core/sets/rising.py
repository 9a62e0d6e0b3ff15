"""Rising vectors: numbers in order after rounding, each by one rounding at least."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pushforward.core import mode


def _rising(value: Tensor) -> Tensor:
    """Return vectors whose numbers rise, each by one rounding at least: those that do not are moved up to the next number that does."""
    # Before torch 2.6 vmap does not see through bits, and a compiler not through the function that vmap takes instead.
    rise = _risen if mode.compiling() else _Risen.apply
    rising: Tensor = rise(value.detach())
    # The difference of near numbers is exact, so the sum is what it should be and the gradient that of the value.
    return torch.where(torch.isfinite(value), value + (rising - value).detach(), torch.where(torch.isnan(value), value, rising))


def _risen(value: Tensor) -> Tensor:
    """Return vectors whose numbers rise, made from their bits."""
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[value.dtype.itemsize]
    info = torch.finfo(value.dtype)
    place = _turned(torch.clamp(value, info.min, info.max).nan_to_num().view(kind))
    step = torch.arange(value.shape[-1], dtype=kind, device=value.device)
    # To rise by one at least is not to fall after one has been taken off for each before.
    place = torch.cummax(place - step, -1).values + step
    top = _turned(value.new_full((), info.max).view(kind))
    return _turned(torch.minimum(place, top + step - step[-1])).view(value.dtype)


class _Risen(Function):
    """`_risen` for vmap."""

    @staticmethod
    def forward(value: Tensor) -> Tensor:
        return _risen(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: it has no gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], value: Tensor) -> tuple[Tensor, int | None]:
        (dim,) = in_dims
        return _Risen.apply(value if dim is None else value.movedim(dim, 0)), None if dim is None else 0  # type: ignore[no-untyped-call]


def _turned(bits: Tensor) -> Tensor:
    """Return the bits of finite numbers as whole numbers in the same order, or the bits of such: those of negative ones turned round."""
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits, bits)
