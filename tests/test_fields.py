"""Every argument of every plan is checked where the plan is made, and nothing else than `PlanError` ever comes of a wrong one."""

from __future__ import annotations

import collections.abc
import copy
import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Union

import numpy as np
import pytest
import torch
from every_plan import EVERY, build, ours

from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.fields import MOST, Count, Numbers, Within, check_field, hints
from pushforward.core.spec import PlanError, Spec
from pushforward.kernels.kernel import Kernel
from pushforward.nets.net import Net

DEEP: Any = 0
for _ in range(5000):
    DEEP = [DEEP]
WRONG: dict[str, Any] = {
    "None": None, "True": True, "a word": "x", "no word": "", "bytes": b"x", "a float": 1.5, "NaN": math.nan, "inf": math.inf,
    "-inf": -math.inf, "-1": -1, "0": 0, "0.0": 0.0, "large": 2**31, "larger": 2**63, "2**70": 2**70, "10**400": 10**400,
    "10**5000": 10**5000, "1e308": 1e308, "tiny": 5e-324, "complex": 1j, "a list": [1, 2], "words": ["a", "b"], "mixed": [1, "a", None],
    "nested": [[1], [2, 3]],
    "ragged": [1.0, [2.0]], "empty": [], "deep": DEEP, "NaNs": [math.nan], "bools": [True, False], "a dict": {"type": "Exp"},
    "a set": {1}, "a class": bij.Exp, "a bijector": bij.Exp(), "a kernel on vectors": bij.Linear(), "a base": bases.StandardNormal(),
    "a net": bij.MLP((2,)), "plans": [bij.Exp(), bij.MLP((2,))], "a module": torch.nn.Linear(2, 2),
    "a tensor": torch.tensor([1.0, math.nan]), "a tensor on no device": torch.empty(2, device="meta"), "an array": np.array([1, 2]),
    "an array of objects": np.array([1, "a", None], dtype=object), "a numpy number": np.float32(1.5), "an object": object(),
    "an iterator": iter([1]),
}  # fmt: skip


def test_every_plan_has_a_row():
    assert set(ours()) <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_a_wrong_argument_is_a_plan_error_or_none(name):
    plan, event_shape, context_shape = EVERY[name]
    for field in dataclasses.fields(plan):
        for what, value in WRONG.items():
            try:
                changed = plan.replace(**{field.name: value})
            except PlanError as error:
                if name not in str(error):
                    raise AssertionError(f"{name}.{field.name} = {what}: {error}") from error
                continue
            try:
                build(changed, event_shape, context_shape)
            except PlanError:
                continue
            except Exception as error:
                raise AssertionError(f"{name}.{field.name} = {what}: {type(error).__name__}: {error}") from error


def allows(hint: Any, kind: Any) -> bool:
    """Tell whether an annotation lets a value be of a kind: a type, None, or "list"."""
    while typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint)
    if origin is Union or type(hint).__name__ == "UnionType":
        return any(allows(option, kind) for option in typing.get_args(hint))
    if origin in (tuple, collections.abc.Sequence):
        return kind == "list"
    return hint is Any or hint is kind or (kind is None and hint is type(None)) or (kind is int and hint is float)


@pytest.mark.parametrize("name", EVERY)
def test_a_value_of_another_type_is_refused_where_the_plan_is_made(name):
    plan = EVERY[name][0]
    cases = {None: None, bool: True, str: "no such word", int: 1, float: 1.5, "list": [object()], object: object(), dict: {}}
    for field, hint in hints(type(plan)).items():
        for kind, value in cases.items():
            if allows(hint, kind) and kind != "list":
                continue
            with pytest.raises(PlanError, match=f"^{name}: expected {field}") as caught:
                plan.replace(**{field: value})
            assert ", got " in str(caught.value)


@pytest.mark.parametrize("name", EVERY)
def test_every_field_has_a_type_that_is_checked(name):
    for field, hint in hints(type(EVERY[name][0])).items():
        assert hint is not Any, field


@pytest.mark.parametrize(
    ("hint", "good", "wrong", "words"),
    [
        (Count, [1, MOST], [0, -1, MOST + 1, True, 1.0, "1", None, 2**63], "to be a whole number"),
        (int, [0, -(2**63) + 1], [2**63, 1.0, True], "to be a whole number"),
        (float, [0, 1.5, -1e308, 2**53], [math.nan, math.inf, 2**63, True, "1"], "to be a finite number"),
        (Annotated[float, Within(above=0.0, most=1.0)], [1, 1e-300], [0.0, 1.1, -1], r"in \(0, 1\]"),
        (
            Numbers,
            [1, -math.inf, (), (1.0, 2), ((1,), (2.5,))],
            [math.nan, ((1,), 2), ((1,), (1, 2)), (True,), "1", (None,)],
            "to be a number",
        ),
        (tuple[float, float] | None, [None, (1, 2.0)], [(1.0,), (1.0, "a"), 1.0], "to be a list of 2 entries"),
    ],
)
def test_values_and_annotations(hint, good, wrong, words):
    for value in good:
        assert check_field("Plan", "field", hint, value) is None
    for value in wrong:
        message = check_field("Plan", "field", hint, value)
        assert message is not None
        with pytest.raises(PlanError, match=f"Plan: expected field {words}.*, got "):
            raise PlanError(message)


def test_numbers_of_numpy_and_torch_are_numbers():
    assert bij.Spline(np.int64(5), torch.tensor(2.0)) == bij.Spline(5, 2.0)
    assert bij.Linear(np.bool_(False)) == bij.Linear(False)
    assert bij.MLP(np.array([8, 8])) == bij.MLP((8, 8))


def test_a_long_value_is_cut_short_in_an_error():
    with pytest.raises(PlanError) as caught:
        bij.Permute(list(range(10_000))[1:])
    assert len(str(caught.value)) < 100_000
    with pytest.raises(PlanError, match="too long to print"):
        bij.Spline(10**5000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"type": "Exp", "type": "Tanh"}', "expected each name once in an object, got 'type' several times"),
        ('{"type": "Affine", "bound": NaN}', "expected numbers, got NaN"),
        ('{"type": "Affine", "bound": 1e400}', "expected numbers of at most 1.8e308, got '1e400'"),
        ('{"type": "Affine", "bound": Infinity}', "Affine: expected bound > 0, got inf"),
        ('{"type": "Shuffle", "seed": 99999999999999999999999}', "expected whole numbers of at most 20 digits, got one of 23"),
        ('{"type": "Shuffle", "seed": 9999999999999999999}', "Shuffle: expected seed to be a whole number, got 9999999999999999999"),
        ('{"type": "Linear", "bias": "x"}', "Linear: expected bias to be True or False, got 'x'"),
        ('{"type": "Linear", "bias": 1}', "Linear: expected bias to be True or False, got 1"),
        ('{"type": "Wrapped", "name": "Normal", "arguments": [["loc"]]}', "Wrapped: expected arguments"),
        ('{"type": "Exp"} {', "Extra data"),
        ('"\\"[[[["', "expected a plan as an object"),
        ('["\\\\", "', "Unterminated string"),
    ],
)  # fmt: skip
def test_hostile_json_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        Spec.from_json(text)


@dataclass(frozen=True, repr=False)
class Own(Kernel):
    """A user's plan with names that the library uses for itself, and with an annotation that only stands in this function."""

    depth: int = 3
    count: int = 2
    levels: float = 1.0


def test_a_plan_of_ones_own_may_call_its_arguments_as_it_likes():
    assert Spec.from_json(Own(7, 8, 0.5).to_json()) == Own(7, 8, 0.5)
    assert (Own(7).depth, Own(7)._depth) == (7, 1)
    with pytest.raises(PlanError, match="Own: expected depth to be a whole number, got 'x'"):
        Own("x")


def test_an_annotation_that_cannot_be_found_checks_nothing():
    class Local:
        pass

    @dataclass(frozen=True, repr=False)
    class WithLocal(Kernel):
        value: Local | None = None

    assert WithLocal(3).value == 3


def test_what_a_pickle_holds_is_checked():
    plan = bij.Spline()
    state = {**plan.__dict__, "bins": "x"}
    with pytest.raises(PlanError, match="expected bins to be a whole number"):
        copy.copy(plan).__setstate__(state)


def test_kinds_of_plans_say_what_they_are():
    assert {cls._called[0].split()[0] for cls in (Bijector, Base, Net, Kernel)} == {"a"}
