"""Arrangements: where the parameters of a layer stand, and the arguments that Pyro has for that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from pushforward.contrib.pyro.face.layout import Lazy, NormPerElement, OnDim, PerElement
from pushforward.contrib.pyro.face.sizes import negative, shape, size, split_of
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Elementwise
from pushforward.layers.autoregressive import InverseAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.layers.parts import Concatenate
from pushforward.layers.rearrange import Permute

Given = dict[str, Any]
Net = Callable[[int], Any]
"""Gives the network for so many numbers of an event (0: as many as the first values have); None: the parameters are free."""


@dataclass(frozen=True)
class Arrangement:
    """Where the parameters of a layer stand.

    Args:
        arrange: Builds the layer, and tells how many axes an event has: of what errors begin with, the arguments, the kernel, what gives
            the network, and the shape of the context.
        X: Pyro's arguments of the class X. A star stands for the options of the kernel; what follows a bar is given by name, and what
            follows two stars is not declared: Pyro takes any keywords there.
        ConditionalX: Those of ConditionalX (None: there is none).
        x: Those of the function x.
        conditional_x: Those of the function conditional_x.
        masked: Whether a perceptron is masked, and the order at random.
    """

    arrange: Callable[[str, Given, Any, Net, Shape | None], tuple[Layer, int]]
    X: str
    ConditionalX: str | None
    x: str
    conditional_x: str | None
    masked: bool = False


def _plan(kernel: Any, net: Any) -> Any:
    return kernel if net is None else Elementwise(kernel, net)


def _contextual(owner: str, given: Given, kernel: Any, net: Net, context: Shape | None) -> tuple[Layer, int]:
    if "input_dim" not in given:
        return Lazy(_plan(kernel, net(0)), 1, context, once=True), 1
    features = size(owner, "input_dim", given["input_dim"])
    return _plan(kernel, net(features)).build(features, context), 1


def _numbers(layout: Callable[[Any], Layer], *arguments: Any) -> tuple[Layer, int]:
    return layout(_contextual(*arguments)[0]), 0


def _channels(owner: str, given: Given, kernel: Any, net: Net, context: Shape | None) -> tuple[Layer, int]:
    count, chosen = size(owner, "channels", given["channels"]), given.get("permutation")
    order: Any = torch.randperm(count) if chosen is None else torch.as_tensor(chosen)
    if len(order) != count:
        raise PlanError(f"{owner}: expected a permutation of {count} channels, got {len(order)}")
    return OnDim(Compose([_plan(kernel, net(count)), Permute(order)]).build(count, context), -3), 3


def _autoregressive(owner: str, given: Given, kernel: Any, net: Net, context: Shape | None) -> tuple[Layer, int]:
    nn, own = given.get("autoregressive_nn"), "autoregressive_nn" in given
    order: Any = getattr(nn, "permutation", None) if own else torch.randperm(size(owner, "input_dim", given["input_dim"]))
    if order is None:
        raise PlanError(f"expected a network with an attribute permutation, the order of its features, as AutoRegressiveNN has, got {nn!r}")
    features = len(order)
    if given.get("input_dim", features) != features:
        raise PlanError(f"expected a network of {given['input_dim']} features, the input_dim, got one of {features}")
    return InverseAutoregressive(kernel, order, net=net(features)).build(features, context), 1


def _coupling(owner: str, given: Given, kernel: Any, net: Net, context: Shape | None) -> tuple[Layer, int]:
    rank = -negative(owner, given["dim"])
    if "hypernet" in given:
        return Lazy(Coupling(kernel, split_of(owner, given["split_dim"]), net=net(0)), rank, context, once=True), rank
    event = shape(owner, "input_dim", given["input_dim"], rank)
    plan = Coupling(kernel, split_of(owner, given["split_dim"], event[0]), net=net(math.prod(event)))
    return plan.build(event, context), rank


def _spline_coupling(owner: str, given: Given, kernel: Any, net: Net, context: Shape | None) -> tuple[Layer, int]:
    features = size(owner, "input_dim", given["input_dim"])
    if "hypernet" in given:
        split_of(owner, given["split_dim"])
    passing = split_of(owner, given["split_dim"], features)
    plan: Bijector = Coupling(kernel, passing, net=net(features))
    if passing and not given["identity"]:  # the splines of the others are set by what comes in, so those of the first come last
        plan = Compose([plan, Concatenate([kernel, Compose([])], [len(passing), features - len(passing)])])
    return plan.build(features, context), 1


CONTEXTUAL = Arrangement(_contextual, "input_dim *", "input_dim nn *", "input_dim *", "input_dim context_dim hidden_dims *")
FREE = replace(CONTEXTUAL, ConditionalX=None, x="input_dim ** *", conditional_x=None)
NUMBERS = replace(CONTEXTUAL, arrange=partial(_numbers, PerElement), ConditionalX="nn input_dim count_bins *", x="input_dim ** *")
NORMALISED = replace(FREE, arrange=partial(_numbers, NormPerElement))
CHANNELS = Arrangement(
    _channels,
    X="channels permutation",
    ConditionalX="nn channels permutation",
    x="** channels permutation",
    conditional_x="context_dim channels hidden_dims",
)
AUTOREGRESSIVE = Arrangement(
    _autoregressive,
    X="autoregressive_nn *",
    ConditionalX="autoregressive_nn ** *",
    x="input_dim hidden_dims *",
    conditional_x="input_dim context_dim hidden_dims *",
    masked=True,
)
COUPLING = Arrangement(
    _coupling,
    X="split_dim hypernet | dim *",
    ConditionalX="split_dim hypernet ** dim *",
    x="event hidden_dims split dim ** *",
    conditional_x="event context_dim hidden_dims split dim ** *",
)
SPLINE_COUPLING = Arrangement(
    _spline_coupling,
    X="input_dim split_dim hypernet * identity",
    ConditionalX=None,
    x="input_dim split hidden_dims * identity",
    conditional_x=None,
)
