"""The doors of Pyro's face: every layer, what it is given, what it says of shapes, and what it promises of roundings."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from pyro_face_cases import CASES, CONDITIONAL, FIXED, NETWORKS, make
from torch import nn
from torch.distributions import transforms as torch_transforms

import pushforward.distributions as dist
import pushforward.transforms as T
from pushforward.core.spec import PlanError
from pushforward.testing import randomize


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def conditioned(made, context=None):
    """Return a transform, given a context where it takes one."""
    return made.condition(torch.randn(2) if context is None else context) if isinstance(made, T.ConditionalTransformModule) else made


def cases():
    """Return each layer's name, how it is made, and the shape of its values."""
    yield from ((name, lambda name=name: make(name), shape) for name, (_, _, shape) in CASES.items())
    yield from ((name, build, shape) for name, (build, shape) in NETWORKS.items())
    yield from ((name, lambda name=name: getattr(T, name)(*FIXED[name][0]), shape) for name, (_, shape) in FIXED.items())


ALL = {name: (build, shape) for name, build, shape in cases()}
SCORED = [name for name in ALL if name not in ("Normalize", "CholeskyTransform", "CorrMatrixCholeskyTransform")]


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
@pytest.mark.parametrize("name", ALL)
def test_batches_of_nothing_pass(name, batch):
    build, shape = ALL[name]
    transform = conditioned(build())
    x = torch.zeros(*batch, *shape)
    y = transform(x)
    assert y.shape == transform.inv(y).shape == x.shape
    if name in SCORED:
        assert transform.log_abs_det_jacobian(x, y).shape == x.shape[: x.dim() - transform.event_dim]
        rank = transform.event_dim
        for base in (dist.Normal(torch.zeros(shape), 1.0), dist.Normal(torch.zeros(shape), 1.0).to_event(rank)):
            made = dist.TransformedDistribution(base, [transform])
            sample, score = made.rsample_and_log_prob(batch)
            assert made.sample(batch).shape == sample.shape == x.shape
            assert made.log_prob(sample).shape == score.shape == (*batch, *made.batch_shape)
    context = torch.zeros(0, 2)
    if isinstance(build(), T.ConditionalTransformModule):
        assert conditioned(build(), context)(torch.zeros(shape)).shape == (0, *shape)


@pytest.mark.parametrize("name", ALL)
def test_whole_numbers_are_refused_each_way(name):
    build, shape = ALL[name]
    transform = conditioned(build())
    x = torch.ones(5, *shape, dtype=torch.int64)
    for call in (transform, transform.inv, lambda x: transform.call_and_ladj(x), lambda x: transform.inverse_and_ladj(x)):
        with pytest.raises(TypeError, match=r"expected [xy] of (torch\.float32|floating point), got torch\.int64"):
            call(x)
    if transform.bijective:
        with pytest.raises(TypeError, match=r"got torch\.int64"):
            transform.log_abs_det_jacobian(x, x)
    made = build()
    if name in CONDITIONAL:  # what a network of the user's takes, it says itself: labels that it embeds
        with pytest.raises(TypeError, match=r"expected context of torch\.float32, got torch\.int64"):
            made.condition(torch.ones(2, dtype=torch.int64))


# What acts along an axis of any length, or on matrices of any size, takes others.
SIZED = [name for name in ALL if name not in FIXED and "dim" not in name and "eneralized" not in name]


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("name", SIZED)
def test_other_widths_are_refused_and_change_nothing(name, width):
    build, shape = ALL[name]
    transform = conditioned(build())
    wrong, x = torch.zeros(5, width), torch.randn(5, *shape)
    for call in (transform, transform.inv):
        with pytest.raises(ValueError, match="expected"):
            call(wrong)
    y = transform(x)  # what the first call was given is not kept where it was wrong
    with pytest.raises(ValueError, match="expected values of shape"):
        transform(wrong)
    assert torch.equal(transform(x), y)
    if width == 1:
        with pytest.raises(ValueError, match="expected values of shape"):
            transform.forward_shape((5, 1))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("contexts", [(), (1,), (6,), (4, 1)])
def test_forward_shape_is_the_shape_of_what_a_call_gives(name, contexts):
    build, shape = ALL[name]
    given = isinstance(build(), T.ConditionalTransformModule)
    if contexts and not given:
        return
    transform = conditioned(build(), torch.randn(*contexts, 2))
    rank = len(shape)
    for batch in ((), (6,), (3, 1, 6)):
        x = torch.eye(3).expand(*batch, 3, 3) if "Cholesky" in name else torch.rand(*batch, *shape)
        y = transform(x)
        assert transform.forward_shape(x.shape) == y.shape
        assert transform.inverse_shape(y.shape) == transform.inv(y).shape == y.shape
        assert y.shape[y.dim() - rank :] == shape
    # As torch's own that has parameters in a batch.
    if given and transform.event_dim:
        torchs = torch_transforms.AffineTransform(torch.zeros(*contexts, *(1,) * rank), 1.0, event_dim=rank)
        assert transform.forward_shape(shape) == torchs.forward_shape(shape)


@pytest.mark.parametrize("name", [name for name in ALL if "spline" in name.lower() and conditioned(ALL[name][0]()).event_dim == 0])
def test_a_base_of_one_number_is_expanded_to_all_places_as_by_torchs_affine_map(name):
    build, shape = ALL[name]
    transform = conditioned(build())
    torchs = torch_transforms.AffineTransform(torch.zeros(shape), torch.ones(shape))
    base = dist.Normal(0.0, 1.0)
    assert transform.forward_shape(()) == torchs.forward_shape(()) == shape
    made = [dist.TransformedDistribution(base, [t]) for t in (transform, torchs)]
    assert made[0].batch_shape == made[1].batch_shape == made[0].sample().shape == shape
    with pytest.raises(ValueError, match="expected values of shape"):
        transform(torch.tensor(0.0))


def test_maps_without_tensors_are_no_modules():
    for name, (arguments, _) in FIXED.items():
        for transform in (getattr(T, name)(*arguments), getattr(T, name)(*arguments).inv):
            assert not isinstance(transform, nn.Module)
            assert not isinstance(transform, T.TransformModule)
            assert copy.deepcopy(transform) == transform == pickle.loads(pickle.dumps(transform))
            assert hash(transform) is not None
    for transform in (T.Permute([1, 0]), T.LowerCholeskyAffine(torch.zeros(2), torch.eye(2)), T.SimplexToOrderedTransform()):
        assert isinstance(transform, nn.Module)  # these have tensors that move
        assert list(transform.buffers())
    x = torch.randn(5, 3)
    sphere = T.Normalize()
    assert torch.equal(sphere.inv(sphere(x)), sphere(x))
    stack = dist.TransformedDistribution(dist.Normal(torch.zeros(3), 1.0), [T.planar(3), T.elu(), T.SoftplusTransform().inv.inv])
    assert torch.isfinite(stack.log_prob(copy.deepcopy(stack).sample((4,)))).all()
    assert list(stack.state_dict()) == list(dist.TransformedDistribution(dist.Normal(torch.zeros(3), 1.0), [T.planar(3)]).state_dict())


def test_a_coupling_of_one_number_has_a_map_that_nothing_sets():
    x = torch.randn(5, 1)
    for transform in (T.spline_coupling(1), T.affine_coupling(1), T.spline_coupling(3, split_dim=0), T.affine_coupling(3, split_dim=0)):
        randomize(transform, 1.0)
        value = x.expand(5, transform.layer.event_shape[0])
        y = transform(value)
        assert (y - value).abs().max() > 1e-2
        torch.testing.assert_close(transform.inv(y), value)
        assert transform.log_abs_det_jacobian(value, y).shape == (5,)


def test_a_network_of_the_users_may_take_labels():
    net = nn.Sequential(nn.Embedding(3, 9), nn.Flatten(-2), nn.Linear(9, 9))
    transform = T.ConditionalPlanar(lambda c: net(c).split([1, 4, 4], -1)).condition(torch.tensor([[0], [2]]))
    assert transform(torch.zeros(2, 4)).shape == (2, 4)


ROUNDED = [name for name in ALL if "utoregressive" in name and "block" not in name and "eural" not in name and "olynomial" not in name]


@pytest.mark.parametrize("name", ROUNDED)
def test_autoregressive_layers_come_back_within_roundings(name):
    """The law of the library's plans: 4 roundings that nothing avoids for each step, here with networks of the user's as well."""
    build, shape = ALL[name]
    single = build()
    randomize(single, 1.0)
    exact = copy.deepcopy(single).double()
    c, x = torch.randn(2), torch.randn(256, *shape)
    transform, fine = conditioned(single, c), conditioned(exact, c.double())
    with torch.no_grad():
        error = (transform.inv(transform(x)) - x).double().abs()
        y = fine(x.double())
    slope = torch.func.vmap(torch.func.jacrev(lambda row: fine(row[None])[0]))(x.double()).detach()
    back = torch.linalg.inv(slope).abs()
    size = x.double().abs().unsqueeze(-1)
    allowed = (back @ y.abs().unsqueeze(-1) + size + back @ slope.abs() @ size).squeeze(-1) * shape[0] * torch.finfo(torch.float32).eps
    assert (error / (allowed + 1e-12)).max() <= 4


SIZES = [
    ("planar", (0,), "Planar: expected input_dim"),
    ("planar", ("a",), "Planar: expected input_dim"),
    ("radial", (True,), "Radial: expected input_dim"),
    ("spline", (2.5,), "Spline: expected input_dim"),
    ("Spline", (2, 1), "Spline: expected count_bins"),
    ("batchnorm", (0,), "BatchNorm: expected input_dim"),
    ("householder", (-1,), "householder: expected input_dim"),
    ("sylvester", (3, 0), "Sylvester: expected count_transforms"),
    ("matrix_exponential", (None,), "MatrixExponential: expected input_dim"),
    ("block_autoregressive", (0,), "BlockAutoregressive: expected input_dim"),
    ("affine_autoregressive", (2.5,), "affine_autoregressive: expected input_dim"),
    ("affine_autoregressive", (2, []), "hidden_dims to be a list of at least one width"),
    ("affine_autoregressive", (2, [3, 0]), r"hidden_dims\[1\]"),
    ("neural_autoregressive", (0,), "neural_autoregressive: expected input_dim"),
    ("polynomial", (True,), "polynomial: expected input_dim"),
    ("spline_autoregressive", (0,), "spline_autoregressive: expected input_dim"),
    ("spline_coupling", (0,), "spline_coupling: expected input_dim"),
    ("spline_coupling", (2, 2), "split_dim to be a whole number between 0 and 1"),
    ("affine_coupling", (0,), "affine_coupling: expected input_dim"),
    ("affine_coupling", (4, None, -1), "split_dim to be a whole number between 0 and 3"),
    ("affine_coupling", ((3, "a"), None, None, -2), "affine_coupling: expected input_dim"),
    ("permute", (3.5,), "permute: expected input_dim"),
    ("conditional_planar", (3, 0), "conditional_planar: expected context_dim"),
    ("conditional_radial", (3, None), "conditional_radial: expected context_dim"),
    ("conditional_householder", (3, -1), "conditional_householder: expected context_dim"),
    ("conditional_matrix_exponential", (3, "b"), "conditional_matrix_exponential: expected context_dim"),
    ("conditional_spline", (3, 2.5), "conditional_spline: expected context_dim"),
    ("conditional_affine_coupling", (4, None), "conditional_affine_coupling: expected context_dim"),
    ("conditional_affine_autoregressive", (4, None), "conditional_affine_autoregressive: expected context_dim"),
    ("conditional_neural_autoregressive", (4, 0), "conditional_neural_autoregressive: expected context_dim"),
    ("conditional_spline_autoregressive", (4, 0), "conditional_spline_autoregressive: expected context_dim"),
    ("conditional_generalized_channel_permute", (0,), "conditional_generalized_channel_permute: expected context_dim"),
    ("DenseNN", (0, [3]), "DenseNN: expected input_dim"),
    ("DenseNN", (2, [3], []), "DenseNN: expected param_dims"),
    ("AutoRegressiveNN", (2, [3], [0]), r"AutoRegressiveNN: expected param_dims\[0\]"),
    ("ConditionalDenseNN", (2, "c", [3]), "ConditionalDenseNN: expected context_dim"),
    ("AffineCoupling", (0, nn.Identity()), "AffineCoupling: expected split_dim to be a whole number of at least 1"),
    ("ConditionalAffineCoupling", (-1, nn.Identity()), "split_dim to be a whole number of at least 1"),
    ("SplineCoupling", (2, 0, nn.Identity()), "SplineCoupling: expected split_dim to be a whole number of at least 1"),
    ("PositivePowerTransform", ("a",), "PositivePower: expected exponent"),
    ("DiscreteCosineTransform", (0,), "DiscreteCosineTransform: expected dim"),
    ("HaarTransform", (1.5,), "HaarTransform: expected dim"),
    ("SimplexToOrderedTransform", (0.3,), "expected anchor_point to be a tensor"),
    ("LowerCholeskyAffine", (0.0, torch.eye(2)), "expected loc and scale_tril to be tensors"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), SIZES, ids=[f"{name}{i}" for i, (name, _, _) in enumerate(SIZES)])
def test_sizes_are_told_in_pyros_words(name, arguments, words):
    with pytest.raises(PlanError, match=words):
        getattr(T, name)(*arguments)


def test_every_size_has_a_row():
    told = {name for name, _, _ in SIZES}
    made = {name for name in T.__all__ if name.islower() and callable(getattr(T, name))}
    assert made - told == {"elu", "leaky_relu", "identity_transform", "iterated", "generalized_channel_permute"}


def test_to_event_and_its_kin_are_on_every_distribution():
    made = dist.Normal(torch.zeros(2, 3, 4), 1.0)
    for given, batch in ((None, ()), (0, (2, 3, 4)), (1, (2, 3)), (2, (2,)), (3, ())):
        event = made.to_event(given)
        assert (event.batch_shape, event.event_shape) == (batch, (2, 3, 4)[len(batch) :])
        assert event.event_dim == 3 - len(batch)
    twice = made.to_event(1).to_event(1)
    assert twice.batch_shape == (2,)
    assert twice.reinterpreted_batch_ndims == 2
    assert twice.to_event(-2).batch_shape == (2, 3, 4)
    assert type(twice.to_event(-2)) is dist.Normal
    assert twice.shape((5,)) == twice((5,)).shape == (5, 2, 3, 4)
    assert twice.expand_by((7,)).batch_shape == (7, 2)
    assert isinstance(twice, torch.distributions.Independent)
    for count, error, words in (
        (4, ValueError, "between 0 and 3, got 4"),
        (-1, ValueError, "between 0 and 3, got -1"),
        (1.0, TypeError, "a whole number or None"),
        (True, TypeError, "a whole number or None"),
    ):
        with pytest.raises(error, match=words):
            made.to_event(count)
    with pytest.raises(ValueError, match="between -2 and 1, got -3"):
        twice.to_event(-3)
    flow = dist.TransformedDistribution(dist.Normal(torch.zeros(2, 3), 1.0), [T.spline(3)])
    assert flow.to_event(1).log_prob(flow.sample()).shape == (2,)
    assert flow().requires_grad
    assert dist.Poisson(3.0)((2,)).shape == (2,)  # has no reparametrised samples


@pytest.mark.parametrize("name", dist.torchs.__all__)
def test_torchs_distributions_are_torchs_and_copy(name):
    mine, torchs = getattr(dist, name), getattr(torch.distributions, name)
    assert issubclass(mine, torchs)
    assert mine.__name__ == torchs.__name__
    assert name in mine.__doc__
    assert pickle.loads(pickle.dumps(mine)) is mine
    assert callable(mine.to_event)


def test_torchs_distributions_expand_copy_compare_and_are_bases():
    for made, like in (
        (dist.Gamma(2.0, 3.0), torch.distributions.Gamma(2.0, 3.0)),
        (dist.LogNormal(0.0, 1.0), torch.distributions.LogNormal(0.0, 1.0)),
        (dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))),
    ):
        for same in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), made.expand((3,))):
            assert type(same) is type(made)
            value = like.sample()
            torch.testing.assert_close(same.log_prob(value).flatten()[0], like.log_prob(value))
        assert dist.kl_divergence(made, like) == 0
    flow = dist.Flow(dist.Normal(torch.zeros(2), 1.0).to_event(1), [])
    assert flow.base.plan == dist.Flow(torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1), []).base.plan


def test_pyros_modules_of_distributions_are_here():
    from pushforward.distributions import conditional, constraints
    from pushforward.distributions.transforms import Planar

    assert Planar is T.Planar
    assert dist.conditional is conditional
    assert dist.constraints is constraints
    assert all(getattr(conditional, name) is getattr(dist, name) for name in conditional.__all__)
    assert set(torch.distributions.constraints.__all__) < set(constraints.__all__)
    assert len(set(constraints.__all__)) == len(constraints.__all__)
    assert T.CorrMatrixCholeskyTransform().domain is constraints.corr_matrix
    assert T.OrderedTransform().codomain is constraints.ordered_vector
    assert T.UnitLowerCholeskyTransform().codomain is constraints.unit_lower_cholesky
    assert T.Normalize().codomain is constraints.sphere
    checks = {
        "corr_matrix": (torch.eye(2), 2 * torch.eye(2)),
        "ordered_vector": (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])),
        "positive_ordered_vector": (torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 2.0])),
        "sphere": (torch.tensor([0.6, 0.8]), torch.tensor([0.6, 0.7])),
        "unit_lower_cholesky": (torch.eye(2), 2 * torch.eye(2)),
        "integer": (torch.tensor(-3.0), torch.tensor(0.5)),
        "softplus_positive": (torch.tensor(1.0), torch.tensor(-1.0)),
        "softplus_lower_cholesky": (2 * torch.eye(2), -torch.eye(2)),
    }
    for name, (inside, outside) in checks.items():
        assert getattr(constraints, name).check(inside), name
        assert not getattr(constraints, name).check(outside), name
    assert not constraints.integer.check(torch.tensor(torch.inf))
