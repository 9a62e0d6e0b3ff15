"""Planar, radial, Sylvester, contractive residual and block autoregressive maps beside independent computations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.planar import Planar, contained, solve_tanh, tanh_slope
from pushforward.kernels.radial import Radial
from pushforward.kernels.sylvester import Sylvester
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.residual import ACTIVATIONS, Residual, norm_bound
from pushforward.nets.mlp import MLP
from pushforward.testing import randomize

PLANS = [
    Planar(),
    Planar("leaky_relu"),
    Radial(),
    Sylvester(),
    Sylvester("orthogonal", rank=2),
    Sylvester("triangular", rank=1),
    Residual((8,)),
    Residual((8, 4), activation="sin"),
    BlockAutoregressive((3,)),
    BlockAutoregressive((3, 2), residual="normal"),
    BlockAutoregressive((3,), activation="leaky_tanh", residual=None),
]


def built(plan, size=3, scale=1.0, context=None, seed=0):
    torch.manual_seed(seed)
    return randomize(plan.build(size, context), scale, seed).double()


def points(rows=50, size=3, spread=1.0):
    return spread * torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_number_of_parameters(plan):
    for size in (2, 5):
        arguments = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
        assert eval(plan.size, {"D": size, **arguments}) == sum(p.numel() for p in plan.build(size).parameters())


@pytest.mark.parametrize("plan", PLANS, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
def test_round_trip_in_double_precision(plan, scale):
    module, x = built(plan, scale=scale), points(spread=3.0)
    y, ladj = module(x)
    back, back_ladj = module.inverse(y)
    # What a last place of y moves x by.
    slope = torch.linalg.matrix_norm(torch.linalg.inv(torch.func.vmap(torch.func.jacrev(lambda v: module(v)[0]))(x)), 2)
    assert bool(((back - x).abs().amax(1) <= 1e-10 + 1e-14 * slope * y.abs().amax(1)).all())
    near = slope < 1e4
    assert torch.allclose(ladj[near], -back_ladj[near], atol=1e-8)


@pytest.mark.parametrize(
    "plan", [Planar(), Planar("leaky_relu"), Radial(), *(Sylvester(v) for v in ("householder", "orthogonal"))], ids=repr
)
def test_starts_as_the_identity_and_stays_it_without_parameters(plan):
    module, x = plan.build(3), torch.randn(6, 3)
    assert torch.allclose(module(x)[0], x, atol=1e-7)
    assert torch.allclose(module(x)[1], torch.zeros(6), atol=1e-6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for function in (module.forward, module.inverse):
        point = x.clone().requires_grad_()
        value, ladj = function(point)
        assert torch.equal(value, x)
        assert torch.equal(ladj, torch.zeros(6))
        gradients = torch.autograd.grad(value.sum() + ladj.sum(), [point, *module.parameters()])
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_residual_starts_as_the_identity_and_block_autoregressive_near_it():
    x = points()
    assert torch.equal(Residual((8,)).build(3).double()(x)[0], x)
    module = BlockAutoregressive().build(3).double()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: module(v)[0]))(x)
    assert torch.equal(jacobian, torch.diag_embed(torch.diagonal(jacobian, dim1=-2, dim2=-1)))
    assert bool((torch.diagonal(jacobian, dim1=-2, dim2=-1) - 1).abs().max() < 0.3)


@given(st.floats(-1e6, 1e6), st.floats(0.1, 10.0))
@settings(max_examples=200, deadline=None)
def test_the_planar_bound(a, bound):
    a = torch.tensor(a, dtype=torch.float64)
    product = float(a * contained(a, bound))
    assert math.expm1(-bound) * (1 + 1e-9) <= product <= math.expm1(bound) * (1 + 1e-9)
    assert product * a >= 0
    slope = torch.func.grad(lambda v: v * contained(v, bound))(a)
    assert slope >= 0
    assert contained(torch.zeros(()), bound) == 1


@given(st.floats(-50, 50), st.floats(-8, 8))
@settings(max_examples=300, deadline=None)
def test_the_scalar_root(v, log_slope):
    v, t = torch.tensor(v, dtype=torch.float64), torch.expm1(torch.tensor(log_slope, dtype=torch.float64))
    h, slope = tanh_slope(v)
    found = solve_tanh(v + t * h, t)
    # Half a last place of the target, or of its terms, moves the root by its share.
    assert abs(found - v) <= 1e-14 * (1 + v.abs() + (t * h).abs()) / (1 + t * slope)


def test_sylvester_of_rank_one_is_planar():
    x = points()
    w, u, b = (torch.randn(n, dtype=torch.float64) for n in (3, 3, 1))
    planar, planar_ladj = Planar().forward(x, w, u * 0 + w * 0.4, b)  # u along w, as in Sylvester maps of one direction
    length = w.norm()
    kernel = Sylvester("orthogonal", rank=1)
    first = torch.zeros(3, dtype=torch.float64)
    first[0] = 1.0
    parameters = {
        "triangles": (0.4 * length).reshape(1, 1),
        "diagonal": length.reshape(1),
        "b": b,
        "vectors": (first - w / length).unsqueeze(0),  # the reflection that takes the first axis to w
    }
    y, ladj = kernel.forward(x, **parameters)
    assert torch.allclose(y, planar, atol=1e-12)
    assert torch.allclose(ladj, planar_ladj, atol=1e-12)


def test_sylvester_is_its_formula():
    module, x = built(Sylvester(reflections=3)), points()
    p = {name: value[0] if len(value) == 1 and name == "b" else value for name, value in module.parameters_of().items()}
    q = torch.eye(3, dtype=torch.float64)
    for v in p["vectors"]:
        q = q @ (torch.eye(3, dtype=torch.float64) - 2 * torch.outer(v, v) / (v @ v))
    bounded = 4 / math.pi * torch.atan(p["triangles"] * math.pi / 4)
    first = torch.diagonal(p["triangles"])
    r = torch.triu(bounded, 1) + torch.diag(first * contained(first * p["diagonal"], 3.0))
    s = torch.tril(bounded, -1).T + torch.diag(p["diagonal"])
    y = torch.stack([row + q @ r @ torch.tanh(s @ q.T @ row + p["b"]) for row in x])
    assert torch.allclose(module(x)[0], y, atol=1e-12)


def test_radial_is_the_formula_of_the_paper():
    x, center = points(), torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64)
    log_alpha, log_stretch = torch.tensor([0.5], dtype=torch.float64), torch.tensor([-0.7], dtype=torch.float64)
    alpha, k = Radial()._shape(log_alpha, log_stretch)
    y, ladj = Radial().forward(x, center, log_alpha, log_stretch)
    r = (x - center).norm(dim=1)
    h, beta = 1 / (alpha + r), alpha * k
    assert torch.allclose(y, x + (beta * h)[:, None] * (x - center))
    assert torch.allclose(ladj, 2 * torch.log(1 + beta * h) + torch.log(1 + beta * h - beta * r * h**2))
    at_center = Radial().inverse(center.expand(1, 3), center, log_alpha, log_stretch)
    assert torch.allclose(at_center[0], center.expand(1, 3))
    assert torch.allclose(at_center[1], -3 * torch.log1p(k))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000), st.floats(-4, 4))
@settings(max_examples=100, deadline=None)
def test_the_norm_bound_is_one_and_tight(rows, columns, seed, log_size):
    matrix = 10**log_size * torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    exact = torch.linalg.matrix_norm(matrix, 2)
    assert exact * (1 - 1e-12) <= norm_bound(matrix) <= exact * min(rows, columns) ** (1 / 128) * (1 + 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_residual_layers_are_contractive(activation, scale):
    v = torch.linspace(-30, 30, 20001, dtype=torch.float64)
    assert bool((ACTIVATIONS[activation](v)[1].abs() <= 1).all())
    module = built(Residual((8, 8), coefficient=0.8, activation=activation), scale=scale)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: module(x)[0] - x))(points(200, spread=2.0))
    assert bool((torch.linalg.matrix_norm(jacobian, 2) <= 0.8).all())


def test_a_residual_layer_comes_near_its_coefficient():
    """Weights of norms far above one are brought to one, and what they may do all together is shared out among the layers."""
    module = Residual((1, 1), coefficient=0.8, activation="elu").build(1).double()
    with torch.no_grad():
        for layer in module.layers:
            layer.weight.fill_(1e6)
            layer.bias.fill_(1.0)
    x = torch.linspace(1, 2, 11, dtype=torch.float64)[:, None]
    torch.testing.assert_close(torch.diff(module(x)[0] - x, dim=0), 0.8 * torch.diff(x, dim=0), rtol=1e-3, atol=0)


def test_the_estimate_of_the_log_determinant_is_unbiased():
    module, x, context = built(Residual((8,)), context=2, scale=3.0), points(4), points(4, 2)
    y, exact = module(x, context)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        runs = [module.estimate(x.repeat(40, 1), context.repeat(40, 1), generator=draw) for _ in range(400)]
    found = torch.stack([ladj.reshape(40, 4).mean(0) for _, ladj in runs])  # the rows of one run share its number of terms
    z = (found.mean(0) - exact) / (found.std(0) / math.sqrt(len(runs)))
    assert bool((z.abs() < 4).all())
    assert torch.allclose(runs[0][0][:4], y)
    again = [module.estimate(x, context, generator=torch.Generator().manual_seed(1))[1] for _ in range(2)]
    assert torch.equal(*again)


def test_the_estimate_has_the_gradient_of_the_log_determinant():
    module, x = built(Residual((6,)), scale=3.0), points(2)
    weight = module.layers[0].weight
    (exact,) = torch.autograd.grad(module(x)[1].sum(), weight)
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        (gradient,) = torch.autograd.grad(module.estimate(x.repeat(20, 1), generator=draw)[1].sum() / 20, weight)
        found.append(gradient)
    gradients = torch.stack(found)
    z = (gradients.mean(0) - exact) / (gradients.std(0) / math.sqrt(len(found)))
    assert bool((z.abs() < 4.5).all())


@pytest.mark.parametrize("plan", PLANS[-3:], ids=repr)
def test_block_autoregressive_is_triangular_and_increasing(plan):
    module = built(plan, scale=3.0)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: module(v)[0]))(points())
    assert bool((torch.triu(jacobian, 1) == 0).all())
    assert bool((torch.diagonal(jacobian, dim1=-2, dim2=-1) > 0).all())
    assert bool((torch.tril(jacobian, -1) != 0).any())
    y = points(spread=1e5)
    assert torch.allclose(module(module.inverse(y)[0])[0], y, rtol=1e-9)


@pytest.mark.parametrize("plan", [Residual((8,)), BlockAutoregressive((3,))], ids=repr)
def test_the_inverse_has_implicit_gradients(plan):
    module, y, context = built(plan, 2, context=2), points(3, 2), points(3, 2)
    assert torch.autograd.gradcheck(lambda v, c: module.inverse(v, c), (y.requires_grad_(), context.requires_grad_()))
    assert torch.autograd.gradgradcheck(lambda v: module.inverse(v, context)[0], (y,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Planar("relu"), "Planar: expected activation to be 'tanh' or 'leaky_relu', got 'relu'"),
        (lambda: Planar(bound=0), "Planar: expected bound > 0, got 0"),
        (lambda: Radial(bound=math.inf), "Radial: expected bound > 0, got inf"),
        (lambda: Sylvester("full"), "Sylvester: expected variant to be 'householder', 'orthogonal' or 'triangular', got 'full'"),
        (lambda: Sylvester(rank=0), "Sylvester: expected rank to be a whole number of at least 1, got 0"),
        (lambda: Sylvester(reflections=1.5), "Sylvester: expected reflections to be a whole number of at least 1, got 1.5"),
        (lambda: Sylvester(rank=4).build(3), "expected rank to be at most 3, the length of the vectors, got 4"),
        (lambda: Residual(()), "Residual: expected widths to be a list of positive whole numbers"),
        (lambda: Residual(coefficient=1.0), "Residual: expected coefficient in (0, 1), got 1.0"),
        (lambda: Residual(activation="relu"), "Residual: expected activation to be one of"),
        (lambda: BlockAutoregressive((0,)), "BlockAutoregressive: expected factors to be a list of positive whole numbers"),
        (lambda: BlockAutoregressive(activation="relu"), "BlockAutoregressive: expected activation to be 'tanh', "),
        (lambda: BlockAutoregressive(residual="none"), "expected residual to be 'gated' or 'normal' or None, got 'none'"),
        (lambda: BlockAutoregressive(residual=None), "whose values are bounded, got None"),
        (lambda: BlockAutoregressive(bound=-1.0), "BlockAutoregressive: expected bound > 0, got -1.0"),
        (lambda: Planar().build(()), "expected an event of at least 1 axes"),
        (lambda: Residual().build(()), "expected an event of at least 1 axes"),
        (lambda: Elementwise(Sylvester(), net=MLP()).build(3), "expected a context for its net, got none"),
    ],
)
def test_errors(make, message):
    with pytest.raises(PlanError) as caught:
        make()
    assert message in str(caught.value)
