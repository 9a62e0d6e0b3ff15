"""Parameters: where kernel parameters come from, a learnable offset and an optional network of what is visible."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pushforward.core import numerics
from pushforward.core.describe import Summarised
from pushforward.core.layer import Shape
from pushforward.nets.net import Net, NetLike, NetModule, built, hooked, hooks_of_all, start_at
from pushforward.nets.shaped import ShapedNet
from pushforward.nets.signature import Mask, Signature


class Parameters(Summarised):
    """The only place where kernel parameters come to be: learnable offset + optional net of whatever is visible.

    ``flat`` takes what is visible and the context, flat, and returns all parameters on one axis; ``named`` gives them by name, each
    ``(*batch, *shape)`` with ``lead`` axes of size 1 between batch and shape. Calling it does both.

    Args:
        init: Names, shapes and identity values of the parameters.
        net: The network (None: the parameters are free).
        inputs: Shape of what is visible; nothing is where it has no numbers, or is None.
        context: Shape of the context, likewise.
        mask: As in `Signature`.
        elements: Shape of the numbers for each of which every parameter has rows, so that the outputs of a shaped net have it too, with
            all rows along their first axis (None: outputs have one axis).
        lead: Axes of size 1 before those of a parameter.
    """

    def __init__(
        self,
        init: dict[str, Tensor],
        net: NetLike | None = None,
        inputs: Shape | None = None,
        context: Shape | None = None,
        mask: Mask | None = None,
        elements: Shape | None = None,
        lead: int = 0,
    ) -> None:
        super().__init__()
        self.layout: list[tuple[str, int, int, Shape]] = []
        stop = 0
        for key, value in init.items():
            start, stop = stop, stop + value.numel()
            self.layout.append((key, start, stop, (1,) * lead + tuple(value.shape)))
        self.size = stop
        flat = _flat(init) if init else None
        self.offset: nn.Parameter | None = None
        self.net: nn.Module | None = None
        self.summary = "none"
        if flat is None:
            return
        inputs, context = (None if shape is None or 0 in shape else shape for shape in (inputs, context))
        if net is None or stop == 0 or (inputs is None and context is None):
            self.offset = nn.Parameter(flat.clone())
            return
        rows = stop // math.prod(elements or (stop,))
        outputs = (rows * elements[0], *elements[1:]) if elements else (stop,)
        signature = Signature(inputs, outputs, context, mask)
        self.net = built(net, signature, flat)
        if not isinstance(net, Net):
            visible, _, beside = signature.sizes
            self.summary = f"{type(net).__name__} {visible + beside} → {stop}"
        elif net.shaped:
            self.net = ShapedNet(self.net, signature)
            self.summary = net.summary(signature)
        else:
            self.summary = net.summary(signature.flat())

    def forward(self, visible: Tensor | None = None, context: Tensor | None = None) -> dict[str, Tensor]:
        return self.named(self.flat(visible, context))

    def flat(self, visible: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return all parameters, ``(*batch, size)``, in the working precision."""
        net = self.net
        if net is None:
            return torch.empty(0) if self.offset is None else numerics.working(self.offset)
        # Past the checks of a net, unless it has hooks, which its call alone would run.
        past = isinstance(net, NetModule) and not (hooked(net) or hooks_of_all())
        return numerics.working(net.run(visible, context) if past else net(visible, context))  # type: ignore[operator]

    def start_at(self, start: Tensor) -> None:
        """Put the parameters back to ``start``, ``(size,)``, whatever is visible; raise `PlanError` where the net cannot be."""
        if self.offset is not None:
            with torch.no_grad():
                self.offset.copy_(start)
        elif self.net is not None:
            start_at(self.net, start)

    def begin(self, init: dict[str, Tensor], start: dict[str, Tensor]) -> None:
        """Put parameters that still are ``init``, whatever is visible, to ``start``; where some are frozen, all stay."""
        if not all(parameter.requires_grad for parameter in self.parameters()):
            return
        held = self.offset if self.net is None else self.net.constant() if isinstance(self.net, NetModule) else None
        if held is not None and torch.equal(held, _flat(init).to(held)):
            self.start_at(_flat(start).to(held))

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name."""
        parts = torch.split(theta, [b - a for _, a, b, _ in self.layout], -1)
        return {
            name: part if len(shape) == 1 else part.unflatten(-1, shape)
            for (name, _, _, shape), part in zip(self.layout, parts, strict=True)
        }

    def of_elements(self, theta: Tensor, elements: int) -> dict[str, Tensor]:
        """Return by name the parameters ``(*batch, rows * some)`` of some of the ``elements`` that each parameter has a row for."""
        rows = theta.unflatten(-1, (self.size // elements, -1))
        found = {}
        for name, a, b, shape in self.layout:
            part = rows[..., a // elements : b // elements, :]
            found[name] = part if len(shape) > 1 else part.squeeze(-2)
        return found


def _flat(parameters: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in parameters.values()])


def flat_context(context: Tensor | None, shape: Shape | None) -> Tensor | None:
    """Return a context ``(*batch, *context)`` with its event axes joined to one."""
    if context is None or shape is None or len(shape) == 1:
        return context
    return context.reshape((*context.shape[: context.dim() - len(shape)], math.prod(shape)))
