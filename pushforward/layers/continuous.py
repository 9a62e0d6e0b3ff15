"""Continuous layers: the flow of a velocity field over time, with steps that follow the error of each row."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core import mode, numerics, sets
from pushforward.core.bijector import Bijector
from pushforward.core.budget import reserve
from pushforward.core.checks import check_batch, check_tensor
from pushforward.core.facts import Facts
from pushforward.core.fields import Count, Length, OneOf, Positive, Within
from pushforward.core.layer import Layer, Shape
from pushforward.core.promise import Accuracy, Effort
from pushforward.core.spec import PlanError
from pushforward.layers.costs import COSTS, Costly
from pushforward.layers.field import Field
from pushforward.layers.spaces import SPACES, Spaces
from pushforward.layers.ways import WAYS
from pushforward.nets.conditioner import flat_context
from pushforward.nets.mlp import MLP
from pushforward.nets.net import NetLike
from pushforward.solvers.adaptive import MOST
from pushforward.solvers.path import Path
from pushforward.solvers.tableau import METHODS

SHARE = 0.1
"""Of the tolerance that a layer promises, what each of its steps may be off."""
FINER, FINEST = 1e-3, 1e-13
"""What is left of a tolerance when it is refined, and the least that there are digits for."""
MORE = 4
"""How many times as many equal steps are taken when they are refined."""
LEAST_PROBES, MOST_PROBES = 4, 4096
"""Random probes: so many that how far they are apart tells something of their mean, and as many as a plan that is read may ask for."""


@dataclass(frozen=True, repr=False)
class Continuous(Bijector):
    r"""Continuous layer: :math:`y = x(1)` of :math:`\dot x = v(t, x, c)` from :math:`x(0) = x`; ladj is the integral of the trace.

    The net is shown the place, and beside the context the time as the cosines and sines of one, two and three half turns. The trace is
    exact: by a formula for perceptrons, by a tangent for each dimension for any other net. Every row has steps of its own, of which
    value and log-determinant are both within the tolerance, whatever stands beside it; one that is not there after some thousand steps
    ends as NaN. Values are computed in float64 and rounded once. The gradient is that of the steps that were made, and keeps where they
    began alone; to differentiate it again keeps everything. The layer starts as the identity; all real values to all real values, or all
    points of the spaces that ``on`` names to all of them.

    On a sphere an event is a unit vector, the velocity is the part of the net's output that is tangent to the sphere,
    :math:`(1 - x x^\top) v`, and its divergence there takes the place of the trace: densities are with respect to the area of the surface.
    On a circle, a number is an angle of which whole turns do not matter.
    Sources: Neural Ordinary Differential Equations (Chen et al., 2018); FFJORD (Grathwohl et al., 2019); Riemannian Continuous Normalizing
    Flows (Mathieu, Nickel, 2020); Neural Ordinary Differential Equations on Manifolds (Falorsi, Forré, 2020).

    Args:
        net: The velocity field: a plan, best with a smooth activation, or a module of yours that takes ``(rows, inputs + 6 + context)``;
            of a circle it is shown cosines and sines, after one another.
        tolerance: What value and log-determinant are within, as ``tolerance (1 + |number|)``. ``rk4`` and ``heun`` do not look at it: it
            says what they are held to.
        method: ``"tsit5"`` and ``"dopri5"`` follow the error; ``"rk4"`` and ``"heun"`` take equal steps.
        steps: How many equal steps: of ``rk4`` and ``heun``, and of all methods under ``torch.compile`` and export, where no step can
            depend on values.
        trace: ``"exact"``, or ``"hutchinson"``: the mean of :math:`e^\top J e` over random directions e at right angles to each other, for
            events so large that a tangent for each dimension costs too much. The log-density is then right on average, and
            `Flow.log_prob_and_error` says how far off it is. ``"hutch++"`` takes three tangents for each e, the others to find where J is
            large and to trace it there: better where J has few large directions.
        probes: How many such e, of which each costs a tangent; the trace is exact where events have no more numbers than that. They are the
            same for all rows, so that a row is alone, both ways undo each other, and the solver follows a smooth field.
        seed: Sets them.
        steepest: Bound of how fast a perceptron's velocity changes with x, so that no weights make it too stiff for steps; and on spheres
            of any velocity.
        on: On what: ``"real"`` numbers, ``"circle"`` or ``"sphere"``, one for all of an event or several that it has one after the other:
            ``on=["real", "sphere"], sizes=[1, 3]`` is a number beside a unit vector.
        sizes: How many numbers each takes (None: there is one, that takes all): a sphere at least 2, a line or a circle one for each.

    >>> layer = Continuous(MLP((16,), "silu")).build(3, context_shape=2)
    >>> layer(torch.zeros(5, 3), torch.zeros(5, 2))[1].shape
    torch.Size([5])
    """

    net: NetLike = MLP(activation="silu")
    tolerance: Annotated[float, Within(least=1e-12, most=1.0)] = 1e-5
    method: Annotated[str, OneOf(*METHODS)] = "tsit5"
    steps: Count = 20
    steepest: Positive = 1e4
    trace: Annotated[str, OneOf("exact", "hutchinson", "hutch++")] = "exact"
    probes: Annotated[int, Within(least=LEAST_PROBES, most=MOST_PROBES)] = 16
    seed: int = 0
    on: Annotated[Sequence[Annotated[str, OneOf(*SPACES)]], Length(1)] = ("real",)
    sizes: Sequence[Count] | None = None

    event_dim = 1
    inverse_method = "the way back through the field, by the same solver"
    formula = "y = x(1),  dx/dt = v(t, x),  x(0) = x"
    log_det = "integral of the trace of the Jacobian of v"

    def check(self) -> None:
        if len(self.on) != (1 if self.sizes is None else len(self.sizes)):
            raise PlanError(f"Continuous: expected a size for each of on={self.on!r}, got sizes={self.sizes!r}")

    def words(self) -> str:
        return f"{self.formula}; on spheres along them, in densities of surface area" if "sphere" in self.on else self.formula

    def spaces(self, event_shape: Shape) -> Spaces | None:
        """Return what events of a shape are points of; None where all their numbers are real."""
        if set(self.on) == {"real"}:
            return None
        sizes = event_shape if self.sizes is None else self.sizes
        if len(event_shape) != 1 or sum(sizes) != event_shape[0]:
            wanted = "vectors" if self.sizes is None else f"vectors of {sum(sizes)} numbers"
            raise PlanError(f"{self!r}: expected {wanted}, got event_shape {event_shape}")
        if any(kind == "sphere" and size < 2 for kind, size in zip(self.on, sizes, strict=True)):
            raise PlanError(f"{self!r}: expected at least 2 numbers for a sphere, got sizes {tuple(sizes)}")
        return Spaces(self.on, tuple(sizes), self.steepest)

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ContinuousModule(self, event_shape, context_shape)


class ContinuousModule(Layer):
    """A built continuous layer."""

    anchor: Tensor

    def __init__(self, plan: Continuous, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        probes = sketch = None
        # As many tangents as there are dimensions are the trace itself.
        if plan.trace != "exact" and plan.probes < math.prod(event_shape):
            probes, *others = _frames(1 + (plan.trace == "hutch++"), plan.probes, math.prod(event_shape), plan.seed)
            sketch = others[0] if others else None
        self.spaces = plan.spaces(event_shape)
        self.field = Field(plan.net, event_shape, context_shape, plan.steepest, probes, sketch, self.spaces)
        self.tableau, self.tolerance, self.steps = METHODS[plan.method], plan.tolerance, plan.steps
        self.rank, self.elements = len(event_shape), math.prod(event_shape)
        # The gradient is that of the steps, which themselves move with what they follow, within the tolerance.
        accuracy = Accuracy.within(plan.tolerance, gradients=plan.tolerance if self.tableau.adaptive else 0.0)
        accuracy = replace(accuracy, estimated=probes is not None)
        # Two more choose the first step.
        evaluations = MOST * self.tableau.evaluations + 2 if self.tableau.adaptive else plan.steps * self.tableau.evaluations
        effort = Effort(evaluations, evaluations, adaptive=self.tableau.adaptive)
        seen = "all inputs and time" if context_shape is None else "all inputs, time and the context"
        points = constraints.real if self.spaces is None else self.spaces.support
        self.facts = Facts(
            points, points, depends_on=seen, uses_context=context_shape is not None, accuracy=(accuracy, accuracy), effort=(effort, effort)
        )
        self.limits = sets.limits(points)
        # Says how precise the values are that come in: between layers half formats are float32.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    def velocity(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the velocity ``(*batch, *event)`` of the field.

        Args:
            t: Times ``(*batch)`` in [0, 1]: 0 on the side of the base, 1 on that of the data.
            x: ``(*batch, *event)``.
            context: ``(*batch, *context)``; None where the layer was built without. All batches broadcast.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.

        >>> layer = Continuous(MLP((8,), "silu")).build(2)
        >>> layer.velocity(torch.rand(5), torch.randn(5, 2)).shape
        torch.Size([5, 2])
        """
        context = self.admit("x", x, self.event_shape, context)
        check_tensor(self, "t", t, (), x.dtype, x.device)
        check_batch(self, "t", t.shape, x.shape[: x.dim() - self.rank])
        return self.drift(t, x, context)

    def drift(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the work of `velocity`, on what has been checked."""
        given = flat_context(context, self.context_shape)
        batch, others = x.shape[: x.dim() - self.rank], [t.shape, *([] if given is None else [given.shape[:-1]])]
        flat = x if self.rank == 1 else x.flatten(x.dim() - self.rank)
        if any(other != batch for other in others):
            batch = torch.broadcast_shapes(batch, *others)
            t, flat = t.expand(batch), flat.expand(*batch, -1)
        made = self.field.velocity(t, flat, context)
        return (made if self.rank == 1 else made.unflatten(-1, self.event_shape)).to(x.dtype)

    def evaluations(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return how often the field is evaluated on the way of each row back to the base, ``(*batch)``: what it takes to score it.

        Args:
            y: ``(*batch, *event)``.
            context: ``(*batch, *context)``; None where the layer was built without.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.

        >>> Continuous(MLP((8,), "silu"), method="rk4", steps=7).build(2).evaluations(torch.randn(3, 2))
        tensor([28, 28, 28])
        """
        context = self.admit("y", y, self.event_shape, context)
        of, used = self.field.rates()
        inside = sets.enter_events(y, self.limits, self.rank, max((y.dtype, self.anchor.dtype), key=sets.tolerance))[0]
        z, given, batch = self._rows(inside, context)
        path = Path(self.tableau, of, 1.0, 0.0, SHARE * self.tolerance, None if self.tableau.adaptive else self.steps, WAYS)
        with torch.no_grad():
            return path.solution(z, given, used, keep=False).evaluations.reshape(batch)

    @property
    def standard(self) -> bool:
        return self.spaces is not None and "real" not in self.spaces.kinds

    def begin(self) -> None:
        self.field.spread()

    def refine(self) -> None:
        self.tolerance, self.steps = max(FINER * self.tolerance, FINEST / SHARE), MORE * self.steps

    @property
    def probes(self) -> int:
        return 0 if self.field.probes is None else len(self.field.probes)

    def probe(self, part: int, parts: int) -> None:
        self.field.taken = slice(part, None, parts)

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._follow(x, context, 0.0, 1.0)[:2]

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._follow(y, context, 1.0, 0.0)[:2]

    def pull_with_costs(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `pull` does, and the `Costly` integrals of the way, ``(*batch, 2)``, kinetic energy and squared Jacobian."""
        x, ladj, costs = self._follow(y, context, 1.0, 0.0, costly=True)
        return x, ladj, -costs  # time runs backwards

    def _follow(self, x: Tensor, context: Tensor | None, start: float, end: float, costly: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        plain, used = self.field.rates()
        of = Costly(plain) if costly else plain
        coarse = max((x.dtype, self.anchor.dtype), key=sets.tolerance)
        inside, outside = sets.enter_events(x, self.limits, self.rank, coarse)
        z, given, batch = self._rows(inside, context)
        z = torch.nn.functional.pad(z, (0, COSTS)) if costly else z
        fixed = mode.compiling() or mode.tracing() or not self.tableau.adaptive
        # Where there are no values one step has the shapes, and the memory, of all.
        steps = 1 if x.is_meta else self.steps if fixed else None
        path = Path(self.tableau, of, start, end, SHARE * self.tolerance, steps, WAYS)
        z = path.follow(z, given, used)
        size, kept = self.elements, numerics.working(x).dtype
        value, ladj, costs = z[:, :size], z[:, size].reshape(batch), z[:, size + 1 :]
        value = (value if self.spaces is None else self.spaces.onto(value)).reshape(*batch, *self.event_shape)
        ladj = ladj if outside is None else torch.where(outside, -math.inf, ladj)
        return value.to(x.dtype), ladj.to(kept), costs.reshape(*batch, costs.shape[-1]).to(kept)

    def _rows(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None, torch.Size]:
        """Return rows with a zero behind each, contexts ``(rows, C)``, and the batch that they are."""
        batch = x.shape[: x.dim() - self.rank]
        given = flat_context(context, self.context_shape)
        if given is not None:
            batch = torch.broadcast_shapes(batch, given.shape[:-1])
            given = numerics.finer(given).expand(*batch, -1).reshape(math.prod(batch), given.shape[-1])
        flat = numerics.finer(x).expand(*batch, *self.event_shape).reshape(math.prod(batch), self.elements)
        flat = flat if self.spaces is None else self.spaces.onto(flat)
        return torch.nn.functional.pad(flat, (0, 1)), given, torch.Size(batch)


def _frames(frames: int, count: int, size: int, seed: int) -> Tensor:
    """Return random frames ``(frames, count, size)``: vectors of length sqrt(size), at right angles to the others of their frame.

    The numbers of a seed are promised to stay the same, but for roundings.
    Source of the normal numbers: A Note on the Generation of Random Normal Deviates (Box, Muller, 1958).
    """
    reserve(2 * frames * count, size)
    draw = random.Random(seed)
    u, v = torch.tensor([draw.random() for _ in range(2 * frames * count * size)], dtype=torch.float64).reshape(2, frames, size, count)
    normal = torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
    made: Tensor = math.sqrt(size) * torch.linalg.qr(normal)[0].mT
    return made.to(torch.get_default_dtype())
