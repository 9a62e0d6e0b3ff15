"""Matrices on vectors: against matrices that are written out, at the ends of their bounds, and what refuses them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward.bijectors as bij
from pushforward.core.bijector import Inverse
from pushforward.core.compose import Compose
from pushforward.core.numerics import soft_clamp
from pushforward.core.spec import PlanError, Spec
from pushforward.kernels.exponential import MatrixExponential, exponential
from pushforward.kernels.factored import QR, SVD
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.linear import Linear
from pushforward.kernels.rotation import METHODS, Rotation
from pushforward.kernels.triangular import LowerCholeskyAffine, Triangular
from pushforward.kernels.wavelet import DiscreteCosine, Haar
from pushforward.layers.rearrange import Reverse, Shuffle
from pushforward.nets.mlp import MLP
from pushforward.testing.case import randomize


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix_of(kernel, size, **parameters):
    """Return the matrix of a linear kernel: its columns are the images of the unit vectors."""
    eye = torch.eye(size, dtype=torch.float64)
    zero = kernel.forward(torch.zeros_like(eye), **parameters)[0]
    return (kernel.forward(eye, **parameters)[0] - zero).mT


def reflection(v):
    return torch.eye(len(v), dtype=v.dtype) - 2 * torch.outer(v, v) / (v @ v)


# Reflections


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 3), (2, 3), (5, 4), (9, 2)])
def test_reflections_are_the_product_of_their_matrices(count, size):
    vectors = draw(count, size)
    product = torch.eye(size, dtype=torch.float64)
    for v in vectors:
        product = reflection(v) @ product
    assert torch.allclose(matrix_of(Householder(count), size, vectors=vectors), product, atol=1e-14)
    assert torch.allclose(product.det(), torch.tensor((-1.0) ** count, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-11, 1.0, 1e30, 1e200])
def test_only_the_direction_of_a_vector_counts(size):
    vectors = draw(3, 4).requires_grad_()
    x = draw(6, 4)
    y = Householder(3).forward(x, vectors=size * vectors)[0]
    assert torch.allclose(y, Householder(3).forward(x, vectors=vectors)[0], atol=1e-14)
    gradient = torch.autograd.grad(y.sin().sum(), vectors)[0]
    assert torch.isfinite(gradient).all()
    assert torch.allclose((gradient * vectors).sum(-1), torch.zeros(3, dtype=torch.float64), atol=1e-12)  # none along the vector


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_vectors_of_zeros_stand_for_those_of_the_start(count):
    x = draw(5, 3)
    kernel = Householder(count)
    first = kernel.init((3,))["vectors"].double()
    zeros = torch.zeros(count, 3, dtype=torch.float64, requires_grad=True)
    y = kernel.forward(x, vectors=zeros)[0]
    assert torch.equal(y, kernel.forward(x, vectors=first)[0])
    assert torch.equal(torch.autograd.grad(y.sin().sum(), zeros)[0], torch.zeros_like(zeros))
    turned = ((y - x).abs() > 1e-12).any(0)
    assert int(turned.sum()) == count % 2  # equal pairs cancel, and one more turns one sign
    torch.testing.assert_close(y.abs(), x.abs(), rtol=1e-14, atol=1e-14)


def test_a_vector_of_nan_is_seen():
    vectors = draw(2, 3)
    vectors[1, 0] = math.nan
    assert torch.isnan(Householder(2).forward(draw(4, 3), vectors=vectors)[0]).all()


def test_many_reflections_keep_lengths_in_float32():
    vectors, x = draw(200, 50).float(), draw(20, 50).float()
    y = Householder(200).forward(x, vectors=vectors)[0]
    assert torch.allclose(y.double().norm(dim=-1), x.double().norm(dim=-1), rtol=1e-6)
    assert (Householder(200).inverse(y, vectors=vectors)[0] - x).abs().max() < 2e-6


def test_the_start_can_learn_any_reflection_pair():
    vectors = Householder(2).init((3,))["vectors"].double().requires_grad_()
    y = Householder(2).forward(draw(5, 3), vectors=vectors)[0]
    assert (torch.autograd.grad((y * draw(5, 3, seed=1)).sum(), vectors)[0].abs().sum(-1) > 0.1).all()


# Rotations


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rotations_are_orthogonal_with_determinant_one(method, size, scale):
    angles = scale * draw(size * (size - 1) // 2)
    matrix = matrix_of(Rotation(method), size, angles=angles)
    limit = 1e-10 if method == "cayley" else 1e-13  # the condition number of the system that is solved
    assert torch.allclose(matrix.mT @ matrix, torch.eye(size, dtype=torch.float64), rtol=0, atol=limit)
    assert abs(float(matrix.det()) - 1) < limit


@pytest.mark.parametrize("method", METHODS)
def test_small_angles_turn_each_plane_by_themselves(method):
    angles = 1e-6 * draw(6)
    row, column = torch.tril_indices(4, 4, -1)
    skew = torch.zeros(4, 4, dtype=torch.float64)
    skew[row, column] = angles
    matrix = matrix_of(Rotation(method), 4, angles=angles)
    if method == "givens":  # planes of neighbours: pairs further apart are turned in the same planes
        assert torch.allclose(matrix, matrix.tril(1).triu(-1), atol=1e-10)
    else:
        assert torch.allclose(matrix, torch.eye(4) + skew - skew.mT, rtol=0, atol=1e-10)


def test_rotation_of_two_features_by_each_method():
    a = torch.tensor([0.7], dtype=torch.float64)
    norm = (2 * a * a).sum()
    angle = {
        "exponential": a / (1 + norm / 32).sqrt(),
        "cayley": 2 * torch.atan(0.5 * a / (1 + norm / 20000).sqrt()),
        "givens": a,
    }
    for method in METHODS:
        c, s = float(angle[method].cos()), float(angle[method].sin())
        expected = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        assert torch.allclose(matrix_of(Rotation(method), 2, angles=a), expected, atol=1e-14)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_exponential_reaches_half_turns(size):
    skew = torch.zeros(size, size, dtype=torch.float64)
    for i in range(0, size - 1, 2):
        skew[i + 1, i], skew[i, i + 1] = math.pi, -math.pi
    free = skew / (1 - skew.square().sum() / (16 * size)).sqrt()
    row, column = torch.tril_indices(size, size, -1)
    matrix = matrix_of(Rotation(), size, angles=free[row, column])
    expected = -torch.ones(size, dtype=torch.float64)
    expected[2 * (size // 2) :] = 1
    assert torch.allclose(matrix, torch.diag(expected), atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5, 6])
def test_givens_reaches_every_rotation(size):
    wanted = torch.linalg.qr(draw(size, size))[0]
    wanted[:, 0] *= torch.sign(wanted.det())
    # The angles that make the transpose triangular, entry by entry in the order of the sheets; then it is the identity.
    rest, angles = wanted.mT.clone(), torch.zeros(size * (size - 1) // 2, dtype=torch.float64)
    pairs = [(row, column) for row in range(size) for column in range(row)]
    for i, j in sorted(pairs, key=lambda pair: 2 * pair[1] - pair[0]):
        angle = -torch.atan2(rest[i, j], rest[i - 1, j])
        c, s = angle.cos(), angle.sin()
        rest[i - 1], rest[i] = c * rest[i - 1] - s * rest[i], s * rest[i - 1] + c * rest[i]
        angles[i * (i - 1) // 2 + j] = angle
    assert torch.allclose(rest, torch.eye(size, dtype=torch.float64), atol=1e-13)
    assert torch.allclose(matrix_of(Rotation("givens"), size, angles=angles), wanted, atol=1e-13)


# Matrix exponentials


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 6), norm=st.floats(1e-6, 40.0), seed=st.integers(0, 10**6))
def test_the_exponential_is_that_of_torch(size, norm, seed):
    matrix = draw(size, size, seed=seed)
    matrix = matrix * (norm / matrix.norm())
    ours, theirs = exponential(matrix, 40.0), torch.matrix_exp(matrix)
    assert (ours - theirs).norm() <= 1e-12 * theirs.norm() + 1e-12 * math.exp(norm / 2)


@pytest.mark.parametrize("bound", [0.1, 1.0, 15.0, 40.0])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_bounded_matrix_and_its_determinant(bound, size):
    for scale in (0.01, 1.0, 1e4, 1e30):
        weight = scale * draw(size, size)
        w = weight / (1 + weight.square().sum() / bound**2).sqrt()
        assert w.norm() <= bound * (1 + 1e-12)
        y, ladj = MatrixExponential(bound).forward(draw(3, size), weight=weight)
        expected = torch.matrix_exp(w)
        assert torch.allclose(y, draw(3, size) @ expected.mT, rtol=1e-9, atol=1e-12 * float(expected.norm()))
        assert torch.allclose(ladj, w.trace(), rtol=1e-13)


def free_weight(w, bound):
    return w / (1 - w.square().sum() / bound**2).sqrt()


def test_spectral_norm_15_comes_back_to_1e5_in_float32():
    # A rotation by 15 in one plane and a little stretching: every digit that float32 has is there.
    base = draw(4, 4)
    w = base - base.mT + 0.02 * (base + base.mT)
    w = w * (15 / torch.linalg.matrix_norm(w, 2))
    kernel, weight, x = MatrixExponential(40.0), free_weight(w, 40.0).float(), draw(1000, 4).float()
    y, ladj = kernel.forward(x, weight=weight)
    assert torch.allclose(y.double(), x.double() @ torch.matrix_exp(w).mT, rtol=1e-4, atol=1e-5)
    back, minus = kernel.inverse(y, weight=weight)
    assert (back - x).abs().max() < 1e-5
    assert abs(float(ladj) - float(w.trace())) < 1e-5
    assert float(minus) == -float(ladj)


def test_spectral_norm_15_without_mercy_loses_no_more_than_rounding():
    w = draw(5, 5)
    w = w * (15 / torch.linalg.matrix_norm(w, 2))
    kernel, weight, x = MatrixExponential(40.0), free_weight(w, 40.0).float(), draw(200, 5).float()
    y = kernel.forward(x, weight=weight)[0]
    back = kernel.inverse(y, weight=weight)[0]
    inverse = torch.matrix_exp(-w)
    allowed = torch.finfo(torch.float32).eps * (y.double().abs() @ inverse.abs().mT + x.double().abs())
    assert ((back - x).double().abs() <= allowed).all()


def test_entries_of_200_are_finite_where_those_of_torch_are_not():
    weight = torch.tensor([[200.0, 0.0], [0.0, 1.0]])
    assert not torch.isfinite(torch.matrix_exp(weight)).all()
    assert torch.isfinite(MatrixExponential().forward(torch.ones(2), weight=weight)[0]).all()


# Triangles


@pytest.mark.parametrize("upper", [False, True])
def test_triangular_is_its_matrix(upper):
    entries, log_diagonal, loc, x = draw(6), draw(4), draw(4, seed=1), draw(7, 4)
    rows, columns = torch.tril_indices(4, 4, -1)
    strict = torch.zeros(4, 4, dtype=torch.float64)
    strict[(columns, rows) if upper else (rows, columns)] = entries
    unit = torch.eye(4) + strict / (1 + strict.square().sum(-1, keepdim=True) / 4).sqrt()
    matrix = unit @ torch.diag(soft_clamp(log_diagonal, 3.0).exp())
    kernel = Triangular(upper=upper)
    y, ladj = kernel.forward(x, entries=entries, log_diagonal=log_diagonal, loc=loc)
    assert torch.allclose(y, x @ matrix.mT + loc)
    assert torch.allclose(ladj, torch.linalg.slogdet(matrix)[1])
    assert torch.allclose(kernel.inverse(y, entries=entries, log_diagonal=log_diagonal, loc=loc)[0], x)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e4])
def test_random_triangles_of_many_features_can_be_undone_in_float32(scale):
    parameters = {"entries": scale * draw(200 * 199 // 2).float(), "log_diagonal": torch.zeros(200), "loc": torch.zeros(200)}
    x = draw(50, 200).float()
    y = Triangular().forward(x, **parameters)[0]
    assert (Triangular().inverse(y, **parameters)[0] - x).abs().max() < 1e-3  # what the bar allows tenfold parameters


def test_triangular_reaches_strong_correlation():
    parameters = {"entries": torch.tensor([1e3]), "log_diagonal": torch.tensor([3.0, -3.0])}
    matrix = matrix_of(Triangular(bias=False), 2, **{name: value.double() for name, value in parameters.items()})
    covariance = matrix @ matrix.mT
    assert covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt() > 0.999


def test_a_normal_through_cholesky_affine_is_the_multivariate_normal():
    loc, scale_tril = [1.0, -2.0, 0.5], [[2.0, 0.0, 0.0], [-3.0, 0.5, 0.0], [0.1, 4.0, 1.0]]
    layer = LowerCholeskyAffine(loc, scale_tril).build(3)
    y = draw(20, 3)
    x, ladj = layer.inverse(y)
    ours = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1) + ladj
    reference = torch.distributions.MultivariateNormal(torch.tensor(loc).double(), scale_tril=torch.tensor(scale_tril).double())
    assert torch.allclose(ours, reference.log_prob(y))
    assert torch.allclose(layer(x)[0], y)


def test_cholesky_affine_takes_arrays_and_survives_json():
    plan = LowerCholeskyAffine(torch.zeros(2), torch.eye(2))
    assert plan == LowerCholeskyAffine([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    assert Spec.from_json(plan.to_json()) == plan


# Products


def test_qr_and_svd_are_products_of_their_factors():
    x = draw(6, 4)
    for plan in (QR(4), SVD(4)):
        layer = randomize(plan.build(4).double(), 1.0)
        y, ladj = layer(x)
        matrix = (layer(torch.eye(4).double())[0] - layer(torch.zeros(4).double())[0]).mT
        assert torch.allclose(torch.linalg.slogdet(matrix)[1], ladj[0])
        assert torch.allclose(y, x @ matrix.mT + layer(torch.zeros(4).double())[0])
    # Of the last layer, U diag(S) V, the singular values are the ones that it was given.
    log_scale = soft_clamp(layer.layers[1].parameters_of()["log_scale"], 3.0).detach()
    assert torch.allclose(torch.linalg.svdvals(matrix.detach()), log_scale.exp().sort(descending=True).values)


def test_triangle_of_qr_is_upper():
    triangle = randomize(QR(2).build(3).double(), 1.0).layers[0]
    matrix = (triangle(torch.eye(3).double())[0] - triangle(torch.zeros(3).double())[0]).mT
    assert torch.equal(matrix, matrix.triu())
    assert (matrix.diagonal() > 0).all()


@pytest.mark.parametrize("plan", [QR(2), SVD(2), Rotation(), MatrixExponential(), Triangular(), Householder(4), Haar().inv])
def test_the_start_is_the_identity(plan):
    x = draw(5, 4)
    plan = Compose([Haar(), plan]) if isinstance(plan, Inverse) else plan
    y, ladj = plan.build(4).double()(x)
    assert torch.allclose(y, x, atol=1e-15)
    assert torch.equal(ladj, torch.zeros(5, dtype=torch.float64))


def test_products_given_context_have_a_net_for_each_factor():
    layer = QR(2, net=MLP((4,))).build(3, 2)
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    assert torch.allclose(layer(x, context)[0], x)
    randomize(layer, 1.0)
    assert not torch.allclose(layer(x, context)[0], layer(x, context + 1)[0])
    assert all(part.plan.net == MLP((4,)) for part in layer.layers)


def test_plu_is_a_permutation_of_a_linear_layer():
    layer = randomize(Compose([Linear(), Shuffle(1)]).build(4).double(), 1.0)
    assert torch.equal(layer(draw(3, 4))[0].sort(-1).values, layer.layers[0](draw(3, 4))[0].sort(-1).values)


# Fixed transforms


def cosine_matrix(size):
    n = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (n[None, :] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 9, 30])
@pytest.mark.parametrize("smooth", [0.0, 1.0, -0.5])
def test_discrete_cosine_is_its_matrix(size, smooth):
    frequency = torch.arange(size, dtype=torch.float64) + 0.5
    weight = frequency**smooth / torch.exp(torch.log(frequency**smooth).mean())
    matrix = matrix_of(DiscreteCosine(smooth), size)
    assert torch.allclose(matrix, weight[:, None] * cosine_matrix(size), atol=1e-13)
    assert abs(float(torch.linalg.slogdet(matrix)[1])) < 1e-12
    x = draw(3, size)
    assert torch.allclose(DiscreteCosine(smooth).inverse(x @ matrix.mT)[0], x, atol=1e-13)


def test_smooth_one_whitens_brownian_noise():
    size = 64
    covariance = torch.minimum(*torch.meshgrid(*2 * [torch.arange(1.0, size + 1)], indexing="ij")).double()
    steps = torch.linalg.cholesky(covariance)
    spread = {}
    for smooth in (0.0, 1.0):
        matrix = matrix_of(DiscreteCosine(smooth), size) @ steps
        deviation = matrix.square().sum(-1).sqrt()[2:]
        spread[smooth] = float(deviation.max() / deviation.min())
    assert spread[0.0] > 20
    assert spread[1.0] < 2


def test_haar_of_known_values():
    y = Haar().forward(torch.tensor([1.0, 2.0, 3.0, 5.0, 7.0], dtype=torch.float64))[0]
    root = math.sqrt(0.5)
    assert torch.allclose(y, torch.tensor([5.5, -2.5, -root, -2 * root, 7.0], dtype=torch.float64))


@pytest.mark.parametrize("size", range(1, 18))
def test_haar_is_orthogonal_at_every_length(size):
    matrix = matrix_of(Haar(), size)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(size, dtype=torch.float64), atol=1e-14)
    x = draw(3, size)
    assert torch.allclose(Haar().inverse(x @ matrix.mT)[0], x, atol=1e-14)


# All of them

PLANS = [
    *(Householder(k) for k in (1, 3)), *(Rotation(method) for method in METHODS), MatrixExponential(), Triangular(),
    Triangular(bias=False), DiscreteCosine(), Haar(), LowerCholeskyAffine([0.0] * 4, torch.eye(4)),
]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_number_of_parameters_is_the_formula(plan):
    names = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    assert sum(p.numel() for p in plan.build(4).parameters()) == eval(plan.size, {"D": 4, **names})


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.init((4,))], ids=repr)
def test_parameters_of_each_row_are_those_of_the_row_alone(plan):
    layer = randomize(Elementwise(plan, net=MLP((8,))).build((2, 4), 3), 1.0).double()
    x, context = draw(5, 2, 4), draw(5, 3, seed=1)
    y, ladj = layer(x, context)
    alone = [layer(x[i], context[i]) for i in range(5)]
    assert torch.allclose(y, torch.stack([a[0] for a in alone]), atol=1e-12)
    assert torch.allclose(ladj, torch.stack([a[1] for a in alone]), atol=1e-12)


def test_reversed_time_is_a_composition():
    x = draw(3, 6)
    y = Compose([Reverse(), Haar()]).build(6)(x)[0]
    assert torch.equal(y, Haar().forward(x.flip(-1))[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Householder(0), "Householder: expected reflections to be a whole number of at least 1, got 0"),
        (lambda: Householder(1.5), "expected reflections"),
        (lambda: Householder(True), "expected reflections"),
        (lambda: Rotation("euler"), "Rotation: expected method to be 'exponential', .* got 'euler'"),
        (lambda: MatrixExponential(0.0), r"MatrixExponential: expected bound in \(0, 40\], got 0.0"),
        (lambda: MatrixExponential(100.0), r"expected bound in \(0, 40\]"),
        (lambda: MatrixExponential(math.nan), r"expected bound in \(0, 40\]"),
        (lambda: MatrixExponential("5"), r"MatrixExponential: expected bound in \(0, 40\], got '5'"),
        (lambda: Triangular(bound=-1.0), "Triangular: expected bound > 0, got -1.0"),
        (lambda: Triangular(bound=math.inf), "Triangular: expected bound > 0"),
        (lambda: LowerCholeskyAffine([0.0], [[1.0, 0.0], [0.0, 1.0]]), "expected scale_tril to have 1 rows of 1 numbers"),
        (lambda: LowerCholeskyAffine([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "expected a lower triangular matrix with a positive diagonal"),
        (lambda: LowerCholeskyAffine([0.0], [[-1.0]]), "positive diagonal"),
        (lambda: LowerCholeskyAffine([math.nan], [[1.0]]), "expected loc to be a list of finite numbers"),
        (lambda: LowerCholeskyAffine(0.0, 1.0), "LowerCholeskyAffine: expected loc to be a list of finite numbers, got 0.0"),
        (lambda: LowerCholeskyAffine([0.0], [[1.0]]).build(2), "expected vectors of length 1, got 2"),
        (lambda: DiscreteCosine(math.inf), "DiscreteCosine: expected smooth to be a finite number, got inf"),
        (lambda: Haar().build(()), "expected an event of at least 1 axes"),
        (lambda: QR(0), "Householder: expected reflections"),
        (lambda: SVD(bound=0.0), "Affine: expected bound > 0"),
    ],
)
def test_wrong_plans_say_what_was_expected(make, words):
    with pytest.raises(PlanError, match=words):
        make()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_plu_mixes_and_permutes_along_one_axis(axis):
    shape = (3, 2, 4)
    module = randomize(bij.PLU(2, axis=axis).build(shape), 1.0).double()
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, ladj = module(x)
    place = axis % 3 + 1
    alone = randomize(bij.PLU(2).build((shape[place - 1],)), 1.0).double()
    assert torch.allclose(y, alone(x.movedim(place, -1))[0].movedim(-1, place))
    assert torch.allclose(ladj, (24 // shape[place - 1]) * alone(torch.zeros(shape[place - 1], dtype=torch.float64))[1])
    assert torch.allclose(module.inverse(y)[0], x)
