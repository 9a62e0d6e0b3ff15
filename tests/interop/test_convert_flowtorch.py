"""Trained flows of FlowTorch moved to ours: the same density."""

from __future__ import annotations

import subprocess
import sys

import flowtorch.bijectors as bij
import flowtorch.distributions as dist
import flowtorch.parameters as params
import pytest
import torch

import pushforward
from pushforward.contrib.flowtorch import convert

pytestmark = pytest.mark.filterwarnings(
    "ignore:Computing _log_abs_det_jacobian from values:UserWarning", "ignore:DenseAutoregressive input_dim = 1:UserWarning"
)


def base(features):
    return torch.distributions.Independent(torch.distributions.Normal(torch.full((features,), 0.3), torch.full((features,), 1.2)), 1)


def small(**more):
    return params.DenseAutoregressive(hidden_dims=(12, 9), **more)


def trained(plan, features=4, scale=0.15, base_dist=None):
    """Return a flow whose parameters are away from where they start."""
    torch.manual_seed(3)
    flow = dist.Flow(base(features) if base_dist is None else base_dist, plan)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return flow


ORDER = torch.tensor([2, 0, 3, 1])
FLOWS = {
    "Affine": lambda: bij.Affine(),
    "Affine, clipped": lambda: bij.Affine(log_scale_min_clip=-0.1, log_scale_max_clip=0.1),
    "AffineAutoregressive": lambda: bij.AffineAutoregressive(small()),
    "tanh, in an order": lambda: bij.AffineAutoregressive(small(nonlinearity=torch.nn.Tanh, permutation=ORDER)),
    "Spline": lambda: bij.Spline(),
    "Spline, quadratic": lambda: bij.Spline(count_bins=5, bound=4.0, order="quadratic"),
    "SplineAutoregressive": lambda: bij.SplineAutoregressive(small()),
    "SplineAutoregressive, quadratic": lambda: bij.SplineAutoregressive(small(), order="quadratic"),
    "Permute": lambda: bij.Permute(permutation=ORDER),
    "Compose": lambda: bij.Compose([bij.AffineAutoregressive(small()), bij.Permute(permutation=ORDER), bij.SplineAutoregressive(small())]),
}


def map_of(model, x):
    """Return FlowTorch's value and, by automatic differentiation, its log-determinant."""

    def forward(row):
        return model.bijector.forward(row[None]).as_subclass(torch.Tensor)[0]

    jacobian = torch.stack([torch.autograd.functional.jacobian(forward, row) for row in x])
    return model.bijector.forward(x).as_subclass(torch.Tensor).detach(), torch.linalg.slogdet(jacobian).logabsdet


@pytest.mark.parametrize("name", FLOWS)
def test_same_density_and_same_map(name):
    model = trained(FLOWS[name]())
    x = 1.5 * torch.randn(60, 4)
    y, ladj = map_of(model, x)
    ours, ours_ladj = convert(model).transform(x)
    assert torch.allclose(ours, y, rtol=1e-5, atol=1e-5)
    assert torch.allclose(ours_ladj, ladj, rtol=1e-5, atol=1e-5)
    # In float64, in which FlowTorch's base does not follow, nothing hides behind rounding.
    flow, x = convert(model.double()).double(), x.double()
    y, ladj = map_of(model, x)
    expected = flow.base.log_prob(x) - ladj
    assert (flow.log_prob(y) - expected).abs().max() < 1e-9
    assert (flow.transform.inverse(y)[0] - x).abs().max() < 1e-9


@pytest.mark.parametrize("name", [name for name in FLOWS if "quadratic" not in name])  # whose inverse fails in FlowTorch
def test_same_score(name):
    model = trained(FLOWS[name]())
    y = torch.randn(300, 4)
    with torch.no_grad():
        assert torch.allclose(convert(model).log_prob(y), model.log_prob(y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Exp", "Sigmoid", "Softplus", "Tanh", "ELU", "AffineFixed"])
def test_bounded_maps(name):
    options = {"loc": 1.0, "scale": -0.5} if name == "AffineFixed" else {}
    model = trained(bij.Compose([bij.Affine(), getattr(bij, name)(**options)]), scale=0.2)
    flow = convert(model)
    x = torch.randn(50, 4)
    y = model.bijector.forward(x).as_subclass(torch.Tensor).detach()
    assert torch.allclose(flow.transform(x)[0], y, atol=1e-6)


def test_invert_has_the_density_of_its_samples():
    model = trained(bij.Invert(bij.AffineAutoregressive(small())))
    flow = convert(model)
    x = torch.randn(20, 4)
    y = model.bijector.forward(x).as_subclass(torch.Tensor).detach()
    assert (flow.transform(x)[0] - y).abs().max() < 1e-5
    expected = model.base_dist.log_prob(x) - map_of(model, x)[1]
    assert (flow.log_prob(y) - expected).abs().max() < 1e-4
    assert (model.log_prob(y) - expected).abs().max() > 0.1  # the sign is wrong there, and the batch is summed


def test_a_trained_flow_in_its_own_words():
    torch.manual_seed(0)
    base_dist = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    model = dist.Flow(base_dist, bij.AffineAutoregressive(small()))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-2)
    for _ in range(60):
        y = torch.randn(100, 2) * 0.5 + 1
        optimizer.zero_grad()
        loss = -model.log_prob(y).mean()
        loss.backward()
        optimizer.step()
    y = torch.randn(500, 2) * 0.5 + 1
    flow = convert(model)
    with torch.no_grad():
        assert (flow.log_prob(y) - model.log_prob(y)).abs().max() < 1e-5
    flow.log_prob(y).mean().backward()  # it trains on
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_events_of_other_shapes():
    normal = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    scalar = trained(bij.Affine(), base_dist=normal)
    y = torch.randn(7, 3)
    assert (convert(scalar).log_prob(y) - scalar.log_prob(y)).abs().max() < 1e-5
    matrix = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 2)
    for plan in (bij.Spline(), bij.Permute(permutation=torch.tensor([2, 0, 1]))):
        model = trained(plan, base_dist=matrix)
        x = torch.randn(7, 2, 3)
        y = model.bijector.forward(x).as_subclass(torch.Tensor).detach()
        assert (convert(model).transform(x)[0] - y).abs().max() < 1e-5


def test_saved_and_loaded_without_flowtorch(tmp_path):
    flow = convert(trained(FLOWS["Compose"]()))
    y = torch.randn(5, 4)
    flow.save(tmp_path / "flow.safetensors")
    torch.save((y, flow.log_prob(y)), tmp_path / "expected.pt")
    code = (
        "import sys, torch, pushforward, pushforward.contrib.conversion\n"
        "from tests.other_processor import as_told; as_told()\n"
        "y, expected = torch.load(sys.argv[2], weights_only=True)\n"
        "assert torch.equal(pushforward.load(sys.argv[1]).log_prob(y), expected)\n"
        "assert 'flowtorch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "flow.safetensors", tmp_path / "expected.pt"], check=True)
    assert (flow.transform.inverse(flow.transform(y)[0])[0] - y).abs().max() < 1e-4


class Other(bij.Exp):
    """Not one of FlowTorch's."""


REFUSED = {
    "layer 1, Other": lambda: trained(bij.Compose([bij.Affine(), Other()])),
    "layer 0, Permute: expected a permutation": lambda: trained(bij.Permute()),
    "expected a flowtorch.distributions.Flow, got Independent": lambda: base(3),
}


@pytest.mark.parametrize("words", REFUSED)
def test_anything_else_is_named(words):
    with pytest.raises(pushforward.PlanError, match=words):
        convert(REFUSED[words]())
