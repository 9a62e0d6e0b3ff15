"""fit_target: variational inference, a flow fitted to an unnormalised log-density."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pushforward.flow.flow import Flow
from pushforward.inference.density import Density, LogDensity, first, make_density
from pushforward.inference.divergences import Divergence, make_divergence
from pushforward.inference.weights import effective_size
from pushforward.train import options as check
from pushforward.train.adam import Stepper
from pushforward.train.history import History
from pushforward.train.limit import Limit
from pushforward.train.loop import Loop, Options, as_it_was, check_trainable, make_optimizer
from pushforward.train.precision import Masters
from pushforward.train.randomness import Randomness

EPOCH = 50
"""Steps after which the flow is scored."""
EVALUATE = 4096
"""Draws that are scored together."""
COLDEST = 0.01
"""The power of the density with which annealing over a number of steps begins."""
ERRORS = 2
"""Standard errors that are added to a loss before flows are compared: one that is scored without noise wins."""
HELD = 2**31
"""Distance of the seed of the draws that score from the seed of those that train. Of a seed torch takes the last 32 bits on the CPU."""

Annealing = int | Callable[[int], float] | None


@dataclass(repr=False)
class TargetHistory(History):
    r"""What happened while a flow was fitted to a density: a `History` whose epochs are 50 steps.

    Losses are minus a lower bound of the log-evidence in nats, of the density as it is even while it is annealed: for the reverse KL
    divergence minus the evidence lower bound, else minus the bound of order :math:`\min(\alpha, 1/2)`. The validation loss is two standard
    errors above the mean over its draws, so that no flow is chosen for its luck, and minus it is at most the log-evidence.

    Args:
        efficiency: Effective size of the scoring draws after each epoch, as a share of their number; empty with many contexts.
        outside_rows: Draws in training where the density was 0.
        invalid_rows: Draws in training where the log-density or its gradient was not finite; they were left out.
    """

    efficiency: list[float] = field(default_factory=list)
    outside_rows: int = 0
    invalid_rows: int = 0
    stopped: str = "steps"

    def trim(self) -> None:
        super().trim()
        del self.efficiency[len(self.seconds) :]

    def __repr__(self) -> str:
        share = f", efficiency {self.efficiency[self.best_epoch - 1]:.2f}" if self.efficiency and self.best_epoch else ""
        return f"Target{super().__repr__()[:-1]}{share})"


def fit_target(
    flow: Flow,
    log_density: LogDensity,
    context: Tensor | None = None,
    *,
    divergence: str = "reverse_kl",
    alpha: float | None = None,
    estimator: str = "path",
    annealing: Annealing = None,
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 5e-3,
    schedule: str | None = "cosine",
    patience: int | None = None,
    seconds: float | None = None,
    clip: float | None = 5.0,
    validation: int = 2048,
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> TargetHistory:
    r"""Fit a flow to an unnormalised log-density, from draws of the flow alone, and leave it with the weights that scored best.

    The flow must have the density's support (``support=`` of the named flows, or a `Domain` layer), and scales within reach of its start:
    where they are far from 1, begin with ``flow.standardize(rough_draws, starts=False)``. One of a half format is trained, and gives its
    draws to the log-density, in float32, and is rounded once, at the end. Every 50 steps the flow is scored on the same random numbers.
    `importance` then gives effective size and log-evidence.

    Args:
        flow: The flow to fit, in place; fitting it again goes on from where it is. Take one that samples in one pass: coupling or inverse
            autoregressive.
        log_density: Takes ``(n, *event)``, and ``(n, *context)`` too if there is a context, and returns ``(n,)``: the log-density of each
            row up to a constant; -inf where the density is 0. One that draws random numbers does so from its first call on.
        context: Contexts ``(rows, *context)`` of a conditional flow, to be drawn from; or one, ``(*context)``.
        divergence: ``"reverse_kl"``, KL(flow | density), the evidence lower bound: robust, but too narrow, and it settles on some modes of
            many. ``"forward_kl"``, KL(density | flow), by importance weights: it covers all that the draws find, and needs draws that
            overlap the density. ``"alpha"``: between the two for ``alpha`` in (0, 1); 2 minimises the variance of the weights.
        alpha: Order of the alpha divergence.
        estimator: ``"path"``: the gradient through the draws alone, without noise once the flow is right; it takes the inverse pass of the
            flow as well, 1.5 to 2 times the time of ``"total"``, the plain gradient through draws and parameters. ``"score"`` asks no
            gradient of the density.
        annealing: Steps over which the density is raised to a power that grows from 0.01 to 1, evenly in its logarithm; or a function from
            the step (from 0) to that power, the inverse of a temperature. Melts modes together, so that reverse KL finds them all.
        steps: Steps to take.
        batch_size: Draws in a step.
        learning_rate: Learning rate of AdamW in the first step.
        schedule: ``"cosine"`` takes it to 0, at the end of all steps or of ``seconds``, whichever comes first; ``"plateau"`` halves it
            after 400 steps without improvement.
        patience: Epochs of 50 steps without improvement after which to stop (None: never).
        seconds: Time that the fit may take, from the call on, by the clock (None: no limit). It is looked at after each step.
        clip: Largest norm of a step's gradient (None: no limit).
        validation: Draws that score the flow.
        optimizer: A function from parameters to an optimiser, instead of AdamW.
        seed: Seed of the draws; the user's random numbers are not touched.
        progress: Show losses on stderr.
        callback: Called with the history every 50 steps; training ends when it returns True.

    Returns:
        The history. Rows where the density is 0 have no weight in the forward KL and alpha divergences. The reverse one is infinite
        there; such rows, and rows that are not finite, are left out of a step and counted, and a warning tells of them.

    Raises:
        ValueError: Options, shapes or supports that do not fit, or a log-density that is NaN or infinite; before the first step, with the
            flow as it was.
        TypeError: The flow, the density, the context, the optimiser or the callback is none.
        FloatingPointError: No step of an epoch was finite; the flow is left with its best weights.

    >>> from pushforward.flows import RealNVP
    >>> history = fit_target(RealNVP(2), lambda x: -0.5 * ((x - 1) ** 2).sum(-1), steps=100, progress=False)
    >>> len(history.train), history.stopped
    (2, 'steps')
    """
    check.real("fit_target", "seconds", seconds, optional=True)
    limit = Limit(seconds)
    measure = make_divergence("fit_target", divergence, alpha, estimator)
    told = (("steps", steps, 1), ("batch_size", batch_size, 2), ("validation", validation, 2))
    steps, batch_size, validation = (check.whole("fit_target", name, value, least) for name, value, least in told)
    check.seed("fit_target", seed)
    check.function("fit_target", "optimizer", optimizer)
    check.function("fit_target", "callback", callback)
    options = Options(
        -(-steps // EPOCH), batch_size, learning_rate, schedule, patience, clip, 0.0, False, None, progress, owner="fit_target", limit=limit
    )
    density = make_density("fit_target", flow, log_density, context)
    check_trainable("fit_target", flow)
    if estimator != "score" and not flow.has_rsample:
        raise ValueError(f"fit_target: expected a base whose samples carry gradients, got {flow.base.plan!r}; take estimator='score'")
    many = density.context is not None and len(density.context) > 1
    if many and measure.order:
        raise ValueError(
            f"fit_target: expected divergence='reverse_kl' for many contexts, since others weigh the draws of one against each other, got "
            f"{divergence!r}"
        )
    power = _powers(annealing, steps)
    power(0)
    with ExitStack() as stack:
        with as_it_was(flow):
            if many and flow.context_units is not None and not bool(flow.context_units.calibrated):
                flow.context_units.calibrate(density.context)  # type: ignore[arg-type]
            masters = stack.enter_context(Masters(flow))
            made = make_optimizer("fit_target", flow, optimizer, learning_rate)
            training = TargetTraining(density.to(flow.dtype), measure, power, steps, validation, seed, made, options, masters)
            training.check()
            training.found.objective = divergence
        history = training.run(callback)
    assert isinstance(history, TargetHistory)
    if history.invalid_rows or (history.outside_rows and not measure.order):
        warnings.warn(
            f"fit_target: left {history.invalid_rows} draws out of their steps, whose log-density or gradient was not finite, and "
            f"{history.outside_rows} where the density is 0",
            stacklevel=2,
        )
    return history


class TargetTraining(Loop):
    """One run of variational inference."""

    advice = "Try a smaller learning_rate, flow.double(), annealing, or a flow with the support and the scale of the density"

    def __init__(
        self,
        density: Density,
        divergence: Divergence,
        power: Callable[[int], float],
        steps: int,
        validation: int,
        seed: int,
        optimizer: Stepper,
        options: Options,
        masters: Masters,
    ) -> None:
        self.found = TargetHistory(monitored="validation")
        super().__init__(density.flow, optimizer, options, self.found, Randomness(density.flow, seed), masters)
        self.density, self.divergence, self.power = density, divergence, power
        # Two draws of each context at least, to tell how far the draws scatter from how far the contexts' evidences lie apart.
        self.scored = density.of_some(validation // 2)
        self.total, self.validation, self.seed = steps, validation, seed

    def check(self) -> None:
        """Raise ValueError where the flow cannot be fitted, before the first step."""
        x, log_weights = self._scored()
        self.density.check(x, log_weights)
        outside = torch.isneginf(log_weights)
        count = int(outside.sum())
        if count == len(x) or (count and not self.divergence.order):
            raise ValueError(
                f"fit_target: expected draws where the density is positive, got log_density -inf for {count} of {len(x)} draws, such as "
                f"{first(x, outside)}; give the flow the density's support (support= of the named flows, or a Domain layer)"
                + ("" if count == len(x) else ", or take divergence='forward_kl'; the reverse KL divergence is infinite")
            )

    def steps(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        size, contexts = self.options.batch_size, self.density.context
        for step in range(EPOCH * (epoch - 1), min(EPOCH * epoch, self.total)):
            alone = self.density.contexts == 1
            index = torch.arange(size) if alone else torch.randint(len(contexts), (size,), generator=self.random.rows)  # type: ignore[arg-type]
            objective, log_weights, counted = self.divergence.objective(self.density, index, self.power(step), self.random)
            outside = int(torch.isneginf(log_weights).sum())
            self.found.outside_rows += outside
            self.found.invalid_rows += size - int(counted.sum()) - outside
            yield objective, -self.divergence.bound(log_weights[counted])[0], size

    def evaluate(self) -> float:
        log_weights = self._scored()[1]
        if self.density.contexts == 1 and self.history.train:
            self.found.efficiency.append(effective_size(log_weights).item() / len(log_weights))
        bound, error = self.divergence.bound(log_weights, self.scored.contexts)
        return (ERRORS * error - bound).item()

    def _scored(self) -> tuple[Tensor, Tensor]:
        """Draw the rows that score the flow, from the same random numbers each time, and weigh them."""
        return self.scored.weigh(self.validation, EVALUATE, self.seed + HELD)


def _powers(annealing: Annealing, steps: int) -> Callable[[int], float]:
    """Return the power of the density at each step."""
    if annealing is None:
        return lambda step: 1.0
    if callable(annealing):
        given = annealing

        def checked(step: int) -> float:
            power = given(step)
            if not check.is_number(power) or not 0 < power <= 1:
                raise ValueError(f"fit_target: expected annealing to give powers above 0 and at most 1, got {power!r} at step {step}")
            return float(power)

        return checked
    if not isinstance(annealing, numbers.Integral) or isinstance(annealing, bool) or not 1 <= annealing <= steps:
        raise ValueError(f"fit_target: expected annealing to be a number of steps from 1 to {steps}, or a function, got {annealing!r}")
    return lambda step: float(COLDEST ** max(0.0, 1 - step / annealing))
