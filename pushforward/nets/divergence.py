"""Divergence: what a net gives, with the trace of its Jacobian, exact and in operators that differentiate any number of times."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.core import mode
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.program import Program, interpret, of_tensors

CHUNK = 64
"""Tangents that are carried at once."""
RIDGE, TINY = 1e-6, 1e-30
"""What keeps the rank of a sketch full: beside the sum of its squares, and where that is zero. Second derivatives lose as many digits
as it has where J has a lower rank, and what falls below its root is left to the probes."""
FORWARD = threading.RLock()
"""Held where tangents are carried: torch counts its levels of forward mode for all threads, and one that ends closes all others'."""

Times = Callable[[Tensor], Tensor]
"""Jacobians of rows times vectors: from ``(k, D)``, or for each row others ``(n, k, D)``, to ``(n, k, D)``."""
Estimate = Callable[[Times], Tensor]
"""Traces ``(n)`` of Jacobians that are known by their products alone."""


def hutchinson(probes: Tensor) -> Estimate:
    r"""Return the mean of :math:`e^\top J e` over probes e ``(k, D)``: an estimate without bias, by k tangents.

    Source: A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines (Hutchinson, 1989).
    """
    return lambda times: (times(probes) * probes).sum(-1).mean(-1)


def hutch_plus_plus(sketch: Tensor, probes: Tensor) -> Estimate:
    r"""Return the trace where J is large, and the mean over probes of what is left: an estimate without bias, by 2 s + k tangents.

    With :math:`Y = J S` of a sketch S of s vectors and :math:`P = Y (Y^\top Y + \epsilon)^{-1} Y^\top`, near the projection on what J maps
    most to, the trace of J is that of P J and that of (1 - P) J, whatever P is. The ridge makes it smooth where J has a lower rank, down to
    J = 0, where a basis by QR has no derivative.
    Source: Hutch++: Optimal Stochastic Trace Estimation (Meyer, Musco, Musco, Woodruff, 2021).

    Args:
        sketch: ``(s, D)``.
        probes: ``(k, D)``.
    """

    def estimate(times: Times) -> Tensor:
        made = times(torch.cat([sketch, probes]))
        y, of_probes = made[..., : len(sketch), :], made[..., len(sketch) :, :]
        gram = torch.matmul(y, y.mT)
        ridge = RIDGE * gram.diagonal(0, -2, -1).sum(-1) + TINY
        gram = gram + ridge[..., None, None] * torch.eye(len(sketch), dtype=y.dtype, device=y.device)
        right = torch.cat([torch.matmul(y, times(y).mT), torch.matmul(y, probes.mT)], -1)
        solved = torch.linalg.solve(gram, right)
        large: Tensor = solved[..., : len(sketch)].diagonal(0, -2, -1).sum(-1)
        rest = probes - torch.matmul(solved[..., len(sketch) :].mT, y)
        left: Tensor = (rest * of_probes).sum(-1).mean(-1)
        return large + left

    return estimate


def by_tangents(function: Callable[[Tensor], Tensor], x: Tensor, estimate: Estimate | None = None) -> tuple[Tensor, Tensor]:
    """Return ``function(x)`` of rows ``(n, D)``, each mapped alone, and the traces ``(n)`` of its Jacobians, by D tangents or an estimate.

    >>> by_tangents(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
    (tensor([[1., 4.]]), tensor([6.]))
    """
    if estimate is not None:
        return function(x), estimate(lambda vectors: along(function, x, vectors))
    axes = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    if mode.compiling():  # a graph carries no tangents of an open number of rows: there each axis is taken backwards
        made = torch.func.vjp(function, x)
        y, back = made[0], made[1]

        def own(axis: Tensor) -> Tensor:
            moved: Tensor = back(axis.expand_as(y))[0]
            return (moved * axis).sum(-1)

        return y, torch.func.vmap(own, chunk_size=CHUNK)(axes).sum(0)

    def moves(axis: Tensor) -> Tensor:
        moved: Tensor = torch.func.jvp(function, (x,), (axis.expand_as(x),))[1]
        return (moved * axis).sum(-1)

    with _alone():
        return function(x), torch.func.vmap(moves, chunk_size=CHUNK)(axes).sum(0)


def along(function: Callable[[Tensor], Tensor], x: Tensor, vectors: Tensor) -> Tensor:
    """Return the Jacobians of a function of rows ``x (n, D)``, each mapped alone, times vectors, as `Times` says.

    >>> along(lambda x: x**2, torch.tensor([[1.0, 2.0]]), torch.eye(2))
    tensor([[[2., 0.],
             [0., 4.]]])
    """

    def of(vector: Tensor) -> Tensor:
        moved: Tensor = torch.func.jvp(function, (x,), (vector.expand_as(x),))[1]
        return moved

    with _alone():
        made: Tensor = torch.func.vmap(of, in_dims=vectors.dim() - 2, out_dims=1, chunk_size=CHUNK)(vectors)
    return made


def _alone() -> contextlib.AbstractContextManager[object]:
    """Return what lets one thread at a time through; a graph has none, and knows no locks."""
    return contextlib.nullcontext() if mode.compiling() or mode.tracing() else FORWARD


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
    program: Program,
    tensors: Sequence[Tensor | None],
    x: Tensor,
    context: Tensor | None,
    form: Tensor | None,
    estimate: Estimate | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what a perceptron without masks gives at ``x (n, D)``, and the trace of its Jacobian, by its formulas.

    Args:
        program: What its layers are.
        tensors: As `of_tensors` takes them.
        x: Rows.
        context: ``(n, C)``, or None.
        form: The `coefficients` of its weights.
        estimate: What there is in place of the trace, and of a form.
    """
    y, slopes, times = with_products(program, tensors, x, context)
    if form is not None:
        part = slopes[0] * form if form.dim() == 1 else torch.matmul(slopes[0], form.mT) * slopes[1]
        return y, part.sum(-1)
    if estimate is not None:
        return y, estimate(times.along)
    return y, times.trace()


class Products(NamedTuple):
    """Jacobians of a perceptron at some rows, as products.

    Args:
        moved_by: How what the last layer takes moves along vectors, or (None) with each number of x.
        last: The weights of the last layer.
    """

    moved_by: Callable[[Tensor | None], Tensor]
    last: Tensor

    def along(self, vectors: Tensor) -> Tensor:
        """Return the Jacobians times vectors."""
        return torch.matmul(self.moved_by(vectors), self.last.mT)

    def trace(self) -> Tensor:
        """Return the traces."""
        return (self.moved_by(None) * self.last).sum((-2, -1))


def with_slopes(program: Program, tensors: Sequence[Tensor | None], x: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Return what a perceptron without masks gives at ``x (*batch, D)``, and the slopes of its activations there."""
    slope = ACTIVATIONS[program.activation].slope
    assert slope is not None
    z: list[Tensor] = []
    h: list[Tensor] = []
    y = interpret(program, x, of_tensors(program, tensors, context), (z, h))
    return y, [slope(before, after) for before, after in zip(z, h[1:], strict=True)]


def with_products(
    program: Program, tensors: Sequence[Tensor | None], x: Tensor, context: Tensor | None
) -> tuple[Tensor, list[Tensor], Products]:
    """Return what a perceptron without masks gives at ``x (n, D)``, the slopes of its hidden layers there, and its Jacobians."""
    y, slopes = with_slopes(program, tensors, x, context)
    weights = [weight for weight in tensors[::4] if weight is not None]

    def moved_by(vectors: Tensor | None) -> Tensor:
        tangents: list[Tensor] = []
        moved: list[Tensor] = []
        for layer, (source, skip) in enumerate(zip(program.sources[:-1], program.skips[:-1], strict=True)):
            entrance = moved[source] if source >= 0 else vectors
            out = weights[layer].mT if entrance is None else torch.matmul(entrance, weights[layer].mT)
            out = out if skip < 0 else out + tangents[skip]
            tangents.append(out)
            moved.append(out * slopes[layer].unsqueeze(-2))
        return moved[program.sources[-1]]

    return y, slopes, Products(moved_by, weights[-1])
