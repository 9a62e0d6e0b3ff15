"""Densities of flows: whether they integrate to 1, are those of the samples, and have the determinants of their maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core.compose import Compose
from pushforward.core.layer import Layer
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.testing.case import FlowCase, jacobian
from pushforward.testing.charts import directions, log_volume
from pushforward.testing.invariance import invariance
from pushforward.testing.promise import inner, ladj_tolerated, mass_tolerated, shift_tolerated
from pushforward.testing.sets import chart

ROWS, POINTS, KERNELS = 4096, 8192, 256
NODES = 192
"""Nodes along each axis of a grid of two dimensions."""
LOW = 6
"""Dimensions up to which kernels round samples cover what a density covers."""
SURE = 7.0
"""Standard errors that a sound flow passes less than once in 1e9 times."""


@dataclass(frozen=True)
class Piece:
    """One piece of a flow's batch, on coordinates that are all real numbers."""

    score: Callable[[Tensor], Tensor]
    """The log-density ``(rows)`` of values ``(rows, *event)``."""
    onto: Layer
    """The map from real coordinates to values."""
    drawn: Tensor
    """Samples ``(rows, *event)``."""

    @property
    def coordinates(self) -> Tensor:
        """Return the samples ``(rows, dimensions)``."""
        return self.onto.inverse(self.drawn)[0].detach().reshape(len(self.drawn), -1)

    def log_density(self, u: Tensor) -> Tensor:
        """Return the log-density ``(rows)`` of coordinates ``(rows, dimensions)``."""
        with torch.no_grad():
            value, ladj = self.onto(u.reshape(-1, *self.onto.event_shape))
            # So far out there is no mass, whatever rounding makes of the value.
            return torch.where(ladj < -600, -math.inf, self.score(value) + ladj)


def _onto(support: Constraint, shape: tuple[int, ...]) -> Layer:
    """Return the map from real coordinates onto a set; the identity where none is known, and what is outside has no density."""
    try:
        plan = chart(support)
        return plan.build(plan.shape_before(shape)).double()
    except PlanError:
        return Compose([]).build(shape).double()


def _pieces(flow: Flow, context: Tensor | None, drawn: Tensor, base: bool = False) -> Iterator[Piece]:
    """Give each piece of a flow's batch, or of its base's, with its samples out of ``(rows, *batch, *event)``."""
    part = flow.base if base else flow
    batch, shape = tuple(flow.batch_shape), tuple(part.event_shape)
    onto = _onto(part.support, shape)
    if base:
        drawn = flow.to_base(drawn, context)[0].detach()
    for index in range(math.prod(batch)):

        def score(value: Tensor, index: int = index) -> Tensor:
            # The other pieces see the same values, and their answers are left out.
            every = value.reshape(len(value), *(1 for _ in batch), *shape).expand(len(value), *batch, *shape)
            return part.log_prob(every, context).reshape(len(value), -1)[:, index]

        yield Piece(score, onto, drawn.reshape(len(drawn), -1, *shape)[:, index])


def _sample(flow: Flow, rows: int, context: Tensor | None, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = flow.sample((rows,), context)
    return drawn.reshape(rows, *flow.batch_shape, *flow.event_shape)


def determinant(case: FlowCase) -> float:
    """Return the largest relative difference of the density from the base's and autograd's Jacobian of the map, in any dimension."""
    flow = case.build()
    context = case.contexts(6)
    y = case.samples(flow, 6, None if context is None else context[0])
    given = context if context is None or not flow.batch_shape else context[:1]
    x = flow.to_base(y, given)[0]
    flat, wide = y.reshape(-1, *flow.event_shape), x.reshape(-1, *flow.base.event_shape)
    function, point, axes = directions(flow.transform, wide.detach(), flat.detach())[1]
    each = None if given is None else given.expand(len(flat), *given.shape[1:])
    matrix = jacobian(function, point, each, axes).detach()
    # What autograd's own determinant loses to rounding is no error of ours.
    lost = torch.linalg.cond(matrix) * torch.finfo(torch.float64).eps / 1e-9
    expected = flow.base.log_prob(x, given).reshape(-1) + torch.linalg.slogdet(matrix)[1]
    sides = (wide, flow.base.support), (flat, flow.support)
    before, after = (log_volume(value, support, value.dim() - 1) for value, support in sides)
    expected = expected + before - after
    free = ladj_tolerated(flow.transform, flat, inner(flow, each), inverse=True) / 1e-9
    off = (flow.log_prob(y, given).reshape(-1) - expected).abs() / (1 + expected.abs() + lost + free)
    return float(torch.nan_to_num(off.detach(), nan=math.inf).max())


def integral(case: FlowCase) -> float:
    """Return how far a density is from integrating to 1: the worst piece of a batch, on nodes where the flow puts its mass.

    In one dimension by quadrature. In two on a grid, less twice what a grid of half the nodes differs by. In more by importance sampling,
    less `SURE` standard errors, a few hundredths of the mass: from kernels round samples up to `LOW` dimensions; beyond that from a normal
    distribution inside the samples, of which those are reweighed, so that a density whose shape is that of the samples and whose constant
    is wrong is found, and mass where no samples are is not.
    """
    flow = case.build()
    context = case.contexts(1)
    drawn = _sample(flow, ROWS, context, case.seed + 3)
    worst = 0.0
    for piece in _pieces(flow, context, drawn):
        size = math.prod(piece.onto.event_shape)
        if size == 1:
            worst = max(worst, _line(piece))
        elif size == 2:
            worst = max(worst, _grid(piece))
        else:
            terms = _reweighed(piece, case.seed) if size > LOW else _importance(piece, case.seed)[1]
            worst = max(worst, abs(float(terms.mean()) - 1) - SURE * float(terms.std()) / len(terms) ** 0.5)
    return max(0.0, worst - mass_tolerated(flow, drawn, context))


def _line(piece: Piece) -> float:
    probability = torch.linspace(-14, 14, 40001, dtype=torch.float64).sigmoid()
    drawn = piece.coordinates[:2000, 0]
    # Quantiles of a wide logistic cover the tails; those of the samples give the density's own scale.
    spread = torch.quantile(drawn, 0.75) - torch.quantile(drawn, 0.25)
    wide = drawn.median() + 8 * spread * torch.logit(probability)
    nodes = torch.cat([wide, torch.quantile(drawn, torch.linspace(0, 1, 2000, dtype=torch.float64))]).sort().values
    return abs(float(torch.trapezoid(piece.log_density(nodes[:, None]).exp(), nodes)) - 1)


def _grid(piece: Piece) -> float:
    u = piece.coordinates
    root = torch.linalg.cholesky(torch.cov(u.T) + 1e-12 * torch.eye(2, dtype=u.dtype))
    root = root * ((u - u.median(0).values) @ torch.linalg.inv(root).T).abs().median() / 0.67  # heavy tails have no covariance
    # Even nodes of a hyperbolic sine: dense in the middle, and out to a million times the spread.
    place = torch.linspace(-14.5, 14.5, NODES + 1, dtype=torch.float64)
    nodes = torch.stack(torch.meshgrid(torch.sinh(place), torch.sinh(place), indexing="ij"), -1)
    slope = torch.cosh(place)[:, None] * torch.cosh(place)
    points = u.median(0).values + nodes.reshape(-1, 2) @ root.T
    density = piece.log_density(points).exp().reshape(slope.shape) * slope * float(root.diagonal().prod().abs())
    fine, coarse = (float(density[::n, ::n].sum()) * (n * 29 / NODES) ** 2 for n in (1, 2))
    return max(0.0, abs(fine - 1) - 2 * abs(fine - coarse))


def _importance(piece: Piece, seed: int) -> tuple[Tensor, Tensor]:
    """Return points and their weights, density by proposal; the proposal is a mixture of kernels round other samples.

    So weights stay bounded where the density does.
    """
    draw = torch.Generator().manual_seed(100 + seed)
    drawn = piece.coordinates
    size = drawn.shape[1]
    centres = drawn[torch.randint(len(drawn), (KERNELS,), generator=draw)]
    width = 0.7 * drawn.std(0).clamp(min=1e-9)
    picked = centres[torch.randint(KERNELS, (POINTS,), generator=draw)]
    # A Student t with 4 degrees of freedom as normal over chi: drawn from our own generator.
    normal = torch.randn(POINTS, size, generator=draw, dtype=torch.float64)
    chi = torch.randn(POINTS, size, 4, generator=draw, dtype=torch.float64).square().mean(-1).sqrt()
    points = picked + width * normal / chi
    # The density of such a t is 3/8 (1 + z²/4)^(-5/2): a product and a root, where logarithms of each number would take five times as long.
    scaled, around, proposal = points / width, (centres / width).T, torch.empty(POINTS, dtype=torch.float64)
    for block in range(0, POINTS, 1024):
        product = torch.ones(1024, KERNELS, dtype=torch.float64)
        for own, centre in zip(scaled[block : block + 1024].T, around, strict=True):
            product *= 1 + (own[:, None] - centre).square_() / 4
        proposal[block : block + 1024] = (product.square() * product.sqrt()).reciprocal_().mean(1)
    return points, torch.exp(piece.log_density(points) - torch.log(proposal * (0.375 / width).prod()))


def _reweighed(piece: Piece, seed: int) -> Tensor:
    """Return numbers whose mean is 1 over the integral of the density, where that has the shape of the samples.

    They are a normal density over that of the flow at samples: the narrower it is, the less the tails count, and the fewer samples do.
    """
    u = piece.coordinates
    first, second = u.chunk(2)
    known, found = piece.log_density(first), []
    covariance = torch.cov(first.T) + 1e-9 * torch.eye(u.shape[1], dtype=u.dtype)
    for part in (1.0, 0.9, 0.8, 0.7, 0.5, 0.35):
        inner = torch.distributions.MultivariateNormal(first.mean(0), part * covariance, validate_args=False)
        weights = torch.exp(inner.log_prob(first) - known)
        found.append((float(weights.square().mean() / weights.mean().square()), part))
    inner = torch.distributions.MultivariateNormal(first.mean(0), min(found)[1] * covariance, validate_args=False)
    return torch.exp(inner.log_prob(second) - piece.log_density(second))


def samples(case: FlowCase) -> float:
    """Return the largest |z| by which samples differ from the density: the worst piece of a batch.

    Up to `LOW` dimensions, over several seeds, importance-weighted mass and bounded moments against those of samples. In any dimension,
    what samples come from in the base, by steps that leave the base's density as it is (`invariance`).
    """
    flow = case.build()
    context = case.contexts(1)
    worst = 0.0
    for seed in range(3):
        drawn = _sample(flow, ROWS, context, 200 + seed)
        for piece in _pieces(flow, context, drawn):
            if math.prod(piece.onto.event_shape) <= LOW:
                worst = max(worst, _moments(piece, seed))
    drawn = _sample(flow, POINTS, context, 203)
    for piece in _pieces(flow, context, drawn, base=True):
        worst = max(worst, invariance(piece.log_density, piece.coordinates, torch.Generator().manual_seed(300)))
    # A shift moves the mean of a bounded function by no more, and that varies by a quarter of a unit at least.
    return max(0.0, worst - 4 * math.sqrt(POINTS) * shift_tolerated(flow, drawn, context))


def _moments(piece: Piece, seed: int) -> float:
    drawn = piece.coordinates
    points, weights = _importance(piece, seed)
    centre, spread = drawn.median(0).values, drawn.std(0).clamp(min=1e-9)
    # Mass, and bounded functions of the samples, so that no tail makes the variance infinite.
    inner, outer, worst = (points - centre) / spread, (drawn - centre) / spread, 0.0
    for function in (torch.ones_like, torch.tanh, lambda v: torch.exp(-v * v)):
        one, other = weights[:, None] * function(inner), function(outer)
        error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt().clamp(min=1e-12)
        worst = max(worst, float(((one.mean(0) - other.mean(0)) / error).abs().max()))
    return worst
