"""Network: what is known of a row in, the parameters of any column's conditional out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.mlp import WIDE
from pushforward.tables.classes import BINS, Classes, Own
from pushforward.tables.copula import Copula, Evidence
from pushforward.tables.copula import Factors as Common
from pushforward.tables.events import FEATURES, Events
from pushforward.tables.spline import size
from pushforward.tables.variable import Variable

RANK = 32
"""Factors that the cases of a column of many share."""


class State(NamedTuple):
    """What is known of rows: the first layer's sums ``(n, first width)``, and what is known of the copula's factors and of the classes."""

    sums: Tensor
    evidence: Evidence
    classes: Tensor
    own: Own | None = None

    def take(self, index: Tensor) -> State:
        """Return that of some of the rows."""
        return State(self.sums[index], self.evidence.take(index), self.classes[index])

    def where(self, chosen: Tensor, other: State) -> State:
        """Return the other's for the rows that are chosen ``(n)``, and its own for those that are not."""
        sums, classes = (torch.where(chosen.unsqueeze(1), *both) for both in ((other.sums, self.sums), (other.classes, self.classes)))
        return State(sums, self.evidence.where(chosen, other.evidence), classes)


class Hidden(NamedTuple):
    """What heads take: the last hidden layer ``(n, last width)``, the copula's factors, and the posterior of the classes ``(n, K)``."""

    units: Tensor
    common: Common
    posterior: Tensor
    own: Own | None = None


class Network(nn.Module):
    """A perceptron on a sum over what is known, so that a column more to be known is one more term, and heads of all columns.

    A known cell adds a vector of its case and, of a value, one linear in its features. Hidden layers of equal widths are residual. Heads
    are zero in a new network. Those of cases with few in number have weights of their own; of many, such as ten thousand cities, cases
    share 32 factors, on both sides. What the copula says of its factors joins the first sum, and the units that heads take.

    Args:
        variables: The columns.
        widths: Width of each hidden layer.
        bins: Bins of the splines.
        activation: The activation's name.
    """

    def __init__(self, variables: Sequence[Variable], widths: Sequence[int], bins: int, activation: str) -> None:
        super().__init__()
        self.variables, self.bins = tuple(variables), bins
        self.activate = ACTIVATIONS[activation].function
        self.numbers = sum(variable.number is not None for variable in variables)
        few = [variable for variable in variables if not variable.large]
        # Columns with equally many cases stand together, so that one call takes them all.
        self.order = sorted(few, key=lambda variable: (variable.cases, variable.index))
        self.offsets: dict[int, int] = {}
        total = 0
        for variable in self.order:
            self.offsets[variable.index] = total
            total += variable.cases
        known = len(variables) + FEATURES * self.numbers
        first, last = widths[0], widths[-1]
        self.cases = nn.Parameter(torch.randn(total, first) / math.sqrt(known))
        self.values = nn.Parameter(torch.randn(self.numbers * FEATURES, first) / math.sqrt(known))
        self.bias = nn.Parameter(torch.zeros(first))
        self.copula, self.classes = Copula(variables), Classes(variables)
        self.factors = nn.Parameter(torch.randn(self.copula.rank, first) / math.sqrt(max(self.copula.rank, 1)))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.gain = min(1.0, WIDE / last)
        last += self.copula.rank
        self.case_weight, self.case_bias = nn.Parameter(torch.zeros(total, last)), nn.Parameter(torch.zeros(total))
        self.spline_weight = nn.Parameter(torch.zeros(self.numbers, size(bins), last))
        self.spline_bias = nn.Parameter(torch.zeros(self.numbers, size(bins)))
        self.large = nn.ModuleDict(
            {str(variable.index): Factors(variable.cases, first, last, 1 / math.sqrt(known)) for variable in variables if variable.large}
        )
        self.begins = self.classes.begins
        self.register_buffer("starts", torch.zeros(sum(variable.cases for variable in variables)))

    starts: Tensor
    """Logits of the cases in a new network, those of a column after those of the one before."""

    def start_of(self, variable: Variable) -> Tensor:
        """Return the logits of a column's cases in a new network, which can be set."""
        begin = self.begins[variable.index]
        return self.starts[begin : begin + variable.cases]

    def term(self, variable: Variable, case: Tensor, features: Tensor | None) -> Tensor:
        """Return what knowing a column adds, ``(n, first width)``, by its cases ``(n)`` and, of a number, features ``(n, 4)``."""
        inside = (case >= 0).unsqueeze(-1)
        case = case.clamp(min=0)
        large = self._factors(variable).term if variable.large else None
        added = large(case) if large else F.embedding(case + self.offsets[variable.index], self.cases)
        if variable.number is not None and features is not None:
            at = FEATURES * variable.number
            added = added + features @ self.values[at : at + FEATURES]
        return torch.where(inside, added, 0.0)

    def state(self, events: Events, known: Tensor, left_out: bool = False) -> State:
        """Return what is known of rows where ``known (n, columns)`` is so, by classes from which each is left out if that is asked for."""
        # Where nothing is known there is nothing to multiply.
        sums = self.sums(events, known) if bool(known.any()) else self.bias.expand(len(known), -1)
        evidence = self.copula.evidence(events, known)
        if left_out and self.classes.count:
            return State(sums, evidence, *self.classes.left_out(events, known))
        return State(sums, evidence, self.classes.evidence(events, known))

    def added(self, state: State, variable: Variable, events: Events) -> State:
        """Return what is known when one more column of all rows is."""
        term = self.term(variable, events.cases[:, variable.index], events.seen(variable))
        index = variable.index
        return State(state.sums + term, self.copula.added(state.evidence, index, events), self.classes.added(state.classes, index, events))

    def sums(self, events: Events, known: Tensor) -> Tensor:
        """Return the first layer's sums ``(n, first width)`` where ``known (n, columns)`` is so."""
        weight = (known & (events.cases >= 0)).to(self.bias.dtype)
        total = self.bias.expand(len(weight), -1)
        few = [variable.index for variable in self.order]
        if few:
            offsets = torch.tensor([self.offsets[index] for index in few], device=weight.device)
            index = events.cases[:, few].clamp(min=0) + offsets
            total = total + F.embedding_bag(index, self.cases, per_sample_weights=weight[:, few].contiguous(), mode="sum")
        for variable in self.variables:
            if variable.large:
                total = total + weight[:, variable.index, None] * self.term(variable, events.cases[:, variable.index], None)
        if self.numbers:
            of_numbers = [variable.index for variable in self.variables if variable.number is not None]
            total = total + (events.features * weight[:, of_numbers, None]).flatten(1) @ self.values
        return total

    def trunk(self, state: State) -> Hidden:
        """Return the last hidden layer, and what is known of the factors."""
        common = self.copula.factors(state.evidence)
        factors = common.means.to(self.bias.dtype)
        h: Tensor = self.activate(state.sums + factors @ self.factors)
        for layer in self.hidden:
            new = self.activate(layer(h))
            h = h + new if new.shape == h.shape else new
        return Hidden(torch.cat([self.gain * h, factors], 1), common, torch.softmax(state.classes, 1), state.own)

    def _factors(self, variable: Variable) -> Factors:
        found = self.large[str(variable.index)]
        assert isinstance(found, Factors)
        return found

    def starts_of(self, variable: Variable, h: Hidden) -> Tensor:
        """Return the logits of a column's cases in a new network, ``(n, cases)`` or the same for all rows ``(cases)``."""
        if self.classes.count:
            return self.classes.case_logs(variable, h.posterior).to(h.units.dtype)
        return self.start_of(variable)

    def logits(self, variable: Variable, h: Hidden) -> Tensor:
        """Return the logits of a column's cases ``(n, cases)``."""
        start = self.starts_of(variable, h)
        if variable.large:
            return self._factors(variable).logits(h.units) + start
        at = slice(self.offsets[variable.index], self.offsets[variable.index] + variable.cases)
        return F.linear(h.units, self.case_weight[at], self.case_bias[at]) + start

    def products(self, variable: Variable, last: bool) -> int:
        """Return the multiplications of a row's pass for a column: hidden layers, its head and, unless it is the last, what it adds."""
        first, width = len(self.bias), self.case_weight.shape[1]
        count = sum(layer.weight.numel() for layer in self.hidden if isinstance(layer, nn.Linear))
        count += RANK * (width + variable.cases) if variable.large else width * variable.cases
        if not last:
            count += RANK * first * variable.large
        if self.classes.count:
            count += self.classes.count * (variable.cases + (BINS + 2 if variable.number is not None else 0))
        rank, told = self.copula.rank, self.copula.columns.count(variable.index)
        count += rank * (first + rank) + (0 if last else told * rank * (rank + 1))
        if variable.number is not None:
            count += rank * (rank + 1)
            count += width * size(self.bins) + (0 if last else FEATURES * first)
        return count

    def all_logits(self, h: Hidden) -> list[tuple[list[Variable], Tensor]]:
        """Return the logits of all columns in groups with equally many cases: the columns, and ``(n, columns, cases)``."""
        starts = self.classes.all_case_logs(h.posterior, h.own).to(h.units.dtype) if self.classes.count else self.starts
        found: list[tuple[list[Variable], Tensor]] = []
        for variable in (variable for variable in self.variables if variable.large):
            begin = self.begins[variable.index]
            made = self._factors(variable).logits(h.units) + starts[..., begin : begin + variable.cases]
            found.append(([variable], made.unsqueeze(1)))
        made = F.linear(h.units, self.case_weight, self.case_bias)
        for count in sorted({variable.cases for variable in self.order}):
            group = [variable for variable in self.order if variable.cases == count]
            at = self.offsets[group[0].index]
            own = torch.stack([starts[..., self.begins[v.index] : self.begins[v.index] + count] for v in group], -2)
            found.append((group, made[:, at : at + count * len(group)].unflatten(1, (len(group), count)) + own))
        return found

    def spline(self, variable: Variable, h: Tensor) -> Tensor:
        """Return the parameters of a number's spline ``(n, 3 bins + 4)``."""
        assert variable.number is not None
        return F.linear(h, self.spline_weight[variable.number], self.spline_bias[variable.number])

    def some_splines(self, h: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Return the parameters of each number's spline at some rows, one after the other ``(sum of rows, 3 bins + 4)``."""
        parts = h.index_select(0, torch.cat(list(rows))).split([len(some) for some in rows])
        return torch.cat([F.linear(*each) for each in zip(parts, self.spline_weight, self.spline_bias, strict=True)])


class Factors(nn.Module):
    """Vectors of many cases and their logits, both by way of a few factors that all share."""

    def __init__(self, cases: int, first: int, last: int, scale: float) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.randn(cases, RANK) / math.sqrt(RANK))
        self.enter = nn.Parameter(scale * torch.randn(RANK, first))
        self.leave = nn.Linear(last, RANK)
        self.told = nn.Parameter(torch.zeros(cases, RANK))
        self.bias = nn.Parameter(torch.zeros(cases))

    def term(self, case: Tensor) -> Tensor:
        """Return the vectors of cases ``(n)``."""
        return F.embedding(case, self.seen) @ self.enter

    def logits(self, h: Tensor) -> Tensor:
        """Return the logits of all cases ``(n, cases)``."""
        return F.linear(self.leave(h), self.told, self.bias)
