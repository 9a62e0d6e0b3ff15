"""Variable: what a column of a schema is to a model, the cases that it has, and where its numbers stand."""

from __future__ import annotations

from dataclasses import dataclass

from pushforward.data.schema.column import DISCRETE, REFUSED, Column
from pushforward.data.schema.schema import Schema

VALUE = 0
"""The case of a number that is no atom."""
OUTSIDE = -1
"""In place of a case: what cannot be."""
HELD = -2
"""From here down, in place of a case: a cell that is known between two values alone, and which atoms may be in it."""
LARGE = 128
"""Cases from which on they share factors instead of having weights of their own."""


@dataclass(frozen=True)
class Variable:
    """One column.

    Attributes:
        index: Its place in the schema.
        column: What the schema says.
        number: Its place among the numbers, None of what has cases alone.

    >>> Variable(0, Column("rain", "positive", low=0, atoms=((0, 0.8),), missing=0.1), 0).cases
    3
    """

    index: int
    column: Column
    number: int | None

    @property
    def cases(self) -> int:
        """How many cases there are: each category, or a value and each atom; and a missing one, where it may be missing."""
        return (len(self.column.categories) or 1 + len(self.column.atoms)) + self.may_be_missing

    @property
    def may_be_missing(self) -> bool:
        """Whether a missing value is an outcome."""
        return self.column.missing > 0

    @property
    def missing(self) -> int:
        """The case of a missing value, the last."""
        return self.cases - 1

    @property
    def large(self) -> bool:
        """Whether there are so many cases that they share factors."""
        return self.cases > LARGE

    @property
    def atoms(self) -> tuple[float, ...]:
        """The values that have a probability of their own, whose cases follow that of a value."""
        return tuple(value for value, _ in self.column.atoms)

    @property
    def ranks(self) -> list[int]:
        """The place of each atom among them by size."""
        return [sorted(self.atoms).index(atom) for atom in self.atoms]


def variables_of(schema: Schema) -> tuple[Variable, ...]:
    """Return a schema's columns, or raise ValueError for a kind of which there is neither a density nor a probability."""
    if not len(schema):
        raise ValueError("TableFlow: expected a schema with columns, got none")
    if refused := [column for column in schema if column.kind in REFUSED]:
        names = ", ".join(f"{column.name!r} ({column.kind}: {column.why or 'as told'})" for column in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise ValueError(
            f"TableFlow: expected columns with a density or a probability, got {names}{more}; leave them out with "
            "Schema.find(data, exclude=[...]), say what they are, or make numbers or categories of them"
        )
    numbers = iter(range(len(schema)))
    return tuple(Variable(at, column, None if column.kind in DISCRETE else next(numbers)) for at, column in enumerate(schema))
