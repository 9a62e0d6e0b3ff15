"""Which code a plan or a flow has for torch's compiler to read: rows that have no code of their own need not be read each day."""

from __future__ import annotations

import dataclasses

from pushforward.core.spec import Spec


def plans(plan):
    """Give a plan and each plan in it."""
    yield plan
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Spec):
                yield from plans(item)


def written(plan):
    """Give each plan in a plan with the words and switches among its arguments: what decides which of its code runs."""
    for part in plans(plan):
        given = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        yield type(part).__name__, tuple((name, value) for name, value in given.items() if isinstance(value, str | bool))


def of_flow(flow):
    """Return what of a flow the laws of layers do not read: its base, its axes, its support, and whether it has a context."""
    axes = ("axes", len(flow.event_shape), len(flow.batch_shape))
    return {*written(flow.base.plan), axes, ("support", type(flow.support).__name__), ("context", flow.context_shape is not None)}
