"""Pyro's face: each name is a transform of torch and a module, goes both ways, and stays what it is when copied or saved."""

from __future__ import annotations

import copy
import doctest
import importlib
import importlib.util
import inspect
import io
import pickle
import pkgutil

import pytest
import torch
from pyro_face_cases import CASES, CONDITIONAL, FIXED, LEARNABLE, make
from torch import nn
from torch.distributions import transforms as torch_transforms

import pushforward.bijectors as bij
import pushforward.distributions as dist
import pushforward.transforms as T
from pushforward.contrib.pyro import face
from pushforward.contrib.pyro.face import factory, named, table, words
from pushforward.core.spec import PlanError

TORCH = torch.distributions.TransformedDistribution


def trained(module, seed=0, size=0.3):
    """Move parameters away from where they start, so that nothing is right because it is the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def ready(case, dtype=torch.float64, contexts=()):
    """Return a trained transform, given a context where it takes one, and values for it."""
    module = trained(make(case).to(dtype))
    context = torch.randn(*contexts, 2, dtype=dtype)
    transform = module.condition(context) if case in CONDITIONAL else module
    return module, transform, torch.randn(6, *CASES[case][2], dtype=dtype)


def log_det(function, x, rank):
    """Return log|det| of a function at one event by autograd."""
    if rank == 0:
        return torch.autograd.functional.jacobian(function, x).diagonal().abs().log()
    matrix = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(matrix).logabsdet


@pytest.mark.parametrize("case", CASES)
def test_goes_both_ways_with_the_right_log_determinant(case):
    _, transform, x = ready(case)
    y = transform(x)
    rank = transform.event_dim
    assert isinstance(transform, torch_transforms.Transform)
    assert isinstance(transform, nn.Module)
    assert y.shape == x.shape
    torch.testing.assert_close(transform.inv(y), x, rtol=0, atol=1e-8)
    ladj = transform.log_abs_det_jacobian(x, y)
    assert ladj.shape == x.shape[: x.dim() - rank]
    truth = torch.stack([log_det(transform, row, rank) for row in x])
    torch.testing.assert_close(ladj, truth, rtol=0, atol=1e-7)
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(y, x), -truth, rtol=0, atol=1e-7)
    for found, (value, sign) in {transform.call_and_ladj(x): (y, 1), transform.inv.call_and_ladj(y): (x, -1)}.items():
        torch.testing.assert_close(found[0], value, rtol=0, atol=1e-8)
        torch.testing.assert_close(found[1], sign * truth, rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_has_the_shapes_and_sets_of_a_transform(case):
    _, transform, x = ready(case)
    rank = transform.event_dim
    first = case.split()[0]
    elementwise = first in ("spline", "conditional_spline", "batchnorm")
    assert rank == (0 if elementwise else len(CASES[case][2]))
    assert transform.bijective
    assert transform.inv.bijective
    assert transform.domain.event_dim == transform.codomain.event_dim == rank
    assert transform.domain.check(x).shape == x.shape[: x.dim() - rank]
    assert transform.forward_shape(x.shape) == transform.inverse_shape(x.shape) == x.shape
    if rank:
        with pytest.raises(ValueError, match="expected values of shape"):
            transform(torch.zeros(6, *(n + 1 for n in CASES[case][2]), dtype=x.dtype))
        with pytest.raises(ValueError, match="expected values of shape"):
            transform.forward_shape(CASES[case][2][1:])
    assert transform.inv.inv is transform
    assert transform.inv == transform.inv
    assert transform.with_cache(1) is transform
    assert transform.clear_cache() is None


@pytest.mark.parametrize("case", CASES)
def test_is_the_same_in_torchs_class_and_in_ours(case):
    module, transform, x = ready(case)
    base = dist.Normal(torch.zeros(CASES[case][2], dtype=x.dtype), 1.0)
    ours, theirs = dist.TransformedDistribution(base, [transform]), TORCH(base, [transform], validate_args=True)
    assert isinstance(ours, TORCH)
    assert ours.batch_shape == theirs.batch_shape
    assert ours.event_shape == theirs.event_shape
    value, log_prob = ours.rsample_and_log_prob((5,))
    assert value.shape == (5, *ours.batch_shape, *ours.event_shape)
    torch.testing.assert_close(ours.log_prob(value), log_prob, rtol=0, atol=1e-6)
    torch.testing.assert_close(theirs.log_prob(value), log_prob, rtol=0, atol=1e-6)
    torch.manual_seed(3)
    one = ours.sample((4,))
    torch.manual_seed(3)
    assert torch.equal(theirs.sample((4,)), one)
    wide = ours.expand((7, *ours.batch_shape))
    assert wide.sample((2,)).shape == (2, 7, *ours.batch_shape, *ours.event_shape)
    torch.testing.assert_close(wide.log_prob(one[0]), ours.log_prob(one[0]).expand(7, *ours.batch_shape), rtol=0, atol=1e-6)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if parameters:
        gradients = torch.autograd.grad(ours.log_prob(x).sum(), parameters, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in gradients if g is not None)
        assert any(bool((g != 0).any()) for g in gradients if g is not None)
        assert [id(p) for p in ours.parameters()] == [id(p) for p in transform.parameters()]


@pytest.mark.parametrize("case", CASES)
def test_survives_copies_files_and_another_random_order(case):
    module, transform, x = ready(case)
    y = transform(x).detach()
    context = torch.ones(2, dtype=x.dtype)

    def mapped(made):
        return (made.condition(context) if case in CONDITIONAL else made)(x)

    expected = mapped(module)
    assert torch.equal(mapped(copy.deepcopy(module)), expected)
    assert torch.equal(mapped(pickle.loads(pickle.dumps(module))), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module.inv)).inv.state_dict().get("x", expected), expected)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    torch.manual_seed(77)
    other = make(case).double()
    held = list(other.parameters())
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(mapped(other), expected)
    assert all(a is b for a, b in zip(held, other.parameters(), strict=True))
    inverse = other.condition(context).inv if case in CONDITIONAL else other.inv
    torch.testing.assert_close(inverse(expected), x, rtol=0, atol=1e-8)
    assert y.shape == x.shape


@pytest.mark.parametrize("case", CONDITIONAL)
def test_contexts_in_a_batch_need_no_batch_of_the_base(case):
    _, transform, x = ready(case, contexts=(6,))
    event = CASES[case][2]
    rows = [make_row(transform, i)(x[i]) for i in range(6)]
    torch.testing.assert_close(transform(x), torch.stack(rows), rtol=0, atol=1e-10)
    batch = (6, *event[: len(event) - transform.event_dim])
    base = dist.Normal(torch.zeros(event, dtype=x.dtype), 1.0)
    for made in (dist.TransformedDistribution(base, [transform]), TORCH(base, [transform])):
        assert made.batch_shape == batch
        sample = made.sample((3,))
        assert sample.shape == (3, 6, *event)
        assert made.log_prob(sample).shape == (3, *batch)
        # Each context has draws of its own.
        back = transform.inv(sample)
        assert (back[:, 0] - back[:, 1]).abs().min() > 0
    assert dist.TransformedDistribution(base, [transform]).sample((6,)).shape == (6, *event)


def make_row(transform, index):
    view = copy.copy(transform)
    view.context = transform.context[index]
    return view


def test_one_dimensional_splines_score_each_number():
    made = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)), [T.Spline(2, count_bins=16)])
    assert made.event_shape == ()
    assert made.batch_shape == (2,)
    assert made.log_prob(torch.zeros(7, 2)).shape == (7, 2)
    assert dist.TransformedDistribution(dist.Normal(0.0, 1.0), [T.Spline(2)]).sample().shape == (2,)
    with pytest.raises(ValueError, match=r"expected values of shape \(\*batch, 2\)"):
        T.Spline(2)(torch.zeros(3))


class Counting(nn.Module):
    """Counts how often a layer is run."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.count = layer, 0
        self.plan, self.event_shape, self.facts = layer.plan, layer.event_shape, layer.facts
        self.domain, self.codomain = layer.domain, layer.codomain

    def push(self, x, context=None):
        self.count += 1
        return self.layer.push(x, context)

    def pull(self, y, context=None):
        self.count += 1
        return self.layer.pull(y, context)


def test_a_sample_is_scored_in_the_pass_that_draws_it():
    transform = T.spline_coupling(4)
    transform.layer = counting = Counting(transform.layer)
    base = dist.Normal(torch.zeros(4), torch.ones(4))
    ours, theirs = dist.TransformedDistribution(base, [transform]), TORCH(base, [transform])
    value, _ = ours.rsample_and_log_prob((5,))
    assert counting.count == 1
    ours.log_prob(value)
    assert counting.count == 2
    theirs.log_prob(value)
    assert counting.count == 4


def test_nothing_is_remembered_from_call_to_call():
    transform = trained(T.spline_coupling(4))
    made = dist.TransformedDistribution(dist.Normal(torch.zeros(4), torch.ones(4)), [transform])
    value = made.sample((5,))
    optimizer = torch.optim.SGD(made.parameters(), lr=1e-4)
    losses = []
    for _ in range(3):  # the same tensor each time, without clear_cache
        optimizer.zero_grad()
        loss = -made.log_prob(value).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(set(losses)) == 3  # each is one of the parameters as they were then
    with torch.no_grad():
        before = made.log_prob(value)
        value += 0.5
        assert not torch.equal(made.log_prob(value), before)
    copy.deepcopy(made)


def test_the_distribution_is_a_module_whose_base_moves_with_it():
    made = dist.TransformedDistribution(
        dist.Independent(dist.Normal(torch.zeros(3), 2.0), 1),
        [T.Planar(3), T.AffineTransform(torch.ones(3), torch.tensor(2.0), event_dim=1)],
        False,
    )
    keys = set(made.state_dict())
    assert {"base_dist.base_dist.loc", "base_dist.base_dist.scale", "transforms.1.loc", "transforms.1.scale"} <= keys
    made = made.double()
    value = made.sample((5,))
    assert value.dtype == made.log_prob(value).dtype == torch.float64
    other = dist.TransformedDistribution(
        dist.Independent(dist.Normal(torch.ones(3), 3.0), 1),
        [T.Planar(3), T.AffineTransform(torch.zeros(3), torch.tensor(1.0), event_dim=1)],
    ).double()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.log_prob(value), made.log_prob(value))
    assert torch.equal(copy.deepcopy(made).log_prob(value), made.log_prob(value))
    assert torch.equal(pickle.loads(pickle.dumps(made)).log_prob(value), made.log_prob(value))
    assert all(t.is_meta for t in made.to("meta").state_dict().values())
    assert made.rsample((2,)).is_meta


def test_gradients_run_to_what_the_base_was_made_of():
    loc = nn.Parameter(torch.zeros(2))
    made = dist.TransformedDistribution(dist.Normal(loc, torch.ones(2)), [T.Spline(2)])
    assert any(p is loc for p in made.parameters())
    hidden = loc * 2
    made = dist.TransformedDistribution(dist.Normal(hidden, torch.ones(2)), [T.Spline(2)])
    (gradient,) = torch.autograd.grad(made.log_prob(torch.ones(2)).sum(), loc)
    torch.testing.assert_close(gradient, torch.full((2,), 2.0))


def test_networks_of_the_users_own_give_the_parameters():
    x, context = torch.randn(6, 4), torch.randn(6, 2)
    coupling = T.AffineCoupling(1, nn.Sequential(nn.Linear(1, 6), nn.Unflatten(-1, (2, 3)), Unbound()))
    assert torch.allclose(coupling.inv(coupling(x)), x, atol=1e-5)
    assert len(list(coupling.parameters())) == 2
    images = T.AffineCoupling(1, T.DenseNN(4, [8], [8, 8]), dim=-3)
    pictures = torch.randn(5, 3, 2, 2)
    assert torch.allclose(images.inv(images(pictures)), pictures, atol=1e-5)
    for given in (
        T.ConditionalAffineCoupling(2, trained(T.ConditionalDenseNN(2, 2, [9], [2, 2]))),
        T.ConditionalAffineAutoregressive(trained(T.ConditionalAutoRegressiveNN(4, 2, [9])), stable=True),
        T.ConditionalSplineAutoregressive(4, trained(T.ConditionalAutoRegressiveNN(4, 2, [9], [4, 4, 3, 4])), count_bins=4),
        T.ConditionalNeuralAutoregressive(trained(T.ConditionalAutoRegressiveNN(4, 2, [9], [5, 5, 5])), hidden_units=5),
        T.ConditionalSpline(trained(T.DenseNN(2, [9], [16, 16, 12, 16])), 4, 4),
        T.ConditionalPlanar(trained(T.DenseNN(2, [9], [1, 4, 4]))),
        T.ConditionalRadial(trained(T.DenseNN(2, [9], [4, 1, 1]))),
        T.ConditionalHouseholder(4, trained(T.DenseNN(2, [9], [4, 4])), 2),
        T.ConditionalMatrixExponential(4, trained(T.DenseNN(2, [9], [16]))),
    ):
        transform = given.condition(context)
        assert (transform(x) - x).abs().max() > 1e-2
        assert torch.allclose(transform.inv(transform(x)), x, atol=1e-4), given
        networks = {id(p) for p in given.transform.nn.parameters()}
        assert {id(p) for p in given.parameters()} == networks == {id(p) for p in transform.parameters()}
        assert torch.equal(copy.deepcopy(given).condition(context)(x), transform(x))
        fresh = copy.deepcopy(given)
        fresh.load_state_dict(given.state_dict())
    for given in (
        T.AffineAutoregressive(trained(T.AutoRegressiveNN(4, [9], skip_connections=True))),
        T.SplineAutoregressive(4, trained(T.AutoRegressiveNN(4, [9], [8, 8, 7])), order="quadratic"),
        T.NeuralAutoregressive(trained(T.AutoRegressiveNN(4, [9], [16, 16, 16]))),
        T.Polynomial(trained(T.AutoRegressiveNN(4, [9], [6])), 4, 2, 2),
        T.SplineCoupling(4, 1, trained(T.DenseNN(1, [9], [24, 24, 21, 24]))),
    ):
        assert torch.allclose(given.inv(given(x)), x, atol=1e-4), given


class Constants(nn.Module):
    """A network of the user's own that gives known tensors, whatever it sees."""

    def __init__(self, *tensors):
        super().__init__()
        self.tensors, self.permutation = tensors, torch.arange(3)

    def forward(self, x, context=None):
        parts = tuple(t.expand(*x.shape[:-1], *t.shape) for t in self.tensors)
        return parts if len(parts) > 1 else parts[0]


def flat(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# What the network gives, in the order of Pyro's, and the kernel's own formula with it.
C1, U, W = flat(1), flat(3, seed=1), flat(3, seed=2)
BINS = [flat(2, count, seed=count + i) for i, count in enumerate((4, 4, 3, 4))]
NAMES = ("widths", "heights", "slopes", "middles")
SLOPES, SHARES, SHIFTS = (flat(5, 3, seed=seed) for seed in (20, 21, 22))
UNITS = bij.DeepSigmoid(5).init((3,))
GIVEN = {
    "ConditionalPlanar": (lambda: T.ConditionalPlanar(Constants(C1, U, W)), lambda x: bij.Planar().forward(x, W, U, C1)[0], 3),
    "ConditionalRadial": (lambda: T.ConditionalRadial(Constants(U, C1, 2 * C1)), lambda x: bij.Radial().forward(x, U, C1, 2 * C1)[0], 3),
    "ConditionalHouseholder": (
        lambda: T.ConditionalHouseholder(3, Constants(U, W), 2),
        lambda x: bij.Householder(2).forward(x, torch.stack([U, W]) + bij.Householder(2).init((3,))["vectors"])[0],
        3,
    ),
    "ConditionalMatrixExponential": (
        lambda: T.ConditionalMatrixExponential(3, Constants(flat(9))),
        lambda x: T.MatrixExponential.of(T.matrix_exponential(3).layer, 1).layer.kernel.forward(x, flat(9).reshape(3, 3))[0],
        3,
    ),
    "AffineCoupling": (
        lambda: T.AffineCoupling(1, Constants(U[:2], W[:2]), log_scale_min_clip=-2.0, log_scale_max_clip=1.0),
        lambda x: torch.cat([x[:, :1], bij.Affine(2.0).forward(x[:, 1:], U[:2], W[:2])[0]], 1),
        3,
    ),
    "ConditionalSpline": (
        lambda: T.ConditionalSpline(Constants(*(part.flatten() for part in BINS)), 2, 4),
        lambda x: bij.Spline(4, 3.0, "linear").forward(x, **dict(zip(NAMES, (part.T for part in BINS), strict=True)))[0],
        2,
    ),
    "NeuralAutoregressive": (
        lambda: T.NeuralAutoregressive(Constants(SLOPES, SHARES, SHIFTS), hidden_units=5),
        lambda x: bij.DeepSigmoid(5).forward(x, scales=SLOPES, biases=SHIFTS + UNITS["biases"], weights=SHARES)[0],
        3,
    ),
    "ConditionalGeneralizedChannelPermute": (
        lambda: T.ConditionalGeneralizedChannelPermute(Constants(flat(9)), 3, [2, 0, 1]),
        lambda x: bij.Linear(bias=False).forward(x.movedim(1, -1), *flat(9).split(3))[0].movedim(-1, 1)[:, [2, 0, 1]],
        (3, 2, 2),
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_network_gives_is_what_pyro_calls_it(name):
    make_it, formula, size = GIVEN[name]
    transform, x = make_it().double(), flat(6, *(size if isinstance(size, tuple) else (size,)), seed=9)
    if name.startswith("Conditional"):
        transform = transform.condition(flat(6, 2, seed=8))
    torch.testing.assert_close(transform(x), formula(x))
    torch.testing.assert_close(transform.inv(formula(x)), x)


def test_an_answer_of_one_axis_is_that_of_two_beside_free_parameters_too():
    answer, x = flat(2, 3, seed=5), flat(6, 3, seed=9)
    one, two = (T.Polynomial(Constants(given), 3, 1, 1).double() for given in (answer.T.flatten(), answer))
    torch.testing.assert_close(one(x), two(x))


class Unbound(nn.Module):
    def forward(self, x):
        return x.unbind(-2)


def test_a_network_of_zeros_makes_the_identity():
    x = torch.randn(6, 4)
    for transform in (T.AffineAutoregressive(T.AutoRegressiveNN(4, [9])), T.affine_coupling(4), T.spline_coupling(4), T.Spline(4)):
        assert torch.allclose(transform(x), x, atol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_masked_networks_see_what_they_may_and_keep_their_order(skip):
    net = trained(T.AutoRegressiveNN(4, [9, 9], [1, 2], permutation=[2, 0, 3, 1], skip_connections=skip, nonlinearity=nn.Tanh()))
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x)[1].sum(-2), torch.randn(4))
    allowed = torch.zeros(4, 4, dtype=torch.bool)
    for late, feature in enumerate([2, 0, 3, 1]):
        allowed[feature, [2, 0, 3, 1][:late]] = True
    assert torch.equal(jacobian != 0, allowed)
    other = T.AutoRegressiveNN(4, [9, 9], [1, 2], permutation=[0, 1, 2, 3], skip_connections=skip, nonlinearity=nn.Tanh())
    held = list(other.parameters())
    other.load_state_dict(net.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(other(x)[1], net(x)[1])
    assert all(a is b for a, b in zip(held, other.parameters(), strict=True))


def test_stacks_are_as_long_as_their_list_and_conditional_ones_keep_their_parts():
    stack = T.ComposeTransformModule([T.ExpTransform()])
    assert stack
    assert len(stack) == 1
    stack.append(T.Permute([1, 0]))
    assert len(stack) == 2
    assert list(T.ComposeTransformModule([T.Planar(2), T.ExpTransform()]).state_dict()) == list(
        T.ComposeTransformModule([T.Planar(2)]).state_dict()
    )
    x = torch.randn(5, 2, dtype=torch.float64)
    mixed = trained(T.iterated(2, T.affine_autoregressive, 2).append(T.Spline(2)).append(T.ExpTransform()).double())
    truth = torch.stack([log_det(mixed, row, 1) for row in x])
    torch.testing.assert_close(mixed.log_abs_det_jacobian(x, mixed(x)), truth)
    torch.testing.assert_close(mixed.inv.call_and_ladj(mixed(x))[1], -truth)
    torch.testing.assert_close(mixed.inv(mixed(x)), x)
    with pytest.raises(ValueError, match="expected repeats"):
        T.iterated(0, T.planar, 2)
    conditional = trained(T.ConditionalComposeTransformModule([T.conditional_planar(2, 3), T.Permute([1, 0]), T.planar(2)]).double())
    context = torch.randn(5, 3, dtype=torch.float64)
    assert len(list(conditional.parameters())) == len(list(T.conditional_planar(2, 3).parameters())) + 1
    both = conditional.condition(context)
    torch.testing.assert_close(conditional.inv.condition(context)(both(x)), x)
    assert conditional.inv.inv is conditional
    base = dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0)
    made = dist.ConditionalTransformedDistribution(base, [conditional.inv, T.ExpTransform()])
    assert made.clear_cache() is None
    given = made.condition(context)
    value, log_prob = given.rsample_and_log_prob((7,))
    assert value.shape == (7, 5, 2)
    torch.testing.assert_close(given.log_prob(value), log_prob)
    assert {id(p) for p in given.parameters()} == {id(p) for p in conditional.parameters()}


def test_a_conditional_base():
    class Shifted(dist.ConditionalDistribution):
        def condition(self, context):
            return dist.Normal(context, 1.0)

    made = dist.ConditionalTransformedDistribution(Shifted(), [T.conditional_spline(2, 2)])
    assert made.condition(torch.zeros(4, 2)).log_prob(torch.zeros(4, 2)).shape == (4, 2)


def test_batch_norm_follows_the_data_when_told():
    layer = T.batchnorm(2)
    made = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)), [layer, T.AffineTransform(5.0, 2.0)])
    data = 5 + 2 * (3 + 4 * torch.randn(4000, 2))
    before = made.log_prob(data).mean()
    assert torch.equal(made.log_prob(data).mean(), before)  # a call moves nothing
    made.update(data)
    assert made.log_prob(data).mean() > before + 1
    x = layer.inv((data - 5) / 2)
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-4, rtol=0)


BOTH_WAYS = {name: FIXED[name] for name in list(FIXED)[:7]} | {
    "LowerCholeskyAffine": ((torch.ones(3, dtype=torch.float64), 2 * torch.ones(3, 3, dtype=torch.float64).tril()), (3,)),
}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_fixed_transforms_go_both_ways(name):
    arguments, shape = BOTH_WAYS[name]
    transform = getattr(T, name)(*arguments)
    x = torch.randn(5, *shape, dtype=torch.float64)
    y = transform(x)
    torch.testing.assert_close(transform.inv(y), x)
    truth = torch.stack([log_det(transform, row, transform.event_dim) for row in x])
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, y), truth)
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(y, x), -truth)
    assert transform.domain.check(x).all()
    assert transform.codomain.check(y).all()
    assert transform.forward_shape(x.shape) == y.shape
    copy.deepcopy(transform)
    pickle.dumps(transform.inv)
    if name != "LowerCholeskyAffine":
        assert transform == getattr(T, name)(*arguments)


def test_haars_flip_takes_the_numbers_from_the_last_on():
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(T.HaarTransform(flip=True)(x), T.HaarTransform()(x.flip(-1)))
    torch.testing.assert_close(T.HaarTransform(-2, flip=True)(x), T.HaarTransform(-2)(x.flip(-2)))


def test_simplex_to_ordered_scores_with_an_anchor():
    anchor = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    transform = T.SimplexToOrderedTransform(anchor)
    x = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    y = transform(x)
    assert transform.forward_shape((4,)) == (3,)
    assert transform.inverse_shape((3,)) == (4,)
    torch.testing.assert_close(y, torch.logit(x.cumsum(0)[:3]) + 0.7)
    torch.testing.assert_close(transform.inv(y), x)
    free = torch.autograd.functional.jacobian(lambda v: transform(torch.cat([v, 1 - v.sum(0, keepdim=True)])), x[:3])
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, y), torch.linalg.slogdet(free).logabsdet)
    assert transform.bijective
    assert transform == T.SimplexToOrderedTransform(anchor.detach())
    assert torch.autograd.grad(y.sum(), anchor)[0] == 3
    made = dist.TransformedDistribution(dist.Dirichlet(torch.ones(4, dtype=torch.float64)), [transform])
    assert made.event_shape == (3,)
    # A Dirichlet of ones is uniform with density 3! on the first three coordinates.
    torch.testing.assert_close(made.log_prob(y), torch.tensor(6.0, dtype=torch.float64).log() - torch.linalg.slogdet(free).logabsdet)


SHAPES = {
    "simplex": (T.SimplexToOrderedTransform(torch.tensor(0.3)), (5, 4), (5, 3)),
    "sticks": (T.StickBreakingTransform(), (5, 3), (5, 4)),
    "rows of a factor": (T.CorrCholeskyTransform(), (5, 3), (5, 3, 3)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_inverse_has_shapes_and_sets_the_other_way_round(name):
    transform, before, after = SHAPES[name]
    both = T.ComposeTransformModule([transform])
    for way, come, go in ((transform, before, after), (transform.inv, after, before), (both, before, after), (both.inv, after, before)):
        assert way.forward_shape(come) == go
        assert way.inverse_shape(go) == come
        assert (way.domain.event_dim, way.codomain.event_dim) == (len(come) - 1, len(go) - 1)
    x = torch.softmax(torch.randn(before), -1)
    y = transform(x)
    assert y.shape == after
    assert transform.inv.domain.check(y).all()
    assert transform.inv.codomain.check(x).all()
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(y, x), -transform.log_abs_det_jacobian(x, y))


def test_matrices():
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    lower = T.SoftplusLowerCholeskyTransform()
    y = lower(x)
    assert lower.codomain.check(y).all()
    torch.testing.assert_close(lower.inv(y), x.tril())
    assert not lower.bijective
    assert lower.log_abs_det_jacobian(x, y).shape == (5,)
    assert torch.equal(T.UnitLowerCholeskyTransform()(x).diagonal(dim1=-2, dim2=-1), torch.ones(5, 3, dtype=x.dtype))
    assert lower == T.SoftplusLowerCholeskyTransform()
    assert lower != T.UnitLowerCholeskyTransform()
    cholesky = T.CholeskyTransform()
    positive = y @ y.mT
    torch.testing.assert_close(cholesky(positive), torch.linalg.cholesky(positive))
    torch.testing.assert_close(cholesky.inv(cholesky(positive)), positive)
    with pytest.warns(FutureWarning, match="old name"):
        old = T.CorrLCholeskyTransform()
    rows = old(torch.randn(4, 3, dtype=torch.float64))
    torch.testing.assert_close(T.CorrMatrixCholeskyTransform()(rows @ rows.mT), rows)
    sphere = T.Normalize()
    assert sphere.codomain.check(sphere(x)).all()
    assert not sphere.bijective
    with pytest.raises(NotImplementedError, match="images alone"):
        sphere.log_abs_det_jacobian(x, sphere(x))


def test_torchs_names_are_here_too():
    for module, names in ((dist, torch.distributions.__all__), (T, torch_transforms.__all__)):
        assert set(names) <= set(module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)
    assert issubclass(dist.Normal, torch.distributions.Normal)
    assert not issubclass(dist.StudentT, torch.distributions.Distribution)  # the plan of a base
    assert dist.Distribution is torch.distributions.Distribution
    assert dist.transforms.Planar is T.Planar
    assert dist.transforms.__all__ == T.__all__


@pytest.mark.parametrize(
    ("make_it", "error", "words"),
    [
        (lambda: T.Spline(2, order="cubic"), PlanError, "'quadratic' or 'linear'"),
        (lambda: T.Spline(2, count_bins=1), PlanError, "bins"),
        (lambda: T.AffineCoupling(1, nn.Linear(1, 2), dim=0), PlanError, "negative"),
        (lambda: T.AffineCoupling(1, "net"), PlanError, "called for the parameters"),
        (lambda: T.affine_coupling((3, 4)), PlanError, "event of 1 axes"),
        (lambda: T.affine_coupling(4, log_scale_min_clip=1.0), PlanError, "log_scale_min_clip"),
        (lambda: T.AffineAutoregressive(nn.Linear(2, 4)), PlanError, "permutation"),
        (lambda: T.SplineAutoregressive(3, T.AutoRegressiveNN(2, [4], [8, 8, 7, 8])), PlanError, "3 features"),
        (lambda: T.Permute([0, 2]), PlanError, "every index"),
        (lambda: T.permute(3, [0, 1]), PlanError, "3 entries"),
        (lambda: T.permute((3, 2), dim=-1), PlanError, "event of 1 axes"),
        (lambda: T.GeneralizedChannelPermute(3, [1, 0]), PlanError, "3 channels"),
        (lambda: T.MatrixExponential(2, normalization="weight"), NotImplementedError, "normalization"),
        (lambda: T.MatrixExponential(2, normalization="other"), PlanError, "normalization"),
        (lambda: T.NeuralAutoregressive(T.AutoRegressiveNN(2, [4]), activation="relu"), PlanError, "activation"),
        (lambda: T.BlockAutoregressive(2, activation="relu"), PlanError, "activation"),
        (lambda: T.SplineCoupling(2, 2, nn.Identity()), PlanError, "split_dim"),
        (lambda: T.DenseNN(2, [3], nonlinearity=nn.Softmax(-1)), PlanError, "nonlinearity"),
        (lambda: T.AutoRegressiveNN(3, [4], permutation=[0, 1]), PlanError, "every index"),
        (lambda: T.PositivePowerTransform(torch.ones(2)), PlanError, "single number"),
        (lambda: T.LowerCholeskyAffine(torch.ones(2), torch.ones(3, 3)), PlanError, "scale_tril"),
        (lambda: T.ComposeTransformModule([T.ExpTransform(), 3]), ValueError, "part 1"),
        (lambda: T.conditional_planar(2, 3).condition(torch.zeros(5, 2)), ValueError, r"\(\*batch, 3\)"),
        (lambda: T.conditional_planar(2, 3).condition([1.0]), TypeError, "tensor"),
        (lambda: T.conditional_spline(2, 3).condition(torch.zeros(5, 3))(torch.zeros(4, 2)), ValueError, "batch of the values"),
        (lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [T.planar(3)]), ValueError, "at least 1"),
        (lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [T.conditional_planar(3, 2)]), TypeError, "ConditionalTransformedD"),
        (lambda: T.AffineCoupling(1, T.DenseNN(1, [4], [2, 2]))(torch.zeros(5, 4)), ValueError, "expected 6 parameters"),
    ],
)
def test_wrong_input_is_told(make_it, error, words):
    with pytest.raises(error, match=words):
        make_it()


def test_learnable_names_are_all_tried():
    names = {name for name in T.__all__ if name.islower() and callable(getattr(T, name))}
    helpers = names - {"elu", "leaky_relu", "iterated", "identity_transform"}
    assert helpers == {case.split()[0] for case in LEARNABLE | CONDITIONAL}


MADE = {row.named(kind): (row, kind) for row in table.ROWS for kinds in factory.KINDS for kind in kinds if row.words(kind)}


@pytest.mark.parametrize("name", named.NAMES)
def test_what_is_made_of_the_table_is_like_what_is_written(name):
    made, arguments = getattr(T, name), list(words.arguments(*MADE[name]).parameters)
    assert (made.__module__, made.__qualname__, made.__name__) == ("pushforward.transforms", name, name)
    assert inspect.isclass(made) == (name[0].isupper())
    assert pickle.loads(pickle.dumps(made)) is copy.deepcopy(made) is made
    assert arguments
    for argument in arguments:  # help() tells of each
        assert f"    {argument}: " in made.__doc__, argument
    with pytest.raises(TypeError, match=rf"^{name}: .*'other'; its arguments are {', '.join(arguments)}$"):
        made(**dict.fromkeys(arguments, 2), other=1)
    with pytest.raises(TypeError, match=f"^{name}: too many positional arguments"):
        made(*range(20))


def test_a_class_of_the_table_may_be_derived_from():
    class Mine(T.Spline):
        """A spline of two numbers."""

        def __init__(self):
            super().__init__(2, count_bins=4)

    x = torch.randn(5, 2)
    assert Mine()(x).shape == (5, 2)
    assert Mine().label() == "Mine"
    assert isinstance(Mine.of(T.Spline(2).layer, 0), Mine)


@pytest.mark.parametrize("name", [part.name for part in pkgutil.iter_modules(face.__path__)])
def test_the_examples_of_the_face_run(name):
    module = importlib.import_module(f"{face.__name__}.{name}")
    failed, _ = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not failed


def test_examples_of_the_face_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {example.name for module in (T, face.compose, face.conditional) for example in finder.find(module)}
    assert {"pushforward.transforms.Spline", "pushforward.transforms.AffineCoupling"} <= found
