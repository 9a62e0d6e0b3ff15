"""Divergence: what a net gives, with the trace of its Jacobian, exact and in operators that differentiate any number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pushforward.native.activations import ACTIVATIONS
from pushforward.native.program import Program, interpret, of_tensors

CHUNK = 64
"""Tangents that are carried at once."""


def by_tangents(function: Callable[[Tensor], Tensor], x: Tensor, axes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return ``function(x)`` of rows ``(n, D)``, each mapped alone, and the traces ``(n)`` of its Jacobians, by D tangents.

    ``axes (k, D)`` are other vectors than the axes themselves: the sum of :math:`e^\top J e` over them, by k tangents.

    >>> by_tangents(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
    (tensor([[1., 4.]]), tensor([6.]))
    """
    axes = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) if axes is None else axes

    def along(axis: Tensor) -> Tensor:
        moved: Tensor = torch.func.jvp(function, (x,), (axis.expand_as(x),))[1]
        return (moved * axis).sum(-1)

    return function(x), torch.func.vmap(along, chunk_size=CHUNK)(axes).sum(0)


def has_slopes(program: Program) -> bool:
    """Tell whether the slope of a perceptron's activation is known by a formula."""
    return ACTIVATIONS[program.activation].slope is not None


def coefficients(program: Program, weights: Sequence[Tensor]) -> Tensor | None:
    r"""Return what makes the trace a form in the slopes of one or two hidden layers, which takes no tangents; None for other nets.

    With weights W of the layers and slopes s, the trace is :math:`\sum_a s_a (W_1 \circ W_2^\top 1)_a` for one hidden layer, and for two
    :math:`s_2^\top (W_2 \circ (W_1 W_3)^\top) s_1`: a product with one matrix, however many dimensions there are.
    """
    if any(skip >= 0 for skip in program.skips) or program.sources != tuple(range(-1, len(program.sources) - 1)):
        return None
    if len(weights) == 2:
        return (weights[0] * weights[1].mT).sum(1)
    if len(weights) == 3:
        return weights[1] * torch.matmul(weights[0], weights[2]).mT
    return None


def of_perceptron(
    program: Program, tensors: Sequence[Tensor | None], x: Tensor, context: Tensor | None, form: Tensor | None, axes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what a perceptron without masks gives at ``x (n, D)``, and the trace of its Jacobian, by its formulas.

    Args:
        program: What its layers are.
        tensors: As `of_tensors` takes them.
        x: Rows.
        context: ``(n, C)``, or None.
        form: The `coefficients` of its weights.
        axes: As `by_tangents` takes them; then there is no form.
    """
    slope = ACTIVATIONS[program.activation].slope
    assert slope is not None
    z: list[Tensor] = []
    h: list[Tensor] = []
    y = interpret(program, x, of_tensors(program, tensors, context), (z, h))
    slopes = [slope(before, after) for before, after in zip(z, h[1:], strict=True)]
    if form is not None:
        part = slopes[0] * form if form.dim() == 1 else torch.matmul(slopes[0], form.mT) * slopes[1]
        return y, part.sum(-1)
    weights = [weight for weight in tensors[::4] if weight is not None]
    # Row d of a tangent is how a layer moves with number d, or along axis d.
    tangents: list[Tensor] = []
    moved: list[Tensor] = []
    for layer, (source, skip) in enumerate(zip(program.sources[:-1], program.skips[:-1], strict=True)):
        entrance = weights[layer].mT if axes is None else axes
        out = torch.matmul(entrance if source < 0 else moved[source], weights[layer].mT) if axes is not None or source >= 0 else entrance
        out = out if skip < 0 else out + tangents[skip]
        tangents.append(out)
        moved.append(out * slopes[layer].unsqueeze(-2))
    last = moved[program.sources[-1]]
    return y, (last * weights[-1] if axes is None else torch.matmul(last, weights[-1].mT) * axes).sum((-2, -1))
