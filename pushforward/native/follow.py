"""Compiled ways through the velocity field of a perceptron: all steps of each row in one call, whatever stands beside the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.native.activations import code_of
from pushforward.native.layout import FIELD_LAYER, FOLLOW, MAX_LAYERS, MAX_STAGES, MAX_STEPS, STATUSES
from pushforward.native.library import NOTHING, as_rows, block, call, matrix, threads, usable
from pushforward.native.program import Program

MAX_PRODUCTS = 1 << 17
"""Weights, at most: beyond, they and what rows work in no longer lie near the processor, and torch's products are as fast."""
GROUP = 128
"""Rows that a thread takes at a time, at least: as some are there, others take their lanes."""
_GRAIN = 1 << 20
"""Products worth a thread, of about ten steps."""
NEW, GOING, THERE, LOST = range(len(STATUSES))


class Velocity(NamedTuple):
    """A velocity that a perceptron gives, in float64.

    Args:
        program: What its layers are: the first takes the place, beside time and context, and no other does.
        frequencies: How many cosines, and as many sines, of half turns of time it is shown.
        weights: Of each layer, as they are multiplied.
        biases: Of each layer.
        more: Weights of the first layer for time and context.
        form: The trace as a form in the slopes of one or two hidden layers, or None.
    """

    program: Program
    frequencies: int
    weights: Sequence[Tensor]
    biases: Sequence[Tensor | None]
    more: Tensor
    form: Tensor | None

    @property
    def tensors(self) -> list[Tensor | None]:
        """All of its tensors."""
        return [*self.weights, *self.biases, self.more, self.form]


class Method(NamedTuple):
    """A Runge-Kutta method, and how its steps follow the error.

    Args:
        c: Times of the stages.
        a: Their coefficients, the i-th row of at most i numbers.
        b: Weights of the result.
        error: Those of the difference from the embedded method, whose last stage is where the step leads.
        steps: How many equal steps there are, or 0, to follow the error.
        tolerance: Of a step.
        exponent: One over the order.
        control: By how much a step is shorter than what the error asks for, by which factors it shrinks and grows at most, and the share of
            the error before.
        most: Steps that a row may try.
    """

    c: Sequence[float]
    a: Sequence[Sequence[float]]
    b: Sequence[float]
    error: Sequence[float]
    steps: int
    tolerance: float
    exponent: float
    control: tuple[float, float, float, float]
    most: int


class Rows(NamedTuple):
    """Rows on their way: what a call begins with, and changes.

    Args:
        z: Where each one is, and the integral of the trace behind it ``(rows, D + 1)``.
        first: The rates there.
        t: Times ``(rows,)``.
        h: The next steps.
        before: The errors before.
        step: The steps that were last accepted.
        status: `NEW`, `GOING`, `THERE` or `LOST`.
        tries: Steps that were tried.
    """

    z: Tensor
    first: Tensor
    t: Tensor
    h: Tensor
    before: Tensor
    step: Tensor
    status: Tensor
    tries: Tensor

    @classmethod
    def at(cls, z: Tensor) -> Rows:
        """Return rows that have not begun."""
        numbers = z.new_zeros(4, len(z))
        whole = torch.zeros(2, len(z), dtype=torch.int64)
        return cls(z.clone(memory_format=torch.contiguous_format), torch.zeros_like(z), *numbers.unbind(), *whole.unbind())

    def chosen(self, which: Tensor) -> Rows:
        """Return some of them."""
        return Rows(*(each[which] for each in self))


def takes(velocity: Velocity, method: Method, z: Tensor, context: Tensor | None, start: float, end: float) -> bool:
    """Tell whether the compiled code takes a field, a method and rows, and is worth while."""
    program, weights = velocity.program, velocity.weights
    products = sum(weight.numel() for weight in (*weights, velocity.more))
    return (
        products <= MAX_PRODUCTS
        and 1 < len(weights) <= MAX_LAYERS
        and code_of(program.activation) is not None
        and program.sources[0] == -1
        and min(program.sources[1:]) >= 0
        and len(method.c) <= MAX_STAGES
        and max(method.steps, method.most) <= MAX_STEPS
        and 0 <= min(start, end) <= max(start, end) <= 1
        and z.dtype is torch.float64
        and z.is_cpu  # of how many steps a way is, values alone tell
        and usable(z, context, *velocity.tensors)
    )


def follow(velocity: Velocity, method: Method, rows: Rows, context: Tensor | None, start: float, end: float, accepts: int) -> None:
    """Let rows take as many steps as a call accepts, or until they are there or given up: in place.

    Args:
        velocity: The field, that the compiled code `takes`.
        method: The method.
        rows: Where they are.
        context: ``(rows, C)``, or None.
        start: The time at which new ones begin.
        end: The time at which all are wanted.
        accepts: Of no steps only those that have not begun are changed: their rates at the start are there, and their first steps.

    Raises:
        MemoryError: There is no memory for the work space.
        ValueError: Sizes that do not fit one another.
    """
    count, size = rows.z.shape
    program = velocity.program
    if not count:
        return
    stages = len(method.c)
    table = [*method.c, *(number for row in method.a for number in (*row, *(stages - len(row)) * (0.0,))), *method.b, *method.error]
    table += (stages * (stages + 3) - len(table)) * [0.0]
    of_method = torch.tensor(table, dtype=torch.float64)
    _check(velocity, rows, context)
    weights, biases = ([None if t is None else t.contiguous() for t in each] for each in (velocity.weights, velocity.biases))
    more, form = velocity.more.contiguous(), None if velocity.form is None else velocity.form.contiguous()
    given = None if context is None else as_rows(context, context.shape[-1])
    contexts = 0 if given is None else given.shape[-1]
    products = sum(weight.numel() for weight in (*weights, more) if weight is not None)
    safety, least, greatest, damping = method.control
    workers = threads(count * products, _GRAIN)
    head = FOLLOW.pack(
        threads=workers, rows=count, group=max(GROUP, -(-count // (4 * workers if workers > 1 else 1))),
        layers=len(weights) - 1, activation=code_of(program.activation), inputs=size - 1, contexts=contexts,
        frequencies=velocity.frequencies, stages=stages, steps=method.steps, most=max(method.most, method.steps), accepts=accepts,
        start=start, end=end, tolerance=method.tolerance, exponent=method.exponent,
        safety=safety, least=least, greatest=greatest, damping=damping,
        method=block(of_method), more=block(more), form=block(form), c=matrix(given, count, contexts),
        z=block(rows.z), first=block(rows.first), t=block(rows.t), h=block(rows.h), before=block(rows.before), step=block(rows.step),
        status=block(rows.status), tries=block(rows.tries),
    )  # fmt: skip
    body = b"".join(
        FIELD_LAYER.pack(
            outputs=len(weight), source=source, skip=skip,
            weight=block(weight), bias=NOTHING if bias is None else block(bias),
        )
        for weight, bias, source, skip in zip(weights, biases, program.sources, program.skips, strict=True) if weight is not None
    )  # fmt: skip
    call("pushforward_follow", head + body)


def _check(velocity: Velocity, rows: Rows, context: Tensor | None) -> None:
    """Raise `ValueError` unless all shapes fit together: how many numbers there are, which the library compares, does not tell."""
    count, size = rows.z.shape
    contexts = 0 if context is None else context.shape[-1]
    shapes: list[tuple[str, Tensor | None, tuple[int, ...]]] = []
    widths: list[int] = []
    for layer, (weight, bias, source) in enumerate(zip(velocity.weights, velocity.biases, velocity.program.sources, strict=True)):
        widths.append(size - 1 if layer == len(velocity.weights) - 1 else weight.shape[0])
        shapes.append((f"weight {layer}", weight, (widths[-1], size - 1 if source < 0 else widths[source])))
        shapes.append((f"bias {layer}", bias, (widths[-1],)))
    form = velocity.form
    shapes += [
        ("more", velocity.more, (widths[0], 2 * velocity.frequencies + contexts)),
        ("form", form, (widths[0],) if len(widths) == 2 else (widths[1], widths[0])),
        ("context", context, (count, contexts)),
        ("first", rows.first, (count, size)),
        *((name, getattr(rows, name), (count,)) for name in Rows._fields[2:]),
    ]
    for name, tensor, shape in shapes:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"follow: expected {name} of shape {shape}, got {tuple(tensor.shape)}")
