"""Files of flows: what one holds, and how it is read back."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from pushforward import io
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.budget import Budget
from pushforward.core.draws import Drawing
from pushforward.core.fields import OneOf, Within, shown
from pushforward.core.spec import PlanError, Spec
from pushforward.flow.flow import Flow

Size = Annotated[int, Within(least=1)]


PRECISION = Annotated[str, OneOf("float16", "bfloat16", "float32", "float64")]


FREE, FACTOR = 2**27, 256
"""How many bytes a file's plan may ask for while it is built: so many, and so many for each byte of the file."""


def flow_of(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, Tensor], trusted: bool = False) -> Flow:
    """Return the flow that the header and the tensors of a file say; see `load`."""
    name = os.fspath(path)
    if "table" in header:
        raise ValueError(f"load: expected a flow in {name!r}, got a table's; read it with pushforward.TableFlow.load")
    base, plan = (Spec.from_dict(io.field(path, header, key, Any)) for key in ("base", "bijector"))
    if not isinstance(base, Base) or not isinstance(plan, Bijector):
        raise ValueError(f"load: expected a base and a bijector in {name!r}, got {shown(base)} and {shown(plan)}")
    event_shape = io.field(path, header, "event_shape", Sequence[Size])
    context_shape = io.field(path, header, "context_shape", Sequence[Size] | None)
    dtype = getattr(torch, io.field(path, header, "dtype", PRECISION))
    # Files of earlier versions do not say.
    validate = io.field(path, {"validate_args": False, **header}, "validate_args", bool)
    scored = io.field(path, {"normal_scores_of_context": False, **header}, "normal_scores_of_context", bool)
    budget = Budget(sys.maxsize if trusted else FREE + FACTOR * os.path.getsize(path))  # noqa: PTH202

    try:
        # The initial weights, which the file replaces, cost the user no random numbers.
        with Drawing(0), budget:
            flow = Flow(base, plan, event_shape, context_shape, validate_args=validate).to(dtype)
            if flow.context_units is not None:
                flow.measure_contexts_by(scored)
    except PlanError as error:
        if not budget.spent:
            raise
        raise PlanError(f"load: {name!r}: {error}, with so small a file; if you trust it, load it with trusted=True") from error
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise PlanError(f"load: the plan of {name!r} cannot be built: {error!r}") from error
    io.check_state(path, flow.state_dict(), tensors)
    flow.load_state_dict(tensors)
    of_context = 0 if context_shape is None else math.prod(context_shape)
    flow.columns = io.check_names(f"load: {name!r}", "columns", header.get("columns"), math.prod(flow.event_shape))
    flow.context_columns = io.check_names(f"load: {name!r}", "context_columns", header.get("context_columns"), of_context)
    return flow
