"""Budget: how much memory the building of a plan may ask for, counted while it is built."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pushforward.core.spec import PlanError

MOST = 2**40
"""Bytes that no plan may ask for at once, wherever it is built."""
# What takes time rather than memory counts for as many bytes as are written in that time.
CALL = 4096
"""Bytes that any call of torch counts for."""
ENTRY = 256
"""Bytes that an entry of a Python list counts for."""
LAYER = 50_000
"""Bytes that making a layer or a base counts for, beside one for each element."""


class TooLargeError(PlanError):
    """A plan that asks for more than it may."""


class Budget(TorchFunctionMode):
    """A context in which tensors are counted as they are made, and the one too many is an error, before it takes memory.

    Args:
        most: Bytes of all tensors together, those that are let go again included.

    >>> with Budget(60_000) as budget:
    ...     _ = torch.zeros(100)
    >>> budget.left
    55504
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.left = most, most
        #: Whether anything has asked for more than was left.
        self.spent = False
        self._before: list[Token[Budget | None]] = []

    def __enter__(self) -> Budget:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._before.append(_CURRENT.set(self))
        return self

    def __exit__(self, *raised: Any) -> None:
        _CURRENT.reset(self._before.pop())
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._expect(_asked(func, args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        self.take(CALL + _bytes(out))
        return out

    def take(self, count: int) -> None:
        """Count so many bytes more, or raise `TooLargeError`."""
        self.left -= count
        self._expect(0)

    def _expect(self, count: int) -> None:
        if count > self.left:
            self.spent = True
            raise TooLargeError(f"expected a plan that asks for at most {self.most} bytes while it is built, got one that asks for more")


_CURRENT: ContextVar[Budget | None] = ContextVar("_CURRENT", default=None)


def reserve(count: int, size: int = ENTRY) -> None:
    """Have ``count`` entries of ``size`` bytes counted that are made outside of torch, before they are made; raise `PlanError` if too many.

    >>> reserve(10**18)
    Traceback (most recent call last):
    pushforward.core.budget.TooLargeError: expected a plan of sizes that fit into memory, got one that asks for 256000000000000000000 bytes
    """
    if count * size > MOST:
        raise TooLargeError(f"expected a plan of sizes that fit into memory, got one that asks for {count * size} bytes")
    if (budget := _CURRENT.get()) is not None:
        budget.take(CALL + count * size)


# What makes tensors of nothing but sizes, which stand first, or alone, or by name.
_OF_SIZES = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full}
_NEW = {Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full}
_PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}


def _asked(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    """Return how many bytes a call will make, as far as that can be told before: of sizes, repeats and shapes that broadcast."""
    sizes: Sequence[Any] = ()
    if func in _OF_SIZES or func in _NEW:
        given = kwargs.get("size", args[1:] if func in _NEW else args)
        sizes = given[0] if given and isinstance(given[0], tuple | list) else given
    elif func is torch.eye:
        sizes = (args[0], args[1] if len(args) > 1 and isinstance(args[1], int) else args[0])
    elif func in (torch.arange, torch.linspace):
        sizes = (
            kwargs.get("steps", args[2] if len(args) > 2 else 0) if func is torch.linspace else max((int(n) for n in args), default=0),
        )
    elif func in (Tensor.repeat, Tensor.tile, torch.tile):
        more = kwargs.get("dims", args[1:])
        sizes = (args[0].numel(), *(more[0] if more and isinstance(more[0], tuple | list) else more))
    elif func in _PRODUCTS and args[0].dim() and args[1].dim() > 1:
        sizes = (*args[0].shape[:-1], args[1].shape[-1])
    else:
        shapes = [value.shape for value in args if isinstance(value, Tensor)]
        sizes = (
            [max(column) for column in itertools.zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1)] if len(shapes) > 1 else ()
        )
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    return math.prod(map(int, sizes)) * dtype.itemsize if sizes else 0


def _bytes(out: Any) -> int:
    if isinstance(out, Tensor):
        return out.numel() * out.element_size()
    return sum(map(_bytes, out)) if isinstance(out, list | tuple) else 0
