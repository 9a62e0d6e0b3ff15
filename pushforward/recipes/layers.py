"""Layers of named flows: what is more than a line in the table. ``o`` has all arguments of a flow, by their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

from pushforward.bases import BoxUniform, DiagNormal
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.kernels.affine import Additive, Affine
from pushforward.kernels.circular import CircularShift, CircularSpline, Unwrap
from pushforward.kernels.kernel import Elementwise, Kernel
from pushforward.kernels.mixture import Gaussianization
from pushforward.kernels.rotation import Rotation
from pushforward.kernels.spline import Spline
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.continuous import Continuous
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import check_names
from pushforward.layers.standardize import Standardize
from pushforward.nets.mlp import MLP
from pushforward.nets.net import NetLike
from pushforward.nets.periodic import Periodic
from pushforward.recipes.angles import Mixed
from pushforward.recipes.manifold import CURVED, Places
from pushforward.recipes.stack import Parts, has_angles


def net(o: SimpleNamespace) -> NetLike:
    """Return the network that was given, or a perceptron."""
    # Not `o.net or ...`: a module that is a container has a length, and may be false.
    given: NetLike = MLP(o.widths, o.activation) if o.net is None else o.net
    return given


def structured(o: SimpleNamespace, kernel: Kernel, given: NetLike) -> Callable[[int], Bijector]:
    """Return the layers of the option ``structure``; two couplings that follow one another move different halves."""
    if o.structure == "coupling":
        return lambda i: Coupling(kernel, flip=i % 2 == 1, net=given)
    return lambda i: autoregressive(o, kernel, given)


def autoregressive(o: SimpleNamespace, kernel: Kernel, given: NetLike) -> Bijector:
    """Return an autoregressive layer that is scored in one pass."""
    return kernel if alone(o) else Autoregressive(kernel, net=given)


def inverse_autoregressive(o: SimpleNamespace, kernel: Kernel, given: NetLike) -> Bijector:
    """Return an autoregressive layer that is sampled in one pass."""
    return kernel if alone(o) else InverseAutoregressive(kernel, net=given)


def alone(o: SimpleNamespace) -> bool:
    """Tell whether there is nothing that a network would see: the kernel's parameters are free then, and no network is built."""
    return bool(o.features == 1 and not o.context)


def nice(o: SimpleNamespace) -> Parts:
    """Return additive couplings, and a scale of each feature, without which the flow keeps volumes."""
    scale = Elementwise(Affine(), net=net(o)) if o.context else Affine()
    return Parts(lambda i: Coupling(Additive(), flip=i % 2 == 1, net=net(o)), last=[scale, Standardize()])


def splines(o: SimpleNamespace) -> Parts:
    """Return layers of splines, with circular ones beside them where features are angles."""
    kernel = Spline(o.bins, o.bound, o.order)
    if not has_angles(o.support):
        return Parts(structured(o, kernel, net(o)))
    if o.structure != "coupling" or all(has_angles([each]) for each in o.support):
        raise PlanError(
            "NSF: expected structure 'coupling' and features that are no angles beside circular ones; for angles alone use NCSF"
        )
    mixed = Mixed(o.support, kernel, o.bins, net(o))
    return Parts(mixed.layer, mixed.base(), [mixed.first()], [mixed.last()], mixed=False, placed=True)


def circles(o: SimpleNamespace) -> Parts:
    """Return layers of circular splines from the uniform distribution on circles."""
    # A coupling of one angle sees no other: only the context, or nothing.
    layer = structured(o, CircularSpline(o.bins), Periodic(net(o)))
    # With two features a shuffle undoes every other flip, and a feature may be left out.
    mixed = o.features != 2 or o.structure != "coupling"
    return Parts(layer, BoxUniform(-math.pi, math.pi), [Unwrap()], [CircularShift(), Unwrap().inv], mixed)


def blocks(o: SimpleNamespace) -> Parts:
    """Return gated layers; the one beside the base has no residual connection and an activation that is onto."""
    gated, onto = BlockAutoregressive(o.factors, o.activation), BlockAutoregressive(o.factors, "leaky_tanh", residual=None)
    # Data to base is the direction in which the network is one pass.
    return Parts(lambda i: (gated if i else onto).inv)


def gaussianization(o: SimpleNamespace) -> Parts:
    """Return rotations, and for each feature the quantiles of a mixture's distribution function."""
    kernel = Gaussianization(o.components)
    return Parts(lambda i: Compose([(Elementwise(kernel, net=net(o)) if o.context else kernel).inv, Rotation()]))


def continuous(o: SimpleNamespace) -> Parts:
    """Return continuous layers; where probes estimate the trace, each has its own, whose errors are then not all alike."""
    plan = Continuous(net(o), o.tolerance, o.method, trace=o.trace, probes=o.probes, seed=o.seed)

    def layer(i: int) -> Continuous:
        # Of flows with as many layers, none has probes that one of another seed has.
        return plan if o.trace == "exact" else replace(plan, seed=o.transforms * o.seed + i)

    check_names("CNF", o.support or (), tuple(CURVED))
    if not has_angles(o.support, CURVED):
        return Parts(layer)
    places = Places("CNF", o.support)
    sizes = places.sizes if len(places.on) > 1 else None
    return Parts(
        lambda i: layer(i).replace(on=places.on, sizes=sizes), places.base(), places.first(), places.last(), mixed=False, placed=True
    )


def posterior(o: SimpleNamespace, kernel: Kernel, between: Sequence[Bijector] = ()) -> Parts:
    """Return layers over a normal whose location and scale are learned, all given the context where there is one."""
    given = None if not o.context else MLP(o.widths) if o.net is None else o.net
    layer = Elementwise(kernel, net=given) if o.context else kernel
    return Parts(lambda i: [*(between if i else ()), layer], base=DiagNormal(net=given), last=())
