"""Description: what a table's model is made of, in words."""

from __future__ import annotations

import textwrap

from torch import nn

from pushforward.tables.model import Model
from pushforward.tables.variable import Variable


def described(model: Model, parameters: int) -> str:
    """Return the columns with the measure of each, the network, and what scoring a row costs."""
    rows = [["column", "kind", "measure", "cases", "spline"]]
    for variable in model.variables:
        spline = "" if variable.number is None else f"{model.network.bins} bins"
        rows.append([variable.column.name, variable.column.told(), measure_of(model, variable), str(variable.cases), spline])
    rows = [[textwrap.shorten(cell, 60, placeholder=" ...") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    count = len(model.variables)
    found = model.network.classes.count
    classes = [f"  begins with {found} latent classes beside the normal copula"] * bool(found)
    products = sum(model.network.products(variable, variable.index == count - 1) for variable in model.variables)
    hidden = [len(model.network.bias), *(layer.out_features for layer in model.network.hidden if isinstance(layer, nn.Linear))]
    return "\n".join(
        [
            f"TableFlow of {count} column{'s' * (count > 1)}, {parameters:,} parameters" + ("" if bool(model.measured) else ", not fitted"),
            *(f"  {line}" for line in table),
            *classes,
            f"  network: cells that are known → {' → '.join(map(str, hidden))} → the conditional of any column",
            f"  a row is scored, or drawn, in {count} pass{'es' * (count > 1)} of the network, {products:,} multiplications",
        ]
    )


def measure_of(model: Model, variable: Variable) -> str:
    """Return in what a column is measured, in words: what a sum or an integral over it is 1 in."""
    if variable.number is None or variable.column.kind == "count":
        return "probability"
    grid = model.grid_of(variable)
    parts = ["density a second" if variable.column.kind == "datetime" else "density"]
    if grid is not None and grid.step:
        parts[0] += f" of cells {grid.step:g} wide"
    if variable.atoms or variable.may_be_missing:
        both = " and ".join(["atoms"] * bool(variable.atoms) + ["missing"] * variable.may_be_missing)
        parts.append(f"probability of {both}")
    return ", ".join(parts)
