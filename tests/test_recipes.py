"""The table of named flows: what follows from a row, and that a row is all there is to write."""

from __future__ import annotations

import doctest
import inspect
import json
import pickle
import re
import typing
from pathlib import Path

import pytest
import torch

from pushforward import Flow, PlanError, flows
from pushforward.bijectors import Affine
from pushforward.recipes.choice import NAMED, known_name, look_up, make_flow
from pushforward.recipes.option import Option
from pushforward.recipes.recipe import PASS, ROOT, ROOTS, STEPS, Recipe
from pushforward.recipes.stack import Parts
from pushforward.recipes.table import FLOWS, RECIPES
from tests.named_flow_plans import FILE, MORE, NAMES, built, called, calls, signatures

ROOT_FOLDER = Path(__file__).parents[1]
ROWS = {recipe.name: recipe for recipe in RECIPES}
STUB = ROOT_FOLDER / "pushforward" / "flows" / "__init__.pyi"
ANEW = "where this is meant, write it anew: python tests/named_flow_plans.py"


# What users had


def test_signatures_are_as_they_were():
    assert signatures() == json.loads(FILE.read_text())["signatures"], ANEW


@pytest.mark.parametrize("name", NAMES)
def test_plans_and_names_of_weights_are_as_they_were(name):
    known = {call: flow for call, flow in json.loads(FILE.read_text())["flows"].items() if call.startswith(f"{name}(")}
    assert {call: built(call) for call in calls() if call.startswith(f"{name}(")} == known, ANEW


@pytest.mark.parametrize("call", [*(f"{name}(3, context=2, transforms=2)" for name in NAMES), *MORE[:3]])
def test_first_weights_are_those_that_the_plans_draw(call):
    """Looking up and stacking draws nothing: a flow of the same plans has the same first weights."""
    torch.manual_seed(5)
    named, after = called(call), torch.rand(1)
    torch.manual_seed(5)
    plain = Flow(named.base.plan, named.plan, named.event_shape, named.context_shape)
    assert torch.equal(torch.rand(1), after)
    assert plain.state_dict().keys() == named.state_dict().keys()
    assert all(torch.equal(value, named.state_dict()[key]) for key, value in plain.state_dict().items())


# What follows from a row


def test_names_are_those_of_the_rows():
    assert list(ROWS) == list(FLOWS)
    assert flows.__all__ == [*sorted(ROWS), "mixture"]
    lower = [name.lower() for name in NAMED]
    assert len(set(lower)) == len(lower)
    assert set(NAMED) == set(ROWS) | {name for row in RECIPES for name in row.variants}
    for row in RECIPES:
        assert "transforms" in [option.name for option in row.options]
        for options in row.variants.values():
            assert set(options) <= set(row.signature.parameters)


@pytest.mark.parametrize("name", ROWS)
def test_a_function_is_like_one_that_was_written(name):
    function = getattr(flows, name)
    assert inspect.isfunction(function)
    assert (function.__module__, function.__name__, function.__qualname__) == ("pushforward.flows", name, name)
    assert pickle.loads(pickle.dumps(function)) is function
    hints = typing.get_type_hints(function)
    assert list(hints) == [*inspect.signature(function).parameters, "return"]
    assert hints["return"] is Flow


@pytest.mark.parametrize("name", ROWS)
def test_a_docstring_has_every_option_and_an_example_that_runs(name):
    text = getattr(flows, name).__doc__
    first, empty, *_ = text.splitlines()
    assert first.endswith(".")
    assert empty == ""
    assert "\nSource: " in text
    listed = re.findall(r"^    (\w+): .*[.)]$", re.sub(r"\n {8}", " ", text.split("Args:\n")[1].split("\n\n")[0]), re.MULTILINE)
    assert listed == list(inspect.signature(getattr(flows, name)).parameters)
    test = doctest.DocTestParser().get_doctest(text, {name: getattr(flows, name), "torch": torch}, name, None, None)
    assert len(test.examples) == 1
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


# The words of a row for its costs, and the depth of a layer and the roots that they promise for D features.
COSTS = {
    ROOTS: ("D", 1),
    STEPS: ("D", 0),
    "by roots": (1, 1),
    ROOT: (1, 1),
    PASS: (1, 0),
    "by a fixed number of steps": (1, 0),
    "by a solver": ("most", 0),
}


@pytest.mark.parametrize("way", ["sample", "score"])
@pytest.mark.parametrize("name", NAMED)
def test_costs_are_as_the_docstring_says(name, way):
    row = ROWS.get(name) or next(row for row in RECIPES if name in row.variants)
    words = getattr(row, way)
    assert words in row.doc.replace("\n", " ")
    if name not in ROWS and " or " in words:  # what a variant costs stands second
        words = words.split(" or ")[1]
    depth, roots = next(cost for start, cost in COSTS.items() if words.startswith(start))
    for features in (6, 9):
        with torch.device("meta"):
            layers = list(NAMED[name](features, transforms=3).transform.leaves())
        count = {what: [getattr(layer.facts, what)[way == "score"] for layer in layers] for what in ("depth", "roots", "evaluations")}
        if depth == "most":  # what it takes is the field's to say
            assert all(effort.adaptive for layer in layers for effort in layer.facts.effort[way == "score" :][:1] if effort.depth > 1)
            continue
        assert max(count["depth"]) == (features if depth == "D" else depth)
        assert sum(count["depth"]) == len(layers) + 3 * (max(count["depth"]) - 1)
        assert sum(count["roots"]) == 3 * roots
        assert max(count["evaluations"]) == 1 or words != PASS


def test_the_stub_is_what_the_rows_say():
    # `tests/test_generated.py` compares it; what it says can be called as it says.
    stub = re.sub(r'r?""".*?"""', "pass", STUB.read_text(), flags=re.DOTALL)
    said: dict[str, typing.Any] = {}
    exec("from __future__ import annotations\n" + stub, said)
    assert sorted(said["__all__"]) == sorted(flows.__all__)
    assert {name: inspect.signature(said[name]) for name in ROWS} == {name: inspect.signature(FLOWS[name]) for name in ROWS}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: flows.MAF(), r"MAF\(\) missing a required argument: 'features'"),
        (lambda: flows.MAF(2, 3, 4), r"MAF\(\) got too many positional arguments"),
        (lambda: flows.MAF(2, bins=3), r"MAF\(\) got an unexpected keyword argument 'bins'"),
        (lambda: flows.MAF(2, features=3), r"MAF\(\) got multiple values for argument 'features'"),
    ],
)
def test_wrong_calls_name_the_flow_and_the_argument(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_choices_are_checked_before_anything_is_built():
    def never(o):
        raise AssertionError("it was built")

    colour = Option("colour", "red", "A colour.", choices=("red", "blue", None))
    paint = Recipe("Paint", "A colour.", "", (Option("transforms", 1, "None."), colour), never).function(__name__)
    with pytest.raises(PlanError, match=r"^Paint: expected colour to be one of \('red', 'blue', None\), got 'green'$"):
        paint(2, colour="green")
    with pytest.raises(AssertionError, match="it was built"):
        paint(2, colour=None)


def test_a_row_may_have_several_layers_for_an_index():
    row = Recipe("Several", "Some.", "", (Option("transforms", 2, "None."),), lambda o: Parts(lambda i: [Affine()] * i, last=()))
    assert row.function(__name__)(2, transforms=3).plan.bijectors == (Affine(), Affine(), Affine())


# What users choose


def test_names_are_found_in_any_case():
    assert all(known_name(spelled) == name for name in NAMED for spelled in (name, name.lower(), name.upper()))
    assert known_name("mixture") is None
    assert look_up("fit", "realnvp") is flows.RealNVP
    assert look_up("fit", "nsf-ar")(3).plan == flows.NSF(3, structure="autoregressive").plan


@pytest.mark.parametrize("choice", ["nsf", flows.NSF, lambda features, context=0, **options: flows.NSF(features, context, **options)])
def test_a_flow_is_made_of_a_name_and_of_functions(choice):
    made = make_flow("fit", choice, 3, 2, {"transforms": 1})
    assert (made.plan, made.context_shape) == (flows.NSF(3, 2, transforms=1).plan, (2,))


def test_a_flow_is_made_of_plans():
    assert make_flow("fit", [Affine()], 3).event_shape == (3,)
    with pytest.raises(TypeError, match=r"fit: expected no options beside plans, got \['bins'\]"):
        make_flow("fit", [Affine()], 3, options={"bins": 3})


@pytest.mark.parametrize(("choice", "error", "words"), [
    ("glow", TypeError, r"fit: expected flow to be a name \(NSF, NSF-AR, .*\), a function or plans, got 'glow'"),
    (3, TypeError, "fit: expected flow to be a named flow such as NSF or its name"),
    (flows.MAF(2, transforms=1), TypeError, "fit: expected flow to be a named flow such as NSF or its name"),
    (lambda features: features, ValueError, r"fit: expected a pushforward\.Flow of event_shape \(2,\) and context_shape None, got 2"),
    (lambda features: flows.MAF(3), ValueError, r"fit: expected a pushforward\.Flow of event_shape \(2,\) .*, got Flow"),
])  # fmt: skip
def test_what_no_flow_can_be_made_of_is_refused(choice, error, words):
    with pytest.raises(error, match=words):
        make_flow("fit", choice, 2)


def test_first_weights_are_drawn_from_the_seed_alone():
    def weights(**seed):
        return torch.cat(
            [value.reshape(-1) for value in make_flow("fit", "maf", 3, options={"transforms": 1}, **seed).state_dict().values()]
        )

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = weights(seed=3), weights(seed=3), weights(seed=4)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    # Without one they are drawn from torch's own state, as those of any module.
    assert not torch.equal(weights(), weights())
    torch.manual_seed(1)
    again = weights()
    torch.manual_seed(1)
    assert torch.equal(weights(), again)
