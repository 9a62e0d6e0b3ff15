"""Comparison: what models of a table are worth, as values and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Compared:
    """One model of a comparison.

    Attributes:
        name: What it is.
        nats: Mean negative log-density of the rows held out, in nats a row; fewer are better.
        error: Standard error of the difference to the best, over these rows; 0 of the best.
        seconds: Time of the processor that it took, on all threads.
        parameters: Numbers that were trained; of a density that is only measured, those measured.
    """

    name: str
    nats: float
    error: float
    seconds: float
    parameters: int


@dataclass(frozen=True)
class Comparison:
    """What models of a table are worth; as text a table of them.

    Attributes:
        rows: The models, the best first.
        held: How many rows they were scored on, which none has seen.
        left_out: Models that have no density of such a table, or could not be fitted, with the reason.
        spread: Columns that lie on a grid, whose cells flows of numbers fill evenly.
    """

    rows: tuple[Compared, ...]
    held: int
    left_out: Mapping[str, str]
    spread: tuple[str, ...] = ()

    @property
    def best(self) -> Compared:
        """The model with the fewest nats."""
        return self.rows[0]

    def __getitem__(self, name: str) -> Compared:
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise KeyError(f"no model {name!r}; there are {', '.join(row.name for row in self.rows)}")
        return found

    def __str__(self) -> str:
        """Return a table: nats, how many more than the best with the standard error, seconds and parameters; and what was left out."""
        cells = [["model", "nats", "more than the best", "seconds", "parameters"]]
        for row in self.rows:
            more = "" if row is self.best else f"{row.nats - self.best.nats:.3f} ± {row.error:.3f}"
            cells.append([row.name, f"{row.nats:.3f}", more, f"{row.seconds:.1f}", f"{row.parameters:,}"])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]).rstrip()
            for name, *rest in cells
        ]
        lines.append(f"nats a row of {self.held} rows that no model has seen; fewer are better")
        if self.spread:
            lines.append(f"flows of numbers are averaged over the cells of {', '.join(self.spread)}")
        by_reason = {why: [name for name in self.left_out if self.left_out[name] == why] for why in self.left_out.values()}
        lines += [f"left out: {', '.join(names)} ({why})" for why, names in by_reason.items()]
        return "\n".join(lines)
