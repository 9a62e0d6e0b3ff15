"""The catalogue: it has every plan, its page is up to date, and its formulas of the number of parameters are those of built layers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from cases import CASES, SMALL

from pushforward import bijectors as bij
from pushforward.core.bijector import Bijector
from pushforward.core.spec import PlanError, registry
from pushforward.kernels.kernel import Kernel
from pushforward.report.catalogue import KINDS, LAYERS, catalogue, example
from pushforward.report.peer_names import ELSEWHERE, EXAMPLES, SYSTEMS

ROOT = Path(__file__).parents[1]
ENTRIES = {entry.name: entry for entry in catalogue().entries}
# Structures have the parameters of what is inside them, or of their net.
WHOLE = {
    name: row
    for name, row in CASES.items()
    if not {"kernel", "net", "bijector", "bijectors"} & {f.name for f in dataclasses.fields(row[0])}
}


def parts_of(plan):
    yield type(plan).__name__
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Bijector):
                yield from parts_of(item)


def size_of(plan, event_shape):
    """Return the number of parameters that the plan's formula gives for events of a shape."""
    vectors = isinstance(plan, Kernel) and plan.event_dim == 1
    sizes = {"D": event_shape[-1] if vectors else math.prod(event_shape), "C": event_shape[0] if event_shape else 1}
    functions = {"len": len, "max": max, "min": min, "range": range, "sum": sum, "zip": zip}
    return eval(plan.size, {"__builtins__": functions, **sizes, **{f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}})


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def perceptron(inputs, widths, outputs):
    """Return the number of weights and biases of dense layers."""
    sizes = (inputs, *widths, outputs)
    return sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))


def test_every_plan_is_in_it_with_a_row_of_laws():
    own = {name: cls.__module__ for name, cls in registry().items() if cls.__module__.startswith("pushforward.")}
    ours = {name for name, module in own.items() if not module.startswith("pushforward.contrib.")}  # which is there only when asked for
    assert ours <= set(ENTRIES)
    assert {name for name in ours if issubclass(registry()[name], Bijector) and not registry()[name].bijective} == {"Abs", "Normalize"}
    layers = {name for name, entry in ENTRIES.items() if entry.kind in LAYERS} - {"Abs", "Normalize"}
    assert layers == {name for name in ours if issubclass(registry()[name], Bijector) and registry()[name].bijective}
    assert layers - {part for plan, _, _ in CASES.values() for part in parts_of(plan)} == set()


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_there_is_to_say(name):
    entry = ENTRIES[name]
    assert entry.kind in KINDS
    assert entry.what
    assert ":math:" not in entry.what + entry.source
    assert entry.what.count("$") % 2 == entry.source.count("$") % 2 == 0
    if entry.kind in LAYERS:
        assert entry.domain
        assert entry.codomain
        assert entry.to_sample
        assert entry.to_score
        assert entry.log_det
        assert entry.formula or entry.parameters.startswith("its ")
    # A map of a single parameter needs no paper.
    if entry.kind in ("Learned maps of numbers", "Learned maps of vectors", "Named flows") and entry.parameters != "D":
        assert entry.source, "say where it comes from"


@pytest.mark.parametrize("name", [name for name, (_, _, context) in WHOLE.items() if context is None])
def test_parameters_of_a_free_layer_are_as_many_as_its_formula_says(name):
    plan, event_shape, _ = WHOLE[name]
    assert count(plan.build(event_shape)) == size_of(plan, event_shape)
    for elements in (1, 2, 3, 5, 8):
        if len(event_shape) == 1:
            try:
                module = plan.build((elements,))
            except PlanError:  # a plan that has sizes of its own, such as an order
                continue
            assert count(module) == size_of(plan, (elements,))


@pytest.mark.parametrize("kernel", [bij.Affine(), bij.Additive(), bij.Spline(bins=4), bij.Spline(bins=5, order="linear")], ids=repr)
@pytest.mark.parametrize("features", [2, 3, 5])
def test_parameters_of_a_structure_are_those_of_a_net_that_gives_the_kernels(kernel, features):
    half = features // 2
    for context in (0, 3):
        shape = context or None
        coupling = bij.Coupling(kernel, net=SMALL).build(features, shape)
        assert count(coupling) == perceptron(half + context, SMALL.widths, size_of(kernel, (features - half,)))
        for structure in (bij.Autoregressive, bij.InverseAutoregressive):
            assert count(structure(kernel, net=SMALL).build(features, shape)) == perceptron(
                features + context, SMALL.widths, size_of(kernel, (features,))
            )
    given = bij.Elementwise(kernel, net=SMALL).build(features, 3)
    assert count(given) == perceptron(3, SMALL.widths, size_of(kernel, (features,)))
    assert count(bij.Elementwise(kernel).build(features)) == size_of(kernel, (features,))


def test_costs_are_those_of_built_layers():
    assert ENTRIES["Affine"].to_score == ENTRIES["Coupling"].to_sample == "1 evaluation"
    assert ENTRIES["Autoregressive"].to_sample == ENTRIES["InverseAutoregressive"].to_score == "1 evaluation of depth D"
    assert ENTRIES["Exp"].codomain == "(0, inf)"
    assert ENTRIES["Power"].domain == "(0, inf)"


def test_names_elsewhere_are_of_things_that_are_here():
    assert set(ELSEWHERE) <= set(ENTRIES)
    assert set(EXAMPLES) <= set(ENTRIES)
    assert {system for names in ELSEWHERE.values() for system in names} <= set(SYSTEMS)
    assert ENTRIES["ActNorm"].elsewhere["nflows"] == "ActNorm"


def test_it_prints_a_line_for_each_plan_and_a_section_for_each_kind():
    book = catalogue()
    assert len(str(book).splitlines()) == len(book.entries)
    assert [entry.name for entry in book.entries] == list(ENTRIES)
    text = book.markdown()
    assert all(f"## {kind}\n" in text for kind in KINDS)
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_a_plan_without_an_example_is_an_error():
    class Lonely(Bijector):
        pass

    lonely = dataclasses.make_dataclass("_Lonely", [("numbers", "tuple[int, ...]")], bases=(Lonely,), frozen=True)
    with pytest.raises(PlanError, match="_Lonely: expected an example"):
        example(lonely)
