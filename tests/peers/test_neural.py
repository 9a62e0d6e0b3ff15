"""Monotone networks beside those of Pyro and Zuko."""

from __future__ import annotations

import math

import pytest
import torch
import zuko
from pyro.distributions.transforms import NeuralAutoregressive

from pushforward.kernels.monotonic import MonotonicNetwork
from pushforward.kernels.neural import MEANS, DeepSigmoid
from pushforward.layers.autoregressive import Autoregressive
from pushforward.nets.mlp import MLP

NAMES = {"sigmoid": "sigmoid", "tanh": "tanh", "elu": "ELU", "leaky_relu": "LeakyReLU"}


def raw(value, bound):
    """Return what `soft_clamp` takes to a value."""
    scale = 2 * bound / math.pi
    return scale * torch.tan(value / scale)


@pytest.mark.parametrize("activation", MEANS)
def test_deep_sigmoid_is_pyros_neural_autoregressive(activation):
    torch.manual_seed(0)
    scales, weights, biases = 3 * torch.rand(16, 3).double() - 1, 3 * torch.rand(16, 3).double(), 4 * torch.rand(16, 3).double() - 2
    for parameter in (scales, weights, biases):
        parameter.requires_grad_()
    theirs = NeuralAutoregressive(lambda x: (scales, weights, biases), hidden_units=16, activation=NAMES[activation])
    ours = {
        "scales": raw(torch.log(torch.nn.functional.softplus(scales)), 2.0),
        "biases": raw(biases, MEANS[activation][1]),
        "weights": raw(weights - weights.mean(0), 3.0),
    }
    x = (1.5 * torch.randn(50, 3).double()).requires_grad_()
    y = theirs._call(x)
    ladj = theirs.log_abs_det_jacobian(x, y)
    own, own_ladj = DeepSigmoid(16, activation=activation).forward(x, **ours)
    assert torch.allclose(own, y, rtol=0, atol=1e-6)
    assert torch.allclose(own_ladj.sum(-1), ladj, rtol=0, atol=1e-6)
    tensors = [x, scales, weights, biases]
    for a, b in ((own, y), (own_ladj, ladj)):
        for found, wanted in zip(
            *(torch.autograd.grad(v.sum(), tensors, retain_graph=True, materialize_grads=True) for v in (a, b)), strict=True
        ):
            assert torch.allclose(found, wanted, rtol=0, atol=1e-6)


def test_pyros_sigmoid_saturates_where_ours_goes_on():
    one = torch.ones(4, 1).double()
    theirs = NeuralAutoregressive(lambda x: (one, 0 * one, 0 * one), hidden_units=4)
    x = torch.tensor([[50.0]], dtype=torch.float64)
    slope = math.log1p(math.e)
    y, ladj = DeepSigmoid(4).forward(x, scales=raw(torch.log(slope * one), 2.0), biases=0 * one, weights=0 * one)
    assert y.item() == pytest.approx(50 * slope, rel=1e-12)
    assert ladj.item() == pytest.approx(math.log(slope), rel=1e-12)
    assert abs(theirs._call(x).item() - 50 * slope) > 10


def test_monotonic_network_is_zukos_unconstrained_monotonic_transform():
    torch.manual_seed(0)
    plan = MonotonicNetwork()
    parameters = {name: (v + 0.5 * torch.randn(v.shape)).double() for name, v in plan.init((3,)).items()}
    _, level, heights, steepness, places, *_ = plan.prepare(**parameters)

    def integrand(t):
        return level * torch.exp((heights * torch.tanh(steepness * t[..., None, None, :] + places)).sum(-2))[..., 0, :]

    theirs = zuko.transforms.UnconstrainedMonotonicTransform(g=integrand, n=64)
    x = torch.linspace(-4.9, 4.9, 31, dtype=torch.float64)[:, None].expand(-1, 3).clone().requires_grad_()
    y, ladj = theirs.call_and_ladj(x)
    own, own_ladj = plan.forward(x, **parameters)
    assert torch.allclose(own - parameters["loc"], y, rtol=0, atol=1e-6)
    assert torch.allclose(own_ladj, ladj, rtol=0, atol=1e-6)
    for a, b in ((own, y), (own_ladj, ladj)):
        found, wanted = (torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in (a, b))
        assert torch.allclose(found, wanted, rtol=0, atol=1e-5)


def _error(module, sample, step):
    """Return the largest difference of a sample's gradient from central differences, one random direction a tensor, off the start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))

    def loss():
        return sample().pow(2).sum()

    worst = 0.0
    gradients = torch.autograd.grad(loss(), list(module.parameters()), allow_unused=True)
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        direction = direction / direction.norm()
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                parameter.add_(sign * step * direction)
                values.append(float(loss()))
        found = (values[0] - values[1]) / (2 * step)
        claimed = 0.0 if gradient is None else float((gradient * direction).sum())
        worst = max(worst, abs(claimed - found) / (1 + abs(found)))
    return worst


@pytest.mark.parametrize("flow", [zuko.flows.NAF, zuko.flows.UNAF])
def test_zukos_gradient_of_a_sample_counts_the_net_twice(flow):
    torch.manual_seed(0)
    errors = []
    for features in (1, 4):
        theirs = flow(features, transforms=1, hidden_features=(8,), signal=4, network={"hidden_features": (8,)}).double()
        z = torch.randn(6, features, dtype=torch.float64)
        errors.append(_error(theirs.transform, lambda theirs=theirs, z=z: theirs().transform.inv(z), 1e-3))
    # With one feature nothing passes through the conditioner, and what is left is their bisection, which stops at 1e-6.
    assert errors[0] < 0.01
    assert errors[1] > 0.05


@pytest.mark.parametrize("kernel", [DeepSigmoid(4), MonotonicNetwork(4, panels=2)], ids=repr)
def test_our_gradient_of_a_sample_is_right(kernel):
    torch.manual_seed(0)
    for features in (1, 4):
        ours = Autoregressive(kernel, net=MLP((8,))).build((features,), (2,)).double()
        z, context = torch.randn(6, features, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
        assert _error(ours, lambda ours=ours, z=z, context=context: ours(z, context)[0], 1e-5) < 1e-6
