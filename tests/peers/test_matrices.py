"""Matrices on vectors beside the peers': the peer's weights in both, value, log-determinant and gradients to 1e-6; or where it is wrong."""

from __future__ import annotations

import math

import pyro.distributions.transforms as T
import pytest
import torch
from nflows.transforms import HouseholderSequence, LULinear, QRLinear, SVDLinear
from normflows.flows.mixing import LULinearPermute
from zuko.transforms import LULinearTransform, RotationTransform

from pushforward.core.compose import Compose
from pushforward.kernels.affine import Affine
from pushforward.kernels.exponential import MatrixExponential
from pushforward.kernels.householder import Householder
from pushforward.kernels.linear import ROW_BOUND, Linear
from pushforward.kernels.rotation import BOUNDS, Rotation
from pushforward.kernels.triangular import LowerCholeskyAffine, Triangular
from pushforward.kernels.wavelet import DiscreteCosine, Haar
from pushforward.layers.rearrange import OnAxis, Permute, Reverse

SIZE = 4


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def unclamp(value, bound):
    """Return what our smooth clamp takes to a value."""
    scale = 2 * bound / math.pi
    return scale * torch.tan(value / scale)


def unbounded(matrix, bound):
    """Return the matrix whose Frobenius norm our kernels bound to this one."""
    return matrix / torch.sqrt(1 - matrix.square().sum((-2, -1), keepdim=True) / bound**2)


def lower_entries(matrix):
    row, column = torch.tril_indices(*matrix.shape, -1)
    below = torch.tril(matrix, -1)
    return (below / torch.sqrt(1 - below.square().sum(-1, keepdim=True) / ROW_BOUND**2))[row, column]


def same(ours, theirs, weights, features=SIZE):
    """Hold two maps ``x -> (y, ladj)`` against each other: values, and gradients for x and for the weights that both are made of."""
    x = torch.randn(7, features, requires_grad=True)
    found = []
    for function in (ours, theirs):
        y, ladj = function(x)
        ladj = torch.as_tensor(ladj).expand(7)
        total = y.sin().sum() + 2 * ladj.sum()
        found.append([y, ladj, *torch.autograd.grad(total, [x, *weights], allow_unused=True)])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)


def of_pyro(transform):
    def function(x):
        y = transform._call(x)
        return y, transform.log_abs_det_jacobian(x, y)

    return function


@pytest.mark.parametrize("count", [1, 2, 4])
def test_householder_of_pyro(count):
    peer = T.Householder(SIZE, count)
    weights = [peer.u_unnormed]
    kernel = Householder(count)
    same(lambda x: kernel.forward(x, vectors=peer.u_unnormed), of_pyro(peer), weights)
    same(lambda y: kernel.inverse(y, vectors=peer.u_unnormed), lambda y: (peer._inverse(y), torch.zeros(())), weights)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_householder_of_nflows(count):
    peer = HouseholderSequence(SIZE, count)
    assert torch.equal(peer.q_vectors.detach()[:2], Householder(count).init((SIZE,))["vectors"][:2])
    with torch.no_grad():
        peer.q_vectors.normal_()
    kernel = Householder(count)
    same(lambda x: kernel.forward(x, vectors=peer.q_vectors), peer, [peer.q_vectors])
    same(lambda y: kernel.inverse(y, vectors=peer.q_vectors), peer.inverse, [peer.q_vectors])


def test_vectors_of_zeros_are_nan_in_both_peers_and_a_map_here():
    of_pyro, of_nflows = T.Householder(SIZE, 2), HouseholderSequence(SIZE, 2)
    with torch.no_grad():
        of_pyro.u_unnormed.zero_()
        of_nflows.q_vectors.zero_()
    x = torch.randn(3, SIZE)
    assert torch.isnan(of_pyro._call(x)).all()
    assert torch.isnan(of_nflows(x)[0]).all()
    assert torch.equal(Householder(2).forward(x, vectors=torch.zeros(2, SIZE))[0], x)


def test_rotation_of_zuko():
    a = torch.randn(SIZE, SIZE, requires_grad=True)
    kernel = Rotation()

    def ours(x):
        skew = unbounded(a - a.mT, BOUNDS["exponential"] * SIZE**0.5)
        row, column = torch.tril_indices(SIZE, SIZE, -1)
        return kernel.forward(x, angles=skew[row, column])

    same(ours, lambda x: RotationTransform(a).call_and_ladj(x), [a])


def test_large_rotations_of_zuko_are_not_orthogonal_in_float32():
    a = 3e3 * torch.randn(SIZE, SIZE, dtype=torch.float32)
    theirs = RotationTransform(a).R
    eye = torch.eye(SIZE, dtype=torch.float32)
    assert (theirs.mT @ theirs - eye).abs().max() > 1e-4
    row, column = torch.tril_indices(SIZE, SIZE, -1)
    ours = Rotation().forward(eye, angles=a[row, column])[0]
    assert (ours.mT @ ours - eye).abs().max() < 1e-6


def test_qr_of_nflows():
    peer = QRLinear(SIZE, 3)
    with torch.no_grad():
        peer.orthogonal.q_vectors.normal_()
        peer.bias.normal_()

    def ours(x):
        upper = peer._create_upper()
        unit = upper / upper.diagonal()
        # Ours adds its loc before the reflections, theirs its bias after them.
        loc = Householder(3).inverse(peer.bias, vectors=peer.orthogonal.q_vectors)[0]
        log_diagonal = unclamp(peer.log_upper_diag, 3.0)
        rows = unit - torch.eye(SIZE)
        rows = rows / torch.sqrt(1 - rows.square().sum(-1, keepdim=True) / ROW_BOUND**2)
        column, row = torch.tril_indices(SIZE, SIZE, -1)
        y, ladj = Triangular(upper=True).forward(x, entries=rows[row, column], log_diagonal=log_diagonal, loc=loc)
        return Householder(3).forward(y, vectors=peer.orthogonal.q_vectors)[0], ladj

    same(ours, peer.forward_no_cache, list(peer.parameters()))


def test_svd_of_nflows():
    peer = SVDLinear(SIZE, 2)
    with torch.no_grad():
        peer.orthogonal_1.q_vectors.normal_()
        peer.orthogonal_2.q_vectors.normal_()
        peer.unconstrained_diagonal.normal_()
        peer.bias.normal_()

    def ours(x):
        loc = Householder().inverse(peer.bias, vectors=peer.orthogonal_1.q_vectors)[0]
        y = Householder().forward(x, vectors=peer.orthogonal_2.q_vectors)[0]
        y, ladj = Affine().forward(y, loc=loc, log_scale=unclamp(peer.log_diagonal, 3.0))
        return Householder().forward(y, vectors=peer.orthogonal_1.q_vectors)[0], ladj.sum(-1)

    same(ours, peer.forward_no_cache, list(peer.parameters()))


def test_lu_of_nflows():
    peer = LULinear(SIZE)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_(std=0.5)

    def ours(x):
        lower, upper = peer._create_lower_upper()
        unit = upper / upper.diagonal()[:, None]
        log_diagonal = unclamp(upper.diagonal().log(), 3.0)
        return Linear().forward(x, lower=lower_entries(lower), upper=lower_entries(unit.mT), log_diagonal=log_diagonal, loc=peer.bias)

    same(ours, peer.forward_no_cache, list(peer.parameters()))


def test_lu_of_zuko_is_upper_after_lower():
    lu = torch.eye(SIZE) + 0.3 * torch.randn(SIZE, SIZE)
    lu.diagonal().abs_()
    lu.requires_grad_()
    lower = lambda: torch.tril(lu) / lu.diagonal()  # noqa: E731 (its columns scaled by the diagonal, as in our L D)

    def ours(x):
        upper = torch.triu(lu, 1) + torch.eye(SIZE)
        parameters = {"lower": lower_entries(lower()), "upper": lower_entries(upper.mT)}
        return Linear(bias=False).forward(x, **parameters, log_diagonal=unclamp(lu.diagonal().log(), 3.0))

    same(ours, lambda x: LULinearTransform(lu).call_and_ladj(x), [lu])


def filled(plan, shape, linear, lower, upper, diagonal, loc=None):
    """Build a plan and put the factors L, D and U into its linear layer."""
    layer = plan.build(shape)
    parts = [lower_entries(lower), lower_entries((upper / diagonal[:, None]).mT), unclamp(diagonal.log(), 3.0)]
    with torch.no_grad():
        linear(layer).parameters_of.offset.copy_(torch.cat(parts if loc is None else [*parts, loc]))
    return layer


def test_channel_permutation_of_pyro_is_a_permuted_linear_layer():
    peer = T.GeneralizedChannelPermute(3)
    with torch.no_grad():
        peer.LU.copy_(torch.eye(3) + 0.3 * torch.randn(3, 3))
        peer.LU.diagonal().abs_()
    order = peer.permutation.argmax(-1).tolist()
    plan = Compose([OnAxis(Linear(bias=False), 0), Permute(order)])
    layer = filled(plan, (3, 2, 5), lambda m: m.layers[0].module, peer.L, peer.U, peer.U_diag)
    x = torch.randn(6, 3, 2, 5, requires_grad=True)
    (y, ladj), z = layer(x), peer._call(x)
    assert torch.allclose(y, z, atol=1e-6)
    assert torch.allclose(ladj, peer.log_abs_det_jacobian(x, z), atol=1e-6)
    assert torch.allclose(layer.inverse(z)[0], x, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(y.sin().sum(), x)[0], torch.autograd.grad(z.sin().sum(), x)[0], atol=1e-6)


def test_lu_permute_of_normflows_is_the_inverse_of_a_permuted_linear_layer():
    peer = LULinearPermute(SIZE)
    with torch.no_grad():
        for parameter in peer.linear.parameters():
            parameter.normal_(std=0.5)
    lower, upper = peer.linear._create_lower_upper()
    # Data to base it permutes, then multiplies: base to data is the other way round.
    order = peer.permutation._permutation.tolist()
    plan = Compose([Permute(order), Linear()]).inv
    layer = filled(plan, SIZE, lambda m: m.module.layers[1], lower, upper, upper.diagonal(), peer.linear.bias)
    x = torch.randn(5, SIZE, requires_grad=True)
    for ours, theirs in ((layer.forward, peer.forward), (layer.inverse, peer.inverse)):
        (y, ladj), (z, log_det) = ours(x), theirs(x)
        assert torch.allclose(y, z, atol=1e-6)
        assert torch.allclose(ladj, log_det.expand(5), atol=1e-6)
        assert torch.allclose(torch.autograd.grad(y.sin().sum(), x)[0], torch.autograd.grad(z.sin().sum(), x)[0], atol=1e-6)


def test_matrix_exponential_of_pyro_where_its_series_holds():
    peer = T.MatrixExponential(SIZE, iterations=25)
    with torch.no_grad():
        peer.weights.normal_(std=0.3)
    kernel = MatrixExponential()
    same(lambda x: kernel.forward(x, weight=unbounded(peer.weights, 5.0)), of_pyro(peer), [peer.weights])
    ours = lambda y: (kernel.inverse(y, weight=unbounded(peer.weights, 5.0))[0], torch.zeros(()))  # noqa: E731
    same(ours, lambda y: (peer._inverse(y), torch.zeros(())), [peer.weights])


def test_matrix_exponential_of_pyro_is_wrong_at_spectral_norm_15():
    skew = torch.randn(SIZE, SIZE)
    skew = skew - skew.mT
    skew = skew * (15 / torch.linalg.matrix_norm(skew, 2))
    peer = T.MatrixExponential(SIZE)
    with torch.no_grad():
        peer.weights.copy_(skew)
    x = torch.randn(20, SIZE)
    assert (peer._inverse(peer._call(x)) - x).abs().max() > 1e4
    kernel, weight = MatrixExponential(40.0), unbounded(skew, 40.0)
    y = kernel.forward(x, weight=weight)[0]
    assert torch.allclose(y, x @ torch.matrix_exp(skew).mT, atol=1e-11)
    assert (kernel.inverse(y, weight=weight)[0] - x).abs().max() < 1e-11


def test_lower_cholesky_affine_of_pyro():
    loc, scale_tril = torch.randn(SIZE), torch.linalg.cholesky(torch.cov(torch.randn(SIZE, 9)) + torch.eye(SIZE))
    peer, kernel = T.LowerCholeskyAffine(loc, scale_tril), LowerCholeskyAffine(loc, scale_tril)
    same(kernel.forward, of_pyro(peer), [])
    same(kernel.inverse, lambda y: (peer._inverse(y), -peer.log_abs_det_jacobian(y, y)), [])


@pytest.mark.parametrize("size", [2, 3, 5, 8, 33])
@pytest.mark.parametrize("smooth", [0.0, 1.0, -1.5])
def test_discrete_cosine_of_pyro(size, smooth):
    peer, kernel = T.DiscreteCosineTransform(smooth=smooth), DiscreteCosine(smooth)
    same(kernel.forward, of_pyro(peer), [], size)
    same(kernel.inverse, lambda y: (peer._inverse(y), torch.zeros(())), [], size)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 33])
@pytest.mark.parametrize("flip", [False, True])
def test_haar_of_pyro(size, flip):
    peer = T.HaarTransform(flip=flip)
    layer = Compose([Reverse(), Haar()] if flip else [Haar()]).build(size)
    same(layer.forward, of_pyro(peer), [], size)
    same(layer.inverse, lambda y: (peer._inverse(y), torch.zeros(())), [], size)
