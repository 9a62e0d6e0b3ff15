"""AdamW without torch's compiler: the first `torch.optim` optimiser of a process imports it, which takes longer than a small fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

FUSED = ("cpu", "cuda")
"""Devices on which a step of many small tensors is one call."""
SETTINGS: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "maximize": False}


class AdamW:
    r"""AdamW, :math:`p \leftarrow (1 - r w) p - r \hat m / (\sqrt{\hat v} + \epsilon)`, by the function that `torch.optim.AdamW` calls.

    It has of an optimiser what a loop asks for: ``param_groups``, ``zero_grad`` and ``step``. A parameter without a gradient stays.
    Source: Decoupled Weight Decay Regularization (Loshchilov, Hutter, 2019).

    Args:
        parameters: What is moved, on one device.
        lr: r > 0.
        weight_decay: w, at least 0.

    >>> p = nn.Parameter(torch.ones(1))
    >>> p.grad, optimizer = torch.ones(1), AdamW([p], lr=0.5)
    >>> optimizer.step(), p.detach()
    (None, tensor([0.5000]))
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr, "weight_decay": weight_decay}]
        self.state: dict[nn.Parameter, tuple[Tensor, Tensor, Tensor]] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; without ``set_to_none`` they become zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else torch.zeros_like(p.grad)

    @torch.no_grad()
    def step(self) -> None:
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for p in moved:
                if p not in self.state:
                    # Steps are counted where the fused step reads them.
                    count = torch.zeros((), device=p.device if p.device.type in FUSED else None)
                    self.state[p] = (torch.zeros_like(p), torch.zeros_like(p), count)
            if moved:
                means, squares, counts = map(list, zip(*(self.state[p] for p in moved), strict=True))
                how = {"lr": group["lr"], "weight_decay": group["weight_decay"], "fused": moved[0].device.type in FUSED, **SETTINGS}
                adamw(moved, [p.grad for p in moved], means, squares, [], counts, **how)


Stepper = Optimizer | AdamW
"""What moves parameters in a loop."""
