"""FlowTorch's face against the installed FlowTorch: every name, every argument, every default, and the same values where it is right."""

from __future__ import annotations

import inspect

import flowtorch.bijectors
import flowtorch.distributions
import flowtorch.parameters
import pytest
import torch

import pushforward.contrib.flowtorch.bijectors as bij
import pushforward.contrib.flowtorch.distributions as dist
import pushforward.contrib.flowtorch.parameters as params
from pushforward.contrib.flowtorch import utils as our_utils

pytestmark = pytest.mark.filterwarnings("ignore:Computing _log_abs_det_jacobian from values:UserWarning")
STANDARD = dict(flowtorch.bijectors.standard_bijectors)


def arguments(function, without=()):
    return {name: (p.kind, p.default) for name, p in inspect.signature(function).parameters.items() if name not in without}


def test_every_name_is_there():
    assert set(flowtorch.bijectors.__all__) <= set(bij.__all__)
    assert set(flowtorch.parameters.__all__) <= set(vars(params))
    assert set(flowtorch.distributions.__all__) <= set(vars(dist))
    for name in ("standard_bijectors", "meta_bijectors"):
        assert {n for n, _ in getattr(bij, name)} == {n for n, _ in getattr(flowtorch.bijectors, name)}


@pytest.mark.parametrize("name", [*STANDARD, "Compose", "Invert"])
def test_every_argument_and_default_is_there(name):
    theirs = arguments(getattr(flowtorch.bijectors, name).__init__, ("self", "shape"))
    ours = arguments(getattr(bij, name), ("shape",))
    assert ours == theirs
    assert inspect.signature(getattr(bij, name)).parameters["shape"].default is None  # required there, and what makes a bijector lazy


def test_arguments_of_parameters_and_distributions():
    built = ("self", "param_shapes", "input_shape", "context_shape")  # what a bijector gives them
    theirs = arguments(flowtorch.parameters.DenseAutoregressive.__init__, built)
    assert arguments(params.DenseAutoregressive) == theirs
    assert arguments(params.Tensor) == arguments(flowtorch.parameters.Tensor.__init__, built)
    assert arguments(dist.Flow, ("context_shape",)) == arguments(flowtorch.distributions.Flow.__init__, ("self",))
    assert arguments(dist.NealsFunnel) == arguments(flowtorch.distributions.NealsFunnel.__init__, ("self",))
    for name in ("sample", "rsample", "log_prob", "normalize", "rnormalize", "condition"):
        assert set(arguments(getattr(flowtorch.distributions.Flow, name))) <= set(arguments(getattr(dist.Flow, name)))


@pytest.mark.parametrize("name", ["AffineFixed", "ELU", "Exp", "LeakyReLU", "Power", "Sigmoid", "Softplus", "Tanh"])
def test_fixed_bijectors_have_the_same_values(name):
    options = {"AffineFixed": {"loc": 0.5, "scale": -2.0}, "Power": {"exponent": 1.5}}.get(name, {})
    theirs, ours = (getattr(module, name)(shape=torch.Size([3]), **options) for module in (flowtorch.bijectors, bij))
    x = torch.linspace(0.1, 2.0, 12).reshape(4, 3) * (1 if name == "Power" else -1)
    y = torch.Tensor(theirs.forward(x))
    assert torch.allclose(ours(x), y, atol=1e-6)
    assert torch.allclose(ours.inverse(y), x, atol=1e-5)
    expected = theirs.log_abs_det_jacobian(x, y)
    assert ours.log_abs_det_jacobian(x, y).shape == expected.shape
    assert torch.allclose(ours.log_abs_det_jacobian(x, y), expected, atol=1e-5)


@pytest.mark.parametrize("name", [*STANDARD, "Compose", "Invert", "Elementwise", "Autoregressive", "Fixed", "Bijector", "VolumePreserving"])
def test_a_name_has_the_axes_that_flowtorchs_has(name):
    theirs, ours = getattr(flowtorch.bijectors, name), getattr(bij, name)
    for side in ("domain", "codomain"):
        assert getattr(ours, side).event_dim == getattr(theirs, side).event_dim
    if name in STANDARD:
        a, b = (cls(shape=torch.Size([3])) for cls in (theirs, ours))
        assert a.domain.event_dim == b.domain.event_dim
        x = torch.rand(5, 3)
        if name != "Permute":  # whose log-determinant there has the axis that it should not
            ladj = b(x).log_detJ
            assert torch.broadcast_shapes(a.forward(x).log_detJ.shape, (5,) if ladj.dim() == 1 else (5, 3)) == ladj.shape
            y = a.forward(x).detach_from_flow()
            assert type(b(x).detach_from_flow()) is type(y)


def test_lists_name_what_flowtorchs_name():
    for name in ("bijectors", "parameters", "distributions"):
        there = getattr(flowtorch, name)  # not its own list, which loads all modules once more
        theirs = {found for found in there.__all__ if inspect.isclass(getattr(there, found))}
        assert {found for found, _ in getattr(our_utils, f"list_{name}")()} == theirs


def test_permutation_and_funnel():
    x = torch.arange(8.0).reshape(2, 4)
    order = torch.tensor([2, 0, 3, 1])
    theirs = flowtorch.bijectors.Permute(shape=torch.Size([4]), permutation=order)
    assert torch.equal(bij.Permute(shape=torch.Size([4]), permutation=order)(x), torch.Tensor(theirs.forward(x)))
    value = torch.randn(5, 2)
    assert torch.allclose(dist.NealsFunnel().log_prob(value), flowtorch.distributions.NealsFunnel().log_prob(value), atol=1e-6)


def test_the_network_has_the_same_size():
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(4), torch.ones(4)), 1)
    for name in ("Affine", "Spline", "AffineAutoregressive", "SplineAutoregressive"):
        ours = dist.Flow(base, getattr(bij, name)())
        theirs = flowtorch.distributions.Flow(base, getattr(flowtorch.bijectors, name)())
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
