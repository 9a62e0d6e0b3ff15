"""Trained flows of Pyro moved to ours: the same density."""

from __future__ import annotations

import subprocess
import sys

import pyro.distributions as dist
import pyro.distributions.transforms as T
import pytest
import torch
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN, DenseNN

import pushforward
from pushforward.contrib.pyro import convert
from tests.roundings import SURE, of_flow

ORDER = torch.tensor([2, 0, 3, 1])


def base(features=4):
    return dist.Normal(torch.full((features,), 0.3), torch.full((features,), 1.2)).to_event(1)


def trained(transforms, scale=0.15):
    """Return transforms whose parameters are away from where they start."""
    for transform in transforms:
        if isinstance(transform, torch.nn.Module):
            with torch.no_grad():
                for parameter in transform.parameters():
                    parameter.add_(scale * torch.randn_like(parameter))
    return transforms


def quadratic(input_dim, kind, context_dim=0):
    """Return the networks with which Pyro's quadratic splines work; its helpers make wrong ones."""
    if kind == "dense":
        return DenseNN(2, [9], param_dims=[input_dim * 8, input_dim * 8, input_dim * 7])
    return AutoRegressiveNN(input_dim, [12], param_dims=[8, 8, 7])


TRANSFORMS = {
    "affine_autoregressive": lambda: [T.affine_autoregressive(4, [12, 9])],
    "stable": lambda: [T.affine_autoregressive(4, [12], stable=True, sigmoid_bias=1.5)],
    "clipped": lambda: [T.affine_autoregressive(4, [12], log_scale_min_clip=-0.05, log_scale_max_clip=0.05)],
    "in an order": lambda: [T.AffineAutoregressive(AutoRegressiveNN(4, [12], permutation=ORDER, nonlinearity=torch.nn.Tanh()))],
    "inverse": lambda: [T.affine_autoregressive(4, [12]).inv],
    "affine_coupling": lambda: [T.affine_coupling(4, [9, 8])],
    "affine_coupling, split": lambda: [T.affine_coupling(4, [9], split_dim=1)],
    "spline": lambda: [T.spline(4)],
    "spline, quadratic": lambda: [T.spline(4, count_bins=5, bound=4.0, order="quadratic")],
    "spline_coupling": lambda: [T.spline_coupling(4, hidden_dims=[9])],
    "spline_coupling, quadratic": lambda: [T.SplineCoupling(4, 2, quadratic(2, "dense"), order="quadratic")],
    "spline_coupling, identity": lambda: [T.SplineCoupling(4, 2, quadratic(2, "dense"), order="quadratic", identity=True)],
    "spline_autoregressive": lambda: [T.spline_autoregressive(4, [12, 12])],
    "spline_autoregressive, quadratic": lambda: [T.SplineAutoregressive(4, quadratic(4, "masked"), order="quadratic")],
    "permute": lambda: [T.permute(4)],
    "householder": lambda: [T.householder(4, count_transforms=3)],
    "matrix_exponential": lambda: [T.matrix_exponential(4, iterations=25)],
    "lower_cholesky": lambda: [T.LowerCholeskyAffine(torch.arange(4.0), torch.eye(4) + 0.5 * torch.ones(4, 4).tril())],
    "batchnorm": lambda: [T.batchnorm(4).eval()],
    "fixed": lambda: [T.AffineTransform(torch.arange(4.0), torch.tensor(-2.0)), T.TanhTransform(), T.ExpTransform()],
    "many": lambda: [
        T.spline_coupling(4, hidden_dims=[9]), T.permute(4), T.affine_autoregressive(4, [12]).inv, T.LeakyReLUTransform(),
        T.householder(4, 2), T.iterated(2, T.affine_coupling, 4, [9]),
    ],
}  # fmt: skip


def made(name):
    torch.manual_seed(5)
    transforms = TRANSFORMS[name]()
    if name == "batchnorm":
        transforms[0].moving_mean.normal_()
        transforms[0].moving_variance.uniform_(0.5, 2)
    return trained(transforms)


@pytest.fixture
def float64():
    """Make everything in float64, where nothing hides behind rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_same_density_and_same_map(name):
    transforms = made(name)
    flow = convert(dist.TransformedDistribution(base(), transforms))
    x = base().sample((100,))
    # Scored at its own samples, since some of its inverses fail in float64.
    y, expected = x, base().log_prob(x)
    for transform in transforms:
        after = transform(y)
        ladj = transform.log_abs_det_jacobian(y, after)
        # Elementwise ones give a number for each feature, and batch normalisation no batch.
        expected = expected - (ladj.expand(x.shape).sum(-1) if transform.domain.event_dim == 0 else ladj)
        y = after
    assert flow.event_shape == (4,)
    assert (flow.transform(x)[0] - y).abs().max() < 1e-10
    assert (flow.log_prob(y) - expected).abs().max() < 1e-7
    assert torch.equal(convert(transforms, base()).log_prob(y), flow.log_prob(y))


SCORED = ["affine_autoregressive", "affine_coupling", "spline_coupling", "householder", "permute", "lower_cholesky", "inverse"]


@pytest.mark.parametrize("name", SCORED)
def test_same_score(name):
    model = dist.TransformedDistribution(base(), made(name))
    y = torch.randn(300, 4)
    flow = convert(model)
    assert flow.dtype == torch.float32
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(y), model.log_prob(y), rtol=1e-5, atol=1e-5)


CONDITIONAL = {
    "affine_autoregressive": lambda: [T.conditional_affine_autoregressive(4, 3, [12, 12])],
    "in an order": lambda: [T.ConditionalAffineAutoregressive(ConditionalAutoRegressiveNN(4, 3, [12], permutation=ORDER), stable=True)],
    "spline_autoregressive": lambda: [T.conditional_spline_autoregressive(4, 3, [12])],
    "affine_coupling": lambda: [T.conditional_affine_coupling(4, 3, [9], log_scale_max_clip=0.2)],
    "spline": lambda: [T.conditional_spline(4, 3, [9])],
    "with others": lambda: [T.conditional_affine_coupling(4, 3, [9]), T.affine_coupling(4, [9]), T.affine_autoregressive(4, [12])],
    "inverse": lambda: [T.conditional_affine_autoregressive(4, 3, [12]).inv],
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional(name):
    torch.manual_seed(6)
    model = dist.ConditionalTransformedDistribution(base(), trained(CONDITIONAL[name]()))
    flow = convert(model)
    assert flow.context_shape == (3,)
    y, context = torch.randn(200, 4), torch.randn(200, 3)
    with torch.no_grad():
        expected = model.condition(context).log_prob(y)
        assert torch.allclose(flow.log_prob(y, context), expected, rtol=1e-5, atol=2e-5)
        assert (flow.log_prob(y, context + 1) - expected).abs().max() > 1e-3


def test_images():
    torch.manual_seed(7)
    normal = dist.Normal(torch.zeros(3, 2, 2), 1.0).to_event(3)
    transforms = trained([T.GeneralizedChannelPermute(3), T.affine_coupling((3, 2, 2), [9], dim=-3), T.permute((3, 2, 2), dim=-3)])
    model = dist.TransformedDistribution(normal, transforms)
    y = torch.randn(20, 3, 2, 2)
    flow = convert(model)
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(y), model.log_prob(y), rtol=1e-5, atol=1e-5)


def test_scalars_become_vectors():
    torch.manual_seed(8)
    model = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)), trained([T.Spline(2, count_bins=16)]))
    y = torch.randn(50, 2)
    with torch.no_grad():
        ours, theirs = convert(model).log_prob(y), model.log_prob(y).sum(-1)
        assert ((ours - theirs).abs() <= 1e-5 * (1 + theirs.abs()) + SURE * of_flow(convert(model), y)).all()


def test_saved_and_loaded_without_pyro(tmp_path):
    flow = convert(made("many"), base())
    y = flow.sample((5,))
    flow.save(tmp_path / "flow.safetensors")
    torch.save((y, flow.log_prob(y).detach()), tmp_path / "expected.pt")
    code = (
        "import sys, torch, pushforward, pushforward.contrib.conversion\n"
        "from tests.other_processor import as_told; as_told()\n"
        "y, expected = torch.load(sys.argv[2], weights_only=True)\n"
        "assert torch.equal(pushforward.load(sys.argv[1]).log_prob(y), expected)\n"
        "assert 'pyro' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "flow.safetensors", tmp_path / "expected.pt"], check=True)


REFUSED = {
    "layer 1, Planar": lambda: convert([T.permute(4), T.planar(4)], base()),
    "layer 0, AffineCoupling: expected a network of pyro.nn, got Sequential": lambda: convert(
        [T.AffineCoupling(2, torch.nn.Sequential(torch.nn.Linear(2, 4)))], base()
    ),
    "skip connections": lambda: convert([T.AffineAutoregressive(AutoRegressiveNN(4, [12], skip_connections=True))], base()),
    "series that has converged": lambda: convert(trained([T.matrix_exponential(4)], 3.0), base()),
    "expected a TransformedDistribution": lambda: convert([T.planar(4)]),
    "at least 1 axes": lambda: convert([T.spline(1)], dist.Normal(0.0, 1.0)),
    "one context": lambda: convert([T.conditional_affine_coupling(4, 3, [9]), T.conditional_spline(4, 2, [9])], base()),
    "an event whose|events whose last axis has 3": lambda: convert([T.spline(3)], base()),
}


@pytest.mark.parametrize("words", REFUSED)
def test_anything_else_is_named(words):
    with pytest.raises(pushforward.PlanError, match=words):
        REFUSED[words]()
