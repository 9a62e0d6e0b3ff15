"""Layers of other libraries behind the interface of ours, so that the same code holds both to the same laws.

An adapter changes nothing of what a layer computes. It helps a layer where its own library would: it sums or broadcasts the
log-determinant over features as the library's flow does, gives a lone row as a batch of one to libraries that take
``(rows, features)`` only, and asks for a fresh answer where a library would hand back the one it remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer
from pushforward.testing.case import Case

Run = Callable[[Any, bool, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class PeerLayer:
    """One layer of a library.

    Args:
        make: Make the library's own object for a number of features.
        run: Call it in a direction.
        turned: The library's forward is data to base.
        passes: Evaluations of the network (to sample, to score).
        random_start: Its free parameters start at random; they are put to zero, so that the noise of the laws is all there is.
        rows_only: It takes ``(rows, features)`` only.
    """

    make: Callable[[int], Any]
    run: Run
    turned: bool = False
    passes: tuple[int, int] = (1, 1)
    random_start: bool = False
    rows_only: bool = False


def as_transform(layer: Any, inverse: bool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Call a transform of torch.distributions or Pyro; a view of the value is no value that a cache remembers."""
    value = value.view_as(value)
    if inverse:
        out = layer.inv(value)
        return out, -layer.log_abs_det_jacobian(out, value)
    out = layer(value)
    return out, layer.log_abs_det_jacobian(value, out)


def as_double_transform(layer: Any, inverse: bool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Call a transform of Pyro that makes tensors of torch's default dtype: its users set that to work in another one."""
    before = torch.get_default_dtype()
    if value.dtype == before:
        return as_transform(layer, inverse, value)
    torch.set_default_dtype(value.dtype)
    try:
        return as_transform(layer, inverse, value)
    finally:
        torch.set_default_dtype(before)


def as_module(layer: Any, inverse: bool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Call a transform of nflows or normflows."""
    out: tuple[Tensor, Tensor] = layer.inverse(value) if inverse else layer(value)
    return out


def as_lazy(layer: Any, inverse: bool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Call a lazy transform of Zuko."""
    transform = layer()
    out: tuple[Tensor, Tensor] = (transform.inv if inverse else transform).call_and_ladj(value)
    return out


def as_bijector(layer: Any, inverse: bool, value: Tensor) -> tuple[Tensor, Tensor]:
    """Call a bijector of FlowTorch; its tensors that remember where they came from are made plain again."""
    if inverse:
        out = layer.inverse(value)
        ladj = -layer.log_abs_det_jacobian(out, value)
    else:
        out = layer(value)
        ladj = layer.log_abs_det_jacobian(value, out)
    # A scale that no input changes comes without the batch, which FlowTorch's distribution broadcasts.
    return plain(out), plain(ladj).expand(out.shape) if layer.domain.event_dim == 0 else plain(ladj)


def plain(value: Tensor) -> Tensor:
    """Return the tensor that one of FlowTorch's wraps."""
    made: Tensor = value.detach_from_flow() if hasattr(value, "detach_from_flow") else value
    return made


@dataclass(frozen=True, repr=False)
class Peer(Bijector):
    """The plan of a peer's layer: what it stands beside here, and whose it is."""

    family: str
    library: str

    event_dim = 1

    def make(self, event_shape: tuple[int, ...], context_shape: tuple[int, ...] | None) -> Layer:
        from peer_layers import LAYERS

        return PeerModule(self, LAYERS[self.family][self.library], event_shape)


class Box:
    """Where the laws look for the ends of a spline's box, so that a peer's are tried too."""

    bound = 5.0


# What the fixed maps take and reach; not every library states it, or states it right.
RANGES = {
    "Exp": (constraints.real, constraints.positive),
    "Sigmoid": (constraints.real, constraints.unit_interval),
    "Tanh": (constraints.real, constraints.interval(-1.0, 1.0)),
    "Softplus": (constraints.real, constraints.positive),
    "ELU": (constraints.real, constraints.greater_than(-1.0)),
    "Power": (constraints.positive, constraints.positive),
}


class PeerModule(Layer):
    """A peer's layer, base to data."""

    def __init__(self, plan: Peer, layer: PeerLayer, event_shape: tuple[int, ...]) -> None:
        super().__init__(plan, event_shape, None)
        self.layer = layer.make(event_shape[-1])
        self.turned, self.passes, self.rows_only = layer.turned, layer.passes, layer.rows_only
        self.run = layer.run
        if "pline" in plan.family:
            self.kernel = Box()
        self.domain, self.codomain = RANGES.get(plan.family, (constraints.real, constraints.real))
        with torch.no_grad():
            if layer.random_start:
                for parameter in self.free():
                    parameter.zero_()
            for parameter in self.head():
                parameter.zero_()

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_layer(x, self.turned)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_layer(y, not self.turned)

    def _apply_layer(self, value: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        lone = self.rows_only and value.dim() == 1
        out, ladj = self.run(self.layer, inverse, value[None] if lone else value)
        ladj = ladj.sum(-1) if ladj.dim() == out.dim() else ladj
        ladj = ladj.expand(out.shape[:-1]) if ladj.dim() == 0 else ladj
        ladj = ladj.float() if ladj.dtype in (torch.bfloat16, torch.float16) else ladj
        return (out[0], ladj[0]) if lone else (out, ladj)

    def head(self) -> list[nn.Parameter]:
        """Return the parameters of the network's last layer."""
        linear = self.linear()
        return list(linear[-1].parameters()) if linear else []

    def free(self) -> list[nn.Parameter]:
        """Return the parameters that belong to no network."""
        held = {id(p) for module in self.linear() for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in held]

    def linear(self) -> list[nn.Module]:
        """Return the linear layers of the network, torch's or the library's own."""
        named = [module for module in self.modules() if type(module).__name__.endswith("Linear")]
        return [module for module in named if isinstance(getattr(module, "weight", None), nn.Parameter)]


@dataclass(frozen=True)
class PeerCase(Case):
    """A case of a peer: noise of the same size as ours gets, on free parameters and on the last layer of a network."""

    def build(self, dtype: torch.dtype = torch.float64, scale: float = 1.0, seed: int = 0) -> Layer:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + seed)
            module = self.plan.build(self.event_shape)
        assert isinstance(module, PeerModule)
        draw = torch.Generator().manual_seed(self.seed + seed)
        with torch.no_grad():
            for parameter in module.free() + module.head():
                weight = parameter.dim() > 1 and any(parameter is p for p in module.head())
                size = scale / parameter.shape[-1] ** 0.5 if weight else scale
                parameter.add_((size * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)).to(parameter))
        return module.to(dtype)


def jacobian(function: Callable[..., tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None, axes: int) -> Tensor:
    """Return ``(rows, size out, size in)`` by plain autograd: most peers' layers do not run under vmap, which is a law of its own."""
    x = x.detach().requires_grad_()
    out = function(x, context)[0].reshape(len(x), -1)
    rows = [torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)[0].reshape(len(x), -1) for i in range(out.shape[1])]
    return torch.stack(rows, 1)
