"""Signature: the shapes of what a network is given and gives, and what may depend on what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pushforward.core.budget import reserve
from pushforward.core.layer import Shape, as_shape
from pushforward.core.spec import PlanError

Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Signature:
    """What a network is given and gives: ``(x | None, c | None) -> parameters``, each behind the axes of the batch.

    The first axis has the features, as in the event: of an event (C, H, W) of which C' channels pass a coupling and C'' move, the inputs
    are (C', H, W), and for K parameters of each number the outputs are (K C'', H, W). Entry k C'' + i of their first axis is parameter k of
    moving feature i: what a convolution gives, and flattened the order in which a kernel has its parameters.

    Args:
        inputs: Shape of what is visible (None: nothing).
        outputs: Shape of the parameters.
        context: Shape of the context (None: there is none).
        mask: ``(outputs[0], inputs[0])``: which entries of the inputs' first axis those of the outputs' first axis may depend on, with all
            that belongs to them (None: all on all). With a column more for each number of the context, of these as well.

    Raises:
        PlanError: No shapes, or a mask of another shape.

    >>> image = Signature(inputs=(1, 8, 8), outputs=(4, 8, 8), context=(3,))
    >>> image.words(), image.flat().words()
    ('(1×8×8 + 3 context) → 4×8×8', '(64 + 3 context) → 256')
    """

    inputs: Shape | None
    outputs: Shape
    context: Shape | None = None
    mask: Mask | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "context"):
            given = getattr(self, name)
            least = 0 if name == "context" else 1
            if given is None and name != "outputs":
                continue
            shape = as_shape(given, f"Signature: {name}") if isinstance(given, tuple | list) else ()
            if not isinstance(given, tuple | list) or len(shape) < least:
                raise PlanError(f"Signature: expected {name} to be a shape such as (3,) or (3, 8, 8), got {given!r}")
            object.__setattr__(self, name, shape)
        if self.mask is None:
            return
        mask = np.asarray(self.mask, dtype=bool)
        rows, columns = self.outputs[0], self.inputs[0] if self.inputs else 0
        wanted = [(rows, columns), (rows, columns + self.sizes[2])]
        if mask.shape not in wanted:
            raise PlanError(
                f"Signature: expected a mask of shape {wanted[0]}, or {wanted[1]} with the numbers of the context, got {mask.shape}"
            )
        object.__setattr__(self, "mask", mask)

    @classmethod
    def of_sizes(cls, inputs: int, outputs: int, context: int = 0, mask: Mask | None = None) -> Signature:
        """Return the signature of a network on flat values; 0 inputs or numbers of a context are none."""
        return cls((inputs,) if inputs else None, (outputs,), (context,) if context else None, mask)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many numbers inputs, outputs and context have; 0 for what there is not."""
        inputs, outputs, context = (0 if shape is None else math.prod(shape) for shape in (self.inputs, self.outputs, self.context))
        return inputs, outputs, context

    @property
    def is_flat(self) -> bool:
        """Whether all have one axis."""
        return all(shape is None or len(shape) == 1 for shape in (self.inputs, self.outputs, self.context))

    def flat(self) -> Signature:
        """Return the signature of the same network on flattened values: one axis each, and a mask of all their numbers."""
        if self.is_flat:
            return self
        inputs, outputs, context = self.sizes
        mask = self.mask
        if mask is not None:
            first = self.inputs[0] if self.inputs else 0
            reserve(outputs * (inputs + context), 2)
            rows = np.repeat(mask, outputs // self.outputs[0], 0)
            mask = np.concatenate([np.repeat(rows[:, :first], inputs // max(first, 1), 1), rows[:, first:]], 1)
        return Signature.of_sizes(inputs, outputs, context, mask)

    def entrance(self) -> str:
        """Return what the network is given, in words."""
        context = f"{_words(self.context)} context" if self.context is not None else ""
        if self.inputs is None:
            return context
        return f"({_words(self.inputs)} + {context})" if context else _words(self.inputs)

    def words(self) -> str:
        """Return what it is given and gives, in words."""
        return f"{self.entrance()} → {_words(self.outputs)}"


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "1"
