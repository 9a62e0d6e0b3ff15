"""The compiled sequential direction of an autoregressive layer over a masked perceptron, with its gradient.

The values come from one incremental pass; the gradient from a parallel pass at those values, a sweep back through the same steps,
and one matrix product for each weight.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.numerics import Rule, differentiable
from pushforward.native.activations import code_of
from pushforward.native.elementwise import Code
from pushforward.native.layout import LAYER, MAX_LAYERS, SWEEP
from pushforward.native.library import DOUBLE, NOTHING, as_rows, block, call, matrix, threads
from pushforward.native.program import Program, interpret, of_weights

_TILE = 32
"""Rows that run side by side: what a thread gets at least."""

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Schedule:
    """A program taken step by step, as plain numbers.

    Args:
        program: What the layers are; all but the last are hidden.
        order: Elements in the order in which they are made.
        ends: For each step, how many elements are made by its end.
        edges: For each hidden layer and step, how many of its units see only what is made before the step.

    ``ordered`` says whether elements are made in the order in which they lie; ``places`` has order, ends and edges as the library reads
    them, in arrays that tell at once where they are, which those of numpy take as long to tell as a product.
    """

    program: Program
    order: Indices
    ends: Indices
    edges: tuple[Indices, ...]
    ordered: bool = field(init=False)
    places: tuple[array[int], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ordered", bool((self.order[1:] > self.order[:-1]).all()))
        object.__setattr__(self, "places", tuple(array("q", part.tolist()) for part in (self.order, self.ends, *self.edges)))
        if len(self.edges) != len(self.program.sources) - 1:
            raise ValueError(f"sweep: expected edges for each of {len(self.program.sources) - 1} hidden layers, got {len(self.edges)}")

    @property
    def taken(self) -> bool:
        """Whether the compiled code takes as many layers, and has the activation."""
        return len(self.edges) <= MAX_LAYERS and code_of(self.program.activation) is not None


Reference = Callable[..., tuple[Tensor, Tensor]]


def sweep(
    code: Code, inverse: bool, schedule: Schedule, values: Tensor, shift: Tensor | None, weights: list[Tensor], reference: Reference
) -> tuple[Tensor, Tensor]:
    """Return ``(made, ladj)`` for rows of values.

    Args:
        code: The kernel.
        inverse: Whether the kernel's inverse makes an element.
        schedule: The steps.
        values: ``(rows, elements)``.
        shift: What the context adds to the first layer, ``(rows, width)``, or None.
        weights: Masked weight and bias of each layer in turn, the last with one row for each parameter and element.
        reference: The same as a differentiable function of ``(values, shift, *weights)``; second derivatives come from it.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit one another.
    """
    _check(code, schedule, values, shift, weights)
    return differentiable(RULE, (code, inverse, schedule, reference), values, shift, *weights)  # type: ignore[no-any-return]


def _check(code: Code, schedule: Schedule, values: Tensor, shift: Tensor | None, weights: Sequence[Tensor]) -> None:
    """Raise `ValueError` unless all that the compiled code gets fits together."""
    elements = len(schedule.order)
    if values.dim() != 2 or values.shape[1] != elements:
        raise ValueError(f"sweep: expected values of shape (rows, {elements}), got {tuple(values.shape)}")
    program = schedule.program
    if len(weights) != 2 * len(program.sources):
        raise ValueError(f"sweep: expected a weight and a bias for each of {len(program.sources)} layers, got {len(weights)} tensors")
    widths: list[int] = []
    for index, (source, weight, bias) in enumerate(zip(program.sources, weights[::2], weights[1::2], strict=True)):
        taken = elements if source < 0 else widths[source]
        shape = weight.shape  # of which torch takes long to tell
        outputs = (shape or (0,))[0] if index < len(schedule.edges) else elements * code.parameters
        if shape != (outputs, taken) or bias.shape != (outputs,):
            raise ValueError(
                f"sweep: layer {index}: expected weight and bias of shapes {(outputs, taken)} and {(outputs,)}, "
                f"got {tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        widths.append(outputs)
    if shift is not None and shift.shape != (len(values), widths[0]):
        raise ValueError(f"sweep: expected a shift of shape {(len(values), widths[0])}, got {tuple(shift.shape)}")
    given, dtype, meta = [values, *([] if shift is None else [shift]), *weights], values.dtype, values.is_meta
    for t in given:
        if t.dtype is not dtype or dtype not in DOUBLE or not (t.is_meta if meta else t.is_cpu):
            got = [(t.dtype, str(t.device)) for t in given]
            raise ValueError(f"sweep: expected tensors on the CPU, all float32 or all float64, got {got}")


Known = tuple[Code, bool, Schedule, Reference]


def _forward(known: Known, values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
    code, inverse, schedule, _ = known
    made, ladj = torch.empty_like(values, memory_format=torch.contiguous_format), values.new_empty(values.shape[0])
    if values.shape[0] and not values.is_meta:
        matrices, biases = ([weight.contiguous().resolve_neg() for weight in weights[first::2]] for first in (0, 1))
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        matrices[0] = _columns(matrices[0], schedule)
        matrices[-1], biases[-1] = _by_element(matrices[-1], schedule), _by_element(biases[-1], schedule)
        layers = [{"weight": block(weight), "bias": block(bias)} for weight, bias in zip(matrices, biases, strict=True)]
        values, shift = as_rows(values, values.shape[1]), None if shift is None else as_rows(shift, widths[0])
        beside = matrix(shift, len(values), widths[0])
        _run(code, inverse, schedule, False, widths, layers, values, made=block(made), shift=beside, ladj=block(ladj))
    return made, ladj


def _columns(weight: Tensor, schedule: Schedule) -> Tensor:
    """Return the first weight with its columns in the order in which elements are made."""
    return weight if schedule.ordered else weight[:, torch.from_numpy(schedule.order)]


def _by_element(weight: Tensor, schedule: Schedule) -> Tensor:
    """Return the last weight or bias, whose rows go parameter by parameter, with its rows element by element, in their order."""
    by_parameter = weight.unflatten(0, (-1, len(schedule.order)))
    if not schedule.ordered:
        by_parameter = by_parameter[:, torch.from_numpy(schedule.order)]
    by_element: Tensor = by_parameter.transpose(0, 1).flatten(0, 1).contiguous()
    return by_element


def _run(
    code: Code, inverse: bool, schedule: Schedule, backward: bool, widths: list[int], layers: list[dict[str, Any]],
    values: Tensor, **arrays: tuple[int, ...],
) -> None:  # fmt: skip
    """Call the library, forward or backward; ``layers`` and ``arrays`` say where the arrays are, which the caller holds until then."""
    program, (rows, elements) = schedule.program, values.shape
    order, ends, *edges = [places.buffer_info() for places in schedule.places]
    job = SWEEP.pack(
        kind=(code.kind, code.bins, inverse, code.bound, code.parts, code.floor),
        is_double=values.dtype is torch.float64, backward=backward, threads=threads(rows, _TILE), rows=rows, elements=elements,
        groups=len(schedule.ends), layers=len(widths), activation=code_of(program.activation),
        order=order, ends=ends, values=matrix(values, rows, elements), **arrays,
    )  # fmt: skip
    for width, source, skip, known, layer in zip((*widths, 0), program.sources, program.skips, (*edges, NOTHING), layers, strict=True):
        job += LAYER.pack(width=width, source=source, skip=skip, edges=known, **layer)
    call("pushforward_sweep", job)


def _gradients(known: Known, tensors: Sequence[Any], made: Tensor, gmade: Tensor, gladj: Tensor) -> list[Tensor | None]:
    (code, inverse, schedule, _), (values, shift, *weights) = known, tensors
    _check(code, schedule, made, shift, weights)
    matrices = [weight.resolve_neg() for weight in weights[::2]]
    z, h, theta = _parallel(schedule, made, shift, weights)
    gz = [torch.empty_like(t) for t in z]
    gvalues, gtheta = torch.empty_like(made), torch.empty_like(theta)
    if made.shape[0] and not made.is_meta:
        transposed = [_columns(matrices[0], schedule), *matrices[1:-1], _by_element(matrices[-1], schedule)]
        turned = [matrix.t().contiguous() for matrix in transposed]
        layers = [{"transposed": block(matrix)} for matrix in turned]
        for layer, of_z, of_gz in zip(layers, z, gz, strict=False):
            layer |= {"z": block(of_z), "gz": block(of_gz)}
        widths, (rows, elements) = [matrix.shape[0] for matrix in matrices[:-1]], made.shape
        values, gmade, gladj = as_rows(values, elements), as_rows(gmade, elements), gladj.resolve_neg()
        _run(
            code, inverse, schedule, True, widths, layers, values, made=block(made), theta=block(theta),
            gmade=matrix(gmade, rows, elements), gladj=matrix(gladj, rows, 1), gvalues=block(gvalues), gtheta=block(gtheta),
        )  # fmt: skip
    grads: list[Tensor | None] = [gvalues, None if shift is None else gz[0]]
    for index, g in enumerate([*gz, gtheta]):
        grads += [g.t() @ h[schedule.program.sources[index] + 1], g.sum(0)]
    return grads


def _parallel(
    schedule: Schedule, made: Tensor, shift: Tensor | None, weights: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return, for values that are made, z of each hidden layer, what layers take (h[source + 1]), and the parameters."""
    z: list[Tensor] = []
    h: list[Tensor] = []
    # What is made at the last step no unit sees, and what is not finite there would spoil it through its weights of zero.
    last = torch.from_numpy(schedule.order[schedule.ends[-2] if len(schedule.ends) > 1 else 0 :])
    first = made.index_fill(1, last.to(made.device), 0)
    return z, h, interpret(schedule.program, first, of_weights(weights, shift), (z, h))


def _reference(known: Known, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    return known[3](*tensors)


RULE = Rule(_forward, _gradients, _reference)
