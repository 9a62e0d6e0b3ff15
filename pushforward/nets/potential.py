"""Potentials: nets that are the gradient of another one's single output, as the velocities of optimal transport are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward.core.spec import PlanError
from pushforward.native.program import Program, counted
from pushforward.nets.divergence import has_slopes, with_slopes
from pushforward.nets.mlp import MLP
from pushforward.nets.net import Net, NetLike, NetModule, built, start_at
from pushforward.nets.parts import tensors
from pushforward.nets.perceptron import Perceptron
from pushforward.nets.signature import Signature


@dataclass(frozen=True, repr=False)
class Potential(Net):
    r"""Gradient of a potential: :math:`v(x, c) = \partial_x \phi(x, c) + b`, :math:`\phi` the single output of another net.

    The velocity of ``Continuous(Potential())`` has no rotation, as that of optimal transport has none, and its Jacobian is symmetric. Each
    of its evaluations is one of the net and one of its gradient. As many outputs as inputs, and no mask; on spheres what is tangent
    of the gradient is followed, and a circle, which a net is shown as two numbers, has none.
    Source: OT-Flow: Fast and Accurate Continuous Normalizing Flows via Optimal Transport (Onken et al., 2021), without its quadratic term.

    Args:
        net: The network behind, smooth: a plan of flat values, or a module of yours that takes ``(rows, inputs + context)`` and gives
            ``(rows, 1)``.

    >>> net = Potential(MLP((32,), "silu")).build(Signature(inputs=(2,), outputs=(2,)))
    >>> net(torch.zeros(5, 2), None).shape
    torch.Size([5, 2])
    """

    net: NetLike = MLP(activation="silu")

    _levels = 30  # one in another is differentiated as many times more

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        return PotentialNet(built(self.net, self._behind(signature), None), signature, start)

    def _behind(self, signature: Signature) -> Signature:
        """Return the signature of the network behind, or raise `PlanError`."""
        if isinstance(self.net, Net) and self.net.shaped:
            raise PlanError(f"{self!r}: expected a net of flat values, such as MLP(activation='silu'), got one of values in their shapes")
        if signature.mask is not None or signature.inputs is None or signature.inputs != signature.outputs:
            raise PlanError(f"{self!r}: expected as many outputs as inputs, without a mask, as a velocity has, got {signature.words()}")
        return replace(signature, outputs=(1,))

    def summary(self, signature: Signature) -> str:
        behind = self._behind(signature)
        return f"gradient of {self.net.summary(behind) if isinstance(self.net, Net) else type(self.net).__name__}"


class PotentialNet(NetModule):
    """The gradient of a network's single output."""

    def __init__(self, net: nn.Module, signature: Signature, start: Tensor | None) -> None:
        inputs, outputs, context = signature.sizes
        super().__init__(inputs, context)
        self.net = net
        self.offset = nn.Parameter(torch.zeros(outputs) if start is None else start.clone())

    def start_at(self, start: Tensor) -> None:
        start_at(self.net, torch.zeros(1))
        with torch.no_grad():
            self.offset.copy_(start)

    def constant(self) -> Tensor | None:
        behind = self.net.constant() if isinstance(self.net, NetModule) else None
        return None if behind is None else self.offset.detach()

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        assert x is not None
        if context is not None:  # the gradient has the batch of both
            x = x.expand(*torch.broadcast_shapes(x.shape[:-1], context.shape[:-1]), -1)

        net = self.net
        if type(net) is Perceptron and has_slopes(net.program) and (parts := tensors(net.layers)) is not None:
            return of_perceptron(net.program, parts, x, context) + self.offset

        def height(x: Tensor) -> Tensor:
            made: Tensor = net(x, context)
            return made.sum()

        made: Tensor = torch.func.grad(height)(x)
        return made + self.offset


def of_perceptron(program: Program, parts: Sequence[Tensor | None], x: Tensor, context: Tensor | None) -> Tensor:
    """Return the gradient in ``x (*batch, n)`` of the single output of a perceptron without masks, by the chain rule from its end.

    Args:
        program: What its layers are; the slopes of its activation have a formula.
        parts: As `of_tensors` takes them.
        x: The place.
        context: ``(*batch, C)``, or None.
    """
    y, slopes = with_slopes(program, parts, x, context)
    # What each sum before an activation, and the place, count for in the output: nothing until something that takes them has told.
    counts: list[Tensor | None] = [None] * len(slopes)
    place: Tensor = torch.zeros_like(x)
    for layer in reversed(range(len(program.sources))):
        of_layer = torch.ones_like(y) if layer == len(slopes) else counts[layer]
        if of_layer is None:
            continue
        moved, source, skip = torch.matmul(of_layer, counted(program, parts, layer)), program.sources[layer], program.skips[layer]
        if source < 0:
            place = place + moved
        else:
            counts[source] = _sum(counts[source], moved * slopes[source])
        if skip >= 0:
            counts[skip] = _sum(counts[skip], of_layer)
    return place


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other
