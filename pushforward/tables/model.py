"""Model: the columns of a schema, the charts of its numbers and one network; what it takes is coded rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.data.schema.grid import Grid, find_grid
from pushforward.data.schema.schema import Schema
from pushforward.tables.beginning import begin
from pushforward.tables.chart import Chart
from pushforward.tables.events import Events, category_events, events_of, number_events
from pushforward.tables.measuring import measure_chart
from pushforward.tables.network import Network
from pushforward.tables.spreading import spread
from pushforward.tables.variable import VALUE, Variable, variables_of

SEEN = 20_000
"""Rows of which correlations are measured, about."""
SMALLEST = 1e-140
"""How far the least and the largest value of a column are apart, at least; what is larger than the inverse is too large."""


class Model(nn.Module):
    """What a `TableFlow` computes with.

    Args:
        schema: What the columns are.
        widths: Width of each hidden layer.
        bins: Bins of the splines.
        activation: The activation's name.
    """

    measured: Tensor

    def __init__(self, schema: Schema, widths: Sequence[int], bins: int, activation: str) -> None:
        super().__init__()
        self.variables: tuple[Variable, ...] = variables_of(schema)
        self.numbers = [variable for variable in self.variables if variable.number is not None]
        self.charts = nn.ModuleList(Chart() for _ in self.numbers)
        self.network = Network(self.variables, widths, bins, activation)
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network."""
        return self.network.bias.dtype

    def chart_of(self, variable: Variable) -> Chart:
        """Return the chart of a number."""
        assert variable.number is not None
        chart = self.charts[variable.number]
        assert isinstance(chart, Chart)
        return chart

    def grid_of(self, variable: Variable) -> Grid | None:
        """Return where the values of a number lie, None for what is none."""
        if variable.number is None:
            return None
        step, origin, rounding = self.chart_of(variable).spacing.tolist()
        column = variable.column
        return Grid(step, origin, column.low, column.high, column.kind == "circular", rounding, column.kind == "datetime")

    @property
    def grids(self) -> list[Grid]:
        """Where the values of each number lie."""
        return [grid for variable in self.numbers if (grid := self.grid_of(variable)) is not None]

    def events(self, coded: Tensor, bounds: Tensor | None = None) -> Events:
        """Return coded rows ``(n, columns)`` of float64 as events, with the bounds of cells that are known between them alone."""
        return events_of(self.variables, [self.chart_of(variable) for variable in self.numbers], self.grids, coded, self.dtype, bounds)

    def cases(self, variable: Variable, values: Tensor) -> Tensor:
        """Return the cases of coded values ``(n)`` of one column."""
        grid = self.grid_of(variable)
        return category_events(variable, values) if grid is None else number_events(variable, self.chart_of(variable), grid, values)[0]

    def met(self, events: Events, variable: Variable, values: Tensor) -> Events:
        """Return events in which one column has other coded values ``(n)``."""
        cases, grid = events.cases.clone(), self.grid_of(variable)
        if grid is None:
            cases[:, variable.index] = category_events(variable, values)
            return events._replace(cases=cases)
        places, features = events.places.clone(), events.features.clone()
        case, place, seen = number_events(variable, self.chart_of(variable), grid, values)
        cases[:, variable.index], places[:, variable.number], features[:, variable.number] = case, place, seen.to(self.dtype)
        return Events(cases, places, features)

    def begin_as(self, other: Model) -> None:
        """Take what another model of the same columns has measured."""
        for ours, theirs in zip(self.charts, other.charts, strict=True):
            ours.load_state_dict(theirs.state_dict())
        self.network.starts.copy_(other.network.starts)
        self.network.copula.load_state_dict(other.network.copula.state_dict())
        self.network.classes.load_state_dict(other.network.classes.state_dict())
        self.measured.copy_(other.measured)

    @torch.no_grad()
    def measure(
        self, coded: Tensor, weights: Tensor | None = None, bounds: Tensor | None = None, correlated: bool = True, classes: bool = True
    ) -> None:
        """Measure charts, grids and the probabilities of cases from coded rows ``(n, columns)``, each with a weight.

        Of cells that are known between ``bounds (n, columns, 2)`` alone the weight is spread over the values that there are between.
        Without ``correlated`` columns are independent but for latent classes, without ``classes`` there are none of these.
        """
        heavy = torch.ones(len(coded), dtype=torch.float64, device=coded.device) if weights is None else weights.double()
        # As many rows as there would have to be without weights.
        heavy = heavy * (heavy.sum() / heavy.square().sum())
        for variable in self.variables:
            values, mass = coded[:, variable.index], heavy
            if bounds is not None and variable.number is not None:
                values, mass = spread(variable.column, values, mass, bounds[:, variable.index])
            overlap = self._measure_number(variable, values, mass) if variable.number is not None else {}
            case = self.cases(variable, values)
            counts = torch.zeros(variable.cases, dtype=torch.float64, device=coded.device).index_add(0, case, mass)
            shares = (counts + 1 / variable.cases) / (counts.sum() + 1)
            if overlap:
                # The atoms' shares in the data are those of the atoms and of their cells among values together.
                value = shares[VALUE] / (1 - sum(overlap.values()))
                for at, cell in overlap.items():
                    shares[at] = torch.clamp(shares[at] - value * cell, min=float(0.1 / (counts.sum() + 1)))
                shares[VALUE] = value
            self.network.start_of(variable).copy_(torch.log(shares / shares.sum()))
        some = slice(None, None, max(1, len(coded) // SEEN))
        events = self.events(coded[some], None if bounds is None else bounds[some])
        self.network.copula.measure(events, heavy[some])
        if not correlated:
            self.network.copula.forget()
        self.network.classes.forget()
        if classes:
            begin(self, events, heavy[some], len(coded))
        self.measured.fill_(True)

    def _measure_number(self, variable: Variable, values: Tensor, weights: Tensor) -> dict[int, float]:
        """Measure grid and chart of a number; return the shares of values that lie in the cells of atoms."""
        chart = self.chart_of(variable)
        finite = torch.isfinite(values)
        grid = find_grid(variable.column, values[finite].cpu().numpy())
        _expect_size(variable.column.name, values[finite])
        chart.spacing.copy_(torch.tensor([grid.step, grid.origin, grid.rounding], dtype=torch.float64))
        some, heavy = (part[finite].cpu().numpy() for part in (values, weights))
        measure_chart(chart, grid, np.array([0.0]) if not len(some) else some)  # a place for all values, to tell the atoms
        case = self.cases(variable, values[finite])
        among = (case == VALUE).cpu().numpy()
        measure_chart(chart, grid, some[among], heavy[among])
        if not grid.step or not variable.atoms:
            return {}
        atoms = torch.tensor(grid.wrapped(np.array(variable.atoms)), dtype=torch.float64, device=values.device)
        mass = torch.exp(chart.cell(atoms, grid.step / 2)[1].log_density)
        return {
            at: float(cell) for at, (cell, inside) in enumerate(zip(mass, grid.holds(np.array(variable.atoms)), strict=True), 1) if inside
        }

    def broken(self) -> str | None:
        """Return the name of a column whose chart is no distribution function, as of a file may be; of bad copulas or classes the first."""
        bad = (v for v in self.numbers if bool(self.measured) and not self.chart_of(v).sound)
        name = next((variable.column.name for variable in bad), None)
        sound = self.network.copula.sound and self.network.classes.sound
        return name if name is not None or sound else self.variables[0].column.name


def _expect_size(name: str, values: Tensor) -> None:
    """Refuse values that are so large, or so near to one another, that densities leave the range of float64."""
    if not len(values):
        return
    largest, reach = float(values.abs().max()), float(values.max() - values.min())
    if largest > 1 / SMALLEST or 0 < reach < SMALLEST:
        raise ValueError(
            f"TableFlow: column {name!r}: expected values of at most {1 / SMALLEST:g}, and {SMALLEST:g} apart from least to largest, got "
            f"{float(values.min()):g} to {float(values.max()):g}; give them in another unit"
        )
