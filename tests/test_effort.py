"""Passes, steps and roots that layers declare, and that `describe` prints, are what is done: counted for every plan, both ways."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from cases import CASES
from torch.utils.flop_counter import FlopCounterMode

import pushforward as pf
import pushforward.bijectors as bij
from pushforward import flows
from pushforward.core import roots
from pushforward.core.mode import AS_ON_CPU
from pushforward.layers.autoregressive import AutoregressiveModule
from pushforward.layers.coupling import CouplingModule
from pushforward.native import library
from pushforward.testing import Case, randomize

ROWS = 5
# Layers whose plans have a Newton's method of their own, since what they seek is one number for a vector or a row of a matrix.
OWN = (bij.Planar, bij.Sylvester)


@pytest.fixture
def sought(monkeypatch):
    """Return a list of how many numbers each search for a root was given, without compiled kernels, which seek the same ones unseen."""
    monkeypatch.setattr(library, "LIBRARY", library.Library(None, "off", "torch's"))
    seen, real = [], roots.root

    def counted(function, y, *rest):
        seen.append(y.numel())
        return real(function, y, *rest)

    for name, module in list(sys.modules.items()):
        if name.startswith("pushforward.") and getattr(module, "root", None) is real:
            monkeypatch.setattr(module, "root", counted)
    return seen


def own(plan):
    return isinstance(plan, OWN) or any(own(getattr(plan, name)) for name in ("kernel", "bijector") if hasattr(plan, name))


@pytest.mark.parametrize("name", CASES)
def test_roots_are_sought_as_often_as_is_said(name, sought):
    case = Case(*CASES[name])
    module, x, context = case.build(), case.points(ROWS), case.contexts(ROWS)
    with torch.no_grad():
        y, _ = module.forward(x, context)
        forward, backward = sum(sought), sum(sought) * 0
        sought.clear()
        module.inverse(y, context)
        backward = sum(sought)
    numbers = ROWS * max(math.prod(module.event_shape), math.prod(module.out_shape))
    for said, done in zip(module.facts.roots, (forward, backward), strict=True):
        assert done <= said * numbers
        assert (done > 0) == (said > 0) or (said and own(module.plan)) or any(own(layer.plan) for layer in module.leaves())


def networked(module):
    """Tell whether all that multiplies matrices in a layer are networks that set parameters of numbers."""
    return isinstance(module, (AutoregressiveModule, CouplingModule)) and module.kernel.event_dim == 0


NETWORKED = [name for name, (plan, event, context) in CASES.items() if networked(plan.build(event, context))]


def multiplied(module, event, context, inverse):
    """Return the operations in products of matrices that a direction takes, on the meta device, where no compiled code is."""
    token = AS_ON_CPU.set(False)
    try:
        x = torch.zeros(64, *event, device="meta")
        given = None if context is None else torch.zeros(64, *context, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            (module.pull if inverse else module.push)(x, given)
        return counter.get_total_flops()
    finally:
        AS_ON_CPU.reset(token)


@pytest.mark.parametrize("name", NETWORKED)
def test_passes_are_as_much_work_as_is_said(name):
    """The parallel direction says what a pass is; steps that make each unit once are no more than one."""
    plan, event, context = CASES[name]
    module = plan.build(event, context).to("meta")
    work = [multiplied(module, event, context, inverse) for inverse in (False, True)]
    # Jacobi iteration stops when nothing changes, which meta tensors cannot tell: it makes steps there. The next test counts it.
    passes = [1 if adaptive else count for count, adaptive in zip(module.facts.evaluations, module.facts.adaptive, strict=True)]
    parallel = int(isinstance(module, AutoregressiveModule) and module.forward_sequential)
    assert passes[parallel] == 1
    once = work[parallel]
    assert once > 0
    for done, count in zip(work, passes, strict=True):
        assert done <= 1.02 * count * once
        assert done > (count - 1) * once or count == 1


@pytest.mark.parametrize("features", [1, 2, 8, 20])
@pytest.mark.parametrize("kernel", [bij.Affine(), bij.Spline(4)])
@pytest.mark.parametrize("layer", [bij.Autoregressive, bij.InverseAutoregressive])
def test_jacobi_iteration_takes_at_most_as_many_passes_as_is_said(layer, kernel, features):
    module = randomize(layer(kernel, solve="jacobi").build(features), 3.0)
    calls, parallel = [], 1 if layer is bij.Autoregressive else 0
    module.parameters_of.net.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        (module.inverse, module.forward)[1 - parallel](torch.randn(50, features, generator=torch.Generator().manual_seed(0)))
    assert module.facts.evaluations[1 - parallel] == features + 1
    assert module.facts.adaptive == (bool(parallel), not parallel)
    assert 1 <= len(calls) <= features + 1
    text = str(pf.Flow(pf.distributions.StandardNormal(), module.plan, features).describe())
    assert f"at most {features + 1}" in text


def test_a_description_says_where_roots_are_sought():
    layer = flows.NAF(3, transforms=1).describe().layers[0]
    assert (layer.roots_to_sample, layer.roots_to_score) == (1, 0)
    assert layer.effort("sample") == "1 of depth 3 and a root for each number"
    assert layer.effort("score") == "1"
    (total,) = [line for line in str(flows.NAF(3, transforms=2).describe()).splitlines() if line.startswith("total")]
    assert "5 evaluations of depth 9 and 2 roots for each number to sample, 5 to score" in total  # a layer that only shuffles counts as one
    assert "a root" not in str(pf.NSF(3).describe())


@pytest.mark.parametrize("flow", [lambda: pf.NSF(4, 2), lambda: pf.MAF(4, 2), lambda: pf.IAF(4, 2)], ids=["NSF", "MAF", "IAF"])
def test_a_draw_is_scored_in_the_pass_that_makes_it(flow, monkeypatch):
    made, context, calls = flow(), torch.zeros(50, 2), []

    def counted(way, real):
        return lambda *given: calls.append(way) or real(*given)

    for way in ("push", "pull"):
        monkeypatch.setattr(made.transform, way, counted(way, getattr(made.transform, way)))
    made.sample((), context)
    assert calls == ["push"]
    made.rsample_and_log_prob((), context)
    made.condition(context).rsample_and_log_prob()
    assert calls == ["push"] * 3
    made.log_prob(torch.zeros(50, 4), context)
    assert calls == ["push"] * 3 + ["pull"]
