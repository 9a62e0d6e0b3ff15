"""Continuous layers: their field and its trace, their steps, gradients and memory, and what they state of their error."""

from __future__ import annotations

import math
import threading
from functools import partial

import pytest
import torch
from memory import peak
from torch import nn

import pushforward as pf
import pushforward.bijectors as bij
from pushforward.core.spec import PlanError
from pushforward.native.activations import ACTIVATIONS
from pushforward.nets.divergence import RIDGE, by_tangents, hutch_plus_plus, hutchinson
from pushforward.solvers.path import Path
from pushforward.testing import randomize
from pushforward.testing.case import Case

FIELD = bij.MLP((16, 16), "silu")


def built(net=FIELD, size=2, context=None, dtype=torch.float64, scale=1.0, seed=0, **options):
    shape = (size,) if isinstance(size, int) else size
    return Case(bij.Continuous(net, **options), shape, None if context is None else (context,)).build(dtype, scale, seed)


def points(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Turning(nn.Module):
    """A linear field of two numbers, faster as time goes by: v = (1 - cos πt) A x."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.2, -1.0], [1.5, 0.3]]))

    def forward(self, seen):
        return (1 - seen[..., 2:3]) * (seen[..., :2] @ self.matrix.mT)


# The field


def test_a_new_layer_is_the_identity_and_takes_one_step():
    layer, x = bij.Continuous().build(3), points(5, 3, dtype=torch.float32)
    assert all(torch.equal(value, x) and not ladj.any() for value, ladj in (layer(x), layer.inverse(x)))
    assert solution(layer.double(), points(5, 3)).evaluations.tolist() == [8] * 5


def test_the_velocity_is_that_of_the_way_from_base_to_data():
    layer = built(context=3)
    x, context, h = points(6, 2), points(6, 3, seed=2), 1e-4
    for t, move, point in ((0.0, layer.forward, x), (1.0, layer.inverse, x)):
        velocity = layer.velocity(torch.full((6,), t, dtype=torch.float64), point, context)
        # The solver's way over a short time, by the field's own rates.
        of, used = layer.field.rates()
        z, given, _ = layer._rows(point, context)
        near = Path(layer.tableau, of, t, t + h if t == 0 else t - h, 1e-12).follow(z, given, used)[:, :2]
        torch.testing.assert_close((near - point) / (h if t == 0 else -h), velocity, rtol=0, atol=1e-2)
        assert move(point, context)[0].shape == (6, 2)


def test_velocities_take_batches_that_broadcast_and_events_of_any_shape():
    layer = built(size=(2, 3), context=4, dtype=torch.float32)
    x, context = points(5, 2, 3, dtype=torch.float32), points(5, 4, dtype=torch.float32)
    whole = layer.velocity(torch.full((5,), 0.3), x, context)
    assert whole.shape == (5, 2, 3)
    torch.testing.assert_close(layer.velocity(torch.tensor(0.3), x, context), whole)
    torch.testing.assert_close(layer.velocity(torch.tensor(0.3), x[0], context)[2], layer.velocity(torch.tensor(0.3), x[0], context[2]))
    assert layer.velocity(torch.rand(7, 1), x, context).shape == (7, 5, 2, 3)
    gradient = torch.autograd.grad(whole.square().sum(), list(layer.parameters()))
    assert all(bool(g.any()) for g in gradient)


def test_what_is_no_time_or_place_is_refused():
    layer, x, t = built(dtype=torch.float32), torch.zeros(5, 2), torch.zeros(5)
    for error, words, call in (
        (TypeError, "expected t to be a torch.Tensor, got float", lambda: layer.velocity(0.5, x)),
        (TypeError, "expected t of torch.float32, got torch.float64", lambda: layer.velocity(t.double(), x)),
        (ValueError, "the batch of t: expected a shape that broadcasts with", lambda: layer.velocity(torch.zeros(4), x)),
        (ValueError, "expected x of shape", lambda: layer.velocity(t, torch.zeros(5, 3))),
        (ValueError, "expected no context", lambda: layer.velocity(t, x, torch.zeros(5, 1))),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"tolerance": 0.0}, r"Continuous: expected tolerance in \[1e-12, 1\], got 0.0"),
        ({"method": "euler"}, "Continuous: expected method to be one of tsit5, dopri5, rk4, heun, got 'euler'"),
        ({"steps": 0}, "Continuous: expected steps to be a whole number of at least 1, got 0"),
        ({"steepest": 0.0}, "Continuous: expected steepest > 0, got 0.0"),
        ({"net": "mlp"}, "Continuous: expected net to be a plan such as MLP"),
    ],
)
def test_what_is_no_plan_is_refused(option, words):
    with pytest.raises(PlanError, match=words):
        bij.Continuous(**option)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_are_those_of_the_activations(activation):
    row, z = ACTIVATIONS[activation], torch.linspace(-8, 8, 65, dtype=torch.float64)[1:].requires_grad_()
    h = row.function(z)
    slope = row.slope(z, h)
    torch.testing.assert_close(slope, torch.autograd.grad(h.sum(), z, create_graph=True)[0], rtol=1e-12, atol=1e-12)
    assert float(slope.detach().abs().max()) <= row.steepest


NETS = {
    "one layer": bij.MLP((7,), "tanh"),
    "two layers": bij.MLP((7, 5), "gelu"),
    "three layers": bij.MLP((7, 5, 6), "elu"),
    "residual": bij.ResidualMLP(6, 2, "softplus"),
    "a net that is called": bij.Periodic(bij.MLP((7,), "sigmoid"), circular=(0,)),
    "a potential": bij.Potential(bij.MLP((6, 5), "tanh")),
    "a module": Turning(),
}


@pytest.mark.parametrize("name", NETS)
def test_rates_are_the_velocity_and_the_trace_of_its_jacobian(name):
    layer = built(NETS[name], context=None if name == "a module" else 3)
    x, context, t = points(9, 2), None if name == "a module" else points(9, 3), torch.linspace(0, 1, 9, dtype=torch.float64)
    of, used = layer.field.rates()
    z, given, _ = layer._rows(x, context)
    made = of(used)(t, z, given)
    torch.testing.assert_close(made[:, :2], layer.velocity(t, x, context), rtol=1e-12, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer.velocity(t, x, context).sum(0), x)
    torch.testing.assert_close(made[:, 2], jacobian.diagonal(0, 0, 2).sum(-1), rtol=1e-11, atol=1e-12)


def test_threads_may_score_by_a_net_that_is_called_at_once():
    """Tangents have levels that torch counts for all threads, and tensors in other precision stand in the net while it is called."""
    layer, y = built(bij.Periodic(bij.MLP((4,), "tanh"), circular=(0,)), dtype=torch.float32, method="heun", steps=2), points(5, 2).float()
    right, found = layer.inverse(y)[1].detach(), []

    def work():
        found.extend(layer.inverse(y)[1].detach() for _ in range(8))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    assert all(torch.equal(each, right) for each in found)
    assert {p.dtype for p in layer.parameters()} == {torch.float32}


def test_traces_of_many_dimensions_are_carried_some_at_a_time():
    x = points(3, 150)
    _, trace = by_tangents(lambda x: torch.sin(x) * x.sum(-1, keepdim=True), x)
    torch.testing.assert_close(trace, (torch.cos(x) * x.sum(-1, keepdim=True) + torch.sin(x)).sum(-1))


@pytest.mark.parametrize("net", [bij.MLP((8,), "silu"), bij.ResidualMLP(8, 2, "gelu")], ids=repr)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_no_weights_make_a_perceptron_steeper_than_its_bound(net, scale):
    layer, x, t = built(net, scale=scale, steepest=50.0), 3 * points(200, 2), torch.rand(200, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer.velocity(t, x).sum(0), x).permute(1, 0, 2)
    assert float(torch.linalg.matrix_norm(jacobian, 2).max()) <= 50.0
    free = built(net, scale=scale, steepest=1e9)
    if scale == 1.0:  # where it is far away it changes nothing
        torch.testing.assert_close(built(net, steepest=1e4).velocity(t, x), free.velocity(t, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("net", [bij.MLP((16, 16), "silu"), bij.ResidualMLP(8, 2, "gelu")], ids=repr)
@pytest.mark.parametrize(("steepest", "gentle"), [(1e4, True), (3.0, False)])
def test_a_bound_that_is_far_away_is_left_out_of_the_velocity_within_roundings(net, steepest, gentle):
    """Value and gradients are those of the field in float64 with the bound counted."""
    layer, fine = (built(net, dtype=dtype, steepest=steepest) for dtype in (torch.float32, torch.float64))
    fine.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    assert layer.field._gentle(*layer.field._perceptron()) is gentle
    x, t = points(64, 2, dtype=torch.float32), torch.linspace(0, 1, 64)
    made, expected = layer.velocity(t, x), fine.field(t.double(), x.double(), None, fine.field._share(*fine.field._perceptron()))
    torch.testing.assert_close(made.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.detach().abs().max()))
    for value in (made, expected):
        value.square().mean().backward()
    for one, other in zip(layer.parameters(), fine.parameters(), strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-3, atol=1e-4 * float(other.grad.abs().max()))


def test_where_values_may_not_be_looked_at_the_bound_is_counted():
    layer, x, t = built(dtype=torch.float32, scale=0.3), points(5, 2, dtype=torch.float32), torch.linspace(0, 1, 5)
    each = torch.func.vmap(lambda t, x: layer.velocity(t, x))(t, x)
    torch.testing.assert_close(each, layer.velocity(t, x), rtol=1e-5, atol=1e-5)


# The way through it


def solution(layer, x, context=None, **options):
    of, used = layer.field.rates()
    z, given, _ = layer._rows(x, context)
    return Path(layer.tableau, of, 0.0, 1.0, 0.1 * layer.tolerance, **options).solution(z, given, used)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("method", ["tsit5", "dopri5"])
def test_a_linear_field_is_a_matrix_exponential(method, tolerance):
    layer, x = bij.Continuous(Turning(), tolerance, method).build(2).double(), points(50, 2)
    matrix = layer.field.parameters_of.net.module.matrix.detach()
    for move, sign in ((layer.forward, 1), (layer.inverse, -1)):
        y, ladj = move(x)
        exact = x @ torch.linalg.matrix_exp(sign * matrix).mT
        assert ((y - exact).abs() <= tolerance * (1 + exact.abs())).all()
        assert ((ladj - sign * torch.trace(matrix)).abs() <= tolerance * 1.5).all()


def test_float32_values_are_within_a_tolerance_that_float32_could_not_meet():
    coarse = built(dtype=torch.float32, tolerance=1e-6)
    fine = built(dtype=torch.float64, tolerance=1e-12)
    x = points(100, 2, dtype=torch.float32)
    for name in ("forward", "inverse"):
        (y, ladj), (exact, of_exact) = (getattr(layer, name)(x.to(p)) for layer, p in ((coarse, torch.float32), (fine, torch.float64)))
        assert ((y - exact).abs() <= (1e-6 + 1.2e-7) * (1 + exact.abs())).all()
        assert ((ladj - of_exact).abs() <= (1e-6 + 1.2e-7) * (1 + of_exact.abs())).all()


def test_a_row_is_alone_whatever_stands_beside_it():
    """Among neighbours that are far away, stiff, NaN or infinite; a solver that controls a batch changes its digits, or never ends."""
    layer = built(bij.MLP((16,), "tanh"), dtype=torch.float32, scale=3.0)
    row, flow = points(1, 2, dtype=torch.float32), pf.Flow(pf.distributions.StandardNormal(), bij.Affine(), 2)
    flow.transform = layer
    alone = [flow.log_prob(row)[0], layer(row)[0][0]]
    for size in (7, 512):
        batch = 1000 * points(size, 2, seed=size, dtype=torch.float32)
        batch[1], batch[2], batch[-1] = math.nan, math.inf, row[0]
        assert abs(flow.log_prob(batch)[-1] - alone[0]) <= 4e-7 * (1 + abs(alone[0]))
        torch.testing.assert_close(layer(batch)[0][-1], alone[1], rtol=2e-7, atol=2e-7)
        assert torch.isnan(flow.log_prob(batch)[1])


def test_a_layer_counts_how_often_a_row_calls_the_net():
    layer, calls = bij.Continuous(Turning(), tolerance=1e-4).build(2).double(), []
    y = torch.cat([points(3, 2), 50 * points(1, 2)])
    counts = layer.evaluations(y)
    assert counts.shape == (4,)
    assert counts.max() > counts.min()
    (net,) = (part for part in layer.modules() if isinstance(part, Turning))
    net.register_forward_hook(lambda *_: calls.append(1))
    for row, count in zip(y, counts.tolist(), strict=True):
        calls.clear()
        layer.pull(row)
        tangents, own = len(calls), layer.evaluations(row).item()
        assert tangents == 2 * count  # one for each dimension
        assert own == count


def test_counts_of_evaluations_broadcast_with_contexts_and_have_no_gradient():
    layer = built(context=2)
    counts = layer.evaluations(points(5, 1, 2), points(3, 2))
    assert counts.shape == (5, 3)
    assert not counts.requires_grad
    with pytest.raises(ValueError, match="expected a context"):
        layer.evaluations(points(5, 2))
    sphere = bij.Continuous(FIELD, method="rk4", steps=5, on=["sphere"]).build(3)
    assert sphere.evaluations(torch.nn.functional.normalize(points(4, 3, dtype=torch.float32), dim=-1)).tolist() == [20] * 4


def test_a_layer_says_what_it_takes_at_most():
    layer = built()
    assert layer.facts.adaptive == (True, True)
    assert int(solution(layer, points(30, 2)).evaluations.max()) < layer.facts.evaluations[0]
    assert built(method="rk4", steps=7).facts.evaluations == (28, 28)
    text = str(bij.Continuous(tolerance=1e-4).describe(2))
    assert "0.0001 + 0.0001 |y| of a solver, gradients 0.0001 + 0.0001 |gradient|, both ways" in text
    assert "at most 30002" in text


# Gradients


@pytest.mark.parametrize(
    ("net", "options"),
    [
        (bij.MLP((6, 6), "tanh"), {"tolerance": 1e-10}),
        (bij.MLP((4, 4, 4), "silu"), {"method": "rk4", "steps": 3}),
        (bij.Periodic(bij.MLP((5,), "tanh"), circular=(0,)), {"method": "heun", "steps": 2}),
        (bij.Potential(bij.MLP((5,), "tanh")), {"method": "heun", "steps": 2}),
    ],
)
def test_gradients_in_values_context_and_weights_are_those_of_differences(net, options):
    """Those of steps that follow the error are off by the tolerance, which is far below what is asked for."""
    layer = built(net, context=2, **options)
    x, context, weights = points(3, 2).requires_grad_(), points(3, 2, seed=5).requires_grad_(), points(3, 2, seed=7)

    def loss():
        y, ladj = layer.inverse(x, context)
        return (torch.sin(y) * weights).sum() + ladj.sum()

    tensors = [x, context, *layer.parameters()]
    for tensor, slope in zip(tensors, torch.autograd.grad(loss(), tensors), strict=True):
        direction = points(*tensor.shape, seed=3)
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                tensor.add_(direction, alpha=sign * 1e-4)
                ends.append(float(loss()))
                tensor.sub_(direction, alpha=sign * 1e-4)
        claimed = float((slope * direction).sum())
        assert abs((ends[0] - ends[1]) / 2e-4 - claimed) <= 1e-6 * (1 + abs(claimed))


@pytest.mark.parametrize("size", [1, 2])
def test_a_flow_has_gradients_of_its_density_in_everything(size):
    flow = pf.CNF(size, 1, widths=(6,), tolerance=1e-4)
    randomize(flow, 0.5)
    y, c = points(4, size, dtype=torch.float32).requires_grad_(), points(4, 1, dtype=torch.float32).requires_grad_()
    found = torch.autograd.grad(flow.log_prob(y, c).sum(), [y, c, *flow.transform.parameters()])
    assert all(bool(torch.isfinite(g).all()) and bool(g.any()) for g in found)
    drawn, score = flow.rsample_and_log_prob((3,), c.detach())
    assert all(bool(g.any()) for g in torch.autograd.grad(drawn.sum() + score.sum(), list(flow.transform.parameters())))


@pytest.mark.parametrize("most", [100, pytest.param(1000, marks=pytest.mark.heavy)])
def test_memory_is_that_of_one_step_however_many_there_are(most):
    """Beside it a step keeps where it began: the numbers of a row, its time and its step."""
    rows, size, bytes_of = 64, 2, {}
    for steps in (10, most):
        layer, x = built(bij.MLP((256,), "tanh"), method="heun", steps=steps), points(rows, size).requires_grad_()
        bytes_of[steps] = peak(lambda layer=layer, x=x: torch.autograd.grad(layer(x)[0].sum(), [x, *layer.parameters()]))
    kept = rows * (size + 3) * 8
    assert bytes_of[most] - bytes_of[10] <= (most - 10) * kept * 1.1
    # All that one step computes is more than what a hundred keep, so that ten times as many are nowhere near ten times as much.
    assert bytes_of[10] > 100 * kept


@pytest.mark.parametrize(
    "net", [bij.MLP((5,), "tanh"), pytest.param(bij.Periodic(bij.MLP((5,), "tanh"), circular=(0,)), marks=pytest.mark.heavy)]
)
def test_function_transforms_take_the_steps_that_rows_take_without_them(net):
    """Over rows, over weights side by side, in forward mode, and one in another."""
    layers, x = [built(net, tolerance=1e-5, seed=seed) for seed in range(2)], points(4, 2)
    together = {
        name: torch.stack([dict(layer.named_parameters())[name].detach() for layer in layers]) for name, _ in layers[0].named_parameters()
    }

    def run(weights, x):
        return torch.func.functional_call(layers[0], weights, (x,))

    of_each = torch.func.vmap(torch.func.vmap(run, (None, 0)), (0, None))(together, x)
    for index, layer in enumerate(layers):
        for found, wanted in zip(of_each, layer(x), strict=True):
            torch.testing.assert_close(found[index], wanted.detach(), rtol=1e-10, atol=1e-10)
    forward, backward = (torch.func.vmap(way(lambda row: layers[0](row)[0]))(x) for way in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-10)


# What is stated of the error


def flows_of(tolerance, dtype=torch.float64):
    """Give flows of random weights, and the same at the finest tolerance."""
    for seed in range(3):
        both = []
        for each in (tolerance, 1e-12):
            torch.manual_seed(seed)
            flow = pf.Flow(pf.distributions.StandardNormal(), [bij.Continuous(bij.MLP((8, 8), "silu"), each), bij.Affine()], 1 + seed)
            both.append(randomize(flow, 1.5, seed).to(dtype))
        yield both


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
def test_the_error_that_is_stated_is_true(tolerance):
    true, stated = [], []
    for flow, exact in flows_of(tolerance):
        y = 1.5 * points(100, *flow.event_shape)
        value, error = flow.log_prob_and_error(y)
        assert torch.equal(value, flow.log_prob(y))
        true.append((value - exact.log_prob(y)).detach().abs())
        stated.append(error)
    true, stated = torch.cat(true), torch.cat(stated)
    assert float((true <= stated).double().mean()) >= 0.95
    assert float((stated / true.clamp(min=1e-15)).median()) <= 10
    assert float((stated <= 3 * tolerance * 10).double().mean()) >= 0.95


@pytest.mark.parametrize("make", [lambda: pf.NSF(2, transforms=2), lambda: pf.MAF(3, transforms=2), lambda: pf.CNF(2, method="rk4")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_flow_states_its_error(make, dtype):
    torch.manual_seed(0)
    flow = randomize(make(), 0.7).to(dtype)
    y = points(50, *flow.event_shape, dtype=dtype)
    value, error = flow.log_prob_and_error(y)
    assert value.dtype == error.dtype == dtype
    assert (error > 0).all()
    assert not error.requires_grad
    assert value.requires_grad
    if "Continuous" not in repr(flow):
        assert (error <= (1e-3 if dtype is torch.float32 else 1e-12) * (1 + value.abs())).all()
    y[0], y[1] = math.nan, math.inf
    value, error = flow.log_prob_and_error(y)
    assert torch.isnan(value[0])
    assert torch.isnan(error[0])
    assert value[1] == -math.inf
    assert error[1] == 0


def test_equal_steps_state_how_far_off_they_are():
    coarse = randomize(pf.CNF(2, method="heun", widths=(8,)), 1.0).double()
    coarse.transform.layers[0].steps = 3
    y = points(30, 2)
    value, error = coarse.log_prob_and_error(y)
    fine = randomize(pf.CNF(2, tolerance=1e-10, widths=(8,)), 1.0).double()
    fine.load_state_dict(dict(coarse.state_dict()))
    true = (value - fine.log_prob(y)).detach().abs()
    assert float((true <= error).double().mean()) >= 0.95
    assert float(true.median()) > 1e-4


# In the library


def test_a_flow_is_saved_loaded_and_described(tmp_path):
    flow = randomize(pf.CNF(2, 1, widths=(6,), tolerance=1e-3), 0.5)
    flow.save(tmp_path / "flow.safetensors")
    again, y, c = pf.load(tmp_path / "flow.safetensors"), torch.zeros(3, 2), torch.ones(3, 1)
    assert torch.equal(again.log_prob(y, c), flow.log_prob(y, c))
    assert "0.001 + 0.001 |y| of a solver" in str(again.describe())


def test_a_flow_learns_by_likelihood():
    torch.manual_seed(0)
    data = torch.randn(400, 2) @ torch.tensor([[1.0, 0.0], [1.5, 0.5]]) + torch.tensor([3.0, -1.0])
    flow = pf.CNF(2, widths=(8,), tolerance=1e-2)
    history = pf.fit(flow, data, epochs=2, batch_size=100, progress=False)
    assert history.best_loss < history.start


# Traces by random probes


def large(trace="hutchinson", probes=16, seed=0, scale=1.0, size=32, tolerance=1e-6, net=FIELD, dtype=torch.float64):
    """Return a flow of one continuous layer, whose weights are those of the exact one."""
    torch.manual_seed(0)
    layer = bij.Continuous(net, tolerance, trace=trace, probes=probes, seed=seed)
    return randomize(pf.Flow(pf.distributions.StandardNormal(), layer, size), scale, 0).to(dtype)


PROBED = {
    "two layers": FIELD,
    "residual": bij.ResidualMLP(8, 1, "tanh"),
    "a net that is called": bij.Periodic(bij.MLP((16,), "tanh"), circular=(0,)),
}


def plus_plus(jacobian, sketch, signs):
    """Return the estimate of one row, with the ridge as it is documented."""
    y = jacobian @ sketch.mT
    gram = y.mT @ y
    onto = y @ torch.linalg.inv(gram + RIDGE * torch.trace(gram) * torch.eye(len(gram), dtype=gram.dtype)) @ y.mT
    return torch.trace(onto @ jacobian) + torch.einsum("ki,ij,kj->k", signs, jacobian - onto @ jacobian, signs).mean()


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("name", PROBED)
def test_probes_give_the_mean_of_their_forms(name, trace):
    layer = large(trace, net=PROBED[name], probes=4, size=6).transform
    x, t = points(7, 6), torch.linspace(0, 1, 7, dtype=torch.float64)
    z, given, _ = layer._rows(x, None)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer.velocity(t, x).sum(0), x).permute(1, 0, 2)
    frame = layer.field.probes
    torch.testing.assert_close(frame @ frame.mT, 6 * torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-6)
    for part, parts in ((0, 1), (1, 2)):
        layer.probe(part, parts)
        some = frame[part::parts]
        of, used = layer.field.rates()
        made = of(used)(t, z, given)
        if trace == "hutch++":
            right = torch.stack([plus_plus(each, layer.field.sketch, some) for each in jacobian])
        else:
            right = torch.einsum("ki,nij,kj->nk", some, jacobian, some).mean(1)
        torch.testing.assert_close(made[:, :6], layer.velocity(t, x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(made[:, 6], right, rtol=1e-6, atol=1e-6)


def test_a_sketch_that_takes_all_of_a_jacobian_leaves_next_to_nothing_to_chance():
    draw = torch.Generator().manual_seed(3)
    jacobian = torch.randn(5, 9, 3, generator=draw, dtype=torch.float64) @ torch.randn(5, 3, 9, generator=draw, dtype=torch.float64)
    sketch, probes = (torch.randn(4, 9, generator=draw, dtype=torch.float64).sign() for _ in range(2))
    made = hutch_plus_plus(sketch, probes)(lambda vectors: torch.matmul(vectors, jacobian.mT))
    torch.testing.assert_close(made, jacobian.diagonal(0, 1, 2).sum(1), rtol=0, atol=1e-3)
    plain = hutchinson(probes)(lambda vectors: torch.matmul(vectors, jacobian.mT))
    assert float((plain - jacobian.diagonal(0, 1, 2).sum(1)).abs().max()) > 0.1


def test_a_new_layer_with_a_sketch_has_gradients():
    flow = pf.Flow(pf.distributions.StandardNormal(), bij.Continuous(bij.MLP((4,), "tanh"), trace="hutch++", probes=4), 6)
    y = points(3, 6, dtype=torch.float32).requires_grad_()
    assert torch.equal(flow.log_prob(y).detach(), flow.base.log_prob(y).detach())
    found = torch.autograd.grad(flow.log_prob(y).sum(), [y, *flow.transform.parameters()])
    assert all(bool(torch.isfinite(g).all()) for g in found)


def test_probes_are_set_by_their_seed_alone_and_saved_with_the_plan(tmp_path):
    flows = [large(seed=seed) for seed in (0, 0, 1)]
    y = points(6, 32)
    first, again, other = (flow.log_prob(y).detach() for flow in flows)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, rtol=0, atol=1e-3)
    flows[2].save(tmp_path / "flow.safetensors")
    assert torch.equal(pf.load(tmp_path / "flow.safetensors").log_prob(y).detach(), other)
    assert "probes" not in " ".join(flows[2].state_dict())
    assert "log-determinant estimated by random probes" in str(flows[2].describe())
    # The same for all rows, so a row is alone, and both ways undo each other.
    torch.testing.assert_close(flows[0].log_prob(y[2:3]).detach()[0], first[2], rtol=1e-9, atol=1e-9)
    x, ladj = flows[0].transform.inverse(y)
    back, there = flows[0].transform.forward(x)
    torch.testing.assert_close(back, y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there, -ladj, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
@pytest.mark.parametrize(("size", "probes"), [(2, 4), (2, 16), (6, 6)])
def test_as_many_probes_as_numbers_are_the_exact_trace(trace, size, probes):
    """So that what is stated of few numbers, of which probes may all say the same, is true."""
    flow, exact = large(trace, probes, size=size), large("exact", size=size)
    assert flow.transform.probes == 0
    assert "random probes" not in str(flow.describe())
    y = points(50, size)
    with torch.no_grad():
        (value, error), right = flow.log_prob_and_error(y), exact.log_prob_and_error(y)
    assert torch.equal(value, right[0])
    assert torch.equal(error, right[1])


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
def test_a_whole_frame_has_no_error(trace):
    """Directions of a frame are drawn without replacement: their mean over all of it is the trace."""
    layer = large(trace, probes=5, size=6).transform
    jacobian = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frame = layer.field.probes
    last = torch.linalg.svd(frame)[2][-1:] * 6**0.5
    whole = torch.cat([frame, last])
    estimate = hutchinson(whole) if trace == "hutchinson" else hutch_plus_plus(layer.field.sketch, whole)
    made = estimate(lambda vectors: torch.matmul(vectors, jacobian.mT).reshape(1, -1, 6))
    torch.testing.assert_close(made, jacobian.trace()[None], rtol=1e-5, atol=1e-5)


class OfPairs(torch.nn.Module):
    """A field of which only two of eight numbers move each other: what signs say of its trace is of two values."""

    def forward(self, seen):
        x = seen[..., :8]
        return torch.cat([torch.sin(x[..., 1:2]), torch.sin(x[..., :1]), torch.zeros_like(x[..., 2:])], -1)


@pytest.mark.fits  # many seeds
def test_what_is_stated_of_probes_is_true_where_few_numbers_move_each_other():
    """Independent signs would all say the same, and state no error, for one seed in eight, and their mean be off by all of it."""
    y, inside, stated = points(8, 8), [], []
    made = partial(bij.Continuous, OfPairs(), 1e-3)
    normal = pf.distributions.StandardNormal()
    with torch.no_grad():
        right = pf.Flow(normal, made(), 8).double().log_prob(y)
        for seed in range(60):
            value, error = pf.Flow(normal, made(trace="hutchinson", probes=4, seed=seed), 8).double().log_prob_and_error(y)
            inside.append((value - right).abs() <= error)
            stated.append(error)
    assert float(torch.stack(stated).min()) > 1e-2
    # Of 95 % of 60 seeds a binomial's three deviations are 8 %.
    assert float(torch.stack(inside).double().mean()) >= 0.87


@pytest.mark.fits  # many seeds
@pytest.mark.parametrize(("trace", "probes"), [("hutchinson", 4), pytest.param("hutchinson", 16, marks=pytest.mark.heavy), ("hutch++", 4)])
def test_two_standard_errors_of_probes_cover_the_exact_density(trace, probes):
    """Rows of one seed have the same probes, and are off together: so many seeds, each with a few rows and weights."""
    y, inside, sizes = 1.5 * points(8, 32), [], []
    for seed in range(30):
        flow, exact = (large(*each, scale=1.5, tolerance=1e-3) for each in ((trace, probes, seed), ("exact",)))
        with torch.no_grad():
            value, error = flow.log_prob_and_error(y)
            off = (value - exact.log_prob(y)).abs()
        inside.append(off <= error)
        sizes.append(error / off.clamp(min=1e-6))
    # 30 seeds: of 95 % a binomial's three deviations are 12 %.
    assert float(torch.stack(inside).double().mean()) >= 0.83
    assert float(torch.stack(sizes).median()) <= 10
    # More than what the solver alone is off.
    assert float(off.median()) > 1e-2


def test_more_probes_are_nearer():
    y, exact = points(20, 32), large("exact")
    off = [
        torch.stack([(large(probes=probes, seed=seed).log_prob(y) - exact.log_prob(y)).detach() for seed in range(10)]).square().mean()
        for probes in (4, 16)
    ]
    assert 2 < float(off[0] / off[1]) < 24  # 7 on average: of 32 directions 16 are half


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
def test_the_gradient_is_that_of_the_estimate(trace):
    flow = large(trace, probes=4, size=6, tolerance=1e-10)
    x, direction = points(4, 6).requires_grad_(), points(4, 6, seed=9)
    claimed = float((torch.autograd.grad(flow.log_prob(x).sum(), x)[0] * direction).sum())
    with torch.no_grad():
        ends = [float(flow.log_prob(x + sign * 1e-4 * direction).sum()) for sign in (1, -1)]
    assert abs((ends[0] - ends[1]) / 2e-4 - claimed) <= 1e-6 * (1 + abs(claimed))


@pytest.mark.fits  # many seeds
def test_probes_of_several_layers_state_one_error():
    exact = 2 * [bij.Continuous(bij.MLP((8,), "tanh"), 1e-3)]
    right, y, inside = randomize(pf.Flow(pf.distributions.StandardNormal(), exact, 12), 1.0, 0).double(), points(5, 12), []
    for seed in range(30):
        layers = [bij.Continuous(bij.MLP((8,), "tanh"), 1e-3, trace="hutchinson", probes=4 + 5 * i, seed=2 * seed + i) for i in range(2)]
        flow = pf.Flow(pf.distributions.StandardNormal(), layers, 12).double()
        flow.load_state_dict(dict(right.state_dict()))
        with torch.no_grad():
            value, error = flow.log_prob_and_error(y)
            inside.append((value - right.log_prob(y)).abs() <= error)
        assert all(layer.field.taken == slice(None) for layer in flow.transform.layers)
    assert float(torch.stack(inside).double().mean()) >= 0.8


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"trace": "hutch"}, "Continuous: expected trace to be 'exact', 'hutchinson' or 'hutch\\+\\+', got 'hutch'"),
        ({"probes": 3}, "Continuous: expected probes to be a whole number of at least 4, got 3"),
        ({"seed": 0.5}, "Continuous: expected seed to be"),
    ],
)
def test_what_are_no_probes_is_refused(option, words):
    with pytest.raises(PlanError, match=words):
        bij.Continuous(**option)


# Where it begins to learn


def spreads(layer):
    """Return the deviations that inputs of variance 1 give to what the units of the first and the second layer are given."""
    first, second, last = layer.field.parameters_of.net.layers
    sums = [w.detach().square().sum(1).mean().sqrt() for w in (first.x.weight, first.c.weight[:, :6], first.c.weight[:, 6:], second.weight)]
    return [float(t) for t in sums], bool(last.weight.any())


@pytest.mark.parametrize(("inputs", "share"), [(1, 1.0), (2, 1.0), (14, 0.5)])
def test_a_field_that_meets_data_bends_within_it_and_stays_the_identity(inputs, share):
    """Units are spread less widely where there are more than four numbers of place and context."""
    flow = pf.CNF(2, inputs, tolerance=1e-4)
    x, context = points(50, 2, dtype=torch.float32), points(50, inputs, seed=2, dtype=torch.float32)
    assert spreads(flow.transform.layers[0])[0][0] < 1  # as it is drawn
    for _ in range(2):  # to begin twice is to begin once
        flow.standardize(x, context)
        found, moves = spreads(flow.transform.layers[0])
        assert found == pytest.approx([3 * share, 1, 3 * share, 2 * share], rel=1e-5)
        assert not moves
    mean, scale = x.mean(0), x.std(0, correction=0)
    torch.testing.assert_close(flow.log_prob(x, context), torch.distributions.Normal(mean, scale).log_prob(x).sum(-1))


@pytest.mark.parametrize("how", ["learnt", "frozen", "a module", "starts=False"])
def test_what_has_learnt_or_is_not_a_perceptron_of_ours_begins_as_it_is(how):
    torch.manual_seed(0)
    flow = pf.CNF(3, tolerance=1e-3, net=nn.Linear(9, 3) if how == "a module" else None)
    with torch.no_grad():
        if how == "learnt":
            flow.transform.layers[0].field.parameters_of.net.layers[-1].weight[0, 0] = 0.1
    if how == "frozen":
        next(flow.transform.layers[0].parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in flow.transform.layers[0].state_dict().items()}
    flow.standardize(points(50, 3, dtype=torch.float32), starts=how != "starts=False")
    assert all(torch.equal(value, before[name]) for name, value in flow.transform.layers[0].state_dict().items())


def test_a_wide_and_deep_perceptron_that_begins_is_far_from_its_bound():
    layer = bij.Continuous(bij.MLP((256, 256, 256), "silu")).build(2)
    layer.begin()
    net = layer.field.parameters_of.net
    with torch.no_grad():
        net.layers[-1].weight.normal_(0, 0.1 * 0.25 / net.program.gains[-1])  # as far as 0.1 of a layer that counts a quarter
        assert float(layer.field._share(net.program, layer.field._perceptron()[1])) > 0.99
