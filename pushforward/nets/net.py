"""Net: the plan of a network that makes a kernel's parameters, what it builds, and a module of the user's as one."""

from __future__ import annotations

import copy
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from pushforward.core.checks import check_batch, check_tensor
from pushforward.core.fields import Named
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError, Spec
from pushforward.nets.signature import Mask, Signature
from pushforward.nets.trial import expect_declared

__all__ = ["Mask", "ModuleNet", "Net", "NetLike", "NetModule", "Signature", "built", "hooked", "hooks_of_all", "start_at"]


class Net(Spec):
    """A plan of a hypernetwork: what is visible in, the parameters of a kernel out."""

    _called = ("a net", "nets")
    shaped: ClassVar[bool] = False
    """Whether the network takes and gives values in their shapes, such as (C, H, W); if not, they come and go flat."""

    def build(self, signature: Signature, start: Tensor | None = None) -> nn.Module:
        """Build ``(x | None, c | None) -> parameters``.

        A net that is `shaped` is called with ``x`` of shape ``(batch, *inputs)`` and ``c`` of shape ``(batch, *context)``, of one batch,
        and gives ``(batch, *outputs)``. One that is not is built for the flat signature, and called with ``(*batch, inputs)`` and
        ``(*batch, context)``, whose batches broadcast. Without inputs or context it gets None for them. What each output may depend on,
        the signature's mask says, which has to hold whatever the weights are.

        Args:
            signature: The shapes, and the mask.
            start: What a new net gives whatever it sees, of the shape of the outputs (None: zeros).
        """
        raise NotImplementedError

    def summary(self, signature: Signature) -> str:
        """Return the network in words, with its widths."""
        return f"{self!r}: {signature.words()}"


def hooks_of_all() -> bool:
    """Tell whether hooks of all modules are set, or may be, where torch does not say: it has no public name for the question."""
    torchs = nn.modules.module
    try:
        return bool(
            torchs._global_forward_hooks
            or torchs._global_forward_pre_hooks
            or torchs._global_backward_hooks
            or torchs._global_backward_pre_hooks
        )
    except AttributeError:
        return True


def hooked(module: nn.Module) -> bool:
    """Tell whether a module has hooks of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


class NetModule(nn.Module):
    """A network that a plan has built, ``(x | None, c | None) -> (*batch, outputs)``; it checks what it is given, and `run` does the work.

    Args:
        inputs: Features that it sees, 0 for a net that is given None for them.
        context: Features of the context, likewise.
        shapes: Shapes of both, of a net that takes them in their shapes.
    """

    noun = "net"

    def __init__(self, inputs: int, context: int, shapes: tuple[Shape | None, Shape | None] | None = None) -> None:
        super().__init__()
        self.inputs, self.context = inputs, context
        self.shapes = shapes or ((inputs,) if inputs else None, (context,) if context else None)

    def forward(self, x: Tensor | None, context: Tensor | None = None) -> Tensor:
        """Return the parameters.

        Args:
            x: ``(*batch, inputs)``.
            context: ``(*batch, context)``, whose batch broadcasts.

        Raises:
            ValueError: One that is missing, not expected or of another width.
            TypeError: No tensor of floating point.
        """
        of_x, of_context = self.shapes
        batch, given = self._admit("x", x, of_x), self._admit("context", context, of_context)
        if batch is not None and given is not None and batch != given:
            check_batch(self, "x", batch, given)
        return self.run(x, context)

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        """Do the work of `forward`, on what has been checked."""
        raise NotImplementedError

    def start_at(self, start: Tensor) -> None:
        """Put the net back to where it gives ``start``, ``(outputs,)``, whatever it sees; of a user's module what it adds to that stays."""
        raise PlanError(
            f"{self.label()}: expected a net that can start as a constant, such as MLP(), ResidualMLP() or a module of your own"
        )

    def constant(self) -> Tensor | None:
        """Return what it gives whatever it sees, ``(outputs,)``, of a net that has learnt nothing yet; None where that is not known."""
        return None

    def label(self) -> str:
        """Return what errors begin with."""
        return type(self).__name__

    def _admit(self, what: str, value: Tensor | None, shape: Shape | None) -> torch.Size | None:
        """Check one of what it is given, and return its batch."""
        if value is None:
            if shape is not None:
                raise ValueError(f"{self.label()}: expected {what} of shape (*batch, {', '.join(map(str, shape))}), got none")
            return None
        if shape is None:
            raise ValueError(f"{self.label()}: expected no {what}, since it was built without, got one; give None")
        if not isinstance(value, Tensor) or value.shape[value.dim() - len(shape) :] != shape or not value.is_floating_point():
            check_tensor(self, what, value, shape, None, None)
        return value.shape[: value.dim() - len(shape)]


NetLike = Annotated[Net | nn.Module, Named("to be a plan such as MLP() or an nn.Module")]


class ModuleNet(NetModule):
    """A user's own module as a hypernetwork: it gets ``cat(x, c)`` on the last axis and its output is added to the start."""

    def __init__(self, module: nn.Module, signature: Signature, start: Tensor | None) -> None:
        inputs, outputs, context = signature.sizes
        super().__init__(inputs, context)
        self.module = copy.deepcopy(module)  # a plan may be built more than once; each build has its own weights
        self.offset = nn.Parameter(torch.zeros(outputs) if start is None else start.clone())

        def run(x: Tensor | None, c: Tensor | None) -> Any:
            return self.module(torch.cat([value for value in (x, c) if value is not None], -1))

        takes = f"a module that takes (batch, {inputs} inputs + {context} context)"
        expect_declared(type(module).__name__, self.module, run, signature, takes)

    def label(self) -> str:
        return type(self.module).__name__

    def start_at(self, start: Tensor) -> None:
        with torch.no_grad():
            self.offset.copy_(start)

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        if x is not None and context is not None:
            batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            visible = torch.cat([x.expand(*batch, -1), context.expand(*batch, -1)], -1)
        else:
            visible = x if x is not None else context  # type: ignore[assignment]
        out: Tensor = self.module(visible.to(self.offset.dtype))
        return out + self.offset


def built(net: NetLike, signature: Signature, start: Tensor | None) -> nn.Module:
    """Build a net of any kind, for the signature or, if it is not shaped, for the flat one; one that is not the library's own is tried.

    Raises:
        PlanError: It does not take or give what the signature says, or looks at what it must not see.
    """
    if not isinstance(net, Net):
        return ModuleNet(net, signature.flat(), start)
    signature = signature if net.shaped else signature.flat()
    module = net.build(signature, None if start is None else start.reshape(signature.outputs))
    # What the library's own plans build, its tests hold to every mask.
    if type(net).__module__.partition(".")[0] != __name__.partition(".")[0]:
        shapes = [
            f"{name} of shape ({', '.join(map(str, ('batch', *shape)))})" if shape is not None else f"None for {name}"
            for name, shape in (("x", signature.inputs), ("context", signature.context))
        ]
        expect_declared(type(net).__name__, module, module, signature, f"to build a module that takes {' and '.join(shapes)}")
    return module


def start_at(module: nn.Module, start: Tensor) -> None:
    """Put what a plan has built back to where it gives ``start``; raise `PlanError` where it cannot be."""
    if not isinstance(module, NetModule):
        raise PlanError(f"{type(module).__name__}: expected a net that can start as a constant, such as MLP()")
    module.start_at(start)
