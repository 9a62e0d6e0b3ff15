"""Every law over every row of the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cases import CASES, HEAVY

from pushforward.core import Bijector
from pushforward.spec import registry
from pushforward.testing import LAWS, check_bijector


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.heavy] * (name in HEAVY)) for name in CASES])
def test_laws(name):
    plan, event_shape, context_shape = CASES[name]
    figures = check_bijector(plan, event_shape, context_shape)
    assert set(figures) == {law.name for law in LAWS}


def _parts(plan):
    yield type(plan).__name__
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Bijector):
                yield from _parts(item)


def test_every_plan_has_a_row():
    own = {name: cls for name, cls in registry().items() if issubclass(cls, Bijector) and cls.__module__.startswith("pushforward.")}
    own = {name: cls for name, cls in own.items() if not cls.__module__.startswith("pushforward.contrib.")}
    ours = {name for name, cls in own.items() if cls.bijective}
    assert set(own) - ours == {"Abs", "Normalize"}
    assert ours <= {part for plan, _, _ in CASES.values() for part in _parts(plan)}


def test_heavy_rows_are_further_rows():
    """Every plan has a row that is not left to the heavy ones."""
    assert set(CASES) >= HEAVY
    parts = {part for name, (plan, _, _) in CASES.items() if name not in HEAVY for part in _parts(plan)}
    assert {part for plan, _, _ in CASES.values() for part in _parts(plan)} == parts


def test_every_row_has_its_figures_in_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "numerics.md").read_text()
    assert [name for name in CASES if f"| {name} " not in page] == []
