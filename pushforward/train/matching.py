"""Flow matching as a training loop: the loss of a velocity field, and the nats of held-out rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core import numerics
from pushforward.data.rows import Rows, Stream
from pushforward.flow.flow import Flow
from pushforward.layers.continuous import ContinuousModule
from pushforward.train.couplings import share_of_pairs, transported
from pushforward.train.history import History
from pushforward.train.likelihood import EVALUATE, Training, data_precision
from pushforward.train.losses import NegativeLogLikelihood
from pushforward.train.objective import FlowMatching, around, check_loss
from pushforward.train.paths import EDGE
from pushforward.train.randomness import Randomness

HELD = 2**31
"""Distance of the seed of the draws that score from the seed of those that train. Of a seed torch takes the last 32 bits on the CPU."""
TIMES = 16
"""How often a held-out row is scored at most, at other times and from other draws, until there are `EVALUATE` of them."""
SCORED = 4096
"""Held-out rows whose density is taken at most."""


class FlowMatchingLoss(nn.Module):
    r"""Mean squared error of the velocity of a flow's `Continuous` layer on paths from base to data: see `FlowMatching`.

    Base, and the layers before and after that one, are passed through and learn nothing.

    Args:
        flow: The flow, whose parameters the module shares.
        plan: Path, coupling and times.

    Raises:
        TypeError: No flow, or no plan.
        ValueError: The flow does not have one `Continuous` layer, or that has no such paths; of values and contexts what
            `Flow.log_prob` raises.
        ImportError: The coupling needs a package that is not installed.

    >>> from pushforward.flows import CNF
    >>> loss = FlowMatchingLoss(CNF(2))
    >>> loss(torch.full((500, 2), 3.0), generator=torch.Generator().manual_seed(0)) > 5
    tensor(True)
    """

    def __init__(self, flow: Flow, plan: FlowMatching = FlowMatching()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        check_loss("FlowMatchingLoss", flow, plan, FlowMatching)
        self.flow, self.plan, self.path = flow, plan, plan.made_path()
        self.velocity: Callable[..., Tensor] = velocity
        # A copy, so that what is trained or moved meanwhile does not move its pairs.
        fixed = copy.deepcopy(plan.coupling) if isinstance(plan.coupling, Flow) else None
        self.teacher = None if fixed is None else fixed.requires_grad_(False).eval()

    def forward(
        self, value: Tensor, context: Tensor | None = None, weights: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the mean over rows ``(*batch, *event)``, each times its weight ``(*batch)``, by draws from a generator (None: torch's)."""
        each, weights, scale = self._of_rows(value, context, weights, generator)
        return scale * torch.mean(each if weights is None else weights * each)

    def of_rows(self, value: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each row ``(*batch, *event)``, of shape ``(*batch)``, by draws from a generator (None: torch's)."""
        each = self._of_rows(value, context, None, generator)[0]
        return each.reshape(value.shape[: value.dim() - len(self.flow.event_shape)])

    def _of_rows(
        self, value: Tensor, context: Tensor | None, weights: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None, float | Tensor]:
        """Return losses ``(n)`` of rows on one axis, their weights, and what their mean is multiplied by."""
        inner = self.flow._admit(value, self.flow.event_shape, context)
        batch = value.shape[: value.dim() - len(self.flow.event_shape)]
        if weights is not None and weights.shape != batch:
            raise ValueError(f"FlowMatchingLoss: expected one weight a row, of shape {tuple(batch)}, got {tuple(weights.shape)}")
        begun = self._begun(value, context)
        # A network that makes contexts learns as well.
        value, inner, weights, scale = self._rows(value, inner, weights, batch, generator)
        with torch.no_grad():
            about = around("FlowMatchingLoss", self.flow)
            x1 = about.from_data(numerics.working(value), inner)
            drawn = self.flow.base.draw(torch.Size((len(value),)), inner, generator) if begun is None else begun
            x0 = about.from_base(drawn, inner)
            if self.plan.coupling == "optimal_transport":
                x0 = x0[transported(x0, x1, inner)]
            t = self._times(x1, generator)
            spaces = about.field.spaces
            place, slope = self.path.mean(t, x0, x1) if spaces is None else spaces.between(t, x0, x1)
        errors = self._errors(about.field, t, place, slope, inner, generator)
        return errors.reshape(len(errors), -1).mean(1), weights, scale

    @torch.no_grad()
    def _begun(self, value: Tensor, context: Tensor | None) -> Tensor | None:
        """Return the points of the base that the teacher maps to rows, on one axis; None without a teacher."""
        if self.teacher is None:
            return None
        to = data_precision(self.teacher)
        z = self.teacher.to_base(value.to(to), None if context is None else context.to(to))[0]
        return z.reshape(-1, *self.flow.base.event_shape).to(numerics.working(value).dtype)

    def _errors(
        self, field: ContinuousModule, t: Tensor, place: Tensor, slope: Tensor, context: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Return squared errors ``(n, *event)``; with noise less its own square, and averaged over a draw and its mirror."""
        if self.path.noise is None:
            return (self.velocity(field, t, place, context) - slope).square()
        c, dc = self.path.spread(t, place)
        z = torch.randn(place.shape, dtype=place.dtype, device=place.device, generator=generator)
        twice = None if context is None else torch.cat([context, context])
        found = self.velocity(field, torch.cat([t, t]), torch.cat([place + c * z, place - c * z]), twice)
        one, other = (found - torch.cat([slope, slope])).chunk(2)
        return 0.5 * (one.square() + other.square()) - (one - other) * dc * z

    def _rows(
        self, value: Tensor, context: Tensor | None, weights: Tensor | None, batch: torch.Size, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, float | Tensor]:
        """Return rows and contexts on one axis, their weights, and what their mean is multiplied by."""
        value = value.reshape(-1, *self.flow.event_shape)
        if context is not None and self.flow.context_shape is not None:
            context = context.expand(*batch, *self.flow.context_shape).reshape(-1, *self.flow.context_shape)
        if weights is None:
            return value, context, None, 1.0
        weights = weights.reshape(-1)
        if self.plan.coupling != "optimal_transport" or not bool((weights > 0).any()):
            return value, context, weights, 1.0
        # Draws that are paired with heavy rows would weigh more than others, and would no longer be draws of the base.
        index = torch.multinomial(weights.double(), len(value), replacement=True, generator=generator)
        return value[index], None if context is None else context[index], None, weights.mean()

    def _times(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return times ``(n,)``, one from each of n strata, in random order."""
        n, device = len(like), like.device
        t = torch.rand(n, dtype=like.dtype, device=device, generator=generator) + torch.randperm(n, device=device, generator=generator)
        t = t / max(n, 1)
        return (torch.sqrt(t) if self.plan.times == "late" else t).clamp(EDGE, 1 - EDGE)


def velocity(field: ContinuousModule, t: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
    """Return the velocity of a field: what is compiled, where that is asked for."""
    return field.drift(t, x, context)


class MatchingTraining(Training):
    """One run of flow matching. Besides its loss, the density of held-out rows is noted: at the start, at the end, and at chosen epochs.

    Args:
        plan: Path, coupling and times.
        flow: The flow; further arguments are those of `Training`.
        train: Rows to train on.
        held: Rows held out.
        arguments: The rest.
    """

    loss: FlowMatchingLoss

    fewest = None  # pairs are coupled within a batch

    def __init__(self, plan: FlowMatching, flow: Flow, train: Rows | Stream, held: Rows | Stream | None, *arguments: Any) -> None:
        self.plan = plan
        super().__init__(flow, train, held, *arguments)
        self.history.objective = "flow_matching"
        self.judges = held.part(slice(None, None, -(-len(held) // SCORED))) if isinstance(held, Rows) else held
        self.held = _repeated(held) if isinstance(held, Rows) else held
        if plan.coupling == "optimal_transport":
            self.together = min(EVALUATE, self.options.batch_size)  # the time to pair grows like the third power of their number

    def make_loss(self) -> nn.Module:
        loss = FlowMatchingLoss(self.flow, self.plan)
        if self.options.compile:
            # Draws, and what pairs them, are no graph; the network is most of a step.
            loss.velocity = torch.compile(velocity, mode=None if self.options.compile is True else self.options.compile)
        return loss

    def score(self, rows: Rows) -> Tensor:
        loss: Tensor = self.loss(rows.x, rows.context, rows.weights, generator=self.random.generator)
        return loss

    def evaluate(self) -> float:
        epoch, every = len(self.history.train), self.plan.nats_every
        if (not epoch or (every and epoch % every == 0)) and epoch not in self.history.nats:
            self.history.nats[epoch] = self.nats()
        random = self.random
        # The same draws each time, so that epochs compare.
        self.random = Randomness(self.flow, random.mode.seed + HELD)
        try:
            return super().evaluate()
        finally:
            self.random = random

    @torch.no_grad()
    def nats(self) -> float:
        """Return the mean negative log-density of held-out rows."""
        assert self.judges is not None
        self.flow.eval()
        loss = NegativeLogLikelihood(self.flow)
        return self.mean_over(self.judges, lambda rows: loss(rows.x, rows.context, rows.weights))

    def run(self, callback: Callable[[History], object] | None) -> History:
        history, mode = super().run(callback), self.flow.training
        try:
            if self.judges is not None and not history.interrupted:
                with self.masters.rounded():
                    history.nats[history.best_epoch] = self.nats()
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            self.flow.train(mode)
        return history

    def judgement(self, history: History) -> float:
        return history.nats.get(history.best_epoch, float("inf"))


def check_contexts(owner: str, plan: FlowMatching | None, rows: Rows | Stream) -> None:
    """Raise ValueError for optimal transport among rows of which no two have the same context."""
    if plan is None or plan.coupling != "optimal_transport" or isinstance(rows, Stream) or rows.context is None:
        return
    if not share_of_pairs(rows.context):
        raise ValueError(
            f"{owner}: expected rows of equal contexts for an objective with coupling='optimal_transport', since draws are paired among "
            "these alone, got contexts that all differ; take coupling='independent'"
        )


def _repeated(rows: Rows) -> Rows:
    """Return rows as often as makes `EVALUATE` of them."""
    times = max(1, min(TIMES, EVALUATE // max(1, len(rows))))
    return rows.take(torch.arange(len(rows)).repeat(times))
