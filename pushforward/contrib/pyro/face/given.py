"""A user's network that gives the parameters of a layer as Pyro's transforms want them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pushforward.core.fields import Named
from pushforward.core.layer import Shape
from pushforward.nets.net import Net
from pushforward.nets.signature import Signature

SOME: Shape = (1,)
"""The shape of a context whose length the user's network knows."""


@dataclass(frozen=True, repr=False)
class _Given(Net):
    """A network that takes values, a context or both and gives a tuple of tensors: one for each kind of parameter.

    Args:
        net: Called as ``net(x)``, ``net(c)`` or ``net(x, context=c)``. It is not copied.
        order: The place of each of the layer's parameters in the tuple (None: as they come).
        rows: How many parameters each of D places has, if a tensor ``(*batch, D K)`` holds the K numbers of one place after those of the
            other; with an axis more it is ``(*batch, K, D)`` and needs no change. 0: the layer is one of vectors.
        free: How many parameters, the first ones, are free and not the network's.
        plain: Whether the answer stands as it is, and the kernel's initial values are not added: where they are random.
    """

    net: Annotated[Callable[..., Any], Named("to be a network that is called for the parameters")]
    order: Sequence[int] | None = None
    rows: int = 0
    free: int = 0
    plain: bool = False

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        return GivenNet(self, signature.sizes[1], None if self.plain else start)

    def summary(self, signature: Signature) -> str:
        return f"{type(self.net).__name__} → {signature.sizes[1]}"


class GivenNet(nn.Module):
    """Calls the user's network, whose parameters belong to the transform, and puts its answer in the layer's order.

    The kernel's initial values are added, so that a network of zeros starts the layer as the identity; unless the plan is plain.
    """

    start: Tensor

    def __init__(self, plan: _Given, outputs: int, start: Tensor | None) -> None:
        super().__init__()
        self.plan, self.outputs, self.given = plan, outputs, outputs - plan.free
        self.register_buffer("start", torch.zeros(outputs) if start is None else start.clone(), persistent=False)
        self.free = nn.Parameter(torch.zeros(plan.free)) if plan.free else None

    def forward(self, x: Tensor | None, context: Tensor | None = None) -> Tensor:
        if x is not None and context is not None:
            batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            answer = self.plan.net(x.expand(*batch, -1), context=context.expand(*batch, -1))
        else:
            seen = context if x is None else x
            assert seen is not None
            batch = seen.shape[:-1]
            answer = self.plan.net(seen)
        parts = [answer] if isinstance(answer, Tensor) else list(answer)
        if sum(part.shape[-1] * (part.shape[-2] if part.dim() > len(batch) + 1 else 1) for part in parts) != self.given:
            shapes = [tuple(part.shape) for part in parts]
            raise ValueError(f"{type(self.plan.net).__name__}: expected {self.given} parameters for each row, got tensors of {shapes}")
        chosen = parts if self.plan.order is None else [parts[i] for i in self.plan.order]
        flat = [] if self.free is None else [self.free.expand(*batch, -1)]
        for part in chosen:
            places = self.given // self.plan.rows if self.plan.rows and part.dim() == len(batch) + 1 else 0
            table = part.unflatten(-1, (places, part.shape[-1] // places)).mT if places else part
            # Not by a shape with -1 in it, which has no meaning for a batch of nothing.
            flat.append(table.flatten(len(batch)).expand(*batch, -1))
        return torch.cat(flat, -1) + self.start
