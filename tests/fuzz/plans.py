"""Plans with right and wrong arguments: refused by `PlanError`, or one thing with their JSON and their text, built or refused so."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

from every_plan import build

from pushforward.core.budget import Budget
from pushforward.core.spec import PlanError, Spec
from pushforward.nets.net import Net

from . import _plans

SHORT = 300
LIMIT = 2**28  # bytes that building a case may ask for


def case(random: Random, folder: Path) -> str | None:
    """Make a random plan, take it through JSON, and build it; then read JSON that is wrong in one place."""
    found = _plans.plan(random)
    if isinstance(found, PlanError):
        return None if str(found).strip() else "a PlanError without words"
    plan, event_shape, context_shape = found
    try:
        text = plan.to_json()
    except PlanError:  # a module in it
        return None
    other = Spec.from_json(text)
    if not (other == plan and hash(other) == hash(plan) and repr(other) == repr(plan) and other.to_json() == text):
        return f"JSON gives {other!r} for {plan!r}"
    if copy.deepcopy(plan) != plan:
        return f"a copy is not {plan!r}"
    if isinstance(plan, Net):
        event_shape, context_shape = event_shape or (1,), context_shape or (1,)
    try:
        with Budget(LIMIT):
            build(plan, event_shape, context_shape)
    except PlanError:
        pass
    content = json.loads(text)
    _spoil(random, content)
    try:
        Spec.from_json(json.dumps(content))
    except ValueError as error:  # PlanError is one
        return None if str(error).strip() else "an error without words"
    return None


def _spoil(random: Random, content: Any) -> None:
    """Change one place of nested objects and lists."""
    while True:
        places = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not places:
            return
        place = random.choice(places)
        if isinstance(content[place], dict | list) and content[place] and random.random() < 0.7:
            content = content[place]
            continue
        content[place] = random.choice(
            [None, True, -1, 0, 1.5, 10**25, "x", [], [[]], {}, {"type": "Exp"}, {"type": 1}, float("nan"), 1e308]
        )
        return
