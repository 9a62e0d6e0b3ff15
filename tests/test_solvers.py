"""Solvers: methods by their order, and steps of each row by closed forms, by scipy, and whatever stands beside the row."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.integrate import solve_ivp

from pushforward.solvers import adaptive
from pushforward.solvers.adaptive import solve, table
from pushforward.solvers.path import Path
from pushforward.solvers.steps import replayed, step
from pushforward.solvers.tableau import METHODS

PAIRS = [name for name, method in METHODS.items() if method.adaptive]
# Conditions of the orders 1 to 5, one for each rooted tree: a function of a and c, and the value of b times it.
TREES = {
    1: [(lambda a, c: torch.ones_like(c), 1)],
    2: [(lambda a, c: c, 1 / 2)],
    3: [(lambda a, c: c**2, 1 / 3), (lambda a, c: a @ c, 1 / 6)],
    4: [
        (lambda a, c: c**3, 1 / 4),
        (lambda a, c: c * (a @ c), 1 / 8),
        (lambda a, c: a @ c**2, 1 / 12),
        (lambda a, c: a @ a @ c, 1 / 24),
    ],
    5: [
        (lambda a, c: c**4, 1 / 5),
        (lambda a, c: c**2 * (a @ c), 1 / 10),
        (lambda a, c: (a @ c) ** 2, 1 / 20),
        (lambda a, c: c * (a @ c**2), 1 / 15),
        (lambda a, c: c * (a @ a @ c), 1 / 30),
        (lambda a, c: a @ c**3, 1 / 20),
        (lambda a, c: a @ (c * (a @ c)), 1 / 40),
        (lambda a, c: a @ a @ c**2, 1 / 60),
        (lambda a, c: a @ a @ a @ c, 1 / 120),
    ],
}


def matrices(method):
    a = torch.zeros(len(method.c), len(method.c), dtype=torch.float64)
    for index, row in enumerate(method.a):
        a[index, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return a, *(torch.tensor(each, dtype=torch.float64) for each in (method.c, method.b, method.error or [0.0] * len(method.c)))


def rows(values):
    return torch.tensor(values, dtype=torch.float64).reshape(len(values), -1)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_its_order(name):
    method = METHODS[name]
    a, c, b, error = matrices(method)
    assert torch.allclose(a.sum(1), c, atol=1e-14)

    def off(weights, order):
        return max(abs(float((weights * tree(a, c)).sum()) - wanted) for tree, wanted in TREES[order])

    assert max(off(b, order) for order in range(1, method.order + 1)) < 1e-14
    if method.order < 5:
        assert off(b, method.order + 1) > 1e-3
    if method.adaptive:
        embedded = b - error
        assert max(off(embedded, order) for order in range(1, method.order)) < 1e-14
        assert off(embedded, method.order) > 1e-5
        assert method.reuses


@pytest.mark.parametrize("name", METHODS)
def test_halving_steps_divides_the_error_by_the_order(name):
    def rates(t, z, context):
        return torch.cos(3 * t)[:, None] - z + z.sin()

    errors = []
    exact = solve_ivp(lambda t, z: math.cos(3 * t) - z + torch.sin(torch.as_tensor(z)).numpy(), (0, 1), [0.7], rtol=1e-13, atol=1e-13)
    for count in (8, 16):
        made = replayed(METHODS[name], rates, 0.0, torch.full((1, count), 1 / count, dtype=torch.float64), rows([0.7]), None)
        errors.append(abs(float(made) - exact.y[0, -1]))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(METHODS[name].order, abs=0.5)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_linear_fields_are_matrix_exponentials_with_their_traces(name, tolerance):
    draw = torch.Generator().manual_seed(0)
    matrix = 1.5 * torch.randn(3, 3, generator=draw, dtype=torch.float64)
    x = torch.randn(20, 3, generator=draw, dtype=torch.float64)

    def rates(t, z, context):
        return torch.cat([z[:, :3] @ matrix.mT, torch.trace(matrix).expand(len(z), 1)], 1)

    z = torch.nn.functional.pad(x, (0, 1))
    for start, end in ((0.0, 1.0), (1.0, 0.0)):
        made = solve(METHODS[name], rates, z, None, start, end, tolerance).z
        exact = x @ torch.linalg.matrix_exp((end - start) * matrix).mT
        # What each step is off is carried on by the field.
        grown = torch.linalg.matrix_norm(torch.linalg.matrix_exp(matrix), 2) * torch.linalg.matrix_norm(torch.linalg.matrix_exp(-matrix), 2)
        assert ((made[:, :3] - exact).abs() <= grown * tolerance * (1 + exact.abs().amax())).all()
        torch.testing.assert_close(made[:, 3], (end - start) * torch.trace(matrix).expand(20), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", PAIRS)
def test_a_field_that_bends_is_as_scipy_has_it_with_as_few_evaluations(name):
    """Van der Pol's oscillator, by scipy's own Dormand-Prince at the same tolerance, and at one that is far finer."""

    def rates(t, z, context):
        x, v = z.unbind(1)
        return 4 * torch.stack([v, 5 * (1 - x * x) * v - x], 1)

    start = [2.0, 0.3]

    def plain(t, z):
        return rates(t, torch.as_tensor(z)[None], None)[0].numpy()

    exact = solve_ivp(plain, (0, 1), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    theirs = solve_ivp(plain, (0, 1), start, method="RK45", rtol=1e-6, atol=1e-6)
    made = solve(METHODS[name], rates, rows([start]), None, 0.0, 1.0, 1e-6)
    assert abs(made.z[0].numpy() - exact).max() <= 10 * abs(theirs.y[:, -1] - exact).max() + 1e-6
    assert int(made.evaluations) <= 1.3 * theirs.nfev


def wild(t, z, context):
    """Rows of one number and how stiff each is, in the context."""
    return torch.stack([context[:, 0] * (torch.sin(5 * t) - z[:, 0])], 1)


@pytest.mark.parametrize("name", PAIRS)
def test_the_log_determinant_is_controlled_where_values_stand_still(name):
    def rates(t, z, context):
        return torch.stack([torch.zeros_like(t), 30 * torch.cos(30 * t)], 1)

    for tolerance in (1e-4, 1e-8):
        solution = solve(METHODS[name], rates, torch.zeros(4, 2, dtype=torch.float64), None, 0.0, 1.0, tolerance)
        assert torch.equal(solution.z[:, 0], torch.zeros(4, dtype=torch.float64))
        # At most what all steps together may be off.
        off = (solution.z[:, 1] - math.sin(30)).abs().max().item()
        assert off <= 2 * tolerance * len(solution.taken)


def test_a_row_takes_its_own_steps_whatever_stands_beside_it():
    method, tolerance = METHODS["tsit5"], 1e-7
    values, stiff = rows([0.3, -2.0, 1e6, 0.0, 5.0]), rows([1.0, -1.0, 2.0, 0.0, 300.0])
    together = solve(method, wild, values, stiff, 0.0, 1.0, tolerance)
    for index in range(5):
        alone = solve(method, wild, values[index : index + 1], stiff[index : index + 1], 0.0, 1.0, tolerance)
        # But for what torch rounds by where a number stands; a step that is lengthened by that may be one fewer.
        torch.testing.assert_close(alone.z[0], together.z[index], rtol=1e-9, atol=1e-9)
        assert abs(alone.evaluations[0] - together.evaluations[index]) <= method.evaluations
    count = together.evaluations.tolist()
    assert count[4] > 3 * count[0]  # the stiff one works for itself
    assert count[3] == 2 + method.evaluations  # and where nothing moves there is one step
    steps = table(together.taken, torch.zeros(5, 1, dtype=torch.bool))
    torch.testing.assert_close(steps.sum(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(replayed(method, wild, 0.0, steps, values, stiff), together.z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_no_number_ends_at_once_and_leaves_the_others_alone(bad):
    values, stiff = rows([0.3, bad, 2.0]), rows([1.0, 1.0, 3.0])
    made = solve(METHODS["tsit5"], wild, values, stiff, 0.0, 1.0, 1e-6)
    clean = solve(METHODS["tsit5"], wild, values[::2], stiff[::2], 0.0, 1.0, 1e-6)
    torch.testing.assert_close(made.z[::2], clean.z, rtol=1e-9, atol=1e-9)
    assert torch.isnan(made.z[1]).all()
    assert made.evaluations[1] == 2


def test_rows_that_cannot_get_there_end_as_nan_within_a_bounded_number_of_steps(monkeypatch):
    monkeypatch.setattr(adaptive, "MOST", 400)

    def rates(t, z, context):
        kind = context[:, 0]
        explode = z[:, 0] ** 2  # infinite at t = 1 / z(0)
        hole = torch.where(t > 0.5, torch.nan, 1.0)
        noise = 1e9 * torch.sin(1e9 * z[:, 0] + 1e7 * t)
        return torch.where(kind == 0, torch.sin(z[:, 0]), torch.where(kind == 1, explode, torch.where(kind == 2, hole, noise)))[:, None]

    made = solve(METHODS["dopri5"], rates, rows([1.0, 2.0, 1.0, 1.0]), rows([0.0, 1.0, 2.0, 3.0]), 0.0, 1.0, 1e-6)
    assert torch.isnan(made.z[:, 0]).tolist() == [False, True, True, True]
    assert float(made.z[0]) == pytest.approx(2 * math.atan(math.tan(0.5) * math.e), abs=1e-5)
    assert int(made.evaluations.max()) <= 400 * METHODS["dopri5"].evaluations + 2


def test_no_rows_take_no_steps():
    made = solve(METHODS["tsit5"], lambda t, z, c: z, torch.zeros(0, 3), None, 0.0, 1.0, 1e-6)
    assert made.z.shape == (0, 3)
    assert not made.taken


# Paths: gradients of the steps that were made


def cubic(used):
    weight, bias = used

    def rates(t, z, context):
        return torch.tanh(z @ weight.mT + bias + t[:, None] + (0.0 if context is None else context))

    return rates


def problem(rows_of=4):
    draw = torch.Generator().manual_seed(1)
    return [
        torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in ((rows_of, 2), (rows_of, 2), (2, 2), (2,))
    ]


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_those_of_autograd_through_the_same_steps(name, steps):
    z, context, weight, bias = problem()
    path = Path(METHODS[name], cubic, 1.0, 0.0, 1e-6, steps)
    made = path.follow(z, context, [weight, bias])
    schedule = table(path.taken, torch.zeros(4, 1, dtype=torch.bool))
    plain = replayed(METHODS[name], cubic([weight, bias]), 1.0, schedule, z, context)
    torch.testing.assert_close(made, plain, rtol=1e-12, atol=1e-12)
    first, second = (torch.autograd.grad(result.square().sum(), [z, context, weight, bias], create_graph=True) for result in (made, plain))
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)
    twice = [torch.autograd.grad(sum(g.square().sum() for g in each), [z, context, weight, bias]) for each in (first, second)]
    torch.testing.assert_close(*twice, rtol=1e-9, atol=1e-11)


def test_a_row_that_was_given_up_has_no_gradient_and_the_others_have_theirs():
    z, context, weight, bias = problem()
    spoiled = z.detach().clone()
    spoiled[1] = math.nan
    spoiled.requires_grad_()
    made = Path(METHODS["tsit5"], cubic, 0.0, 1.0, 1e-6).follow(spoiled, context, [weight, bias])
    assert torch.isnan(made).all(1).tolist() == [False, True, False, False]
    others = torch.autograd.grad(made[[0, 2, 3]].sum(), [spoiled, weight], retain_graph=True)
    clean = Path(METHODS["tsit5"], cubic, 0.0, 1.0, 1e-6).follow(z, context, [weight, bias])
    expected = torch.autograd.grad(clean[[0, 2, 3]].sum(), [z, weight])
    torch.testing.assert_close(others, expected)
    assert torch.isnan(torch.autograd.grad(made.sum(), spoiled)[0]).all(1).tolist() == [False, True, False, False]


def test_a_step_is_taken_with_as_many_evaluations_as_its_method_says():
    for method, embedded in itertools.product(METHODS.values(), (False, True)):
        if embedded and not method.adaptive:
            continue
        calls = []

        def rates(t, z, context, calls=calls):
            calls.append(len(z))
            return -z

        z, t = rows([1.0]), torch.zeros(1, dtype=torch.float64)
        step(method, rates, t, t + 0.1, z, None, -z if embedded else None, embedded)
        assert len(calls) == method.evaluations
