"""How a table is written: options of every command that reads one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pushforward.cli.arguments import say, split
from pushforward.data.reading import Format, Table, open_table


@dataclasses.dataclass(frozen=True)
class Form:
    """What a command is told of how a table is written; None is found."""

    delimiter: Annotated[
        str | None, typer.Option(help="Between values: a character, or comma, semicolon, tab, pipe, blank; found unless told.")
    ] = None
    decimal: Annotated[str | None, typer.Option(help="The decimal mark, . or ,; found unless told.")] = None
    encoding: Annotated[str | None, typer.Option(help="Of the text, such as cp1252; found unless told.")] = None
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="Whether the first row has names; found unless told.")] = None
    missing: Annotated[str | None, typer.Option(metavar="A,B,...", help="More marks for missing values, such as -999.")] = None

    @property
    def told(self) -> list[str]:
        """The names of what is told."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]


def with_form(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes a ``form`` an option for each of its parts instead."""
    hints = get_type_hints(Form, include_extras=True)
    parts = {field.name: field for field in dataclasses.fields(Form)}

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name not in parts}, form=Form(**{name: given[name] for name in parts}))

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=part.default, annotation=hints[name])
        for name, part in parts.items()
    ]
    own = inspect.signature(command, eval_str=True).parameters.values()
    shown: list[inspect.Parameter] = []
    for parameter in own:
        shown += options if parameter.name == "form" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    with_options.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return with_options


def opened(path: Path, form: Form, quiet: bool = False) -> Table:
    """Open a table as it is told to be written, and say what was found that could have been otherwise."""
    try:
        told = Format(form.delimiter, form.decimal, form.encoding, form.header, split(form.missing, "--missing"))
    except ValueError as error:
        raise typer.BadParameter(f"of the table: {error}") from error
    table = open_table(path, told)
    if table.notes and not quiet:
        say(f"{path}: {'; '.join(table.notes)}")
    return table
