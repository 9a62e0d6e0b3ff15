"""Trial: a user's network is tried when it is built, for what it takes and gives and for what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.core.spec import PlanError
from pushforward.nets.signature import Mask, Signature

MOST = 32
"""How many rows of the mask that differ are tried; of more, so many are drawn."""
NOISE = 0.5
"""The size of what is added to the weights for the trial, before it is divided by the root of what a unit sums: a new net is a constant."""

Run = Callable[[Tensor | None, Tensor | None], Any]


def expect_declared(name: str, module: nn.Module, run: Run, signature: Signature, takes: str) -> None:
    """Raise `PlanError` unless a network takes and gives what its signature says, and depends on what its mask allows alone.

    Masks are tried by derivatives, with noise on the weights, which are put back: those of a random combination of all outputs that may
    see the same, by the inputs that they may not see. What reaches an input by a derivative that is not zero shows at almost all weights.

    Args:
        name: The network's, for errors.
        module: What was built.
        run: Calls it with x and context of two rows, each None where there is none.
        signature: What was declared.
        takes: What is expected of it, for errors.
    """
    x, context = _probes(signature)
    try:
        out = run(x, context)
    except Exception as error:
        raise PlanError(f"{name}: expected {takes}: {error}") from error
    if not isinstance(out, Tensor) or out.shape != (2, *signature.outputs):
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        wanted = ", ".join(map(str, ("batch", *signature.outputs)))
        raise PlanError(f"{name}: expected an output of shape ({wanted}), got {got} for a batch of 2")
    if signature.mask is None or signature.mask.all() or out.is_meta:
        return
    with torch.inference_mode(False), torch.enable_grad(), _moved(module):
        found = _leak(run, signature, signature.mask)
    if found is not None:
        output, seen = found
        inputs = signature.inputs[0] if signature.inputs else 0
        what = f"feature {seen}" if seen < inputs else f"number {seen - inputs} of the context"
        raise PlanError(f"{name}: output {output} depends on {what}, which it must not see; mask the module, or use MLP()")


def _probes(signature: Signature) -> tuple[Tensor | None, Tensor | None]:
    """Return two rows that are alike in nothing."""
    inputs, _, context = signature.sizes
    rows = torch.linspace(-1.0, 1.3, 2 * (inputs + context)).reshape(2, -1).sin()
    x = None if signature.inputs is None else rows[:, :inputs].reshape(2, *signature.inputs)
    c = None if signature.context is None else rows[:, inputs:].reshape(2, *signature.context)
    return x, c


@contextmanager
def _moved(module: nn.Module) -> Iterator[None]:
    """Add noise to the weights of a module for a while; buffers are put back as well."""
    draw = torch.Generator().manual_seed(0)
    kept = [(held, held.detach().clone()) for held in (*module.parameters(), *module.buffers())]
    try:
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    fan = parameter[0].numel() if parameter.dim() > 1 and len(parameter) else 1
                    noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64, device="cpu")
                    parameter.add_((NOISE / max(fan, 1) ** 0.5 * noise).to(parameter))
        yield
    finally:
        with torch.no_grad():
            for held, before in kept:
                held.copy_(before)


def _leak(run: Run, signature: Signature, mask: Mask) -> tuple[int, int] | None:
    """Return an output, and an input or number of the context that it depends on against the mask; None where there is none."""
    draw = np.random.default_rng(0)
    probes = [None if value is None else value.clone().requires_grad_() for value in _probes(signature)]
    out: Tensor = run(*probes)
    given = [value for value in probes if value is not None]
    if not out.requires_grad:
        return None
    sizes = torch.tensor(draw.uniform(1, 2, tuple(out.shape)), device="cpu").to(out)

    def seen(outputs: Mask) -> Mask:
        """Return which columns of the mask a combination of outputs depends on."""
        chosen = torch.zeros_like(out)
        index = torch.tensor(np.flatnonzero(outputs), device=out.device)
        chosen[:, index] = sizes[:, index]
        found = torch.autograd.grad(out, given, chosen, retain_graph=True, allow_unused=True)
        columns = []
        for value, gradient in zip(given, found, strict=True):
            # One column for each entry of the inputs' first axis, and for each number of the context.
            width = value.shape[1] if value is probes[0] else value[0].numel()
            zero = torch.zeros_like(value) if gradient is None else gradient
            columns.append((zero.detach() != 0).reshape(2, width, -1).any(-1).any(0).cpu().numpy())
        return np.concatenate(columns)[: mask.shape[1]]

    sets, of_output = np.unique(mask, axis=0, return_inverse=True)
    tried = np.arange(len(sets)) if len(sets) <= MOST else draw.permutation(len(sets))[:MOST]
    for index in tried:
        outputs = np.asarray(of_output.reshape(-1) == index)
        if not (seen(outputs) & ~sets[index]).any():
            continue
        while outputs.sum() > 1:  # in halves down to one that does
            places = np.flatnonzero(outputs)
            half = np.zeros_like(outputs)
            half[places[: len(places) // 2]] = True
            outputs = half if (seen(half) & ~sets[index]).any() else outputs & ~half
        return int(np.flatnonzero(outputs)[0]), int(np.flatnonzero(seen(outputs) & ~sets[index])[0])
    return None
