"""Every law over every row of the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from cases import CASES, HEAVY
from code_read import plans, written

from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.spec import registry
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.piecewise import CubicSpline
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.residual import Residual
from pushforward.testing import LAWS, check_bijector
from pushforward.testing.case import Case
from pushforward.testing.promise import ladj_tolerated

GRAPH = "one graph under torch.compile"
"""The law that takes longer than all others together: the compiler takes milliseconds for each operator of a layer."""


def _first_of_their_code():
    """Return the rows, those of the fewest plans first, that have code which no row before them has; that is what the compiler reads."""
    seen, found = set(), set()
    for name in sorted(set(CASES) - HEAVY, key=lambda name: (len([*written(CASES[name][0])]), name)):
        plan, event_shape, context_shape = CASES[name]
        code = {*written(plan), len(event_shape), context_shape is not None}
        if not code <= seen:
            seen |= code
            found.add(name)
    return found


FIRST = _first_of_their_code()


SEARCHES = {
    "core.roots.STEPS": 6,
    "kernels.monotonic.STEPS": 6,
    "kernels.mixture.STEPS": 6,
    "kernels.piecewise.STEPS": 2,
    "layers.block_autoregressive.ROOT_STEPS": 6,
    "layers.residual.STEPS": 2,
}
"""Of how many steps a search for a root is to the compiler, which reads each of them anew. Here few: compiled and plain code are compared
after the same steps, settled or not, and `test_further_rows_and_whole_searches_are_one_graph` has them all."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.heavy] * (name in HEAVY)) for name in CASES])
def test_laws(name):
    plan, event_shape, context_shape = CASES[name]
    wanted = {law.name for law in LAWS} - {GRAPH}
    figures = check_bijector(plan, event_shape, context_shape, only=wanted)
    assert set(figures) == wanted


@pytest.mark.compiler
@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_layer_is_one_graph(name, monkeypatch):
    plan, event_shape, context_shape = CASES[name]
    for constant, steps in SEARCHES.items():
        monkeypatch.setattr(f"pushforward.{constant}", steps)
    check_bijector(plan, event_shape, context_shape, only=[GRAPH])


def _searches(plan):
    """Tell whether the compiler reads fewer steps of it than there are."""
    structures = (BlockAutoregressive, Residual, CubicSpline)
    return any(isinstance(part, structures) or (isinstance(part, Kernel) and part.searches) for part in plans(plan))


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name in CASES if name not in FIRST or _searches(CASES[name][0])])
def test_further_rows_and_whole_searches_are_one_graph(name):
    plan, event_shape, context_shape = CASES[name]
    check_bijector(plan, event_shape, context_shape, only=[GRAPH])


def test_the_compiler_reads_all_code_before_the_heavy_tests():
    of_all, of_first = ({code for name in names for code in written(CASES[name][0])} for names in (set(CASES) - HEAVY, FIRST))
    assert of_first == of_all
    assert len(FIRST) < 0.7 * len(set(CASES) - HEAVY)


SMALL = [0.0, 1e-300, 1e-100, 1e-30, 1e-12, 1e-9, 3e-8, 3e-7, 3e-6, 3e-5, 1e-3, 0.03]
"""Numbers around which a formula takes another form: no point that a law draws is so small."""


@pytest.mark.parametrize("name", CASES)
def test_log_determinants_of_both_ways_cancel_at_small_values(name):
    case = Case(*CASES[name])
    module = case.build(torch.float64)
    size = torch.tensor([*SMALL, *(-value for value in SMALL)], dtype=torch.float64).reshape(-1, *(1,) * len(case.event_shape))
    # Of other sizes beside one another, so that no two numbers of an event are alike.
    z = size * (1 + 0.1 * torch.arange(size[0].expand(case.event_shape).numel(), dtype=torch.float64).reshape(case.event_shape))
    if name.startswith("LinearSpline"):
        z = z + 0.01  # zero is a knot, at which its slope jumps
    ends = sets.bounds(module.domain)
    # Near the end of the domain where it is zero, around its middle where it is not.
    x = torch.where(z == 0, 1e-15, z.abs()) if ends is not None and ends[0] == 0 else case.into(z, module.domain)
    x, context = x.requires_grad_(), case.contexts(len(x))
    y, ladj = module(x, context)
    back, minus = module.inverse(y, context)
    slope = torch.autograd.grad(ladj.sum(), x, allow_unused=True)[0] if ladj.requires_grad else None
    # What is found is beside x by the rounding of y.
    beside = 0.0 if slope is None else 2 * (slope * (back - x)).abs().reshape(len(x), -1).sum(1)
    beside = beside + 2 * ladj_tolerated(module, x, context)
    assert torch.isfinite(ladj).all()
    assert ((minus + ladj).abs() <= 1e-8 * (1 + ladj.abs()) + beside).all()


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
