"""Charts and conditional splines: distribution functions that undo themselves, are normalised, and keep the digits of both shares."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.data.schema.grid import Grid
from pushforward.tables.chart import BINS, Chart
from pushforward.tables.measuring import measure_chart
from pushforward.tables.spline import inverse, knots_of, log_mean_slope, shares, size

EPS = torch.finfo(torch.float64).eps
FREE = Grid(0.0, 0.0, None, None, False)
SHAPES = {
    "normal": (FREE, lambda r, n: r.normal(3, 2, n)),
    "heavy": (FREE, lambda r, n: r.standard_t(2, n)),
    "far from 0": (FREE, lambda r, n: 1e6 + r.normal(0, 1e-2, n)),
    "positive": (Grid(0.0, 0.0, 0.0, None, False), lambda r, n: r.lognormal(0, 1.5, n)),
    "far from its bound": (Grid(0.0, 0.0, 0.0, None, False), lambda r, n: r.normal(50, 2, n)),
    "interval": (Grid(0.0, 0.0, -1.0, 2.0, False), lambda r, n: -1 + 3 * r.beta(0.5, 2, n)),
    "circle": (Grid(0.0, 0.0, 0.0, 360.0, True), lambda r, n: np.degrees(r.vonmises(1, 2, n)) % 360),
    "tied": (FREE, lambda r, n: np.round(r.normal(0, 1, n), 1)),
    "two values": (FREE, lambda r, n: r.choice([0.0, 1.0], n)),
    "constant": (FREE, lambda r, n: np.full(n, 7.0)),
    "count": (Grid(1.0, 0.0, 0.0, None, False), lambda r, n: r.poisson(2.5, n)),
    "large count": (Grid(1.0, 0.0, 0.0, None, False), lambda r, n: r.poisson(300, n)),
    "grid": (Grid(0.1, 0.0, None, None, False), lambda r, n: np.round(r.normal(0, 1, n), 1)),
    "bounded grid": (Grid(5.0, 0.0, 0.0, 100.0, False), lambda r, n: 5 * r.integers(0, 21, n)),
    "circular grid": (Grid(10.0, 0.0, 0.0, 360.0, True), lambda r, n: 10 * r.integers(0, 36, n)),
}


def chart_of(name, n=1000, weights=None):
    grid, draw = SHAPES[name]
    values = draw(np.random.default_rng(0), n).astype(float)
    chart = Chart()
    measure_chart(chart, grid, values, weights)
    return chart, grid, values


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 5000])
@pytest.mark.parametrize("name", SHAPES)
def test_a_chart_is_a_distribution_function_whatever_it_was_measured_from(name, n):
    chart, grid, _ = chart_of(name, n)
    assert chart.sound
    low, high = grid.ends
    some = torch.linspace(1e-9, 1 - 1e-9, 20_001, dtype=torch.float64)
    x = chart.inverse(some, 1 - some)
    assert bool((x.diff() > 0).all())
    assert low is None or float(x.min()) >= low
    assert high is None or float(x.max()) <= high
    place = chart(x)
    # A value is rounded, and its share is off by that times the density.
    assert bool(((place.below - some).abs() <= 1e-10 + 8 * EPS * x.abs() * torch.exp(place.log_density)).all())
    assert torch.allclose(place.below + place.above, torch.ones_like(some), rtol=0, atol=1e-12)
    assert bool(torch.isfinite(place.log_density).all())
    # By the midpoint rule over equal shares the density's inverse is the width of a share.
    middle = x[1:-1][torch.isfinite(x[1:-1])]
    slope = (x[2:] - x[:-2]) / (some[2:] - some[:-2])
    near = torch.exp(-place.log_density[1:-1])
    inside = slice(200, -200)
    assert float((slope / near).log()[inside].abs().median()) < 1e-3
    assert len(middle)


@pytest.mark.parametrize("name", SHAPES)
def test_the_density_integrates_to_1(name):
    chart, _, _ = chart_of(name)
    knots = chart.knots.unique()
    tails = [side for side in (0, 1) if float(chart.tails[side, 0]) > 0]
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in zip(knots[:-1].tolist(), knots[1:].tolist(), strict=True):
        x = torch.from_numpy((a + b) / 2 + (b - a) / 2 * nodes)
        total += float((torch.from_numpy(weights) * torch.exp(chart(x).log_density)).sum()) * (b - a) / 2
    for side in tails:
        mass, scale, shape = chart.tails[side].tolist()
        # With t = scale (e^(shape s) - 1) / shape the tail is an exponential in s.
        for a, b in zip(range(40), range(1, 41), strict=True):
            s = (a + b) / 2 + nodes / 2
            t = torch.from_numpy(scale * np.expm1(shape * s) / shape)
            x = knots[0] - t if side == 0 else knots[-1] + t
            slope = torch.from_numpy(scale * np.exp(shape * s))
            total += float((torch.from_numpy(weights) * slope * torch.exp(chart(x).log_density)).sum()) / 2
        assert mass > 0
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", [name for name, (grid, _) in SHAPES.items() if grid.step])
def test_the_cells_of_a_grid_sum_to_1_and_are_the_shares_of_the_data(name):
    chart, grid, values = chart_of(name, 20_000)
    low, high = grid.ends
    first = round(((values.min() - 2000 * grid.step if low is None else low + grid.step / 2) - grid.origin) / grid.step)
    last = round(((values.max() + 2000 * grid.step if high is None else high - grid.step / 2) - grid.origin) / grid.step)
    x = grid.origin + grid.step * torch.arange(first, last + 1, dtype=torch.float64)
    mass = torch.exp(chart.cell(x, grid.step / 2)[1].log_density)
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    wrapped = grid.wrapped(values)
    seen = torch.tensor([np.mean(np.abs(wrapped - one) < grid.step / 2) for one in x.tolist()])
    assert float((mass - seen).abs().sum()) < 0.15
    heavy = seen > 0.1
    assert torch.allclose(mass[heavy], seen[heavy], atol=2e-3)


@pytest.mark.parametrize("name", ["normal", "heavy", "count", "grid"])
def test_far_out_the_density_is_finite_and_falls(name):
    chart, grid, values = chart_of(name)
    x = torch.tensor([values.max() + 10.0**k for k in range(1, 9)], dtype=torch.float64).round()
    logs = chart.cell(x, grid.step / 2)[1].log_density if grid.step else chart(x).log_density
    assert bool(torch.isfinite(logs).all())
    assert bool((logs.diff() < 0).all())
    assert not grid.step or math.isclose(float(logs[0]), float(chart(x).log_density[0]) + math.log(grid.step), abs_tol=0.5)


def test_weights_count_as_rows_do():
    random = np.random.default_rng(1)
    values = random.normal(size=400)
    times = random.integers(1, 4, 400)
    one, other = Chart(), Chart()
    measure_chart(one, FREE, np.repeat(values, times))
    measure_chart(other, FREE, values, times.astype(float))
    x = torch.linspace(-2, 2, 50, dtype=torch.float64)
    assert torch.allclose(one(x).below, other(x).below, atol=0.02)
    light = Chart()
    measure_chart(light, FREE, np.concatenate([values, values + 100]), np.concatenate([np.ones(400), np.full(400, 1e-12)]))
    assert torch.allclose(light(x).below, one(x).below, atol=0.06)


def random_knots(bins, scale, seed, shape=()):
    random = torch.Generator().manual_seed(seed)
    return knots_of(scale * torch.randn(*shape, size(bins), generator=random, dtype=torch.float64), bins)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 20), st.floats(0, 200), st.integers(0, 10**6), st.floats(0, 1))
def test_a_conditional_undoes_itself_and_both_ends_are_fixed(bins, scale, seed, share):
    knots = random_knots(bins, scale, seed)
    below = torch.tensor([0.0, 1e-200, 1e-12, share, 0.5, 1.0 - 1e-12, 1.0], dtype=torch.float64)
    above = torch.tensor([1.0, 1.0, 1 - 1e-12, 1 - share, 0.5, 1e-12, 0.0], dtype=torch.float64)
    wide = knots.repeated(7)
    near, left = shares(wide, below, above)
    log_slope = log_mean_slope(wide, (below, above), (below, above))
    assert bool(torch.isfinite(log_slope).all())
    under, over = torch.where(left, near, 1 - near), torch.where(left, 1 - near, near)
    back = inverse(wide, under, over)
    # A small change of the share that is looked for moves the place by as much as the map is steep.
    steep = torch.exp(-log_slope).clamp(min=1.0)
    assert bool(((back[0] - below).abs() <= 1e-13 * steep + 1e-13).all())
    assert near[0] == 0
    assert near[-1] == 0


def test_zero_is_the_marginal():
    knots = knots_of(torch.zeros(size(8)), 8)
    below = torch.linspace(0, 1, 101, dtype=torch.float64)
    wide = knots.repeated(101)
    near, left = shares(wide, below, 1 - below)
    log_slope = log_mean_slope(wide, (below, 1 - below), (below, 1 - below))
    assert torch.allclose(torch.where(left, near, 1 - near), below, atol=1e-15)
    assert torch.allclose(log_slope, torch.zeros(101, dtype=torch.float64), atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 60), st.integers(1, 400))
def test_cells_of_a_conditional_sum_to_1_however_narrow(seed, scale, count):
    knots = random_knots(8, scale, seed)
    edges = torch.sort(torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 6)[0]
    edges = torch.cat([edges.new_zeros(1), edges, edges.new_ones(1)])
    begin, end = edges[:-1], edges[1:]
    wide = knots.repeated(len(begin))
    mean = log_mean_slope(wide, (begin, 1 - begin), (end, 1 - end))
    assert float((torch.exp(mean) * (end - begin)).sum()) == pytest.approx(1, abs=1e-6)


def test_a_circular_conditional_has_one_slope_where_the_circle_begins_again():
    parameters = torch.randn(size(6), generator=torch.Generator().manual_seed(0))
    knots = knots_of(parameters, 6, torch.tensor(True))
    assert knots.slopes[0] == knots.slopes[-1]
    free = knots_of(parameters, 6, torch.tensor(False)).slopes
    assert free[0] != free[-1]


def test_a_chart_stays_in_double_precision():
    chart, _, _ = chart_of("normal")
    before = chart.knots.clone()
    for moved in (chart.float(), chart.half(), chart.to(torch.float32)):
        assert moved.knots.dtype == torch.float64
        assert torch.equal(moved.knots, before)
    assert len(before) == BINS + 1
