"""Files of models: a flow, and the schema of the table that it was fitted to."""

from __future__ import annotations

import os

from pushforward import io
from pushforward.data.schema.schema import Schema
from pushforward.flow.file import flow_of
from pushforward.flow.flow import Flow


def load(path: str | os.PathLike[str], *, trusted: bool = False) -> Flow:
    """Read a flow that `Flow.save` wrote: the same plan and numbers. Names are looked up among known plans; nothing is unpickled.

    A file may come from anywhere. Its checksum, its header and each argument of its plans are checked, what building the plan asks for
    is counted, and a plan that asks for far more than the file is long is refused before it takes it.

    Args:
        path: The file.
        trusted: Whether the plan may ask for as much as it likes, which only a flow of huge sizes with hardly a parameter does.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no flow of this library, is not as it was written, or is of a newer format.
        PlanError: The plan names something unknown here: import the module that defines it first. Or it cannot be built.
    """
    header, tensors = io.read(path)
    flow = flow_of(path, header, tensors, trusted)
    # Files of earlier versions have none.
    if (written := header.get("schema")) is not None:
        try:
            flow.schema = Schema.from_dict(written)
        except (ValueError, TypeError) as error:
            raise ValueError(f"load: the schema in {os.fspath(path)!r} is none: {error}") from error
        named = (*(flow.columns or ()), *(flow.context_columns or ()))
        if flow.schema.names != named:
            raise ValueError(f"load: expected a schema of the columns {named} in {os.fspath(path)!r}, got one of {flow.schema.names}")
    return flow
