"""Velocity fields: a net of place, time and context, and the trace of its Jacobian."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core import mode, numerics
from pushforward.core.layer import Shape
from pushforward.layers.spaces import Spaces, trace
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.follow import Velocity
from pushforward.native.program import Program, counted, interpret, of_tensors
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.divergence import (
    Estimate,
    by_tangents,
    coefficients,
    has_slopes,
    hutch_plus_plus,
    hutchinson,
    of_perceptron,
    with_products,
)
from pushforward.nets.net import NetLike
from pushforward.nets.parts import products, tensors
from pushforward.nets.perceptron import Perceptron
from pushforward.nets.potential import PotentialNet
from pushforward.solvers.steps import Rates

FREQUENCIES = 3
"""Half turns of time that the net is shown."""
TIMES = 2 * FREQUENCIES
"""Numbers that time is to the net."""
PLACE, TIME, HIDDEN = 3.0, 1.0, 2.0
"""How widely a perceptron's units are spread once it meets data: by place and context, by time, and by the units of the layer before."""

FEW = 4
"""Numbers of place and context up to which units are spread so widely; of more, each is to bend no unit more than one of so few does."""
GENTLE = 4
"""Roundings that what bounds a perceptron's slope may be away from 1, and is left out of its velocity."""


def of_time(t: Tensor) -> Tensor:
    """Return ``(*batch, 6)``, the cosines and sines of one, two and three half turns, of times ``(*batch)`` in [0, 1]."""
    angles = t.unsqueeze(-1) * (math.pi * torch.arange(1, FREQUENCIES + 1, dtype=t.dtype, device=t.device))
    return torch.cat([torch.cos(angles), torch.sin(angles)], -1)


class Field(nn.Module):
    """A velocity ``v(t, x, c)`` of flat values; a perceptron's is bounded in how fast it changes with x.

    Args:
        net: Its plan, or a module of the user's; time comes before the numbers of the context.
        event_shape: Shape of the values.
        context_shape: Shape of the context, or None.
        steepest: The bound, of a perceptron alone.
        probes: A frame ``(k, size)`` by which the trace is estimated, or None: it is exact.
        sketch: One ``(s, size)`` by which it is sought where the Jacobian is large, or None: it is not.
        spaces: On what the values are points (None: all are real numbers).
    """

    probes: Tensor | None
    sketch: Tensor | None

    def __init__(
        self,
        net: NetLike,
        event_shape: Shape,
        context_shape: Shape | None,
        steepest: float,
        probes: Tensor | None = None,
        sketch: Tensor | None = None,
        spaces: Spaces | None = None,
    ) -> None:
        super().__init__()
        given = 0 if context_shape is None else math.prod(context_shape)
        zero = {"velocity": torch.zeros(event_shape)}
        seen = event_shape if spaces is None else (spaces.width,)
        self.parameters_of = Parameters(zero, net, seen, (TIMES + given,), None, event_shape)
        self.context_shape, self.steepest, self.spaces = context_shape, steepest, spaces
        # They follow from the plan.
        self.register_buffer("probes", probes, persistent=False)
        self.register_buffer("sketch", sketch, persistent=False)
        self.taken = slice(None)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None, share: Tensor | None = None) -> Tensor:
        """Return the velocity ``(*batch, size)`` at times ``(*batch)`` and flat places, of the net's outputs or of a share of them."""
        beside = of_time(t)
        if context is not None:
            batch = torch.broadcast_shapes(beside.shape[:-1], context.shape[:-1])
            beside = torch.cat([beside.expand(*batch, -1), context.expand(*batch, -1)], -1)
        made = self.parameters_of.flat(x if self.spaces is None else self.spaces.seen(x), beside)
        made = made if share is None else made * share.to(made.dtype)
        return made if self.spaces is None else self.spaces.tangent(x, made)

    @torch.no_grad()
    def spread(self) -> None:
        """Scale the hidden weights of a perceptron that has learnt nothing so that its units bend within standardised data, or its spaces.

        It is the field, or its potential.

        As they are drawn they hardly do, and a field learns what is narrow in the data slowly, be it by matching or by likelihood.
        Source: Delving Deep into Rectifiers (He et al., 2015), for variances that count what a unit is given; the gains are measured.
        """
        net: Any = self.parameters_of.net
        net = net.net if type(net) is PotentialNet else net
        if _program(net) is None or not all(parameter.requires_grad for parameter in self.parameters()):
            return
        first, *hidden, last = net.layers
        if bool(last.weight.any()):
            return
        share = min(1.0, math.sqrt(FEW / (first.x.weight.shape[1] + first.c.weight.shape[1] - TIMES)))
        seen = None if self.spaces is None else first.x.weight.new_tensor(self.spaces.deviations)
        _spread(first.x.weight, share * PLACE, seen)
        _spread(first.c.weight[:, :TIMES], TIME)
        _spread(first.c.weight[:, TIMES:], share * PLACE)
        _spread(first.x.bias[:, None], 1.0)
        for part in (part for layer in hidden for part in products(layer)):
            _spread(part.weight, share * HIDDEN)
            _spread(part.bias[:, None], 1.0)

    def velocity(self, t: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the velocity, in the precision of the net."""
        perceptron = self._perceptron()
        share = None if perceptron is None or self._gentle(*perceptron) else self._share(*perceptron)
        made: Tensor = self(t, x, flat_context(context, self.context_shape), share)
        return made

    def rates(self) -> tuple[PerceptronField | NetField, list[Tensor]]:
        """Return how the field is evaluated, and the tensors that this takes, in the precision of solvers.

        What depends on weights alone is computed here, once for all evaluations, and differentiates to them.
        """
        found = self._perceptron()
        probes = None if self.probes is None else self.probes[self.taken]
        directions = [numerics.finer(t) for t in (probes, self.sketch) if t is not None]
        if found is None:
            buffers = ((name, b) for name, b in self.named_buffers() if b.is_floating_point() and name not in ("probes", "sketch"))
            named = [*self.named_parameters(), *buffers]
            return NetField(self._apart(), tuple(name for name, _ in named)), [*(numerics.finer(t) for _, t in named), *directions]
        program, parts = found
        layers = range(len(program.sources))
        given = [None if t is None else numerics.finer(t) for t in parts]
        weights = [numerics.finer(counted(program, parts, layer)) for layer in layers]
        share = numerics.finer(self._share(program, parts))
        weights[-1] = weights[-1] * share
        bias = given[-1]
        assert bias is not None
        beside, biases = given[2], [given[4 * layer + 3] for layer in layers[:-1]]
        assert beside is not None
        form = None if directions or self.spaces else coefficients(program, weights)
        used = [*weights, *(b for b in biases if b is not None), bias * share, beside, *([] if form is None else [form]), *directions]
        plain = Program(program.activation, program.sources, program.skips, (1.0,) * len(layers), (False,) * len(layers))
        return PerceptronField(plain, bool(directions), self.spaces), used

    def _apart(self) -> Field:
        """Return the field in modules of its own, with the same tensors, since others stand in them while it is evaluated."""
        if mode.compiling() or mode.tracing():
            return self
        return copy.deepcopy(self, {id(t): t for t in (*self.parameters(), *self.buffers())})

    def _perceptron(self) -> tuple[Program, list[Tensor | None]] | None:
        """Return the program and the tensors of a perceptron that is evaluated by formulas, or None where the net has to be called."""
        return _program(self.parameters_of.net)

    def _share(self, program: Program, parts: list[Tensor | None]) -> Tensor:
        r"""Return what the velocity is multiplied by, :math:`(1 + (L / b)^4)^{-1/4}`, L a bound of its slope by Schatten norms.

        So the slope stays below b. Where L is far below b, as it is in nets that have learnt something, it is 1 to many digits.
        """
        steep = ACTIVATIONS[program.activation].steepest
        sizes = [_size(counted(program, parts, layer)) for layer in range(len(program.sources))]
        bound = _bound(program, steep, sizes)
        return torch.exp(-0.25 * torch.nn.functional.softplus(4 * (torch.log(bound + 1e-30) - math.log(self.steepest))))

    def _gentle(self, program: Program, parts: list[Tensor | None]) -> bool:
        """Tell whether the share is 1, and its gradient 0, within roundings: the rule in nets that learn, of which steps are made faster.

        Where values may not be looked at, or only by waiting for a device, it says no.
        """
        first = parts[0]
        assert first is not None
        if first.device.type != "cpu" or not mode.eager():
            return False
        steep = ACTIVATIONS[program.activation].steepest
        with torch.no_grad():
            each = [counted(program, parts, layer) for layer in range(len(program.sources))]
            fourths = [torch.linalg.vector_norm(w @ w.mT if len(w) <= w.shape[1] else w.mT @ w) for w in each]
            sizes = torch.stack(fourths).sqrt().tolist()
        bound = _bound(program, steep, sizes)
        return bool(bound**4 <= 4 * GENTLE * torch.finfo(first.dtype).eps * self.steepest**4)


def _program(net: nn.Module | None) -> tuple[Program, list[Tensor | None]] | None:
    """Return the program and the tensors of a perceptron whose slopes are known by formulas, or None of any other net."""
    if type(net) is not Perceptron or not has_slopes(net.program):
        return None
    found = tensors(net.layers)
    return None if found is None else (net.program, found)


@dataclass(frozen=True)
class PerceptronField:
    """The rates of a perceptron without masks, of the tensors that `Field.rates` tells.

    Args:
        program: What its layers are.
        estimated: Whether the trace is estimated, by the probes that are the last of the tensors.
        spaces: On what the values are points (None: all are real numbers).
    """

    program: Program
    estimated: bool = False
    spaces: Spaces | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the perceptron itself, on real numbers and with an exact trace."""
        return self.spaces is None and not self.estimated

    def __call__(self, used: Sequence[Tensor]) -> Rates:
        """Return the rates by torch's operators."""
        rest, layout = self._parts(used)[-1], self._layout(used)
        form, estimate = (None, _estimate(rest)) if self.estimated else (rest[0] if rest else None, None)

        def rates(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            v, divergence = of_perceptron(self.program, layout, z[..., :-1], _seen(t, context), form, estimate)
            return torch.cat([v, divergence.unsqueeze(-1)], -1)

        def on_spaces(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            assert self.spaces is not None
            x = z[..., :-1]
            made, _, products = with_products(self.program, layout, self.spaces.seen(x), _seen(t, context))
            slopes = self.spaces.slopes(x, made, products.along)
            divergence = trace(slopes, x) if estimate is None else estimate(slopes)
            return torch.cat([self.spaces.tangent(x, made), divergence.unsqueeze(-1)], -1)

        return rates if self.spaces is None else on_spaces

    def velocity(self, used: Sequence[Tensor]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """Return the velocity alone."""
        layout, spaces = self._layout(used), self.spaces

        def made(t: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
            seen = x if spaces is None else spaces.seen(x)
            found = interpret(self.program, seen, of_tensors(self.program, layout, _seen(t, context)))
            return found if spaces is None else spaces.tangent(x, found)

        return made

    def probes(self, used: Sequence[Tensor]) -> Tensor | None:
        """Return the probes that estimate the trace, or None: it is exact."""
        return self._parts(used)[-1][0] if self.estimated else None

    def _layout(self, used: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the tensors as `of_tensors` takes them."""
        weights, biases, beside, _ = self._parts(used)
        layout: list[Tensor | None] = []
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            layout += [weight, None, None if layer else beside, bias]
        return layout

    def compiled(self, used: Sequence[Tensor]) -> Velocity:
        """Return what the compiled code is told of it, which knows exact traces alone."""
        weights, biases, beside, form = self._parts(used)
        return Velocity(self.program, FREQUENCIES, weights, biases, beside, form[0] if form else None)

    def _parts(self, used: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Tensor, Sequence[Tensor]]:
        count = len(self.program.sources)
        return used[:count], used[count : 2 * count], used[2 * count], used[2 * count + 1 :]


def _bound(program: Program, steep: float, sizes: Sequence[Any]) -> Any:
    """Return a bound of a perceptron's slope from those of its layers and of its activation."""
    bounds: list[Any] = []
    for size, source, skip in zip(sizes, program.sources, program.skips, strict=True):
        bound = size * (1.0 if source < 0 else steep * bounds[source])
        bounds.append(bound if skip < 0 else bound + bounds[skip])
    return bounds[-1]


def _size(weight: Tensor) -> Tensor:
    """Return a bound of how much a matrix stretches, the fourth root of the sum of the fourth powers of its singular values."""
    weight = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    length = torch.linalg.vector_norm(weight) + 1e-30
    unit = weight / length
    square = unit @ unit.mT if len(unit) <= unit.shape[1] else unit.mT @ unit
    # At zero, where fields begin, the root of a norm would have no gradient.
    made: Tensor = length * torch.sqrt(torch.linalg.vector_norm(square) + 1e-30)
    return made


def _spread(weight: Tensor, gain: float, deviations: Tensor | None = None) -> None:
    """Scale weights ``(outputs, inputs)`` so that what they make of inputs of some deviations (None: all 1) has a deviation of ``gain``."""
    size = torch.sqrt(torch.mean(weight.square()) * weight.shape[1])
    if bool(size > 0):
        weight.mul_(gain / size)
        if deviations is not None:
            weight.div_(deviations)


def _estimate(directions: Sequence[Tensor]) -> Estimate | None:
    """Return the estimate of a trace by probes, and a sketch where there is one; without any, none."""
    if not directions:
        return None
    return hutchinson(directions[0]) if len(directions) == 1 else hutch_plus_plus(directions[1], directions[0])


def _seen(t: Tensor, context: Tensor | None) -> Tensor:
    return of_time(t) if context is None else torch.cat([of_time(t), context], -1)


@dataclass(frozen=True)
class NetField:
    """The rates of any net, of its own tensors and the probes by which the trace is estimated.

    Args:
        field: The field.
        names: Names of its tensors.
    """

    field: Field
    names: tuple[str, ...]

    def __call__(self, used: Sequence[Tensor]) -> Rates:
        """Return the rates by torch's operators."""
        estimate, velocity = _estimate(used[len(self.names) :]), self.velocity(used)

        def rates(t: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
            v, divergence = by_tangents(lambda x: velocity(t, x, context), z[..., :-1], estimate)
            return torch.cat([v, divergence.unsqueeze(-1)], -1)

        return rates

    def velocity(self, used: Sequence[Tensor]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """Return the velocity alone."""
        own = dict(zip(self.names, used, strict=False))

        def velocity(t: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
            made: Tensor = torch.func.functional_call(self.field, own, (t, x, context))
            return made

        return velocity

    def probes(self, used: Sequence[Tensor]) -> Tensor | None:
        """Return the probes that estimate the trace, or None: it is exact."""
        return used[len(self.names)] if len(used) > len(self.names) else None
