"""Classes: a latent class in each of which columns are independent, so that any cells of a row say what the others are, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.tables.chart import BINS as KNOTS
from pushforward.tables.events import Events
from pushforward.tables.spline import WIDE
from pushforward.tables.steps import Steps, bin_of, sums_of
from pushforward.tables.variable import VALUE, Variable

BINS = KNOTS + 2
"""Bins of a number: those of its chart, and a tail at each end."""

PARTS = ("weights", "logs", "chances", "edges", "odds", "single")
MAIN = 4
"""Classes of a row from which it is left out: it is hardly in any other."""
LEFT = 0.05
"""Share of a probability that stays when a row is left out, at least."""


class Own(NamedTuple):
    """Rows that were among those that classes were found from.

    Args:
        share: Of each what it is in each class, ``(n, K)``.
        tokens: Its tokens, ``(n, columns and numbers)``.
    """

    share: Tensor
    tokens: Tensor


class Classes(nn.Module):
    r"""A mixture whose classes have independent columns, :math:`p(x) = \sum_k \pi_k \prod_j p_k(x_j)`.

    A column has the probabilities of its cases in each class, and those of the bins of its marginal, in which values are spread as the
    marginal spreads them. What is known of a row is the log of its probability together with each class, a sum over known cells; the
    conditional of any other column is the mean of the classes' by their posterior. It is measured, in float64, and not trained, but for
    what the posterior adds to a network's sums and heads. Without any class it takes no time.
    Source: Finite Mixture Models (McLachlan, Peel, 2000).

    Args:
        variables: The columns.
    """

    weights: Tensor | None
    """Logs of the classes' shares, ``(K)``."""
    logs: Tensor | None
    """Of each token the log of its probability in each class, ``(tokens, K)``: what knowing it says of the class."""
    chances: Tensor | None
    """Of each token the probability that is foretold, ``(tokens, K)``: an atom's is without that of its cell among values."""
    edges: Tensor | None
    """Of each number the marginal's shares below and above the edges of its bins, ``(numbers, 2, BINS + 1)``."""

    odds: Tensor | None
    """Of each number the log-odds of the classes' conditional beside the copula's, in a new network, ``(numbers)``."""

    single: Tensor | None
    """What a row that is in a class alone adds to the probability of its token of each column and number, and of the class, at the end,
    ``(columns + numbers + 1, K)``."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        super().__init__()
        self.variables = tuple(variables)
        self.begins: list[int] = []
        self.bins: list[int] = []
        total = 0
        for variable in variables:
            self.begins.append(total)
            total += variable.cases
        for _ in (variable for variable in variables if variable.number is not None):
            self.bins.append(total)
            total += BINS
        self.total = total
        self.numbers = [variable.index for variable in variables if variable.number is not None]
        for name in PARTS:
            self.register_buffer(name, None)

    @property
    def count(self) -> int:
        """How many classes there are, K; 0 where a model begins without."""
        return 0 if self.weights is None else len(self.weights)

    def resize(self, count: int, device: torch.device | None = None) -> None:
        """Have so many classes, whose numbers are still to be set; 0 for none."""
        shapes = {"weights": (count,), "logs": (self.total, count), "chances": (self.total, count)}
        shapes |= {"edges": (len(self.numbers), 2, BINS + 1), "odds": (len(self.numbers),)}
        shapes |= {"single": (len(self.variables) + len(self.numbers) + 1, count)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64, device=device) if count else None)

    def set(self, **parts: Tensor) -> None:
        """Take all parts, by name."""
        for name in PARTS:
            self.register_buffer(name, parts[name])

    def forget(self) -> None:
        """Have no classes."""
        self.resize(0)

    def _apply(self, fn: Any, recurse: bool = True) -> Classes:
        # As of charts: what is moved to another precision is the network.
        super()._apply(lambda t: t.to(fn(t).device), recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        found = state_dict.get(f"{prefix}weights")
        if (0 if found is None else len(found)) != self.count:
            # What files, other models and failed fits bring may have more or fewer; without any there is nothing that says where.
            self.resize(*((0,) if found is None else (len(found), found.device)))
        super()._load_from_state_dict(state_dict, prefix, *others)

    @property
    def sound(self) -> bool:
        """Whether it is a distribution: what a file says may be anything."""
        if self.weights is None or self.logs is None or self.chances is None or self.edges is None:
            return True
        if not all(bool(torch.isfinite(part).all()) for part in self.buffers()) or bool((self.chances < 0).any()):
            return False
        if self.single is None or self.odds is None or bool((self.single < 0).any()):
            return False
        blocks = [(begin, variable.cases) for begin, variable in zip(self.begins, self.variables, strict=True)]
        sums = [self.chances[begin : begin + size].sum(0) for begin, size in [*blocks, *((begin, BINS) for begin in self.bins)]]
        whole = torch.stack([*sums, torch.exp(self.weights).sum().expand(self.count)])
        rising = bool((self.edges[:, 0].diff() >= 0).all() and (self.edges[:, 1].diff() <= 0).all())
        return rising and bool(((whole - 1).abs() < 1e-6).all())

    def tokens(self, events: Events, columns: Sequence[int], edges: Tensor | None = None) -> Tensor:
        """Return the tokens of some columns' cells ``(n, columns and numbers)``, of cases and then of numbers; -1 where there is none."""
        begins = torch.tensor([self.begins[column] for column in columns], device=events.cases.device)
        cases = events.cases[:, list(columns)]
        found = torch.where(cases >= 0, cases + begins, -1)
        numbers = [self.numbers.index(column) for column in columns if column in self.numbers]
        if not numbers:
            return found
        edges = self.edges if edges is None else edges
        assert edges is not None
        values = events.cases[:, [self.numbers[number] for number in numbers]] == VALUE
        return torch.cat([found, torch.where(values, self._bins(events.places[:, numbers], numbers, edges), -1)], 1)

    def _bins(self, places: Tensor, numbers: Sequence[int], edges: Tensor) -> Tensor:
        """Return the tokens of the bins of numbers ``(n, numbers)`` in which the middles of their cells are."""
        begin_below, begin_above, end_below, end_above, _ = places.unbind(-1)
        index = bin_of(edges[list(numbers)], ((begin_below + end_below) / 2).T, ((begin_above + end_above) / 2).T).T
        return index + torch.tensor([self.bins[number] for number in numbers], device=index.device)

    def odds_of(self, number: Tensor) -> Tensor:
        """Return by how much the log-odds of the classes' conditional are above those of the marginal in a model without, ``(n)``."""
        assert self.odds is not None
        return self.odds[number] - WIDE

    def log_steps(
        self, variables: Sequence[Variable], posterior: Tensor, rows: Sequence[Tensor], events: Events, own: Own | None = None
    ) -> Tensor:
        """Return the logs of densities of some rows' values divided by the marginal's, number after number ``(sum of rows)``."""
        assert self.single is not None
        assert self.chances is not None
        assert self.edges is not None
        numbers = [variable.number for variable in variables if variable.number is not None]
        bins = self._bins(events.places[:, numbers], numbers, self.edges)
        width = torch.log(widths(self.edges)).flatten()
        found = []
        for at, (variable, some) in enumerate(zip(variables, rows, strict=True)):
            token = bins[some, at]
            among = posterior[some] * self.chances[self.begins[variable.index] + VALUE]
            chance = self.chances[token]
            if own is not None:
                single = own.share[some] * self.single[len(self.variables) + numbers[at]]
                chance = torch.maximum(chance - single, LEFT * chance) / (1 - single)
            mass = (among * chance).sum(1) / among.sum(1)
            found.append(torch.log(mass) - width[token - self.bins[0]])
        return torch.cat(found)

    def evidence(self, events: Events, known: Tensor) -> Tensor:
        """Return the log of what is known of rows together with each class ``(n, K)``, where ``known (n, columns)`` is so."""
        if self.weights is None:
            return events.places.new_zeros(len(known), 0)
        columns = known.any(0).nonzero().flatten().tolist()
        if not columns:
            return self.weights.expand(len(known), -1)
        index = self.tokens(events, columns)
        given = known[:, columns + [column for column in columns if column in self.numbers]]
        return self.weights + self._summed(torch.where(given, index, -1))

    def left_out(self, events: Events, known: Tensor) -> tuple[Tensor, Own]:
        r"""Return what `evidence` does, of classes from which each row is left out, and what each is in them.

        A token's probability :math:`p = (c + a q) / (n + a)` in a class becomes :math:`(p - r s) / (1 - r s)` without a row whose share in
        the class is r, with :math:`s = 1 / (n + a)`. A network that is trained on the rows that classes were found from would else take
        these for better than they are.
        """
        assert self.weights is not None
        assert self.logs is not None
        assert self.single is not None
        every = list(range(len(self.variables)))
        index = self.tokens(events, every)
        given = (index >= 0) & known[:, every + self.numbers]
        joint = self.weights + self._summed(torch.where(given, index, -1))
        share, main = torch.softmax(self.weights + self._summed(index), 1).topk(min(MAIN, self.count), 1)
        place = index.clamp(min=0).unsqueeze(2) * self.count + main.unsqueeze(1)
        single = self.single[:, main].permute(1, 0, 2) * share.unsqueeze(1)
        part = single[:, :-1] * torch.exp(-self.logs.flatten()[place])
        change = torch.log1p(-part.clamp(max=1 - LEFT)) - torch.log1p(-single[:, :-1].clamp(max=1 - LEFT))
        change = (change * given.unsqueeze(2)).sum(1) + torch.log1p(-single[:, -1].clamp(max=1 - LEFT))
        return joint.scatter_add(1, main, change), Own(torch.zeros_like(joint).scatter(1, main, share), index)

    def added(self, evidence: Tensor, column: int, events: Events) -> Tensor:
        """Return what is known when one more column is, of all rows."""
        return evidence + self._summed(self.tokens(events, [column])) if self.count else evidence

    def _summed(self, index: Tensor) -> Tensor:
        assert self.logs is not None
        there = (index >= 0).to(self.logs.dtype)
        return F.embedding_bag(index.clamp(min=0), self.logs, per_sample_weights=there, mode="sum")

    def case_logs(self, variable: Variable, posterior: Tensor) -> Tensor:
        """Return the log-probabilities of a column's cases ``(n, cases)`` by the posterior of the classes ``(n, K)``."""
        assert self.chances is not None
        begin = self.begins[variable.index]
        return torch.log(posterior @ self.chances[begin : begin + variable.cases].T)

    def all_case_logs(self, posterior: Tensor, own: Own | None = None) -> Tensor:
        """Return those of all columns one after the other, ``(n, cases of all)``."""
        assert self.chances is not None
        assert self.single is not None
        chances = posterior @ self.chances[: self.bins[0] if self.bins else self.total].T
        if own is not None:
            count = len(self.variables)
            index = own.tokens[:, :count].clamp(min=0)
            before = chances.gather(1, index)
            without = torch.maximum(before - (posterior * own.share) @ self.single[:count].T, LEFT * before)
            chances = chances.scatter(1, index, torch.where(own.tokens[:, :count] >= 0, without, before))
        return torch.log(chances)

    def steps(self, variable: Variable, posterior: Tensor) -> Steps:
        """Return the distribution functions of a number's values over its marginal's shares."""
        assert self.chances is not None
        assert self.edges is not None
        assert variable.number is not None
        begin = self.bins[variable.number]
        among = posterior * self.chances[self.begins[variable.index] + VALUE]
        masses = (among / among.sum(1, keepdim=True)) @ self.chances[begin : begin + BINS].T
        edges = self.edges[variable.number]
        both = torch.stack([masses, widths(edges).expand_as(masses)], -2)
        return Steps(edges.expand(len(masses), -1, -1), sums_of(masses), both)

    def some_steps(self, variables: Sequence[Variable], posterior: Tensor, rows: Sequence[Tensor]) -> Steps:
        """Return those of several numbers, each at some rows, one after the other."""
        parts = [self.steps(variable, posterior[some]) for variable, some in zip(variables, rows, strict=True)]
        return Steps(*(torch.cat(part) for part in zip(*parts, strict=True)))


def widths(edges: Tensor) -> Tensor:
    """Return the marginal's shares of bins ``(..., B)``, each from the nearer side of their edges ``(..., 2, B + 1)``."""
    below, above = edges.unbind(-2)
    return torch.where(below[..., 1:] <= 0.5, below.diff(), -above.diff())
