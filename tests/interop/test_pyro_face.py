"""Pyro's face beside the installed Pyro: the same names, arguments, parameters and answers where they are to be the same."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pyro.distributions as pyro_dist
import pyro.distributions.transforms as pyro_transforms
import pyro.nn as pyro_nn
import pytest
import torch

import pushforward.distributions as dist
import pushforward.transforms as T

sys.path.insert(0, str(Path(__file__).parents[1]))
from pyro_face_cases import CASES, CONDITIONAL, make

NAMES = [*pyro_transforms.__all__, "UnitLowerCholeskyTransform"]
OURS = [name for name in NAMES if getattr(T, name) is not getattr(torch.distributions.transforms, name, None)]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def trained(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def plain(parameter):
    default = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
    return parameter.name, parameter.kind, default


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_here_with_pyros_arguments(name):
    assert name in T.__all__
    mine, theirs = getattr(T, name), getattr(pyro_transforms, name)
    if name not in OURS:
        assert mine is getattr(torch.distributions.transforms, name)
        return
    assert inspect.isclass(mine) == inspect.isclass(theirs)
    given, wanted = (list(map(plain, inspect.signature(f).parameters.values())) for f in (mine, theirs))
    # spline_coupling has Pyro's arguments and two more.
    assert given[: len(wanted)] == wanted
    extra = {"spline_coupling": ["order", "identity"]}
    assert [name for name, *_ in given[len(wanted) :]] == extra.get(name, [])


def test_networks_have_pyros_arguments_and_give_what_pyros_give():
    for name in ("DenseNN", "ConditionalDenseNN", "AutoRegressiveNN", "ConditionalAutoRegressiveNN"):
        given, wanted = (inspect.signature(getattr(m, name)).parameters for m in (T, pyro_nn))
        assert list(given) == list(wanted)
        assert repr(given["nonlinearity"].default) == repr(wanted["nonlinearity"].default)
    x, c = torch.randn(7, 4), torch.randn(7, 2)
    for dims in ([1, 1], [3], [1], [2, 5], [1, 3]):
        for name, arguments in (
            ("DenseNN", (x,)),
            ("AutoRegressiveNN", (x,)),
            ("ConditionalDenseNN", (x, c)),
            ("ConditionalAutoRegressiveNN", (x, c)),
        ):
            sizes = (4, 2) if len(arguments) == 2 else (4,)
            mine, theirs = (getattr(m, name)(*sizes, [9, 9], param_dims=dims) for m in (T, pyro_nn))
            assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in theirs.parameters())
            a, b = mine(*arguments), theirs(*arguments)
            assert isinstance(a, torch.Tensor) == isinstance(b, torch.Tensor)
            a, b = ([v] if isinstance(v, torch.Tensor) else v for v in (a, b))
            assert [v.shape for v in a] == [v.shape for v in b]


# Where the numbers differ, and why: the docstrings say so.
OTHER_COUNTS = {"block_autoregressive", "sylvester", "polynomial"}


@pytest.mark.parametrize("case", CASES)
def test_there_are_as_many_parameters_as_in_pyro(case):
    arguments, keywords, shape = CASES[case]
    name = case.split()[0]
    if name in ("spline_autoregressive", "conditional_spline_autoregressive", "spline_coupling") and "quadratic" in case:
        with pytest.raises((ValueError, TypeError)):  # which works here alone
            _run(getattr(pyro_transforms, name), arguments, keywords, shape)
        return
    theirs = getattr(pyro_transforms, name)(*arguments, **keywords)
    count = sum(p.numel() for p in theirs.parameters()) if isinstance(theirs, torch.nn.Module) else 0
    mine = sum(p.numel() for p in make(case).parameters())
    if name in OTHER_COUNTS:
        assert mine != count
    else:
        assert mine == count


def _run(function, arguments, keywords, shape):
    made = function(*arguments, **keywords)
    made = made.condition(torch.zeros(2)) if hasattr(made, "condition") else made
    made(torch.zeros(3, *shape))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("validate", [True, False])
def test_works_in_pyros_own_class(case, validate):
    module = trained(make(case).double())
    transform = module.condition(torch.randn(2, dtype=torch.float64)) if case in CONDITIONAL else module
    shape = CASES[case][2]
    base = pyro_dist.Normal(torch.zeros(shape, dtype=torch.float64), 1.0)
    theirs = pyro_dist.TransformedDistribution(base, [transform], validate_args=validate)
    ours = dist.TransformedDistribution(base, [transform])
    assert theirs.event_dim == transform.event_dim
    value = theirs.rsample((5,))
    assert value.shape == (5, *shape)
    log_prob = theirs.log_prob(value)
    assert log_prob.shape == (5, *theirs.batch_shape)
    torch.testing.assert_close(log_prob, ours.log_prob(value), rtol=0, atol=1e-6)
    rank = transform.event_dim
    row = value[0].detach()
    if rank:
        x = transform.inv(row)
        jacobian = torch.autograd.functional.jacobian(transform, x).reshape(x.numel(), x.numel())
        truth = base.log_prob(x).sum() - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(theirs.log_prob(row), truth, rtol=0, atol=1e-6)
    wide = theirs.expand((4, *theirs.batch_shape))
    assert wide.log_prob(wide.sample((2,))).shape == (2, 4, *theirs.batch_shape)
    theirs.clear_cache()
    parameters = [p for p in module.parameters() if p.requires_grad]
    if parameters:
        gradients = torch.autograd.grad(theirs.log_prob(value.detach()).sum(), parameters, allow_unused=True)
        assert any(g is not None and bool((g != 0).any()) for g in gradients)


@pytest.mark.parametrize("case", CONDITIONAL)
def test_conditional_transforms_work_in_pyros_conditional_class(case):
    shape = CASES[case][2]
    conditional = trained(make(case))
    assert not isinstance(conditional, pyro_dist.ConditionalTransform)
    base = pyro_dist.Normal(torch.zeros(shape), 1.0)
    given = pyro_dist.TransformedDistribution(base, [conditional.condition(torch.randn(6, 2))])
    sample = given.sample()
    assert sample.shape == (6, *shape)
    assert given.log_prob(sample).shape == given.batch_shape


def test_pyros_networks_set_our_transforms():
    x = torch.randn(6, 4)
    for made in (
        T.AffineAutoregressive(pyro_nn.AutoRegressiveNN(4, [9])),
        T.AffineCoupling(2, pyro_nn.DenseNN(2, [9], [2, 2])),
        T.SplineAutoregressive(4, pyro_nn.AutoRegressiveNN(4, [9], [8, 8, 7, 8])),
        T.SplineCoupling(4, 2, pyro_nn.DenseNN(2, [9], [16, 16, 14, 16])),
        T.NeuralAutoregressive(pyro_nn.AutoRegressiveNN(4, [9], [16, 16, 16])),
        T.Polynomial(pyro_nn.AutoRegressiveNN(4, [9], [15]), 4, 4, 3),
    ):
        assert torch.allclose(made.inv(made(x)), x, atol=1e-4), made
    affine = T.AffineCoupling(2, net := pyro_nn.DenseNN(2, [9], [2, 2]))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.1)  # where neither bounds the log-scale much, both are the same map
    torch.testing.assert_close(affine(x), pyro_transforms.AffineCoupling(2, net)(x), rtol=0, atol=1e-4)


def test_fixed_transforms_are_pyros():
    x = torch.randn(5, 4, dtype=torch.float64)
    for name, arguments, value in (
        ("DiscreteCosineTransform", (-1, 0.5), x),
        ("DiscreteCosineTransform", (-2,), x),
        ("HaarTransform", (-1, True), x),
        ("ELUTransform", (), x),
        ("LeakyReLUTransform", (), x),
        ("SoftplusTransform", (), x),
        ("OrderedTransform", (), x),
        ("Normalize", (), x),
        ("PositivePowerTransform", (1.5,), x),
        ("LowerCholeskyAffine", (x[0], torch.eye(4, dtype=x.dtype) + torch.ones(4, 4).tril(-1)), x),
        ("SimplexToOrderedTransform", (torch.tensor(0.3),), x.softmax(-1)),
        ("SoftplusLowerCholeskyTransform", (), x[:4]),
        ("UnitLowerCholeskyTransform", (), x[:4]),
        ("CholeskyTransform", (), torch.eye(3) + 0.1),
        ("CorrMatrixCholeskyTransform", (), 0.9 * torch.eye(3) + 0.1),
        ("Permute", (torch.tensor([2, 0, 3, 1]),), x),
    ):
        mine, theirs = (getattr(m, name)(*arguments) for m in (T, pyro_transforms))
        y = theirs(value)
        torch.testing.assert_close(mine(value), y)
        assert mine.event_dim == theirs.event_dim
        assert mine.forward_shape(value.shape) == y.shape
        if theirs.bijective and name not in ("CholeskyTransform", "CorrMatrixCholeskyTransform"):
            torch.testing.assert_close(mine.log_abs_det_jacobian(value, y), theirs.log_abs_det_jacobian(value, y))


def test_a_flow_is_trained_through_pyros_module_call():
    import pyro

    pyro.clear_param_store()
    flow = dist.TransformedDistribution(pyro_dist.Normal(torch.zeros(2), torch.ones(2)), [T.spline_coupling(2), T.Permute([1, 0])])
    pyro.module("flow", flow)
    store = dict(pyro.get_param_store().named_parameters())
    assert len(store) == len(list(flow.parameters()))
    pyro.clear_param_store()
