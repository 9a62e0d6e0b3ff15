"""Jacobi iteration: the sequential direction of an autoregressive layer in parallel passes that stop when nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pushforward.core import numerics

Pass = Callable[..., tuple[Tensor, Tensor]]


def jacobi(once: Pass, reference: Pass, steps: int, values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`x = f(x)`, where each element of f sees earlier elements only; return ``(x, ladj)``.

    After k passes the first k steps are exact, so as many passes as there are steps always do. The gradient solves the transposed
    equation in the same way. Each pass asks the device once whether anything changed.
    Source: Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Song et al., 2021).

    Args:
        once: ``(x, values, shift, *weights) -> (f(x), ladj)``.
        reference: The solution as a function that can be differentiated twice: ``(values, shift, *weights) -> (x, ladj)``.
        steps: The most passes that can be needed.
        values: ``(*batch, elements)``.
        shift: What the context adds, or None.
        weights: Further tensors on which f depends.
    """
    has = shift is not None
    given = [values, *([shift] if shift is not None else []), *weights]

    def split(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor | None, Sequence[Tensor]]:
        return tensors[0], tensors[1] if has else None, tensors[1 + has :]

    def solve(known: None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        values, shift, weights = split(tensors)
        with torch.no_grad():
            made = torch.zeros_like(values)
            for _ in range(steps):
                found = once(made, values, shift, *weights)[0]
                # What is not settled yet may be anything; only what is settled counts, and that is finite unless its row is not.
                found, before = torch.where(torch.isfinite(found), found, 0.0), made
                made = found
                if bool((found == before).all()):
                    break
            return once(made, values, shift, *weights)

    def gradient(known: None, tensors: Sequence[Tensor], y: Tensor, gx: Tensor, gladj: Tensor) -> Sequence[Tensor | None]:
        with torch.enable_grad():
            own = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
            made = y.detach().requires_grad_()
            values, shift, weights = split(own)
            found = once(made, values, shift, *weights)
        total = gx
        for _ in range(steps):
            (through,) = torch.autograd.grad(found, made, (total, gladj), retain_graph=True)
            before, total = total, gx + through
            if bool((total == before).all()):
                break
        wanted = [t for t in own if t.requires_grad]
        grads = iter(torch.autograd.grad(found, wanted, (total, gladj), allow_unused=True))
        return [next(grads) if t.requires_grad else None for t in own]

    def again(known: None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        values, shift, weights = split(tensors)
        return reference(values, shift, *weights)

    return numerics.differentiable(numerics.Rule(solve, gradient, again), None, *given)  # type: ignore[no-any-return]
