"""Periodic networks: a hypernetwork that sees the cosine and sine of an angle, so that whole turns do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn

from pushforward.core.fields import Length, Named, Place
from pushforward.core.spec import PlanError
from pushforward.nets.mlp import MLP
from pushforward.nets.net import Net, NetLike, NetModule, built, start_at
from pushforward.nets.signature import Signature


@dataclass(frozen=True, repr=False)
class Periodic(Net):
    r"""A net that is shown :math:`\cos x` and :math:`\sin x` instead of an angle x: its parameters are the same after a whole turn.

    With it the layers of a flow on circles and tori are periodic and have no seam: ``Coupling(CircularSpline(), net=Periodic())``. What
    an output may see of an angle, it may see of both. The context is passed on as it is.
    Source: Normalizing Flows on Tori and Spheres (Rezende et al., 2020).

    Args:
        net: The network behind: a plan, or any module of yours, that then gets the other inputs, the cosines and the sines.
        circular: Which of its inputs are angles (None: all): in an autoregressive layer the features, in a coupling layer those that
            pass through, counted from 0. In front of a shaped net they are entries of the first axis, in front of others single numbers.

    >>> net = Periodic(MLP((32,))).build(Signature(inputs=(2,), outputs=(3,)))
    >>> net(torch.zeros(5, 2), None).shape
    torch.Size([5, 3])
    """

    net: NetLike = MLP()
    circular: Annotated[Sequence[Place], Length(1), Named("to be a list of indices, each once, or None for all")] | None = None

    _levels = 30  # its net sees two numbers for each angle

    def check(self) -> None:
        if self.circular is not None and len(set(self.circular)) < len(self.circular):
            raise PlanError(f"Periodic: expected circular to be a list of indices, each once, or None for all, got {self.circular!r}")

    def angles(self, inputs: int) -> tuple[list[int], list[int]]:
        """Return which of the inputs are angles, and which are not."""
        if self.circular is not None and max(self.circular) >= inputs:
            raise PlanError(f"{self!r}: expected circular indices below {inputs}, the number of its inputs, got {self.circular}")
        angles = list(range(inputs)) if self.circular is None else list(self.circular)
        return angles, [i for i in range(inputs) if i not in angles]

    @property
    def shaped(self) -> bool:  # type: ignore[override]
        """As the network behind."""
        return isinstance(self.net, Net) and self.net.shaped

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        angles, others = self.angles(signature.inputs[0] if signature.inputs else 0)
        net = built(self.net, self._behind(signature), start)
        return PeriodicNet(net, signature, angles, others)

    def _behind(self, signature: Signature) -> Signature:
        """Return the signature of the network behind: cosines and sines instead of angles along the first axis, after the others."""
        if signature.inputs is None:
            return signature
        count, *rest = signature.inputs
        angles, others = self.angles(count)
        columns = [*others, *angles, *angles]
        mask = signature.mask
        if mask is not None:
            mask = mask[:, [*columns, *range(count, mask.shape[1])]]
        return replace(signature, inputs=(len(columns), *rest), mask=mask)

    def summary(self, signature: Signature) -> str:
        behind, count = self._behind(signature), signature.inputs[0] if signature.inputs else 0
        name = self.net.summary(behind) if isinstance(self.net, Net) else type(self.net).__name__
        return f"cos and sin of {len(self.angles(count)[0])} of {count} inputs, {name}"


class PeriodicNet(NetModule):
    """A network behind the cosines and sines of angles."""

    angles: Tensor
    others: Tensor

    def __init__(self, net: nn.Module, signature: Signature, angles: Sequence[int], others: Sequence[int]) -> None:
        inputs, _, context = signature.sizes
        super().__init__(inputs, context, (signature.inputs, signature.context))
        self.net = net
        self.all, self.axis = not others, -len(signature.inputs or (0,))
        self.register_buffer("angles", torch.tensor(list(angles), dtype=torch.long), persistent=False)
        self.register_buffer("others", torch.tensor(list(others), dtype=torch.long), persistent=False)

    def start_at(self, start: Tensor) -> None:
        start_at(self.net, start)

    def constant(self) -> Tensor | None:
        return self.net.constant() if isinstance(self.net, NetModule) else None

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        if x is not None:
            angle = x if self.all else torch.index_select(x, self.axis, self.angles)
            rest = [] if self.all else [torch.index_select(x, self.axis, self.others)]
            x = torch.cat([*rest, torch.cos(angle), torch.sin(angle)], self.axis)
        out: Tensor = self.net(x, context)
        return out
