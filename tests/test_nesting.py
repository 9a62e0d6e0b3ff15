"""Plans in plans: what is done with them grows with their depth and no faster, and a depth that is too large is refused."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import pytest
from every_plan import build

from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward.core.bijector import Bijector
from pushforward.core.spec import DEPTH, NESTED, PlanError, Spec, parse_json

S = bases.StandardNormal()


def stacked(plan):
    return bij.Compose([bij.Reshape((2,), (1, 2)), bij.Stack([plan]), bij.Reshape((1, 2), (2,))])


# The plan within, and how one more is put round it; all take events of two features.
NESTS = {
    "Compose": (bij.Affine(), lambda p: bij.Compose([p])),
    "Compose of three": (bij.Affine(), lambda p: bij.Compose([bij.Tanh().inv, p, bij.Tanh()])),
    "Inverse": (bij.Affine(), bij.Inverse),
    "Inverse of Compose": (bij.Affine(), lambda p: bij.Inverse(bij.Compose([p]))),
    "OnAxis": (bij.Affine(), lambda p: bij.OnAxis(p, 0)),
    "Concatenate": (bij.Affine(), lambda p: bij.Concatenate([p], [2])),
    "Inverse of Concatenate": (bij.Affine(), lambda p: bij.Inverse(bij.Concatenate([p], [2]))),
    "Stack": (bij.Affine(), stacked),
    "Inverse of Stack": (bij.Affine(), lambda p: bij.Inverse(stacked(p))),
    "Pushforward": (S, lambda p: bases.Pushforward(p, bij.Affine())),
    "Pushforward of a list": (S, lambda p: bases.Pushforward(p, [bij.Affine()])),
    "Mixture": (S, lambda p: bases.Mixture([p])),
    "Product": (S, lambda p: bases.Product([p], [2])),
    "Truncated": (S, lambda p: bases.Truncated(p, -3.0, 3.0)),
    "OrderStatistics": (S, bases.OrderStatistics),
    "Periodic": (bij.MLP((4,)), bij.Periodic),
    "Potential": (bij.MLP((4,)), bij.Potential),
}


def nested(name: str, rounds: int) -> Any:
    """Return the plan with others round it."""
    plan, around = NESTS[name]
    for _ in range(rounds):
        plan = around(plan)
    return plan


def most(name: str) -> int:
    """Return how many may stand round it."""
    rounds = 0
    plan, around = NESTS[name]
    while True:
        try:
            plan, rounds = around(plan), rounds + 1
        except PlanError:
            return rounds


def calls(function) -> int:
    """Return how many functions of Python are called."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    except PlanError:  # to find out that it cannot be built may not cost more
        pass
    finally:
        sys.setprofile(before)
    return count


ACTIONS = {
    "print": repr,
    "hash": hash,
    "compare": lambda p: p == copy.deepcopy(p),
    "copy": copy.deepcopy,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
    "write": lambda p: p.to_json(),
    "read": lambda p: Spec.from_json(p.to_json()),
    "ask": lambda p: (p.event_dim, p.out_dim, p.shape_after((2,)), p.shape_before((2,))),
    "build": lambda p: build(p, (2,), (1,)),
}


@pytest.mark.parametrize("name", NESTS)
def test_what_is_done_with_a_plan_grows_with_its_depth_and_no_faster(name):
    deep = most(name)
    few = max(deep // 4, 1)
    counts = {"make": (calls(lambda: nested(name, few)), calls(lambda: nested(name, deep)))}
    small, large = nested(name, few), nested(name, deep)
    # What asks the plans in it several times is limited by counting for several levels.
    weighty = large._depth > 2 * deep + 3
    for what, action in ACTIONS.items():
        if what != "ask" or isinstance(small, Bijector):
            counts[what] = calls(lambda: action(small)), calls(lambda: action(large))  # noqa: B023
    for what, (once, often) in counts.items():
        # Where each level asks all below it for shapes or parameters, the sum is of a power of the depth, and there is a limit to that.
        assert often <= 400_000, (what, often)
        if not weighty:
            assert often <= 500 + 2 * once * (deep / few) ** 3, (what, few, deep, once, often)


@pytest.mark.parametrize("name", NESTS)
def test_plans_that_stand_too_deep_are_refused(name):
    assert most(name) >= 2
    with pytest.raises(PlanError, match=rf"expected plans at most {DEPTH} deep in one another, got \d+; write layers as one list"):
        nested(name, DEPTH)


def test_a_plan_of_too_many_plans_is_refused():
    plan = bij.Exp()
    for _ in range(19):
        plan = bij.Compose([plan, plan])
    assert plan._count == 2**20 - 1
    with pytest.raises(PlanError, match="Compose: expected at most 1048576 plans in one, got 2097151"):
        bij.Compose([plan, plan])


@pytest.mark.parametrize("levels", [DEPTH, 1000, 100_000])
def test_json_that_is_too_deep_is_refused(levels):
    text = '{"type": "Inverse", "bijector": ' * levels + '{"type": "Exp"}' + "}" * levels
    with pytest.raises(PlanError, match="deep"):
        Spec.from_json(text)
    with pytest.raises(PlanError, match="deep"):
        Spec.from_json("[" * levels * 3)
    content: Any = {"type": "Exp"}
    for _ in range(levels):
        content = {"type": "Inverse", "bijector": content}
    with pytest.raises(PlanError, match="deep"):
        Spec.from_dict(content)


def test_the_deepest_plan_is_its_json_and_builds():
    plan = nested("Compose", DEPTH - 1)
    assert plan._depth == DEPTH
    assert Spec.from_json(plan.to_json()) == plan
    assert eval(repr(plan), {"Compose": bij.Compose, "Affine": bij.Affine}) == plan
    assert plan.describe(2).parameters == 4
    assert len(copy.deepcopy(plan.build(2)).state_dict()) == 1


def test_brackets_in_words_are_no_depth():
    assert parse_json('["' + "[" * 10_000 + '\\"' + "{" * 10_000 + '"]')[0].startswith("[")
    assert parse_json("[" * NESTED + "]" * NESTED) is not None
    with pytest.raises(PlanError, match="deep"):
        parse_json("[" * (NESTED + 1) + "]" * (NESTED + 1))
