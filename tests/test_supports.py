"""Sets of vectors and matrices: what a flow draws lies in its support, however far out, and rounding leaves gradients alone."""

import pytest
import torch

import pushforward.bijectors as bij
from pushforward.bases import OrderStatistics, StandardNormal
from pushforward.core import sets
from pushforward.flow.flow import Flow

SETS = {
    "ordered": ([bij.Ordered()], 3),
    "ordered, many": ([bij.Ordered()], 20),
    "positive ordered": ([bij.Ordered(positive=True)], 3),
    "simplex, by sticks": ([bij.StickBreaking()], 2),
    "simplex, many, by sticks": ([bij.StickBreaking()], 300),
    "simplex, by softmax": ([bij.Softmax()], 300),
    "ordered, of a simplex": ([bij.StickBreaking(), bij.SimplexToOrdered()], 3),
    "simplex, of ordered": ([bij.Ordered(), bij.SimplexToOrdered().inv], 3),
    "factors": ([bij.LowerCholesky()], 6),
    "factors, softplus": ([bij.LowerCholesky("softplus")], 6),
    "factors, unit": ([bij.LowerCholesky("unit")], 3),
    "factors, rows": ([bij.CorrCholesky()], 15),
    "positive definite": ([bij.PositiveDefinite()], 6),
    "positive definite, many": ([bij.PositiveDefinite()], 36),
    "positive definite, softplus": ([bij.PositiveDefinite("softplus")], 6),
    "correlations": ([bij.CorrelationMatrix()], 3),
    "correlations, many": ([bij.CorrelationMatrix()], 36),
    "parts": ([bij.Concatenate([bij.Ordered(), bij.StickBreaking(), bij.Exp()], [3, 2, 1])], 6),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0, 100.0])
@pytest.mark.parametrize("name", SETS)
def test_a_sample_lies_in_the_support(name, scale, dtype):
    plan, size = SETS[name]
    flow = Flow(StandardNormal(), [bij.AffineFixed(0.0, scale), *plan], size).to(dtype)
    rows = 20_000 if size < 10 else 2_000
    y = flow.sample((rows,), generator=torch.Generator().manual_seed(0))
    assert y.dtype == dtype
    assert bool(flow.support.check(y).all())
    assert bool(torch.isfinite(flow.log_prob(y)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_numbers_that_do_not_rise_are_moved_by_roundings_alone(dtype):
    rows = [[1.0, 1.0, 1.0, 2.0], [-0.0, 0.0, -0.0, 0.0], [-1.0, -1.0, -1.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
    y = sets.Ordered().settle(torch.tensor(rows, dtype=dtype))
    assert bool((y[:, 1:] > y[:, :-1]).all())
    assert torch.equal(y[3], torch.tensor(rows[3], dtype=dtype))
    eps = torch.finfo(dtype).eps
    assert bool((torch.abs(y - torch.tensor(rows, dtype=dtype)) <= 3 * eps).all())
    top = sets.Ordered().settle(torch.full((1, 4), torch.inf, dtype=dtype))
    assert bool(sets.Ordered().check(top).all())
    lost = sets.Ordered(positive=True).settle(torch.tensor([[torch.nan, 1.0, 1.0], [-1.0, 1.0, 1.0]], dtype=dtype))
    assert bool(torch.isnan(lost[0, 0]))
    assert bool(sets.Ordered(positive=True).check(lost[1]))


def test_what_moves_a_sample_leaves_its_gradient():
    x = torch.tensor([10.0, -50.0, -50.0], requires_grad=True)
    y = bij.Ordered().build(3)(x)[0]
    assert bool(sets.Ordered().check(y))
    # y_3 = x_1 + exp(x_2) + exp(x_3), of which rounding left x_1 and two steps.
    gradient = torch.autograd.grad(y[2], x)[0]
    assert gradient.tolist() == [1.0, pytest.approx(1.9e-22, rel=0.1), pytest.approx(1.9e-22, rel=0.1)]
    batch = torch.randn(4, 3)
    function = lambda v: sets.Ordered().settle(torch.cumsum(torch.exp(v), -1)).sum()  # noqa: E731
    plain = torch.func.grad(lambda v: torch.cumsum(torch.exp(v), -1).sum())
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(function))(batch), torch.func.vmap(plain)(batch))
    torch.testing.assert_close(torch.func.jacfwd(function)(batch[0]), plain(batch[0]))


def test_a_matrix_that_is_good_is_left_as_it_is():
    flow = Flow(StandardNormal(), bij.PositiveDefinite(), 6)
    y = flow.sample((1000,), generator=torch.Generator().manual_seed(0))
    well = y[torch.linalg.cond(y.double()) < 1e4]
    assert len(well) > 900
    assert torch.equal(sets.PositiveDefinite().settle(well), well)
    on_edge = torch.ones(3, 3)
    moved = sets.PositiveDefinite(correlation=True).settle(on_edge)
    assert bool(sets.PositiveDefinite(correlation=True).check(moved))
    assert torch.allclose(moved, on_edge, rtol=0, atol=4e-6)


def test_equal_draws_are_put_in_order():
    # Of 400 numbers of which bfloat16 knows some hundreds, many are alike.
    flow = Flow(OrderStatistics(StandardNormal()), [], 400).to(torch.bfloat16)
    assert bool(flow.support.check(flow.sample((20,), generator=torch.Generator().manual_seed(0))).all())


# Values at the edge of each set, and whether they are in it.
EDGES = [
    (sets.Ordered(), [1.0, 2.0, 3.0], True),
    (sets.Ordered(), [1.0, 1.0, 3.0], False),
    (sets.Ordered(), [-1.0, 2.0, 3.0], True),
    (sets.Ordered(), [1.0, 2.0, float("inf")], False),
    (sets.Ordered(positive=True), [1e-9, 2.0, 3.0], True),
    (sets.Ordered(positive=True), [0.0, 2.0, 3.0], False),
    (sets.Simplex(), [0.2, 0.3, 0.5], True),
    (sets.Simplex(), [0.0, 0.5, 0.5], False),
    (sets.Simplex(), [0.2, 0.3, 0.51], False),
    (sets.LowerCholesky(), [[1.0, 0.0], [5.0, 2.0]], True),
    (sets.LowerCholesky(), [[1.0, 0.1], [5.0, 2.0]], False),
    (sets.LowerCholesky(), [[1.0, 0.0], [5.0, 0.0]], False),
    (sets.LowerCholesky("unit"), [[1.0, 0.0], [5.0, 1.0]], True),
    (sets.LowerCholesky("unit"), [[1.0, 0.0], [5.0, 2.0]], False),
    (sets.LowerCholesky("rows"), [[1.0, 0.0], [0.6, 0.8]], True),
    (sets.LowerCholesky("rows"), [[1.0, 0.0], [0.6, 0.7]], False),
    (sets.PositiveDefinite(), [[2.0, 1.0], [1.0, 1.0]], True),
    (sets.PositiveDefinite(), [[1.0, 1.0], [1.0, 1.0]], False),
    (sets.PositiveDefinite(), [[2.0, 1.0], [0.9, 1.0]], False),
    (sets.PositiveDefinite(correlation=True), [[1.0, 0.5], [0.5, 1.0]], True),
    (sets.PositiveDefinite(correlation=True), [[2.0, 0.5], [0.5, 1.0]], False),
]


@pytest.mark.parametrize(("support", "value", "inside"), EDGES)
def test_a_set_knows_what_is_at_its_edge(support, value, inside):
    assert support.check(torch.tensor(value, dtype=torch.float64)).item() is inside


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("ends", [(0.0, 1.0), (-2.0, 3.0), (0.0, float("inf")), (float("-inf"), -1.0)])
def test_what_leaves_into_an_interval_lies_between_its_ends(ends, dtype):
    finite = [end for end in ends if abs(end) < float("inf")]
    values = torch.tensor([*finite, *(end - 1 for end in finite), *(end + 1 for end in finite)], dtype=dtype)
    made = sets.leave(values, ends)
    assert ((made > ends[0]) & (made < ends[1])).all()
    middle = torch.tensor([sets.inner_point(*ends)], dtype=dtype)
    assert torch.equal(sets.leave(middle, ends), middle)


INTERVALS = [(float("-inf"), float("inf")), (0.0, float("inf")), (1.0, float("inf")), (float("-inf"), 2.0), (0.0, 1.0), (0.0, 2.0)]


@pytest.mark.parametrize("inner", INTERVALS)
@pytest.mark.parametrize("outer", INTERVALS)
def test_an_interval_contains_those_within_it(outer, inner):
    within = outer[0] <= inner[0] and inner[1] <= outer[1]
    assert sets.contains(sets.interval(*outer), sets.interval(*inner)) is within
