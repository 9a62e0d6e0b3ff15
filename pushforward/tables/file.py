"""Files of table flows: one safetensors file with the tensors, and the schema in its header. Nothing is unpickled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from torch import Tensor

from pushforward import io
from pushforward.core.fields import MOST, OneOf, Within, shown
from pushforward.data.schema.schema import Schema
from pushforward.data.to_frames import LIBRARIES, PLAIN
from pushforward.native.activations import ACTIVATIONS

KEY = "table"
"""The field of a header that only a table flow has."""
VERSION = 2
"""Of files with latent classes; those without are as before."""


class Content(NamedTuple):
    """What a file holds."""

    schema: Schema
    widths: tuple[int, ...]
    bins: int
    activation: str
    dtype: str
    library: str | None
    types: dict[str, str]
    classes: int
    tensors: dict[str, Tensor]


def write(path: str | os.PathLike[str], content: Content) -> None:
    """Write a file; one that is there is replaced once the new one is whole."""
    header = {
        KEY: VERSION if content.classes else 1,
        "schema": content.schema.to_dict(),
        "widths": list(content.widths),
        "bins": content.bins,
        "activation": content.activation,
        "dtype": content.dtype,
        "library": content.library,
        "types": content.types,
    } | ({"classes": content.classes} if content.classes else {})
    io.write(path, header, content.tensors)


def read(path: str | os.PathLike[str]) -> Content:
    """Read what `write` wrote, each field checked.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of a table flow, is not as it was written, or is of a newer version.
    """
    header, tensors = io.read(path)
    name = os.fspath(path)
    if KEY not in header:
        raise ValueError(f"TableFlow.load: expected a table flow in {name!r}, got a flow; read it with pushforward.load")
    version = io.field(path, header, KEY, Annotated[int, Within(least=1)])
    if version > VERSION:
        raise ValueError(f"TableFlow.load: {name!r} has version {version}, this one reads up to {VERSION}; install a newer pushforward")
    width = Annotated[int, Within(least=1, most=MOST)]
    schema = io.field(path, header, "schema", Any)
    try:
        found = Schema.from_dict(schema)
    except (ValueError, TypeError) as error:
        raise ValueError(f"TableFlow.load: the schema of {name!r} is none: {error}") from error
    library = io.field(path, header, "library", Annotated[str, OneOf(*LIBRARIES, PLAIN)] | None)
    types = io.field(path, header, "types", Any)
    if not isinstance(types, dict) or not all(isinstance(one, str) and key in found.names for key, one in types.items()):
        raise ValueError(f"TableFlow.load: expected types of columns in {name!r}, got {shown(types)}")
    return Content(
        found,
        io.field(path, header, "widths", Sequence[width]),
        io.field(path, header, "bins", Annotated[int, Within(least=2, most=MOST)]),
        io.field(path, header, "activation", Annotated[str, OneOf(*ACTIVATIONS)]),
        io.field(path, header, "dtype", Annotated[str, OneOf("float32", "float64")]),
        library,
        types,
        io.field(path, header, "classes", Annotated[int, Within(least=1, most=MOST)]) if version > 1 else 0,
        tensors,
    )


def holds_table(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file of this library holds a table flow; raise as `read` does for what is no file of this library."""
    header, _ = io.read(path)
    return KEY in header
