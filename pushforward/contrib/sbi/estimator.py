"""A conditional flow as sbi's estimator, with what it sees of conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Tensor, nn

from pushforward.core import sets
from pushforward.core.layer import Layer
from pushforward.flow.flow import Flow
from pushforward.train.averaging import Averages
from pushforward.train.matching import HELD, TIMES, FlowMatchingLoss
from pushforward.train.objective import FlowMatching


class Conditions(nn.Module):
    """What a flow sees of conditions ``(*batch, *shape)``: z-scored, embedded, on one axis: ``(*batch, features)``.

    Args:
        units: Maps z-scores to conditions.
        embedding: A module from ``(batch, *shape)`` to ``(batch, ...)``.
        shape: The shape of one condition.
    """

    def __init__(self, units: Layer, embedding: nn.Module, shape: torch.Size) -> None:
        super().__init__()
        self.units, self.embedding, self.shape = units, embedding, shape

    def forward(self, condition: Tensor) -> Tensor:
        batch = condition.shape[: condition.dim() - len(self.shape)]
        rows = self.units.inverse(condition.reshape(math.prod(batch), *self.shape))[0]
        seen: Tensor = self.embedding(rows).flatten(1)
        return seen.reshape(*batch, -1)


class FlowEstimator(ConditionalDensityEstimator):  # type: ignore[misc]
    """A conditional flow as sbi's estimator; the flow is ``.net``.

    Values are ``(sample, batch, *event)`` or ``(batch, *event)``, conditions ``(batch, *condition)`` or ``(sample, batch, *condition)``.
    Given the options of flow matching, its loss is theirs. Given a decay, the weights are their moving averages after ``eval()``, and
    themselves after ``train()``: sbi, which scores and copies after ``eval()``, keeps the best averages.
    """

    net: Flow

    def __init__(self, flow: Flow, conditions: Conditions, matching: FlowMatching | None = None, averaging: float | None = None) -> None:
        super().__init__(flow, flow.event_shape, conditions.shape)
        self.conditions, self.matching = conditions, matching
        self.averaging = averaging
        self.averages: Averages | None = None  # from the first loss of a training on
        self.version = 0
        self.register_load_state_dict_post_hook(FlowEstimator._loaded)

    @property
    def embedding_net(self) -> nn.Module:
        """The net between z-scored conditions and the flow."""
        return self.conditions.embedding

    def train(self, mode: bool = True) -> FlowEstimator:
        """Train with the weights themselves; else be what their averages make."""
        if self.averages is not None and mode != self.training:
            if not mode:
                self._follow(self.averages)
            self.averages.swap()
        return super().train(mode)  # type: ignore[no-any-return]

    def _before_step(self) -> None:
        """Follow the last step, since a density in training is asked for before the next one."""
        if self.averaging is None or not self.training:
            return
        if self.averages is None:
            self.averages = Averages([*self.parameters()], self.averaging)
            self.version = self._steps()
        self._follow(self.averages)

    def _follow(self, averages: Averages) -> None:
        """Let the averages follow a step, if there has been one since they last did."""
        if self.version != self._steps():
            averages.follow()
            self.version = self._steps()

    def _steps(self) -> int:
        """Return a number that each step of an optimiser changes."""
        return sum(p._version for p in self.parameters())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FlowEstimator:
        """Move or convert, and begin the averages anew, which lie where the weights lay."""
        self.averages = None
        return super()._apply(fn, recurse)  # type: ignore[no-any-return]

    @staticmethod
    def _loaded(module: nn.Module, _: object) -> None:
        """Forget the averages of other weights than those that were loaded."""
        assert isinstance(module, FlowEstimator)
        module.averages = None

    def log_prob(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:  # noqa: A002 (sbi's word)
        """Return the log-density ``(sample, batch)``; the ends of a closed support count as inside."""
        self._check_input_shape(input)
        self._check_condition_shape(condition)
        self._before_step()
        value: Tensor = self._broadcast_and_align(input, condition)[0]
        return self.net.log_prob(self._left(value), self.conditions(condition))

    def _left(self, value: Tensor) -> Tensor:
        """Return values of which those on the ends of an open support are moved inside: a uniform prior draws its ends at times."""
        inside = self.net.support.check(value).unsqueeze(-1)
        return torch.where(inside, sets.leave(value, sets.limits(self.net.support)), value)

    def loss(self, input: Tensor, condition: Tensor, **kwargs: Any) -> Tensor:  # noqa: A002
        """Return the negative log-density ``(batch)``, or what flow matching makes small: over 16 draws of each row that is scored."""
        if self.matching is None:
            return -self.log_prob(input, condition)[0]
        self._check_input_shape(input)
        self._check_condition_shape(condition)
        self._before_step()
        loss, value, seen = FlowMatchingLoss(self.net, self.matching), self._left(input), self.conditions(condition)
        if self.training:
            return loss.of_rows(value, seen)
        # sbi shuffles the rows that it scores: one draw for each would make losses of epochs noisier than they differ.
        generator = torch.Generator(input.device).manual_seed(HELD)
        each = loss.of_rows(value.expand(TIMES, *value.shape), seen.expand(TIMES, *seen.shape), generator=generator)
        return each.mean(0)

    def sample(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> Tensor:
        """Draw ``(*sample_shape, batch, *event)``."""
        self._check_condition_shape(condition)
        return self.net.sample(sample_shape, self.conditions(condition))

    def sample_and_log_prob(self, sample_shape: torch.Size, condition: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Draw and score in one pass."""
        self._check_condition_shape(condition)
        return self.net.rsample_and_log_prob(sample_shape, self.conditions(condition))
