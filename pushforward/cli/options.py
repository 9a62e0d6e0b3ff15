"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SEEDS = 2**63 - 1

TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="A table: .csv, .csv.gz, .tsv, .parquet or .npy.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model that fit wrote.")]
Columns = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns; all numeric ones, or the model's, unless told.")]
Context = Annotated[str | None, typer.Option(metavar="C,D,...", help="Columns that the density is conditioned on.")]
Seed = Annotated[int | None, typer.Option(min=0, max=SEEDS, help="Random seed; a fresh one unless told.")]
FixedSeed = Annotated[int, typer.Option(min=0, max=SEEDS, help="Random seed.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="A table to write instead of CSV on standard output.")]
Exclude = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to leave out.")]
Kind = Annotated[list[str] | None, typer.Option(metavar="COLUMN=KIND", help="What a column is, such as age=count; once for each.")]
