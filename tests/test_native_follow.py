"""The compiled way through a velocity field: as torch's operators have it, and the same bits for a row whatever stands beside it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import pushforward as pf
import pushforward.bijectors as bij
from pushforward.layers import ways
from pushforward.layers.ways import COMPILED
from pushforward.native import follow as native
from pushforward.native.activations import ACTIVATIONS
from pushforward.native.follow import LOST, THERE, Rows, follow
from pushforward.solvers import adaptive
from pushforward.solvers.path import BY_TORCH, Path
from pushforward.testing import randomize
from pushforward.testing.case import Case

pytestmark = pytest.mark.compiled

NETS = {
    "one layer": bij.MLP((9,)),
    "two layers": bij.MLP((11, 6)),
    "three layers": bij.MLP((7, 5, 6)),
    "residual": bij.ResidualMLP(6, 2),
    "one unit": bij.MLP((1,)),
}
SMOOTH = [name for name in ACTIVATIONS if name not in ("relu", "leaky_relu", "elu")]
"""Where slopes bend, whether a step is accepted moves with roundings."""


def built(name="two layers", activation="silu", size=3, context=None, dtype=torch.float64, scale=1.5, seed=0, **options):
    plan = bij.Continuous(NETS[name].replace(activation=activation), **options)
    return Case(plan, (size,), None if context is None else (context,)).build(dtype, scale, seed)


def points(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def paths(layer, x, context=None, start=0.0, end=1.0):
    """Return the way of compiled code and of torch's operators, with what both are given."""
    of, used = layer.field.rates()
    z, given, _ = layer._rows(x, context)
    steps = None if layer.tableau.adaptive else layer.steps
    return *(Path(layer.tableau, of, start, end, 0.1 * layer.tolerance, steps, way) for way in ((COMPILED,), BY_TORCH)), (z, given, used)


def at_start(layer, x, context, t):
    """Return the rates that the compiled code gives, and torch's."""
    path, _, (z, given, used) = paths(layer, x, context, t, 0.0 if t else 1.0)
    assert COMPILED.takes(path, z, given, used)
    rows = Rows.at(z)
    follow(path.of.compiled(used), ways._method(path), rows, given, path.start, path.end, 0)
    return rows.first, path.of(used)(torch.full((len(z),), t, dtype=torch.float64), z, given)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETS)
def test_velocity_and_trace_are_those_of_torch(name, activation):
    for size, context in ((1, None), (3, 2), (5, None)):
        layer, x = built(name, activation, size, context), 3 * points(70, size)
        for t in (0.0, 0.3, 0.5, 0.77, 1.0):
            made, right = at_start(layer, x, None if context is None else points(70, context), t)
            # Sums of some tens of numbers that are not far from one.
            torch.testing.assert_close(made.detach(), right.detach(), rtol=1e-13, atol=1e-13 * float(1 + right.detach().abs().max()))


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "rk4", "heun"])
@pytest.mark.parametrize("name", NETS)
def test_the_way_is_that_of_torch_with_as_many_evaluations(name, method):
    for activation in SMOOTH:
        for context, ends in ((None, (0.0, 1.0)), (2, (1.0, 0.0))):
            layer, x = built(name, activation, context=context, method=method, steps=7), points(50, 3)
            compiled, plain, given = paths(layer, x, None if context is None else points(50, 2), *ends)
            made, right = compiled.solution(*given, keep=False), plain.solution(*given, keep=False)
            torch.testing.assert_close(made.z, right.z, rtol=1e-10, atol=1e-10)
            assert float((made.evaluations == right.evaluations).double().mean()) >= 0.95
            assert not made.taken


def wild(size, row, columns):
    """Return rows that are far away, NaN and infinite, with the one that is asked for as the last."""
    batch = 10.0 ** (4 * points(size, 1, seed=size + 1)).clamp(max=30) * points(size, columns, seed=size)
    if size > 1:
        batch[0], batch[1], batch[2], batch[3] = math.nan, math.inf, -math.inf, 1e150
    batch[-1] = row
    return batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["tsit5", "dopri5", "rk4"])
@pytest.mark.parametrize("name", ["two layers", "residual"])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(name, method, dtype, monkeypatch):
    """Alone, among seven and among 512 that are stiff, NaN or infinite, by several threads, and whether or not a gradient is asked for."""
    monkeypatch.setattr(adaptive, "MOST", 300)
    for seed in range(4):
        layer, row, context = (
            built(name, "tanh", context=2, scale=3.0, dtype=dtype, method=method, seed=seed),
            points(3, seed=seed),
            points(2),
        )
        kept = None
        for size in (1, 7, 512):
            x, c = wild(size, row, 3).to(dtype), wild(size, context, 2).to(dtype)
            for gradients in (False, True):
                with torch.set_grad_enabled(gradients):
                    for move in (layer.forward, layer.inverse):
                        y, ladj = move(x, c)
                        made = torch.cat([y[-1], ladj[-1:]]).detach()
                        kept = {} if kept is None else kept
                        assert torch.equal(made, kept.setdefault(move.__name__, made)), (size, gradients)
                        assert torch.isfinite(made).all()
                        assert size == 1 or torch.isnan(y[:3]).all()


def test_as_many_threads_as_there_are_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(native, "_GRAIN", 1)
    layer, x = built(scale=3.0), points(700, 3)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        with torch.no_grad():
            found.append(layer.inverse(x))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_densities_of_a_row_alone_are_those_among_wild_ones(monkeypatch):
    monkeypatch.setattr(adaptive, "MOST", 300)
    flow, row = randomize(pf.CNF(2, widths=(16, 16)), 2.0, 0), points(2)
    made = [flow.log_prob(wild(size, row, 2).float())[-1] for size in (1, 7, 512)]
    # What the base sums is torch's own affair.
    torch.testing.assert_close(made[1:], [made[0], made[0]], rtol=2e-7, atol=2e-7)
    assert torch.isfinite(made[0])


@pytest.mark.parametrize("method", ["dopri5", "heun"])
def test_gradients_are_those_of_the_same_steps_by_torch(method):
    layer, x, context = built(context=2, method=method, steps=5), points(9, 3).requires_grad_(), points(9, 2).requires_grad_()
    found = []
    for index in range(2):
        path, (z, given, used) = paths(layer, x, context)[index], paths(layer, x, context)[2]
        made = path.follow(z, given, used)
        found.append(torch.autograd.grad(made.sin().sum(), [x, context, *layer.parameters()]))
        lengths = adaptive.table(path.taken, torch.zeros(len(z), 1, dtype=torch.bool)).sum(1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-9)


def test_rows_that_cannot_get_there_end_as_nan_within_a_bounded_number_of_steps(monkeypatch):
    monkeypatch.setattr(adaptive, "MOST", 40)
    layer, x = built("two layers", "tanh", 2, tolerance=1e-10, scale=5.0), points(40, 2)
    x[3], x[5] = math.nan, math.inf
    compiled, _, (z, given, used) = paths(layer, x)
    made = compiled.solution(z, given, used, keep=False)
    assert made.evaluations[[3, 5]].tolist() == [2, 2]
    most = 40 * layer.tableau.evaluations + 2
    assert int(made.evaluations.max()) == most
    assert torch.equal(torch.isnan(made.z).all(1), torch.isnan(made.z).any(1))
    assert bool(torch.isnan(made.z[made.evaluations == most]).any())
    # A gradient of a row that was given up nobody knows, and the others have theirs.
    lost = torch.isnan(made.z[:, 0])
    given_up = points(40, 2).copy_(x).requires_grad_()
    y, ladj = layer.forward(given_up)
    assert torch.equal(torch.isnan(y).all(1), lost)
    slope = torch.autograd.grad((y.sum() + ladj.sum()), given_up)[0]
    assert torch.equal(torch.isnan(slope).any(1), lost)


def test_no_rows_take_no_steps():
    layer = built()
    y, ladj = layer.forward(torch.zeros(0, 3, dtype=torch.float64))
    assert y.shape == (0, 3)
    assert ladj.shape == (0,)


def test_all_steps_are_one_call_and_with_a_gradient_each_is_one(monkeypatch):
    layer, x, calls = built(), points(40, 3), []
    plain = native.call

    def counted(*given):
        calls.append(given[0])
        return plain(*given)

    monkeypatch.setattr(native, "call", counted)
    with torch.no_grad():
        layer.forward(x)
    assert calls == ["pushforward_follow"]
    calls.clear()
    path, _, (z, given, used) = paths(layer, x)
    path.follow(z, given, used)
    assert len(calls) == len(path.taken) > 2


def test_what_is_left_to_torch():
    def taken(layer, x=None, **options):
        path, _, (z, given, used) = paths(layer, points(4, 3) if x is None else x)
        return COMPILED.takes(dataclasses.replace(path, **options), z, given, used)

    assert taken(built())
    assert taken(built(dtype=torch.float32), points(4, 3, dtype=torch.float32))
    assert not taken(built(), start=-0.5)
    assert not taken(built(), steps=2**20 + 1)
    assert not taken(bij.Continuous(bij.MLP((400, 400), "silu")).build(3).double())
    assert not taken(bij.Continuous(bij.Periodic(bij.MLP((4,)), circular=(0,))).build(3).double())
    assert not taken(built().to("meta"), points(4, 3).to("meta"))
    hooked = built()
    hooked.field.parameters_of.net.layers[0].register_forward_hook(lambda *_: None)
    assert not taken(hooked)


WRONG = {
    "weight 1": lambda v, r, c: (v._replace(weights=[v.weights[0], v.weights[1].mT, v.weights[2]]), r, c),
    "bias 0": lambda v, r, c: (v._replace(biases=[v.biases[1], *v.biases[1:]]), r, c),
    "more": lambda v, r, c: (v._replace(frequencies=2), r, c),
    "form": lambda v, r, c: (v._replace(form=v.form.mT), r, c),
    "context": lambda v, r, c: (v, r, c[:-1]),
    "first": lambda v, r, c: (v, r._replace(first=r.first[:, 1:]), c),
    "h": lambda v, r, c: (v, r._replace(h=r.h[1:]), c),
    "weight 0": lambda v, r, c: (v, r._replace(z=r.z[:, 1:]), c),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    layer = built(context=2)
    path, _, (z, given, used) = paths(layer, points(6, 3), points(6, 2))
    rows = Rows.at(z)
    velocity, rows, context = WRONG[name](path.of.compiled(used), rows, given)
    before = [each.clone() for each in rows]
    with pytest.raises(ValueError, match=f"follow: expected {name} of shape"):
        follow(velocity, ways._method(path), rows, context, 0.0, 1.0, 5)
    assert all(torch.equal(one, other) for one, other in zip(rows, before, strict=True))


@pytest.mark.parametrize("layout", ["transposed", "every other", "one for all"])
def test_tensors_lie_in_memory_as_they_like(layout):
    layer, x = built(context=2), points(6, 3)
    context = points(6, 2)
    path, _, (z, given, used) = paths(layer, x, context)
    velocity = path.of.compiled(used)
    other = {
        "transposed": lambda t: t.mT.contiguous().mT if t.dim() > 1 else t,
        "every other": lambda t: torch.stack([t, t + 1], -1)[..., 0],
        "one for all": lambda t: t,
    }[layout]
    if layout == "one for all":
        given = given[:1].expand(6, 2)
    found = []
    for same in (True, False):
        change = (lambda t: t) if same else other
        told = velocity._replace(weights=[change(w) for w in velocity.weights], more=change(velocity.more), form=change(velocity.form))
        rows = Rows.at(z)
        follow(told, ways._method(path), rows, given.contiguous() if same else change(given), 0.0, 1.0, 5000)
        assert (rows.status == THERE).all()
        found.append(rows)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_rows_that_are_lost_are_told_apart_from_those_that_are_there():
    layer, x = built(), points(5, 3)
    x[2] = math.nan
    path, _, (z, given, used) = paths(layer, x)
    rows = Rows.at(z)
    follow(path.of.compiled(used), ways._method(path), rows, given, 0.0, 1.0, 5000)
    assert rows.status.tolist() == [THERE, THERE, LOST, THERE, THERE]
    assert rows.t[rows.status == THERE].eq(1).all()
    done = [each.clone() for each in rows]
    follow(path.of.compiled(used), ways._method(path), rows, given, 0.0, 1.0, 5000)  # who is there stays
    assert all(torch.equal(one.nan_to_num(), two.nan_to_num()) for one, two in zip(rows, done, strict=True))
