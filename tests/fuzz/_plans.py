"""Random plans: rows of all plans with fields changed at random, nested at random, right and wrong."""

from __future__ import annotations

import dataclasses
import math
from random import Random
from typing import Any

from every_plan import EVERY

from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward.bases.wrapped import Wrapped
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.spec import PlanError, Spec


def value(random: Random) -> Any:
    """Return any value that JSON or a user may put into a field."""
    kind = random.randrange(12)
    if kind == 0:
        return random.choice([None, True, False, "", "x", "halves", "relu", "tanh", "exp", "linear", "quadratic"])
    if kind <= 3:
        return random.choice([-(2**70), -1, 0, 1, 2, 3, 4, 5, 8, 2**20, 2**31, 2**62, 2**63, 10**30])
    if kind <= 6:
        return random.choice([0.0, -0.0, 1e-320, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, -1.0, 1e30, 1e308, math.inf, -math.inf, math.nan])
    if kind <= 8:
        return [value(random) for _ in range(random.randrange(4))]
    if kind == 9:
        return random.sample(range(4), random.randrange(5))
    return random.choice(list(EVERY.values()))[0]


def changed(random: Random, plan: Spec) -> Spec:
    """Return a plan with one of its fields, or of those of the plans in it, set to anything; raise `PlanError` where that is wrong."""
    fields = dataclasses.fields(plan)  # type: ignore[arg-type]
    if not fields:
        return plan
    name = random.choice(fields).name
    inner = getattr(plan, name)
    if isinstance(inner, Spec) and random.random() < 0.7:
        return plan.replace(**{name: changed(random, inner)})
    if isinstance(inner, tuple) and inner and all(isinstance(part, Spec) for part in inner) and random.random() < 0.7:
        place = random.randrange(len(inner))
        return plan.replace(**{name: (*inner[:place], changed(random, inner[place]), *inner[place + 1 :])})
    return plan.replace(**{name: value(random)})


def around(random: Random, plan: Spec) -> Spec:
    """Return a plan with another round it."""
    if isinstance(plan, Bijector):
        return random.choice(
            [
                bij.Inverse,
                lambda p: bij.Compose([p]),
                lambda p: bij.Compose([p, bij.Inverse(p)]),
                lambda p: bij.OnAxis(p, random.choice([0, -1, 1])),
                lambda p: bij.Concatenate([p, bij.Exp()], [1, 1]),
                lambda p: bij.Stack([p, p], random.choice([0, -1])),
                bij.Elementwise,
                bij.Coupling,
                lambda p: bij.Autoregressive(p, net=bij.MLP((4,))),
            ]
        )(plan)
    if isinstance(plan, Base):
        return random.choice(
            [
                lambda p: bases.Pushforward(p, bij.Affine()),
                lambda p: bases.Mixture([p, p]),
                lambda p: bases.Product([p, p], [1, 1]),
                lambda p: bases.Truncated(p, -1.0, 1.0),
                bases.OrderStatistics,
            ]
        )(plan)
    return bij.Periodic(plan)  # type: ignore[arg-type]


def plan(random: Random) -> tuple[Spec, Any, Any] | PlanError:
    """Return a plan with shapes that may fit, or the error with which it was refused."""
    made, event_shape, context_shape = EVERY[random.choice(list(EVERY))]
    try:
        for _ in range(random.randrange(4)):
            made = changed(random, made) if random.random() < 0.5 else around(random, made)
    except PlanError as error:
        return error
    if event_shape is None and not isinstance(made, Wrapped):  # that one alone has a shape of its own
        event_shape = (2,)
    if random.random() < 0.3:
        event_shape = random.choice([(), (1,), (2,), (3,), (4,), (2, 2), (2, 3), (3, 2), (6,)])
    if random.random() < 0.3:
        context_shape = random.choice([None, (1,), (2, 2)])
    return made, event_shape, context_shape
