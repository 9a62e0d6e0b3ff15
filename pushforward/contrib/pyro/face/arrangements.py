"""Arrangements: where the parameters of a layer stand, and the arguments that Pyro has for that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from pushforward.contrib.pyro.face.layout import Along, Elements, NormElements, Sized
from pushforward.contrib.pyro.face.sizes import negative, shape, size, split_of
from pushforward.core import Bijector, Compose, Shape
from pushforward.core import TransformModule as Layer
from pushforward.kernel import Elementwise
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import InverseAutoregressive
from pushforward.structures.coupling import Coupling
from pushforward.structures.parts import Concatenate
from pushforward.structures.rearrange import Permute

Given = dict[str, Any]
Build = Callable[[Any, Any, Shape | None], Layer]
"""Gives the layer for a kernel, a network (None: free parameters) and the shape of a context."""


@dataclass(frozen=True)
class Arrangement:
    """Where the parameters of a layer stand.

    Args:
        arrange: From what errors begin with, and the arguments, gives how many numbers an event has (0: as many as the first values have),
            how many axes, and what builds the layer.
        X: Pyro's arguments of the class X, where a star stands for the options of the kernel.
        ConditionalX: Those of ConditionalX (None: there is none).
        x: Those of the function x.
        conditional_x: Those of the function conditional_x.
        masked: Whether a perceptron is masked, and the order at random.
    """

    arrange: Callable[[str, Given], tuple[int, int, Build]]
    X: str
    ConditionalX: str | None
    x: str
    conditional_x: str | None
    masked: bool = False


def _plan(kernel: Any, net: Any) -> Any:
    return kernel if net is None else Elementwise(kernel, net)


def _contextual(owner: str, given: Given) -> tuple[int, int, Build]:
    if "input_dim" not in given:
        return 0, 1, lambda kernel, net, context: Sized(_plan(kernel, net), 1, context, once=True)
    features = size(owner, "input_dim", given["input_dim"])
    return features, 1, lambda kernel, net, context: _plan(kernel, net).build(features, context)


def _numbers(layout: Callable[[Any], Layer], owner: str, given: Given) -> tuple[int, int, Build]:
    features, _, build = _contextual(owner, given)
    return features, 0, lambda kernel, net, context: layout(build(kernel, net, context))


def _channels(owner: str, given: Given) -> tuple[int, int, Build]:
    count, chosen = size(owner, "channels", given["channels"]), given.get("permutation")
    order: Any = torch.randperm(count) if chosen is None else torch.as_tensor(chosen)
    if len(order) != count:
        raise PlanError(f"{owner}: expected a permutation of {count} channels, got {len(order)}")
    return count, 3, lambda kernel, net, context: Along(Compose([_plan(kernel, net), Permute(order)]).build(count, context), -3)


def _autoregressive(owner: str, given: Given) -> tuple[int, int, Build]:
    nn, own = given.get("autoregressive_nn"), "autoregressive_nn" in given
    order: Any = getattr(nn, "permutation", None) if own else torch.randperm(size(owner, "input_dim", given["input_dim"]))
    if order is None:
        raise PlanError(f"expected a network with an attribute permutation, the order of its features, as AutoRegressiveNN has, got {nn!r}")
    features = len(order)
    if given.get("input_dim", features) != features:
        raise PlanError(f"expected a network of {given['input_dim']} features, the input_dim, got one of {features}")
    return features, 1, lambda kernel, net, context: InverseAutoregressive(kernel, order, net=net).build(features, context)


def _coupling(owner: str, given: Given) -> tuple[int, int, Build]:
    rank = -negative(owner, given["dim"])
    if "hypernet" in given:
        passing = split_of(owner, given["split_dim"])
        return 0, rank, lambda kernel, net, context: Sized(Coupling(kernel, passing, net=net), rank, context, once=True)
    event = shape(owner, "input_dim", given["input_dim"], rank)
    passing = split_of(owner, given["split_dim"], event[0])
    return math.prod(event), rank, lambda kernel, net, context: Coupling(kernel, passing, net=net).build(event, context)


def _spline_coupling(owner: str, given: Given) -> tuple[int, int, Build]:
    features, split, free = size(owner, "input_dim", given["input_dim"]), given["split_dim"], not given["identity"]
    if "hypernet" in given:
        split_of(owner, split)
    passing = split_of(owner, split, features)

    def build(kernel: Any, net: Any, context: Shape | None) -> Layer:
        plan: Bijector = Coupling(kernel, passing, net=net)
        if free and passing:  # the splines of the others are set by what comes in, so the own splines of the first come last
            plan = Compose([plan, Concatenate([kernel, Compose([])], [len(passing), features - len(passing)])])
        return plan.build(features, context)

    return features, 1, build


CONTEXTUAL = Arrangement(_contextual, "input_dim *", "input_dim nn *", "input_dim *", "input_dim context_dim hidden_dims *")
FREE = replace(CONTEXTUAL, ConditionalX=None, conditional_x=None)
NUMBERS = replace(CONTEXTUAL, arrange=partial(_numbers, Elements), ConditionalX="nn input_dim *")
NORMALISED = replace(FREE, arrange=partial(_numbers, NormElements))
CHANNELS = Arrangement(
    _channels, "channels permutation", "nn channels permutation", "channels permutation", "context_dim channels hidden_dims"
)
AUTOREGRESSIVE = Arrangement(
    _autoregressive,
    X="autoregressive_nn *",
    ConditionalX="autoregressive_nn *",
    x="input_dim hidden_dims *",
    conditional_x="input_dim context_dim hidden_dims *",
    masked=True,
)
COUPLING = Arrangement(
    _coupling,
    X="split_dim hypernet dim *",
    ConditionalX="split_dim hypernet dim *",
    x="event hidden_dims split dim *",
    conditional_x="event context_dim hidden_dims split dim *",
)
SPLINE_COUPLING = Arrangement(
    _spline_coupling,
    X="input_dim split_dim hypernet * identity",
    ConditionalX=None,
    x="input_dim split hidden_dims * identity",
    conditional_x=None,
)
