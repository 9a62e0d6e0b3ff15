"""A built perceptron: layers with an activation between them, and the compiled code for one of few units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core import mode, numerics
from pushforward.native.perceptron import Form, LayerTensors, perceptron, reference
from pushforward.nets.dense import Dense, few, product
from pushforward.nets.net import Mask, NetModule, hooked, hooks_of_all

aten: Any = torch.ops.aten

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


SLOPES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda g, z, h: aten.threshold_backward(g, h, 0),
    "leaky_relu": lambda g, z, h: aten.leaky_relu_backward(g, z, 0.01, False),
    "elu": lambda g, z, h: aten.elu_backward(g, 1, 1, 1, False, z),
    "gelu": lambda g, z, h: aten.gelu_backward(g, z),
    "silu": lambda g, z, h: aten.silu_backward(g, z),
    "softplus": lambda g, z, h: aten.softplus_backward(g, z, 1, 20),
    "tanh": lambda g, z, h: aten.tanh_backward(g, h),
    "sigmoid": lambda g, z, h: aten.sigmoid_backward(g, h),
}
"""The gradient at z of h = activation(z), from that at h: torch's own, called without a graph."""


LARGE = 1 << 20
"""Activations from which on those of the first layer are not kept for the gradient: to make them again takes a few hundredths of a step."""


class InputLayer(NetModule):
    """The first layer: inputs and context side by side, so that the context is multiplied once, not once a sample."""

    def __init__(self, inputs: int, context: int, outputs: int, mask: Mask | None) -> None:
        super().__init__(inputs, context)
        fan = inputs + context
        # A mask may be of the inputs alone.
        own, beside = (None, None) if mask is None else (mask[:, :inputs], mask[:, inputs:] if mask.shape[1] > inputs else None)
        self.x = Dense(inputs, outputs, own, fan_in=fan) if inputs else None
        self.c = Dense(context, outputs, beside, bias=not inputs, fan_in=fan) if context else None

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        if self.x is None or x is None:
            out: Tensor = self.c(context)  # type: ignore[misc]
        elif self.c is None:
            out = self.x(x)
        else:
            out = self.x(x) + self.c(context)
        return out


class Block(nn.Module):
    """A residual block before its activation."""

    def __init__(self, width: int, mask: Mask | None, activation: str) -> None:
        super().__init__()
        self.inner, self.outer = Dense(width, width, mask), Dense(width, width, mask)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        out: Tensor = h + self.outer(activate(self.inner(activate(h))))
        return out


class Perceptron(NetModule):
    """Layers with an activation before each but the first and each residual block; the last starts as a constant."""

    def __init__(self, layers: Sequence[nn.Module], activation: str, start: Tensor | None) -> None:
        entrance = layers[0]
        assert isinstance(entrance, InputLayer)
        super().__init__(entrance.inputs, entrance.context)
        self.layers = nn.ModuleList(layers)
        self.activation = activation
        last = layers[-1]
        assert isinstance(last, Dense)
        self.start_at(torch.zeros_like(last.bias) if start is None else start)
        self.form = self._form()
        self.in_blocks = any(layer.blocks for layer in self.modules() if isinstance(layer, Dense))
        first, second = [part for part in (entrance.x, entrance.c) if part is not None], layers[1]
        #: Whether a unit of the first layer takes so few inputs that to make its activations again costs next to nothing.
        self.narrow = len(layers) > 2 and all(isinstance(part, Dense) for part in first) and isinstance(second, Dense)
        self.narrow = self.narrow and 4 * sum(part.in_features for part in first) <= last.in_features

    def label(self) -> str:
        return "MLP"

    def start_at(self, start: Tensor) -> None:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(start)

    def run(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        compiled = self._compiled(x, context) if self.form.small else None
        if compiled is not None:
            return compiled
        remade = self.narrow and _remakes(self.layers[0], self.layers[1]) and self._large(x, context)
        direct = None if remade else self._direct(x, context)
        if direct is not None:
            return direct
        first, second, *rest = self.layers  # a slice of a ModuleList makes a new one, which takes longer than a small layer
        h = self._first_two(x, context) if remade else first(x, context)
        for layer in rest if remade else (second, *rest):
            h = layer(h if isinstance(layer, Block) else ACTIVATIONS[self.activation](h))
        return h

    def _direct(self, x: Tensor | None, context: Tensor | None) -> Tensor | None:
        """Return what the layers give by torch's operators, or None where they have to be called to do what they do.

        To call a module for each product, and in it to ask for its tensors and for the rows, takes as long as a small product.
        """
        layers = None if self.in_blocks else _tensors(self)
        if layers is None:
            return None
        x, context = (None if layers[0][0] is None else x), (None if layers[0][2] is None else context)
        if any(few(t) for t in (x, context) if t is not None):
            return None
        dtype = layers[-1][0].dtype  # type: ignore[union-attr]
        x, context = (None if t is None else t.to(dtype) for t in (x, context))
        return reference(self.form, x, context, [t for layer in layers for t in layer])

    def _large(self, x: Tensor | None, context: Tensor | None) -> bool:
        """Tell whether the activations of the first layer are worth their memory."""
        rows = max(math.prod(t.shape[:-1]) for t in (x, context) if t is not None)
        width: int = self.layers[1].in_features  # type: ignore[assignment]
        return rows * width >= LARGE

    def _first_two(self, x: Tensor | None, context: Tensor | None) -> Tensor:
        """Return what the first two layers give; the activations between them, made of few inputs, are made again for the gradient."""
        first, second = self.layers[0], self.layers[1]
        assert isinstance(first, InputLayer)
        assert isinstance(second, Dense)
        own, beside = first.x, first.c
        bias = own.bias if own is not None else None if beside is None else beside.bias
        weights = (None if own is None else own.masked(), None if beside is None else beside.masked(), bias)
        given = (None if own is None else x, None if beside is None else context, *weights)
        out: Tensor = _Remade.apply(self.activation, second.masked(), second.bias, *given)  # type: ignore[no-untyped-call]
        return out

    def dense(self) -> list[Dense]:
        """Return the layers of weights in turn; of a first that sees inputs and a context, the one of the inputs."""
        found: list[Dense] = []
        for layer in self.layers:
            parts = (layer.x or layer.c,) if isinstance(layer, InputLayer) else _parts(layer)
            assert all(isinstance(part, Dense) for part in parts)
            found += parts
        return found

    def _form(self) -> Form:
        sources, skips, last = [-1], [-1], 0
        for layer in self.layers[1:-1]:
            new = len(sources)
            sources += [last, new] if isinstance(layer, Block) else [last]
            skips += [-1, last] if isinstance(layer, Block) else [-1]
            last = len(sources) - 1
        layers = self.dense()
        products = sum(int(part.allowed.sum()) for part in self.modules() if isinstance(part, Dense))
        return Form(self.activation, (*sources, last), (*skips, -1), tuple(layer.gain for layer in layers), products)

    def _compiled(self, x: Tensor | None, context: Tensor | None) -> Tensor | None:
        """Return what compiled code makes of the layers, or None where it does not take them or these tensors."""
        if mode.watched():
            return None
        layers = _tensors(self)
        if layers is None:
            return None
        x, context = (None if layers[0][0] is None else x), (None if layers[0][2] is None else context)
        given = context if x is None else x
        assert given is not None
        if mode.autocast(given):
            return None
        if x is not None and context is not None and x.shape[:-1] != context.shape[:-1]:
            if math.prod(context.shape[:-1]) != 1 or context.dim() > x.dim():
                return None  # contexts of several samples each are multiplied once, not once a sample
            context = context.reshape(1, -1).expand(math.prod(x.shape[:-1]), -1)
        out = perceptron(self.form, _rows(x), _rows(context), layers)
        if out is None:
            return None
        return out if given.dim() == 2 else numerics.reshaped(out, (*given.shape[:-1], out.shape[-1]))


def _remakes(first: Any, second: Any) -> bool:
    """Tell whether a step keeps gradients, and the first two layers may be taken as one."""
    eager = not (mode.watched() or mode.tracing())
    if not (eager and torch.is_grad_enabled() and _plain(second, Dense)) or second.blocks:
        return False
    parts = [part for part in (first.x, first.c) if part is not None]
    return (
        _plain(first, InputLayer)
        and all(_plain(part, Dense) and not part.blocks for part in parts)
        and not (second.weight.is_meta or mode.autocast(second.weight))
    )


def _first(x: Tensor | None, c: Tensor | None, of_x: Tensor | None, of_c: Tensor | None, bias: Tensor) -> Tensor:
    """Return what the first layer gives."""
    if x is None or of_x is None:
        assert c is not None
        assert of_c is not None
        return product(c, of_c, bias)
    z = product(x, of_x, bias)
    return z if c is None or of_c is None else z + product(c, of_c, None)


class _Remade(torch.autograd.Function):
    """A layer on activations that are not kept for its gradient, but made again."""

    @staticmethod
    def forward(ctx: Any, activation: str, weight: Tensor, bias: Tensor, *given: Tensor | None) -> Tensor:
        ctx.activation = activation
        ctx.save_for_backward(weight, bias, *given)
        return product(ACTIVATIONS[activation](_first(*given)), weight, bias)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        (g,), (weight, bias, *given), activation = cotangents, ctx.saved_tensors, ctx.activation
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself

            def function(weight: Tensor, bias: Tensor, *given: Any) -> Tensor:
                return product(ACTIVATIONS[activation](_first(*given)), weight, bias)

            return (None, *numerics.gradients(function, [weight, bias, *given], cotangents, again=True))
        x, c, of_x, of_c, first_bias = given
        z = _first(*given)
        h = ACTIVATIONS[activation](z)
        gz = SLOPES[activation](g @ weight, z, h)
        rows, narrow, units = (t.reshape(-1, t.shape[-1]) for t in (g, gz, h))
        found: list[Tensor | None] = [rows.mT @ units, rows.sum(0)]
        found += [None if taken is None else _back(gz @ of, taken) for taken, of in ((x, of_x), (c, of_c))]
        for taken in (x, c):  # a context that several samples share stands for each of them
            wide = None if taken is None else taken.to(gz.dtype).expand(*gz.shape[:-1], -1).reshape(-1, taken.shape[-1])
            found.append(None if wide is None else narrow.mT @ wide)
        return (None, *found, None if first_bias is None else narrow.sum(0))


def _back(gradient: Tensor, to: Tensor) -> Tensor | None:
    return gradient.sum_to_size(to.shape) if to.requires_grad else None


def _rows(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.dim() == 2 else numerics.reshaped(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _parts(layer: Any) -> tuple[Any, ...]:
    return (layer.inner, layer.outer) if isinstance(layer, Block) else (layer,)


def _plain(module: Any, kind: type[nn.Module]) -> bool:
    """Tell whether a module is what was built: parametrisations change its class, pruning and others hang hooks on it."""
    return type(module) is kind and not hooked(module)


def _tensors(net: Perceptron) -> list[LayerTensors] | None:
    """Return the tensors of all layers, or None where a layer has to be called to do what it does.

    To look into a module's dictionaries is several times as fast as to ask for its attributes, and this is done at each call.
    """
    first, *rest = net._modules["layers"]._modules.values()  # type: ignore[union-attr]
    if hooks_of_all() or not _plain(first, InputLayer):
        return None
    own, beside = first.x, first.c  # type: ignore[union-attr]
    found: list[LayerTensors] = []
    parts: list[Any] = [part for part in (own, beside) if part is not None]
    for layer in rest:
        if type(layer) is not Dense and isinstance(layer, Block) and not _plain(layer, Block):
            return None
        parts += _parts(layer)
    for part in parts:
        if not _plain(part, Dense):
            return None
        found.append((part._parameters["weight"], part._buffers["mask"], None, part._parameters["bias"]))
    if own is None:
        weight, _, _, bias = found[0]
        found[0] = (None, None, weight, bias)
    elif beside is not None:
        (weight, mask, _, bias), (more, of_context, *_) = found[0], found.pop(1)
        found[0] = (weight, mask, more if more is None or of_context is None else more * of_context, bias)
    return found
