"""Autoregression: each feature's parameters see the features before it, in an order or a graph."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.budget import reserve
from pushforward.core.facts import Facts
from pushforward.core.fields import Named, OneOf, Place
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel, evaluate, expect_between_numbers
from pushforward.layers.incremental import Steps
from pushforward.layers.rearrange import Index, expand_elements
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.mlp import MLP
from pushforward.nets.net import Mask, NetLike
from pushforward.nets.perceptron import Perceptron

GRAPH = "to be a table of booleans, a row for each feature, and a column for each, or for each and each number of the context"


@dataclass(frozen=True, repr=False)
class _Ordered(Bijector):
    kernel: Kernel
    order: Sequence[Place] | None = None
    adjacency: Annotated[Sequence[Sequence[bool | int]], Named(GRAPH)] | None = None
    net: NetLike = MLP()
    solve: Annotated[str, OneOf("steps", "jacobi")] = "steps"

    event_dim = 1

    def check(self) -> None:
        name = type(self).__name__
        expect_between_numbers(self, self.kernel)
        if self.order is not None and self.adjacency is not None:
            raise PlanError(f"{name}: expected order or adjacency, got both")
        if self.order is not None and sorted(self.order) != list(range(len(self.order))):
            raise PlanError(f"{name}: expected order to have every index from 0 once, got {self.order!r}")
        if self.adjacency is not None:
            rows = self.adjacency
            if len({len(row) for row in rows}) > 1 or any(len(row) < len(rows) for row in rows):
                raise PlanError(f"{name}: expected adjacency {GRAPH}, got {rows!r}")

    def words(self) -> str:
        return self.kernel.words()

    def parents(self, features: int) -> Mask:
        """Return ``(features, features)``: True where the row's parameters see the column."""
        if self.adjacency is not None:
            seen = np.asarray(self.adjacency, dtype=bool)
        else:
            place = np.argsort(np.arange(features) if self.order is None else self.order)
            seen = place[None, :] < place[:, None]
        if len(seen) != features:
            what = "order" if self.adjacency is None else "adjacency"
            raise PlanError(f"{self!r}: expected {len(seen)} features, the length of its {what}, got {features}")
        return seen[:, :features]

    def of_context(self, features: int, context: int) -> Mask | None:
        """Return ``(features, context)``: True where the row's parameters see the column; None where all see all of the context."""
        width = 0 if not self.adjacency else len(self.adjacency[0]) - features
        if width not in (0, context):
            got = f"{context} numbers of context" if context else "no context"
            raise PlanError(f"{self!r}: expected {width} numbers of context, for which its adjacency has columns, got {got}")
        return np.asarray(self.adjacency, dtype=bool)[:, features:] if width else None


@dataclass(frozen=True, repr=False)
class Autoregressive(_Ordered):
    r"""Autoregressive layer, scored in one pass (MAF): :math:`y_i = k(x_i; \theta_i(y_{<i}, c))`.

    Sampling is the work of one pass, too, in a step for each feature. A net of your own, which gives all parameters or none, takes
    a pass for each step. Acts on the first event axis.
    Source: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017).

    Args:
        kernel: The maths of one feature, on numbers.
        order: The features in the order in which they follow one another (None: 0, 1, 2, ...).
        adjacency: Instead of an order, any graph without cycles: ``adjacency[i][j]`` says that the parameters of feature i
            see feature j. The sequential direction then takes as many steps as the graph is deep. With D + C columns it also says which
            of the C numbers of the context they see; with D, they see all of it.
        net: The network, which is masked to what each feature may see.
        solve: How the sequential direction is computed: ``"steps"`` makes one feature after the other, with the work of one pass;
            ``"jacobi"`` makes all at once from a first guess, pass by pass, until nothing changes, which is exact after as many passes as
            there are steps and mostly takes far fewer: for a GPU, where a pass takes no longer than a step. A net of your own module
            takes one pass a step either way.

    >>> from pushforward.bijectors import Affine
    >>> layer = Autoregressive(Affine(), order=[1, 0, 2]).build(3)
    >>> layer.facts.evaluations, layer.facts.depth
    ((1, 1), (3, 1))
    """

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return AutoregressiveModule(self, event_shape, context_shape, forward_sequential=True)


@dataclass(frozen=True, repr=False)
class InverseAutoregressive(_Ordered):
    r"""Autoregressive layer, sampled in one pass (IAF): :math:`y_i = k(x_i; \theta_i(x_{<i}, c))`.

    Scoring is the work of one pass, too, in a step for each feature. Acts on the first event axis; the arguments are those of
    `Autoregressive`.
    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016).

    >>> from pushforward.bijectors import Affine
    >>> layer = InverseAutoregressive(Affine()).build(3)
    >>> layer.facts.evaluations, layer.facts.depth
    ((1, 1), (1, 3))
    """

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return AutoregressiveModule(self, event_shape, context_shape, forward_sequential=False)


def generations(parents: Mask) -> list[list[int]]:
    """Return the features in groups, each of which depends on earlier groups alone; raise `PlanError` for a cycle."""
    missing, left, groups = parents.sum(1), np.ones(len(parents), dtype=bool), []
    while left.any():
        ready = left & (missing == 0)
        if not ready.any():
            raise PlanError(f"adjacency: expected a graph without cycles, got one through features {np.flatnonzero(left).tolist()}")
        groups.append(np.flatnonzero(ready).tolist())
        missing, left = missing - parents[:, ready].sum(1), left & ~ready
    return groups


class AutoregressiveModule(Layer):
    """A built autoregressive layer: ``parallel`` sees the values it is given, ``sequential`` those that it makes."""

    def __init__(self, plan: _Ordered, event_shape: Shape, context_shape: Shape | None, forward_sequential: bool) -> None:
        super().__init__(plan, event_shape, context_shape)
        features, rest = event_shape[0], math.prod(event_shape[1:])
        reserve(features * features, 16)
        self.kernel, self.rank = plan.kernel, len(event_shape)
        self.forward_sequential = forward_sequential
        parents = plan.parents(features)
        groups = generations(parents)
        context = 0 if context_shape is None else math.prod(context_shape)
        elements = features * rest
        init = plan.kernel.init((elements,))
        if not init:
            raise PlanError(f"{plan!r}: expected a kernel with parameters for the net to set, got {plan.kernel!r}")
        # Every parameter has one row per element, so entry j of the outputs' first axis belongs to feature j mod features.
        rows = sum(value.numel() for value in init.values()) // elements
        reserve(rows * features * features, 2)
        beside = plan.of_context(features, context)
        mask = parents if beside is None else np.concatenate([parents, beside], 1)
        self.parameters_of = Parameters(init, plan.net, event_shape, context_shape, np.tile(mask, (rows, 1)), event_shape)
        self.groups = nn.ModuleList(Index(expand_elements(group, rest)) for group in groups)
        incremental = isinstance(self.parameters_of.net, Perceptron)
        self.incremental = Steps(self.parameters_of, [expand_elements(group, rest) for group in groups]) if incremental else None
        self.jacobi = plan.solve == "jacobi"
        uses_context = context > 0 if beside is None else bool(beside.any())
        evaluations, depth, adaptive = 1 if incremental else len(groups), len(groups), False
        if self.jacobi and incremental:
            # After as many passes as there are steps nothing changes any more; one more computes the log-determinant.
            evaluations, depth, adaptive = len(groups) + 1, len(groups) + 1, True
        which = "outputs" if forward_sequential else "inputs"
        earlier = f"earlier {which}" if plan.adjacency is None else f"the {which} its graph names"
        given = "the context" if beside is None else "the numbers of the context that it names"
        accuracy, effort, way = [*plan.kernel.accuracy], [*plan.kernel.effort], 0 if forward_sequential else 1
        # Each step rounds what the next one sees.
        accuracy[way] = dataclasses.replace(accuracy[way], roundings=len(groups) * accuracy[way].roundings)
        effort[way] = dataclasses.replace(effort[way], evaluations=evaluations, depth=depth, adaptive=adaptive)
        self.facts = Facts(
            depends_on=f"{earlier} and {given}" if uses_context else earlier,
            uses_context=uses_context,
            accuracy=(accuracy[0], accuracy[1]),
            effort=(effort[0], effort[1]),
            is_affine=plan.kernel.is_affine and not parents.any(),
        )

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        return ends if self.kernel.keeps(ends) else super().map_ends(ends, inverse)

    def begin(self) -> None:
        elements = (math.prod(self.event_shape),)
        self.parameters_of.begin(self.kernel.init(elements), self.kernel.start(elements))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        run = self._sequential if self.forward_sequential else self._parallel
        return run(False, x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        run = self._parallel if self.forward_sequential else self._sequential
        return run(True, y, context)

    def _parallel(self, inverse: bool, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        flat = numerics.working(x if self.rank == 1 else x.flatten(x.dim() - self.rank))
        theta = self.parameters_of.flat(flat, flat_context(context, self.context_shape))
        y, ladj = evaluate(self.kernel, flat, theta, self.parameters_of.named, inverse)
        y = y if self.rank == 1 else y.unflatten(-1, self.event_shape)
        return y.to(x.dtype), ladj

    def _sequential(self, inverse: bool, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        context = flat_context(context, self.context_shape)
        flat = numerics.working(x if self.rank == 1 else x.flatten(x.dim() - self.rank))
        if context is not None:
            flat = flat.expand(*torch.broadcast_shapes(flat.shape[:-1], context.shape[:-1]), -1)
        if self.incremental is not None:
            y, total = self.incremental.run(self.kernel, self.parameters_of, flat, context, inverse, self.jacobi)
        else:
            y, total = self._full_passes(inverse, flat, context)
        y = y if self.rank == 1 else y.unflatten(-1, self.event_shape)
        return y.to(x.dtype), total

    def _full_passes(self, inverse: bool, flat: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Make a group of elements after the other with a net that only gives all parameters at once."""
        elements = flat.shape[-1]
        y, total = torch.zeros_like(flat), flat.new_zeros(flat.shape[:-1])
        for group in self.groups:
            # What is not made yet is zero and masked; what the group needs has been made before.
            rows = self.parameters_of.flat(y, context).unflatten(-1, (-1, elements))
            # By the very code of the other direction, so that both round alike.
            made, ladj = evaluate(
                self.kernel, group(flat), group(rows).flatten(-2), lambda t: self.parameters_of.of_elements(t, elements), inverse
            )
            y = torch.index_copy(y, -1, group.index, made.to(flat.dtype))  # type: ignore[arg-type]
            total = total + ladj
        return y, total
