"""Planar, radial, Sylvester, residual and block autoregressive maps beside the same ones of Pyro and normflows."""

from __future__ import annotations

import math

import normflows
import pyro.distributions.transforms as T
import pytest
import torch

from pushforward.kernels.planar import Planar
from pushforward.kernels.radial import Radial
from pushforward.kernels.sylvester import Sylvester
from pushforward.layers.block_autoregressive import BlockAutoregressive
from pushforward.layers.residual import Residual, norm_bound

BOUND = 6.0


@pytest.fixture(autouse=True)
def _double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def unclamp(value, bound):
    """Return the parameter that `soft_clamp` brings to a value."""
    return 2 * bound / math.pi * torch.tan(math.pi * value / (2 * bound))


def agree(ours, theirs, x):
    """Compare value, log-determinant and the gradient of both with respect to x; return what theirs gives."""
    found = []
    for function in (ours, theirs):
        point = x.clone().requires_grad_()
        y, ladj = function(point)
        gradient = torch.autograd.grad(torch.sin(y).sum() + ladj.sum(), point)[0]
        found.append((y.detach(), ladj.detach(), gradient))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)
    return found[1]


def pyro(transform):
    def call(x):
        y = transform(x)
        return y, transform.log_abs_det_jacobian(x, y)

    return call


def planar(w, u, b, activation="tanh"):
    """Return our planar layer for the peers' parameters, whose direction is u moved along w."""
    product = (w * u).sum()
    moved = u + (torch.nn.functional.softplus(product) - 1 - product) * w / (w * w).sum()
    m = (w * moved).sum()
    above, below = 1 / math.expm1(BOUND), -1 / math.expm1(-BOUND)
    c, d = 0.5 * (above + below), 0.5 * (above - below)
    ours = moved * torch.rsqrt((1 - d * m) ** 2 - (c * m) ** 2)
    return lambda x: Planar(activation, BOUND).forward(x, w, ours, b)


def test_planar_is_that_of_pyro():
    peer = T.Planar(3)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_()
    x = torch.randn(20, 3)
    agree(planar(peer.w.detach(), peer.u.detach(), peer.bias.detach()), pyro(peer), x)
    with pytest.raises(KeyError):  # and scores no data; ours does
        peer.inv(torch.randn(3))
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.zero_()
    assert bool(torch.isnan(peer(x)).all())  # where ours is the identity
    assert torch.equal(Planar().forward(x, torch.zeros(3), torch.zeros(3), torch.zeros(1))[0], x)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_planar_is_that_of_normflows(activation):
    peer = normflows.flows.Planar((3,), act=activation)
    with torch.no_grad():
        peer.b.normal_()
    ours = planar(peer.w.detach()[0], peer.u.detach()[0], peer.b.detach(), activation)
    x = torch.randn(20, 3)
    y, _, _ = agree(ours, peer, x)
    if activation == "leaky_relu":
        back = peer.inverse(y)[0].detach()
        assert torch.allclose(back, x, atol=1e-9)
    else:
        with pytest.raises(NotImplementedError):
            peer.inverse(y)


def radial(center, alpha, beta):
    log_alpha, log_stretch = torch.log(alpha), torch.log1p(beta / alpha)
    return lambda x: Radial(BOUND).forward(x, center, unclamp(log_alpha, BOUND), unclamp(log_stretch, BOUND))


def test_radial_is_that_of_pyro_and_normflows():
    x = torch.randn(20, 3)
    peer = T.Radial(3)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_()
    alpha = torch.nn.functional.softplus(peer.alpha_prime.detach())
    beta = torch.nn.functional.softplus(peer.beta_prime.detach()) - alpha
    agree(radial(peer.x0.detach(), alpha, beta), pyro(peer), x)
    other = normflows.flows.Radial((3,))
    alpha = other.alpha.detach().abs()
    beta = torch.nn.functional.softplus(other.beta.detach()) - alpha
    agree(radial(other.z_0.detach()[0], alpha, beta), other, x)


@pytest.mark.filterwarnings("ignore:Number of Householder transforms:UserWarning")
def test_sylvester_of_one_feature_is_that_of_pyro():
    peer = T.Sylvester(1, count_transforms=2)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_()
    r, s = torch.tanh(peer.R_diag.detach()), torch.tanh(peer.S_diag.detach())
    kernel = Sylvester(reflections=2, bound=BOUND)
    above, below = 1 / math.expm1(BOUND), -1 / math.expm1(-BOUND)
    c, d = 0.5 * (above + below), 0.5 * (above - below)
    first = r * torch.rsqrt((1 - d * r * s) ** 2 - (c * r * s) ** 2)
    ours = {"triangles": first[None], "diagonal": s, "b": peer.b.detach(), "vectors": peer.u_unnormed.detach()}
    agree(lambda x: kernel.forward(x, **ours), pyro(peer), torch.randn(20, 1))


def test_the_log_determinant_of_pyros_sylvester_is_wrong():
    def error(function, x):
        jacobian = torch.func.vmap(torch.func.jacrev(lambda v: function(v)[0]))(x)
        return (function(x)[1] - torch.linalg.slogdet(jacobian)[1]).detach().abs().max()

    peer = T.Sylvester(3, count_transforms=2)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_()
    x = torch.randn(20, 3)
    peer_map = lambda v: (peer._call(v), peer._cached_logDetJ)  # noqa: E731
    values = torch.stack([peer_map(row)[0] for row in x])
    assert torch.allclose(values, peer_map(x)[0])
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda v: peer_map(v)[0], row) for row in x])
    assert (peer_map(x)[1] - torch.linalg.slogdet(jacobian)[1]).abs().max() > 1e-2
    module = Sylvester(reflections=2).build(3).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert error(module, x) < 1e-12


@pytest.mark.parametrize("residual", ["normal", "gated"])
def test_block_autoregressive_is_that_of_pyro(residual):
    peer = T.BlockAutoregressive(3, hidden_factors=[4, 2], activation="tanh", residual=residual)
    ours = BlockAutoregressive((4, 2), residual=residual, bound=12.0).build(3)
    with torch.no_grad():
        for theirs, layer in zip(peer.layers, ours.layers, strict=True):
            weight = theirs.get_weights()[0]
            positive = torch.log(torch.where(theirs.mask_d == 1, weight * layer.inputs, 1.0))
            layer.weight.copy_(unclamp(torch.where(theirs.mask_d == 1, positive, weight), 12.0))
            layer.bias.copy_(theirs.bias)
        if residual == "gated":
            ours.gate.copy_(unclamp(-peer.gate[0], 4.0))
    agree(ours, pyro(peer), torch.randn(20, 3))
    with pytest.raises(KeyError):
        peer.inv(torch.randn(3))


def test_block_autoregressive_of_pyro_is_not_onto_without_residual():
    peer = T.BlockAutoregressive(2, hidden_factors=[4], activation="tanh", residual=None)
    far = peer(torch.tensor([[-1e6, -1e6], [1e6, 1e6]])).detach().abs().max()
    assert far < 1e2  # yet its codomain is said to be all vectors
    ours = BlockAutoregressive((4,), activation="leaky_tanh", residual=None).build(2)
    assert torch.allclose(ours(ours.inverse(torch.full((1, 2), 1e6))[0])[0], torch.full((1, 2), 1e6))


def test_residual_is_that_of_normflows():
    network = normflows.nets.LipschitzMLP([2, 8, 2], init_zeros=False, lipschitz_const=0.8, max_lipschitz_iter=50).net[1:]
    network[1].beta.data.fill_(math.log(math.e - 1))  # whose softplus is 1, the slope of our LipSwish
    peer = normflows.flows.Residual(network, reverse=False, reduce_memory=False, brute_force=True).eval()
    ours = Residual((8,), coefficient=0.99).build(2)
    share = 0.99**0.5
    with torch.no_grad():
        for theirs, layer in zip((network[0], network[2]), ours.layers, strict=True):
            weight = theirs.compute_weight(update=False)
            size = norm_bound(weight)
            assert size < share
            layer.weight.copy_(weight * torch.rsqrt(share**2 - size**2))
            layer.bias.copy_(theirs.bias)
    x = torch.randn(20, 2)
    y, _, _ = agree(ours, peer, x)
    theirs = (peer.iresblock._inverse_fixed_point(y) - x).detach().abs().max()
    assert (ours.inverse(y)[0] - x).abs().max() < 1e-12 < theirs
