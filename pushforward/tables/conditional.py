"""Conditional: a table's density given the values of some columns, as a distribution of the others."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.to_frames import moment_of, values_of
from pushforward.tables.asking import place_of, places_of, whole
from pushforward.tables.chain import check_generator, draw_chain
from pushforward.tables.integral import DRAWS
from pushforward.tables.restricted import CHOSEN, Drawn, draw_between, every_value, points_of, score_given, started
from pushforward.tables.univariate import Univariate
from pushforward.tables.variable import Variable

if TYPE_CHECKING:
    from pushforward.tables.table_flow import TableFlow

MEANS = 4096
"""Draws over which the mean of a column is taken that is given between two values."""
Plain = str | int | float | bool | dt.date | dt.datetime


class TableConditional:
    """The distribution of a table's other columns, given values of some; `TableFlow.condition` makes it.

    A row of them is drawn, and scored, by the chain of conditionals in the order of the schema, all of them given what is given: exact and
    normalised, without rejection and without weights. What one column is given all of it is told in closed form.

    What is given between two values alone comes first in the chain: it is drawn between its ends, and is one of the other columns that is
    restricted to these. Given one such column, draws are those of the density, and densities, probabilities and means of others are sums
    over the values that it has there, or means over quasi-random draws where these are many. Given several, draws have weights, by which
    those that are returned are chosen.

    Args:
        model: The model.
        coded: ``(1, columns)``, what is given, coded.
        given: Places of the columns that are given.
        bounds: ``(1, columns, 2)``, the ends of those that are given between two values alone; None where there are none.

    Raises:
        ValueError: What is given between two values has no probability.
    """

    def __init__(self, model: TableFlow, coded: Tensor, given: Sequence[int], bounds: Tensor | None = None) -> None:
        self.parent, self.coded, self.bounds = model, coded, bounds
        self.between = [] if bounds is None else [at for at in given if not math.isnan(float(bounds[0, at, 0]))]
        self.given = [at for at in given if at not in self.between]
        self.rest = [at for at in range(len(model.schema)) if at not in self.given]
        if self.between and not bool(torch.isfinite(self._drawn(self.between).logs).any()):
            names = ", ".join(repr(model.columns[at]) for at in self.between)
            raise ValueError(f"TableFlow.condition: expected {names} between values that have a probability, got none there")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are not given, those among them that are given between two values alone."""
        return tuple(self.parent.columns[at] for at in self.rest)

    @property
    def effective_sample_size(self) -> float:
        """How many draws of equal weights are as good as 1,024 of what is given between two values; all, unless that is several columns."""
        return float(self._drawn(self.between, CHOSEN).effective) if len(self.between) > 1 else float(CHOSEN)

    @torch.no_grad()
    def _drawn(self, columns: Sequence[int], draws: int = DRAWS) -> Drawn:
        """Return quasi-random draws of columns that are given between two values, or all that one has there, if they are few."""
        assert self.bounds is not None
        found = every_value(self.parent.model, self.coded, self.bounds, self.given, columns[0]) if len(columns) == 1 else None
        return found or draw_between(self.parent.model, self.coded, self.bounds, self.given, columns, points_of(columns, draws))

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, library: str | None = None) -> Any:
        """Return a table of n rows with all columns, those that are given as they are given.

        Args:
            n: How many.
            generator: Of the random numbers; None for torch's global ones.
            library: As of `TableFlow.sample`.
        """
        check_generator(generator)
        coded = self._started(whole("n", n), generator)
        known = torch.zeros(coded.shape, dtype=torch.bool, device=coded.device)
        known[:, [*self.given, *self.between]] = True
        rest = [at for at in self.rest if at not in self.between]
        return self.parent.decode(draw_chain(self.parent.model, coded, known, rest, generator), library)

    def _started(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Return n coded rows with what is given, drawn where it is given between two values alone."""
        if self.bounds is None or not self.between or not n:
            return self.coded.repeat(n, 1)
        return started(self.parent.model, self.coded, self.bounds, self.given, self.between, n, generator)

    @torch.no_grad()
    def log_prob(self, data: Any, columns: Sequence[str] | None = None, *, by: str | None = None, unseen: str = "raise") -> Any:
        """Return the log of the density of each row's other columns given what is given, in nats.

        Args:
            data: A table with the columns that are not given; those that are may be there, as they are given.
            columns: Those asked about, the others are not known; None for all that are not given.
            by: As of `TableFlow.log_prob`.
            unseen: As of `TableFlow.log_prob`.

        Raises:
            ValueError: A column that is given is asked about, or has another value in the data.
        """
        if by not in (None, "column"):
            raise ValueError(f"TableConditional.log_prob: expected by to be 'column' or None, got {by!r}")
        asked = self.rest if columns is None else places_of(self.parent.columns, "condition", columns)
        if both := [self.parent.columns[at] for at in asked if at in self.given]:
            raise ValueError(f"TableConditional.log_prob: expected columns that are not given, got {both[0]!r}")
        there = [at for at in self.given if not self.parent.absent(data, at)]
        coded, bounds = self.parent.encode_all(data, unseen, sorted([*asked, *there]))
        if bounds is not None and not bool(torch.isnan(bounds[:, [*self.given, *self.between]]).all()):
            raise ValueError("TableConditional.log_prob: expected values of what is given, got one that is known between two alone")
        for at in there:
            same = (coded[:, at] == self.coded[0, at]) | (torch.isnan(coded[:, at]) & torch.isnan(self.coded[0, at]))
            if not bool(same.all()):
                row = int((~same).nonzero()[0]) + self.parent.schema.first_row(data)
                name = self.parent.columns[at]
                raise ValueError(f"TableConditional.log_prob: expected {name!r} as it is given, got another in row {row}; leave it out")
        coded[:, self.given] = self.coded[:, self.given]
        if self.bounds is not None:
            bounds = torch.full((*coded.shape, 2), torch.nan, dtype=coded.dtype, device=coded.device) if bounds is None else bounds
            bounds[:, self.between] = self.bounds[:, self.between]
        scores = score_given(self.parent.model, coded, asked, [*self.given, *self.between], bounds).logs
        return {self.parent.columns[index]: scores[:, at] for at, index in enumerate(asked)} if by else scores.sum(1)

    def probabilities(self, column: str) -> dict[Any, float]:
        """Return the probabilities of a column's cases: of each category, or of each atom and ``"value"``; None is a missing one.

        >>> from pushforward import TableFlow
        >>> rows = {"city": ["Bonn", "Ulm"] * 50, "size": [3, 4, 4, 5] * 25}
        >>> TableFlow(rows, widths=(8,)).measure(rows).condition({"size": 4}).probabilities("city")["Ulm"]
        0.5
        """
        found = self._of("probabilities", column)
        if found.within < 1:
            raise ValueError(f"TableConditional.probabilities: expected a column that may have any value, got {column!r}; ask for its cdf")
        return found.probabilities()

    def mean(self, column: str) -> float | dt.date | dt.datetime:
        """Return the mean of a column of numbers or dates, given that it is not missing; of a circular one that of the directions."""
        found = self._of("mean", column)
        if not found.number:
            raise ValueError(f"TableConditional.mean: expected a column of numbers, got {column!r}, which has {_cases(found.variable)}")
        value = found.mean() if found.within == 1 else self._mean_between(found)
        return moment_of(found.column, value) if found.column.kind == "datetime" else value

    def quantile(self, column: str, q: float) -> Plain:
        """Return the least value up to which the probability is at least q, given that it is not missing.

        Args:
            column: One of numbers, dates or ordered categories; of a circular one from where its circle begins.
            q: Between 0 and 1.
        """
        self._between("quantile", "q", q)
        found = self._of("quantile", column)
        if not found.number and found.column.kind != "ordered":
            raise ValueError(
                f"TableConditional.quantile: expected a column with an order, got {column!r}, which has {_cases(found.variable)}"
            )
        return self._plain(found, found.quantile(float(q)))

    def interval(self, column: str, p: float = 0.9) -> tuple[Plain, Plain]:
        """Return two values between which the column lies with probability p, given that it is not missing.

        As much lies below as above; on a circle the interval is around the mean direction, and its end may be before its beginning.
        """
        self._between("interval", "p", p)
        found = self._of("interval", column)
        if found.number:
            low, high = found.interval(float(p))
            return self._plain(found, low), self._plain(found, high)
        return self.quantile(column, (1 - p) / 2), self.quantile(column, (1 + p) / 2)

    @torch.no_grad()
    def cdf(self, column: str, value: Any) -> float:
        """Return the probability that a column of numbers or dates is at most a value, given that it is not missing."""
        found = self._of("cdf", column)
        if not found.number:
            raise ValueError(f"TableConditional.cdf: expected a column of numbers, got {column!r}, which has {_cases(found.variable)}")
        at = place_of(self.parent.columns, "cdf", column)
        coded = float(self.parent.encode({column: [value]}, "raise", [at], fitted=False)[0, at])
        if math.isnan(coded):
            raise ValueError(f"TableConditional.cdf: expected a value of {column!r}, got a missing one; ask for its probabilities")
        return found.cdf(coded)

    @torch.no_grad()
    def _of(self, method: str, column: str) -> Univariate:
        at = place_of(self.parent.columns, method, column)
        if at in self.given:
            raise ValueError(f"TableConditional.{method}: expected a column that is not given, got {column!r}")
        model = self.parent.model
        others = [place for place in self.between if place != at]
        drawn = self._drawn(others) if others else Drawn(self.coded, self.coded.new_zeros(1, 1))
        known = torch.zeros(drawn.rows.shape, dtype=torch.bool, device=self.coded.device)
        known[:, [*self.given, *others]] = True
        h = model.network.trunk(model.network.state(model.events(drawn.rows), known))
        low, high = (math.nan, math.nan) if self.bounds is None or at not in self.between else self.bounds[0, at].tolist()
        return Univariate(model, model.variables[at], h, drawn.weights[0], None if math.isnan(low) else (low, high))

    def _mean_between(self, found: Univariate) -> float:
        """Return the mean of a column that is given between two values, over draws of it."""
        at = found.variable.index
        drawn = self._drawn([*(place for place in self.between if place != at), at], MEANS)
        return float(drawn.weights[0] @ drawn.rows[:, at])

    def _plain(self, found: Univariate, value: float) -> Plain:
        """Return a coded value as a user's."""
        made: Plain = values_of(found.column, np.array([value]))[0]
        return made

    def _between(self, method: str, name: str, value: Any) -> None:
        if not isinstance(value, int | float | np.floating) or isinstance(value, bool) or not 0 < value < 1 or math.isnan(value):
            raise ValueError(f"TableConditional.{method}: expected {name} between 0 and 1, got {value!r}")


def _cases(variable: Variable) -> str:
    return f"{variable.cases} cases; ask for its probabilities"
