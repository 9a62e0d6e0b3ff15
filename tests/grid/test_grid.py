"""The grid: the laws of accuracy over every plan x D x free or given a context x precision x size of the parameters.

`tests/test_laws.py` has every law over shapes chosen by hand; this has the laws that sizes can break over all sizes. A failure's name says
which: ``Coupling of Spline-D5-given-float32-x10``.
"""

from __future__ import annotations

import pytest
import torch
from laws import LAWS, NEW, X1, X3, X10, Scaled
from rows import CONTEXT, PLANS, ROWS, STRUCTURES, kernels_of_numbers, parts

from pushforward import flows
from pushforward.core.spec import PlanError

SCALES = {"new": NEW, "x1": X1, "x3": X3, "x10": X10}
CONFIGURATIONS = [
    pytest.param(name, d, given, dtype, scale, id=f"{name}-D{d}-{'given' if given else 'free'}-{str(dtype)[6:]}-{scale}")
    for name, row in ROWS.items()
    for fixed in (row.fixed,)
    for d in row.sizes
    for given in row.given
    if not (given and d in row.blind)
    for dtype in (torch.float32, torch.float64)
    for scale in SCALES
    if scale == "x1" or not fixed
]


@pytest.mark.parametrize(("name", "d", "given", "dtype", "scale"), CONFIGURATIONS)
def test_laws(name, d, given, dtype, scale):
    row, size = ROWS[name], SCALES[scale]
    case = Scaled(row.plan(d, given), row.shape(d), CONTEXT if given else None, size=size)
    broken = []
    for law in LAWS:
        if law.dtype != dtype or not law.holds(d, size, row.root, name.startswith("flows.")):
            continue
        try:
            with torch.random.fork_rng(devices=[]):
                figure = law.figure(case)
        except Exception as error:
            broken.append(f"{law.name}: {type(error).__name__}: {error}")
            continue
        if not figure <= law.limits[size]:
            broken.append(f"{law.name}: expected at most {law.limits[size]:g}, got {figure:g}")
    assert not broken, "\n  ".join(["", *broken])


SHAPES = [(), (1,), (2,), (5,), (64,), (2, 3), (3, 3), (2, 1, 2)]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_builds_or_says_what_it_expects(name):
    """Any plan of the registry, and a kernel in each structure, meets any shape with a module or with words."""
    plans = [PLANS[name], PLANS[name].inv]
    if name in kernels_of_numbers():
        plans += [structure(PLANS[name]) for structure in STRUCTURES]
    for plan in plans:
        for shape in SHAPES:
            for context in (None, CONTEXT):
                try:
                    module = plan.build(shape, context)
                except PlanError as error:
                    words = str(error)
                else:
                    words = "expected" if module.event_shape == shape else f"event_shape {module.event_shape}"
                assert "expected" in words, f"{plan!r} of {shape}, context {context}: {words}"


@pytest.mark.parametrize(("name", "d"), [(name, d) for name, row in ROWS.items() for d in row.refuses])
def test_what_the_grid_leaves_out_is_refused(name, d):
    with pytest.raises(PlanError, match=r"expected .*, got"):
        ROWS[name].plan(d, False).build(ROWS[name].shape(d))


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if True in row.given])
def test_what_is_given_a_context_uses_it(name):
    row = ROWS[name]
    assert row.plan(5, True).build(row.shape(5), CONTEXT).facts.uses_context


def test_every_plan_and_every_named_flow_is_on_the_grid():
    assert set(PLANS) <= {part for row in ROWS.values() for part in parts(row.plan(5, False))}
    assert set(flows.__all__) - {"mixture"} == {name[6:] for name in ROWS if name.startswith("flows.")}
    for structure in STRUCTURES:
        assert {f"{structure.__name__} of {name}" for name in kernels_of_numbers()} <= set(ROWS)
