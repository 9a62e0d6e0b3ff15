"""The tensor that a call of a bijector gives, which knows the log-determinant of that call."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from pushforward.core import mode


class BijectiveTensor(Tensor):
    """A tensor with the log-determinant of the call that gave it, ``log_detJ``: that of the map from base to data, either way.

    What is computed from it is a plain tensor. It does not remember where it came from, so ``inverse(forward(x))`` is equal to ``x``
    within rounding, and never ``x`` itself.
    """

    _log_detJ: Tensor  # noqa: N815 (FlowTorch's name)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(value: Tensor, log_det: Tensor) -> Tensor:
        """Return a value with its log-determinant; the plain value where tensors may not be of a class of their own."""
        if mode.watched():
            return value
        made = value.as_subclass(BijectiveTensor)
        made._log_detJ = log_det
        return made

    @property
    def log_detJ(self) -> Tensor:
        """The log-determinant, ``(*batch)``, or that of each number for a bijector of numbers."""
        return self._log_detJ

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.of(copy.deepcopy(self.detach_from_flow(), memo), copy.deepcopy(self._log_detJ, memo))

    def detach_from_flow(self) -> Tensor:
        """Return the plain tensor; gradients run through it."""
        return self.as_subclass(Tensor)
