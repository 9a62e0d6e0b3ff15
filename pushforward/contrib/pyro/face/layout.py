"""Built layers as Pyro lays their values out: numbers in places, vectors on any axis, and sizes that come with the values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.layer import Layer, Shape
from pushforward.kernels.kernel import Kernel, KernelModule, evaluate
from pushforward.layers.actnorm import ActNormModule

Both = Callable[..., tuple[Tensor, Tensor]]


class PerElement(Layer):
    """A layer whose D places have parameters of their own, as a map of numbers: ladj tells each of them, ``(*batch, D)``."""

    def __init__(self, layer: KernelModule | ActNormModule) -> None:
        super().__init__(layer.plan, (), layer.context_shape)
        self.layer, (self.places,) = layer, layer.event_shape
        self.kernel: Kernel = layer.kernel
        self.facts = layer.facts

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(False, x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(True, y, context)

    def _apply_kernel(self, inverse: bool, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        theta = self.layer.parameters_of.flat(None, context if self.facts.uses_context else None)
        # Place by place: the parameters of one place are a row, and each number is scored alone.
        rows = theta.unflatten(-1, (-1, self.places)).mT
        values = numerics.working(x).expand(torch.broadcast_shapes(x.shape, rows.shape[:-1]))
        if theta.dim() == 1:
            # Rows shared by the whole batch are prepared once, not once a value.
            columns = [self._one(values[..., i, None], rows[i], inverse) for i in range(self.places)]
            y, ladj = (torch.stack(parts, -1) for parts in zip(*columns, strict=True))
        else:
            y, ladj = self._one(values.unsqueeze(-1), rows, inverse)
        return y.to(x.dtype), ladj

    def _one(self, x: Tensor, theta: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        y, ladj = evaluate(self.kernel, x, theta, lambda row: self.layer.parameters_of.of_elements(row, self.places), inverse)
        return y.squeeze(-1), ladj


class NormPerElement(PerElement):
    """`PerElement` of a normalisation, which shifts and scales beside its learned map."""

    layer: ActNormModule

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, ladj = super().push(x)
        return (self.layer.loc + self.layer.scale * y).to(x.dtype), ladj + torch.log(self.layer.scale)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, ladj = super().pull((y - self.layer.loc) / self.layer.scale)
        return x.to(y.dtype), ladj - torch.log(self.layer.scale)

    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        self.layer.follow(values.reshape(-1, self.places), None, inverse)


class OnDim(Layer):
    """A layer of vectors on the event axis ``dim`` < 0; what is beside that axis are vectors of their own."""

    def __init__(self, layer: Layer, dim: int) -> None:
        super().__init__(layer.plan, layer.event_shape, layer.context_shape)
        self.layer, self.dim = layer, dim
        own = layer.facts
        self.facts = Facts(depends_on=own.depends_on, uses_context=own.uses_context, accuracy=own.accuracy, effort=own.effort)

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.layer.push, x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(self.layer.pull, y, context)

    def _moved(self, both: Both, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        beside = -self.dim - 1
        if context is not None:
            context = context.reshape(*context.shape[:-1], *(1,) * beside, context.shape[-1])
        y, ladj = both(x.movedim(self.dim, -1), context)
        return y.movedim(-1, self.dim), ladj.sum(tuple(range(-beside, 0))) if beside else ladj


class Lazy(Layer):
    """A layer that is built for the shape of the values: anew for each where it has no parameters, else once, for the first."""

    def __init__(self, plan: Bijector, rank: int, context_shape: Shape | None = None, once: bool = False) -> None:
        super().__init__(plan, (), context_shape)
        self.rank, self.once = rank, once
        self.built: Layer | None = None
        own = self.facts
        self.facts = Facts(
            getattr(plan, "domain", own.domain), getattr(plan, "codomain", own.codomain), uses_context=context_shape is not None
        )

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        layer = self.for_event(x.shape[x.dim() - self.rank :], x)
        return self._kept(layer, layer.push(x, context))

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        event = self.plan.shape_before(tuple(y.shape[y.dim() - self.plan.out_dim :])) if not self.once else y.shape[y.dim() - self.rank :]
        layer = self.for_event(event, y)
        return self._kept(layer, layer.pull(y, context))

    def for_event(self, event: Shape, like: Tensor) -> Layer:
        """Return the layer for events of a shape, on the device of some values."""
        if self.built is not None:
            return self.built
        made: Layer = self.plan.build(tuple(event), self.context_shape).to(like.device)
        return made

    def _kept(self, layer: Layer, found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what was found, and keep the layer that found it: one whose network takes values of another length found nothing."""
        if self.once:
            self.built = layer
        return found
