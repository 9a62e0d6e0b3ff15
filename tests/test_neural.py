"""Monotone networks: the papers' formulas, special cases, tails, the bound of the quadrature, gradients of samples."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.core.spec import PlanError
from pushforward.kernels.monotonic import HEIGHT_BOUND, MAX_PANELS, STEEPNESS, MonotonicNetwork
from pushforward.kernels.neural import MEANS, DeepSigmoid, DenseSigmoid
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.nets.mlp import MLP

PLANS = [
    DeepSigmoid(),
    DeepSigmoid(activation="tanh"),
    DeepSigmoid(activation="elu"),
    DeepSigmoid(units=3, layers=2, activation="leaky_relu"),
    DenseSigmoid(),
    DenseSigmoid(units=3, layers=3, activation="elu"),
    MonotonicNetwork(),
    MonotonicNetwork(units=3, panels=MAX_PANELS, bound=2.0),
]


def raw(value, bound):
    """Return what `soft_clamp` takes to a value."""
    scale = 2 * bound / math.pi
    return scale * torch.tan(value / scale)


def drawn(plan, elements, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    init = plan.init((elements,))
    return {name: (v + scale * torch.randn(v.shape, generator=generator)).double() for name, v in init.items()}


FUNCTIONS = {
    "sigmoid": (torch.sigmoid, torch.logit),
    "tanh": (torch.tanh, torch.atanh),
    "elu": (F.elu, lambda d: torch.where(d > 0, d, torch.log1p(torch.clamp(d, max=0)))),
    "leaky_relu": (lambda z: F.leaky_relu(z, 0.01), lambda d: F.leaky_relu(d, 100.0)),
}


@pytest.mark.parametrize("activation", MEANS)
def test_one_layer_is_the_formula_of_the_paper(activation):
    function, back = FUNCTIONS[activation]
    a, b, w = torch.rand(4, 3).double() + 0.5, 2 * torch.rand(4, 3).double() - 1, torch.rand(4, 3).double()
    x = torch.linspace(-3, 3, 21, dtype=torch.float64)[:, None].expand(-1, 3)
    wanted = back((torch.softmax(w, 0) * function(a * x[:, None] + b)).sum(1))
    y, _ = DeepSigmoid(4, activation=activation).forward(
        x, scales=raw(torch.log(a), 2.0), biases=raw(b, MEANS[activation][1]), weights=raw(w, 3.0)
    )
    assert torch.allclose(y, wanted, rtol=0, atol=1e-12)


def test_equal_units_are_one_line():
    x = torch.linspace(-50, 50, 11, dtype=torch.float64)[:, None]
    for activation, (_, bound) in MEANS.items():
        scales, biases, weights = torch.full((5, 1), 0.3), torch.full((5, 1), -0.7), torch.randn(5, 1)
        y, ladj = DeepSigmoid(5, activation=activation).forward(x, scales=scales, biases=biases, weights=weights)
        slope = 4 / math.pi * math.atan(0.3 * math.pi / 4)
        shift = 2 * bound / math.pi * math.atan(-0.7 * math.pi / (2 * bound))
        assert torch.allclose(y, math.exp(slope) * x + shift, rtol=1e-6, atol=1e-6)
        assert torch.allclose(ladj, torch.full_like(ladj, slope), rtol=0, atol=1e-6)


def test_tails_go_on_with_the_least_scale():
    parameters = drawn(DeepSigmoid(), 4)
    least = torch.exp(4 / math.pi * torch.atan(parameters["scales"] * math.pi / 4)).amin(0)
    for x in (-1e300, -1e30, -1e5, 1e5, 1e30, 1e300):
        y, ladj = DeepSigmoid().forward(torch.full((4,), x, dtype=torch.float64), **parameters)
        assert torch.allclose(y / x, least, rtol=1e-3)
        assert torch.allclose(ladj, torch.log(least), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("activation", "least"), [("sigmoid", 0.05), ("tanh", 0.09), ("elu", 0.05), ("leaky_relu", 0.45)])
def test_new_layers_are_near_the_identity(activation, least):
    x = torch.linspace(-20, 20, 401, dtype=torch.float64)[:, None]
    for plan in (DeepSigmoid(activation=activation), DenseSigmoid(activation=activation)):
        y, _ = plan.build((1,)).double()(x)
        assert float((y - x).abs().detach().max()) < least * plan.layers
    assert torch.allclose(DeepSigmoid(units=1, activation=activation).build((1,)).double()(x)[0], x, rtol=1e-14, atol=1e-14)
    assert torch.allclose(MonotonicNetwork().build((1,)).double()(x)[0], x, rtol=1e-14, atol=0)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_new_units_do_not_learn_the_same(plan):
    module = plan.build((1,)).double()
    y, ladj = module(torch.linspace(-2, 3, 50, dtype=torch.float64)[:, None])
    (torch.sin(y).sum() + ladj.sum()).backward()
    gradient = module.parameters_of.named(module.parameters_of.offset.grad)
    name = "heights" if "heights" in gradient else "biases"
    found = gradient[name][:, 0]
    first = found[: plan.units]
    assert float((first[:, None] - first[None, :] + torch.eye(plan.units)).abs().min()) > 1e-6


def test_layers_are_layers_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    a, b, w = ((torch.rand(2, 4, 1, generator=generator).double() - 0.5) for _ in range(3))
    x = torch.linspace(-3, 3, 9, dtype=torch.float64)[:, None]
    value, total = x, 0
    for layer in range(2):
        value, ladj = DeepSigmoid(4).forward(value, scales=raw(a[layer], 2.0), biases=raw(b[layer], 6.0), weights=w[layer])
        total = total + ladj
    both = {"scales": raw(a, 1.0), "biases": raw(b, 6 / (1 + math.e)), "weights": w}
    y, ladj = DeepSigmoid(4, layers=2).forward(x, **{name: p.flatten(0, 1) for name, p in both.items()})
    assert torch.allclose(y, value, rtol=0, atol=1e-13)
    assert torch.allclose(ladj, total, rtol=0, atol=1e-13)


def test_dense_layers_are_the_formula_of_the_paper():
    plan = DenseSigmoid(units=3, layers=3)
    parameters = drawn(plan, 1, 0.5)
    a = {k: v[:, 0] for k, v in parameters.items()}

    def bounded(value, bound):
        return 2 * bound / math.pi * torch.atan(value * math.pi / (2 * bound))

    scales = torch.exp(bounded(a["scales"], 2 / 3)).reshape(3, 3)
    biases = bounded(a["biases"], 6 / (1 + math.exp(2 / 3) + math.exp(4 / 3))).reshape(3, 3)
    w = torch.softmax(bounded(a["weights"], 3.0).reshape(7, 3), 1)
    u = torch.softmax(bounded(a["mixes"], 3.0).reshape(2, 3, 3), 2)
    for x in (-2.0, -0.1, 0.0, 1.3):
        h = torch.tensor([x], dtype=torch.float64)
        jacobian = torch.ones(1, 1, dtype=torch.float64)
        for layer, rows in enumerate((w[:3], w[3:6], w[6:])):
            mixed, inner = (h.expand(3), jacobian.expand(3, 1)) if layer == 0 else (u[layer - 1] @ h, u[layer - 1] @ jacobian)
            s = torch.sigmoid(scales[layer] * mixed + biases[layer])
            d = rows @ s
            jacobian = (rows @ ((s * (1 - s) * scales[layer])[:, None] * inner)) / (d * (1 - d))[:, None]
            h = torch.logit(d)
        y, ladj = plan.forward(torch.tensor([x], dtype=torch.float64), **parameters)
        assert torch.allclose(y, h, rtol=0, atol=1e-13)
        assert torch.allclose(ladj, torch.log(jacobian[0]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("panels", [1, 4, 32])
def test_the_rule_gives_the_integral(panels):
    plan = MonotonicNetwork(panels=panels)
    parameters = drawn(plan, 6)
    _, level, heights, steepness, places, *_ = plan.prepare(**parameters)
    for x in (-4.9, -0.7, 1e-3, 2.0, 5.0):
        nodes = torch.linspace(0, x, 20001, dtype=torch.float64)[:, None, None]
        f = level * torch.exp((heights * torch.tanh(steepness * nodes + places)).sum(-2))
        simpson = torch.ones(20001, dtype=torch.float64)
        simpson[1:-1:2], simpson[2:-1:2] = 4, 2
        wanted = parameters["loc"] + x / 60000 * (simpson[:, None] * f).sum(0)
        y, ladj = plan.forward(torch.full((6,), x, dtype=torch.float64), **parameters)
        assert torch.allclose(y, wanted, rtol=1e-5, atol=1e-9)
        assert torch.allclose(ladj, torch.log(f[-1]), rtol=0, atol=1e-4)


def test_outside_the_box_it_is_the_tangent():
    plan = MonotonicNetwork(bound=2.0)
    parameters = drawn(plan, 3)
    for end in (-2.0, 2.0):
        at, slope = plan.forward(torch.full((3,), end, dtype=torch.float64), **parameters)
        beyond, ladj = plan.forward(torch.full((3,), 5 * end, dtype=torch.float64), **parameters)
        assert torch.equal(ladj, slope)
        assert torch.allclose(beyond, at + torch.exp(slope) * 4 * end, rtol=1e-12)


def test_the_bound_of_the_quadrature_holds():
    steep = math.pi / (2 * STEEPNESS)
    rho = steep + math.sqrt(1 + steep**2)
    for panels in range(1, MAX_PANELS + 1):
        largest = math.exp(HEIGHT_BOUND) * (1 + 2.4 * STEEPNESS * panels * HEIGHT_BOUND)
        assert 32 / 15 * largest * rho**-16 / (1 - rho**-2) < 0.5 * math.exp(-HEIGHT_BOUND)


@pytest.mark.parametrize("panels", [1, 4, 32])
def test_the_computed_slope_keeps_the_bound(panels):
    plan = MonotonicNetwork(units=2, panels=panels)
    x = torch.linspace(-5, 5, 51, dtype=torch.float64)[:, None]
    for scale in (3.0, 100.0, 1e4):
        parameters = drawn(plan, 100, scale) | {"level": torch.zeros(100, dtype=torch.float64)}
        _, ladj = plan.forward(x, **parameters)
        _, _, heights, steepness, places, *_ = plan.prepare(**parameters)
        g = (heights * torch.tanh(steepness * x[:, None, None] + places)).sum(-2)[:, 0]
        assert bool((heights.abs().sum(-2) < HEIGHT_BOUND).all())
        assert float((ladj - g).abs().max()) < math.log(2)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.0, 1.0, 10.0, 1e4]), x=st.floats(-1e4, 1e4), step=st.floats(1e-3, 1e3))
def test_every_map_increases_and_comes_back(plan, seed, scale, x, step):
    parameters = drawn(plan, 2, scale, seed)
    points = torch.tensor([[x, x], [x + step, x + step]], dtype=torch.float64)
    y, ladj = plan.forward(points, **parameters)
    assert bool((y[1] > y[0]).all())
    back, inverse = plan.inverse(y, **parameters)
    assert bool(((back - points).abs() <= 1e-11 * (1 + points.abs() + y.abs() * torch.exp(-ladj))).all())
    assert torch.equal(plan.forward(back, **parameters)[1], -inverse)


@pytest.mark.parametrize("plan", [DeepSigmoid(units=3), DenseSigmoid(units=2), MonotonicNetwork(units=3, panels=2)], ids=repr)
@pytest.mark.parametrize("structure", [Autoregressive, InverseAutoregressive])
def test_gradient_of_a_sample_with_respect_to_the_net(plan, structure):
    torch.manual_seed(0)
    module = structure(plan, net=MLP((8,))).build((3,)).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    z = torch.randn(4, 3, dtype=torch.float64)

    def loss():
        return (torch.sin(module(z)[0]) * torch.tensor([1.0, 2.0, 3.0])).sum()

    gradients = torch.autograd.grad(loss(), list(module.parameters()))
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                parameter.add_(sign * 1e-5 * direction)
                values.append(float(loss()))
        found = (values[0] - values[1]) / 2e-5
        assert abs(float((gradient * direction).sum()) - found) < 1e-6 * (1 + abs(found))


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_number_of_parameters(plan):
    arguments = {name: getattr(plan, name) for name in type(plan).__dataclass_fields__}
    for features in (1, 3):
        held = sum(p.numel() for p in plan.build((features,)).parameters())
        assert held == eval(plan.size, {"D": features, **arguments})


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_nan_stays_and_infinity_breaks_nothing(plan):
    module = plan.build((1,))
    x = torch.tensor([[math.nan], [math.inf], [0.5]])
    for function in (module.forward, module.inverse):
        y, ladj = function(x)
        assert bool(torch.isnan(y[0, 0]))
        assert bool(torch.isfinite(y[2, 0]))
        assert bool(torch.isfinite(ladj[2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepSigmoid(units=0), "DeepSigmoid: expected units to be a whole number of at least 1, got 0"),
        (lambda: DeepSigmoid(units=2.5), "expected units to be a whole number"),
        (lambda: DeepSigmoid(layers=True), "expected layers to be a whole number"),
        (
            lambda: DeepSigmoid(activation="relu"),
            "DeepSigmoid: expected activation to be one of sigmoid, tanh, elu, leaky_relu, got 'relu'",
        ),
        (lambda: DenseSigmoid(layers=1), "DenseSigmoid: expected layers to be a whole number of at least 2, got 1"),
        (lambda: MonotonicNetwork(units="8"), "MonotonicNetwork: expected units to be a whole number"),
        (lambda: MonotonicNetwork(panels=33), "MonotonicNetwork: expected panels to be a whole number of at most 32, got 33"),
        (lambda: MonotonicNetwork(bound=0.0), "MonotonicNetwork: expected bound > 0, got 0.0"),
        (lambda: MonotonicNetwork(bound="wide"), "MonotonicNetwork: expected bound > 0, got 'wide'"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(PlanError, match=message):
        make()
