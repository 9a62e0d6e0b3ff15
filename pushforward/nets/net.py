"""Net: the plan of a network that makes a kernel's parameters, what it builds, and a module of the user's as one."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.core.checks import check_batch, check_tensor
from pushforward.core.fields import Named
from pushforward.core.spec import PlanError, Spec

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Net(Spec):
    """A plan of a hypernetwork: what is visible in, the parameters of a kernel out."""

    _called = ("a net", "nets")

    def build(self, inputs: int, outputs: int, context: int = 0, sees: Mask | None = None, start: Tensor | None = None) -> nn.Module:
        """Build ``(x | None, c | None) -> (*batch, outputs)``.

        ``x`` has ``inputs`` features and ``c`` has ``context``; a net without inputs gets None for them. ``sees`` is a boolean
        array ``(outputs, inputs)`` that says which input each output may depend on (None: all), or ``(outputs, inputs + context)`` where
        it also says which number of the context. A new net gives the constant ``start`` of shape ``(outputs,)`` whatever it sees.
        """
        raise NotImplementedError

    def summary(self, inputs: int, outputs: int, context: int) -> str:
        """Return the network in words, with its widths."""
        return repr(self)


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
    """

    noun = "net"

    def __init__(self, inputs: int, context: int) -> None:
        super().__init__()
        self.inputs, self.context = inputs, context

    def forward(self, x: Tensor | None, context: Tensor | None = None) -> Tensor:
        """Return the parameters.

        Args:
            x: ``(*batch, inputs)``.
            context: ``(*batch, context)``, whose batch broadcasts.

        Raises:
            ValueError: One that is missing, not expected or of another width.
            TypeError: No tensor of floating point.
        """
        self._admit("x", x, self.inputs)
        self._admit("context", context, self.context)
        if x is not None and context is not None and x.shape[:-1] != context.shape[:-1]:
            check_batch(self, "x", x.shape[:-1], context.shape[:-1])
        return self.run(x, context)

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        """Do the work of `forward`, on what has been checked."""
        raise NotImplementedError

    def start_at(self, start: Tensor) -> None:
        """Put the net back to where it gives ``start``, ``(outputs,)``, whatever it sees; of a user's module what it adds to that stays."""
        raise PlanError(
            f"{self.label()}: expected a net that can start as a constant, such as MLP(), ResidualMLP() or a module of your own"
        )

    def label(self) -> str:
        """Return what errors begin with."""
        return type(self).__name__

    def _admit(self, what: str, value: Tensor | None, width: int) -> None:
        if value is None:
            if width:
                raise ValueError(f"{self.label()}: expected {what} of shape (*batch, {width}), got none")
        elif not width:
            raise ValueError(f"{self.label()}: expected no {what}, since it was built without, got one; give None")
        elif not isinstance(value, Tensor) or value.dim() < 1 or value.shape[-1] != width or not value.is_floating_point():
            check_tensor(self, what, value, (width,), None, None)


NetLike = Annotated[Net | nn.Module, Named("to be a plan such as MLP() or an nn.Module")]


class ModuleNet(NetModule):
    """A user's own module as a hypernetwork: it gets ``cat(x, c)`` on the last axis and its output is added to the start."""

    def __init__(self, module: nn.Module, inputs: int, outputs: int, context: int, sees: Mask | None, start: Tensor | None) -> None:
        super().__init__(inputs, context)
        self.module = copy.deepcopy(module)  # a plan may be built more than once; each build has its own weights
        self.offset = nn.Parameter(torch.zeros(outputs) if start is None else start.clone())
        name = type(module).__name__
        # Two rows that are alike in nothing, to see the shape and what depends on what.
        probe = torch.linspace(-1.0, 1.3, 2 * (inputs + context)).reshape(2, -1).sin()
        try:
            out = self.module(probe)
        except Exception as error:
            raise PlanError(f"{name}: expected a module that takes (batch, {inputs} inputs + {context} context): {error}") from error
        if not isinstance(out, Tensor) or out.shape != (2, outputs):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise PlanError(f"{name}: expected an output of shape (batch, {outputs}), got {got} for a batch of 2")
        if sees is not None and not probe.is_meta:
            jacobian: Any = torch.autograd.functional.jacobian(lambda v: self.module(v).sum(0), probe)
            hidden = (jacobian != 0).any(1)[:, : sees.shape[1]].numpy() & ~sees
            if hidden.any():
                output, seen = np.argwhere(hidden)[0].tolist()
                what = f"feature {seen}" if seen < inputs else f"number {seen - inputs} of the context"
                raise PlanError(f"{name}: output {output} depends on {what}, which it must not see; mask the module, or use MLP()")

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
