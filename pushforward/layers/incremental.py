"""The sequential direction of an autoregressive layer, each hidden unit computed once: when what it sees is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pushforward.core import mode, numerics
from pushforward.kernels.kernel import Kernel, evaluate
from pushforward.layers.jacobi import jacobi
from pushforward.native.library import usable
from pushforward.native.program import interpret, of_weights
from pushforward.native.sweep import Indices, Schedule, sweep
from pushforward.nets.conditioner import Parameters
from pushforward.nets.dense import product
from pushforward.nets.parts import InputLayer
from pushforward.nets.perceptron import Perceptron

WIDE = 64
"""New units a step from which on the steps are made of torch's own products."""


class Steps:
    """The steps in which a masked perceptron and a kernel make the elements of an event.

    At a step, the units that see only what was made before it are computed, and no unit twice: all steps together are the work of
    one pass. It holds no tensors, so the module that has it moves and copies freely.

    Args:
        parameters: The parameters of the layer, whose net is a `Perceptron` with a mask.
        groups: The elements that are made at each step.
    """

    def __init__(self, parameters: Parameters, groups: Sequence[Sequence[int]]) -> None:
        net = parameters.net
        assert isinstance(net, Perceptron)
        elements = sum(map(len, groups))
        self.groups = [list(group) for group in groups]
        step_of = np.empty(elements, dtype=np.int64)
        for step, group in enumerate(groups):
            step_of[list(group)] = step
        # Units in the order of the steps at which they are known; they mostly are in it already.
        ready: list[Indices] = []
        self.sorting: list[list[int] | None] = []
        masks, sources, skips = [dense.allowed for dense in net.dense()], net.program.sources, net.program.skips[:-1]
        for mask, source, skip in zip(masks, sources, skips, strict=False):
            earlier = step_of + 1 if source < 0 else ready[source]
            known = np.where(mask, earlier[None], 0).max(1, initial=0)
            if skip >= 0:
                known = np.maximum(known, ready[skip])
            order = np.argsort(known, kind="stable")
            self.sorting.append(None if (order[1:] > order[:-1]).all() else order.tolist())
            ready.append(known)
        edges = tuple(np.searchsorted(np.sort(known), np.arange(len(groups)), side="right") for known in ready)
        # A few steps of many units are products of matrices, which nothing does better than the library that torch has for them.
        self.wide = max(len(known) for known in ready) >= WIDE * len(groups)
        # The same as plain numbers, which the compiler reads.
        self.order = [element for group in self.groups for element in group]
        self.place = np.argsort(self.order).tolist()
        self.blocks = [list(zip([0, *stops[:-1]], stops, strict=True)) for stops in (edge.tolist() for edge in edges)]
        order = np.concatenate([np.asarray(group, dtype=np.int64) for group in groups])
        self.schedule = Schedule(net.program, order, np.cumsum([len(group) for group in groups]), edges)

    def weights(self, net: Perceptron) -> list[Tensor]:
        """Return masked weight and bias of each layer, with the units in their order."""
        found: list[Tensor] = []
        for index, (dense, source) in enumerate(zip(net.dense(), net.program.sources, strict=True)):
            weight = dense.masked()
            rows = self.sorting[index] if index < len(self.sorting) else None
            columns = self.sorting[source] if source >= 0 else None
            if columns is not None:
                weight = weight[:, columns]
            found += [weight, dense.bias] if rows is None else [weight[rows], dense.bias[rows]]
        return found

    def run(
        self, kernel: Kernel, parameters: Parameters, values: Tensor, context: Tensor | None, inverse: bool, in_parallel: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Make all elements of ``values`` (*batch, elements); return them with their ladj (*batch)."""
        net = parameters.net
        assert isinstance(net, Perceptron)
        entrance = net.layers[0]
        assert isinstance(entrance, InputLayer)
        weights = self.weights(net)
        shift = None if entrance.c is None or context is None else entrance.c(context)
        if shift is not None:
            shift = (shift if self.sorting[0] is None else shift[..., self.sorting[0]]).expand(*values.shape[:-1], -1)

        def reference(values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
            return self._reference(kernel, parameters, values, shift, list(weights), inverse)

        seen = mode.watched()
        if in_parallel and not seen and not values.is_meta:

            def once(made: Tensor, values: Tensor, shift: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
                # Without a gradient by the very function of the other direction, so that both round alike and a round trip ends.
                theta = interpret(net.program, made, of_weights(weights, shift, product)) if torch.is_grad_enabled() else net(made, context)
                theta = numerics.working(theta)
                return evaluate(kernel, values, theta, parameters.named, inverse)

            return jacobi(once, reference, len(self.groups), values, shift, *weights)
        code = kernel.code()
        if code is not None and usable(values, shift, *weights) and not seen and self.schedule.taken and not self.wide:
            rows = values.reshape(-1, values.shape[-1])
            given = None if shift is None else shift.reshape(-1, shift.shape[-1])
            made, ladj = sweep(code, inverse, self.schedule, rows, given, weights, reference)
            return made.reshape(values.shape), ladj.reshape(values.shape[:-1])
        return reference(values, shift, *weights)

    def _reference(
        self, kernel: Kernel, parameters: Parameters, values: Tensor, shift: Tensor | None, weights: list[Tensor], inverse: bool
    ) -> tuple[Tensor, Tensor]:
        program, elements = self.schedule.program, len(self.order)
        weights[0] = weights[0][:, self.order]
        last, offset = weights[-2].unflatten(0, (-1, elements)), weights[-1].unflatten(0, (-1, elements))
        made: list[Tensor] = []
        # For what each layer takes, elements and hidden units, a part for each step.
        known: list[list[Tensor]] = [made, *([] for _ in program.sources[1:])]
        total: Tensor | None = None
        for step, group in enumerate(self.groups):

            def new(index: int, h: Tensor | None, step: int = step, group: list[int] = group) -> Tensor:
                """Return what a layer's new units are, of what was known before and what is new itself."""
                parts = [part for part in (*known[program.sources[index] + 1], h) if part is not None and part.shape[-1]]
                width = sum(part.shape[-1] for part in parts)
                if index == len(self.blocks):
                    weight, bias = last[:, group, :width].flatten(0, 1), offset[:, group].flatten()
                else:
                    first, stop = self.blocks[index][step]
                    if first == stop:
                        return values[..., :0]  # so that a layer and the one it skips to stay in line
                    weight, bias = weights[2 * index][first:stop, :width], weights[2 * index + 1][first:stop]
                out = product(torch.cat(parts, -1), weight, bias) if width else bias.expand(*values.shape[:-1], -1)
                return out if index or shift is None else out + shift[..., first:stop]

            h: list[Tensor] = []
            theta = interpret(program, None, new, ([], h))
            for parts, part in zip(known[1:], h[1:], strict=True):
                parts.append(part)
            x, ladj = evaluate(kernel, values[..., group], numerics.working(theta), lambda t: parameters.of_elements(t, elements), inverse)
            made.append(x.to(values.dtype))
            total = ladj if total is None else total + ladj
        assert total is not None
        return torch.cat(made, -1)[..., self.place], total
