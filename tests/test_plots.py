"""Pictures: what is in them, what they refuse, and that they touch nothing outside."""

import copy
import math
import pickle
import re
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pushforward import NSF, Flow, plots
from pushforward.bases import StandardNormal
from pushforward.bijectors import MLP, Affine, AffineFixed, Coupling, Elementwise, Exp, LeakyReLU, Linear, Power, Sigmoid, Spline, Tanh
from pushforward.plots import regions, rows, style
from pushforward.train.comparison import Compared, Comparison

Normal = torch.distributions.Normal


def normal(count, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(count, columns))


def texts(figure):
    """All text of a figure as it is drawn, which also proves that it can be drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure._supxlabel.get_text().replace("\n", " ") if figure._supxlabel else ""


def stairs(axes):
    return {patch.get_label(): patch.get_data() for patch in axes.patches}


# compare


def test_compare_of_two_columns_draws_the_joint_and_both_marginals():
    data, samples = torch.randn(300, 2), torch.randn(200, 2)
    figure = plots.compare(data, samples, columns=["height", "weight"])
    joint, above, beside, _ = figure.axes
    assert isinstance(figure, Figure)
    assert (joint.get_xlabel(), joint.get_ylabel()) == ("height", "weight")
    drawn = np.asarray(joint.collections[0].get_offsets())
    assert drawn.shape == (400, 2), "as many rows of data as of samples"
    both = {tuple(row) for row in torch.cat([data, samples]).double().numpy()}
    assert {tuple(row) for row in drawn} <= both
    assert set(stairs(above)) == set(stairs(beside)) == {"data", "samples"}
    assert "200 of 300 rows of data and of 200 samples, chosen at random" in texts(figure)


def test_marginals_are_densities_of_all_rows_on_common_bins():
    data, samples = normal(5000, 1), normal(4000, 1, 1) + 1
    figure = plots.compare(data, samples)
    (axes,) = figure.axes
    found = stairs(axes)
    for name, values in (("data", data), ("samples", samples)):
        heights, edges, _ = found[name]
        inside = (values >= edges[0]) & (values <= edges[-1])
        assert (heights * np.diff(edges)).sum() == pytest.approx(inside.mean())
    assert np.array_equal(found["data"].edges, found["samples"].edges)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "samples"]
    assert axes.get_xlabel() == "$x_{1}$"


@pytest.mark.parametrize("kind", ["tensor", "array", "list", "bfloat16", "pandas", "arrow", "dict", "one axis", "integers"])
def test_rows_of_every_kind_give_the_same_picture(kind):
    values = np.round(normal(60, 1) * 4)
    given_ = {
        "tensor": lambda: torch.tensor(values, requires_grad=True),
        "array": lambda: values.astype(np.float32),
        "list": values.tolist,
        "bfloat16": lambda: torch.tensor(values, dtype=torch.bfloat16),
        "pandas": lambda: pd.DataFrame(values, columns=["a"]),
        "arrow": lambda: pa.table({"a": values[:, 0]}),
        "dict": lambda: {"a": values[:, 0]},
        "one axis": lambda: values[:, 0],
        "integers": lambda: values.astype(np.int64),
    }[kind]()
    assert np.array_equal(rows.read(given_).values, values)
    plain = stairs(plots.compare(values, values).axes[0])["data"]
    assert np.array_equal(stairs(plots.compare(given_, values).axes[0])["data"].values, plain.values)


def test_columns_pick_from_tables_by_name_and_from_arrays_by_position():
    table = pd.DataFrame(normal(50, 3), columns=["a", "b", "c"])
    turned = table[["c", "b", "a"]] + 1
    figure = plots.compare(table, turned, columns=["c", "a"])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("c", "a")
    first, second = rows.read_both(table, turned)
    assert first.names == second.names == ("a", "b", "c")
    assert np.allclose(first.values + 1, second.values)
    first, second = rows.read_both(table.to_numpy(), table.to_numpy(), [2, 0])
    assert first.names == ("x3", "x1")
    assert np.array_equal(second.values, table[["c", "a"]].to_numpy())
    assert rows.read_both(table, table.to_numpy())[1].names == ("a", "b", "c")
    assert rows.read_both(table.to_numpy(), table)[0].names == ("a", "b", "c")
    assert rows.read(table, 1).names == rows.read(table, "b").names == ("b",)
    with_gaps = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")})
    assert (rows.read(with_gaps).values.tolist(), rows.read(with_gaps).dropped) == ([[1.0], [3.0]], 1)


def test_rows_that_are_not_finite_are_left_out_and_counted():
    data = normal(100, 2)
    data[:3, 0], data[3, 1] = math.nan, math.inf
    figure = plots.compare(data, normal(96, 2))
    assert "4 of 100 rows of data left out: NaN or infinite" in texts(figure)
    assert len(figure.axes[0].collections[0].get_offsets()) == 192


def test_a_far_outlier_does_not_empty_the_picture():
    data, samples = normal(1000, 2), normal(1000, 2, 1)
    data[0], samples[:20] = 1e6, -1e9
    for figure, place in ((plots.compare(data, samples), 0), (plots.pairs(data, samples), 1)):
        for low, high in (figure.axes[place].get_xlim(), figure.axes[place].get_ylim()):
            assert -20 < low < -2
            assert 2 < high < 20
        assert "eyond the axes: 1 of 1,000 rows of data and 20 of 1,000 samples" in texts(figure)


def test_names_are_drawn_as_they_are():
    figure = plots.compare(normal(20, 2), normal(20, 2), columns=["cost in $ or $", "a_b^{c} % \\alpha"])
    assert "cost in $ or $" in figure.axes[0].get_xlabel().replace("\\$", "$")
    texts(figure)


# pairs


def test_pairs_draws_the_lower_triangle_with_names_at_its_edges():
    figure = plots.pairs(normal(400, 4), normal(300, 4, 1), columns=["a", "b", "c", "d"])
    assert len(figure.axes) == 10
    texts(figure)
    below = [axes.get_xlabel() for axes in figure.axes]
    beside = [axes.get_ylabel() for axes in figure.axes]
    assert [name for name in below if name] == ["a", "b", "c", "d"]
    assert [name for name in beside if name] == ["b", "c", "d"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["data", "samples"]
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
        assert len(axes.get_xticks()) >= 2


NAMES = ["Bonn", "Köln", "Ulm"]


def written():
    """Rows of a category by its place, a moment in seconds and a number, and how the first two are written."""
    random = np.random.default_rng(0)
    seconds = np.datetime64("2019-03-01").astype("datetime64[s]").astype(float) + 86400 * random.integers(0, 900, 400)
    values = np.stack([random.integers(0, 3, 400), seconds, random.normal(size=400)], 1)
    return values[:200], values[200:], {"city": NAMES, "day": "date"}


def test_names_and_dates_stand_at_the_axes_of_what_is_no_number():
    data, samples, how = written()
    figure = plots.pairs(data, samples, columns=["city", "day", "size"], written=how)
    texts(figure)
    below = [axes for axes in figure.axes if axes.get_xlabel()]
    assert [text.get_text() for text in below[0].get_xticklabels()] == NAMES
    years = [text.get_text() for text in below[1].get_xticklabels()]
    assert years
    assert all(re.fullmatch(r"20(19|20|21)-\d\d", year) for year in years)
    heights, edges = stairs(figure.axes[0])["data"][:2]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert heights.tolist() == [float((data[:, 0] == place).mean()) for place in range(3)]
    one = plots.compare(data[:, 0], samples[:, 0], columns=["city"], written={"city": NAMES})
    assert (one.axes[0].get_xlabel(), one.axes[0].get_ylabel()) == ("city", "share")
    both = plots.compare(data[:, :2], samples[:, :2], columns=["city", "day"], written=how)
    texts(both)
    assert [text.get_text() for text in both.axes[0].get_xticklabels()] == NAMES


@pytest.mark.parametrize("days", [1e-3, 0.3, 5, 40, 400, 4e4, 3e6])
@pytest.mark.parametrize("start", [-719162.0, 0.0, 18000.0])
def test_moments_of_any_length_can_be_written(start, days):
    rows = 86400 * (start + days * np.random.default_rng(0).random((300, 1)))
    figure = plots.compare(rows[:150], rows[150:], columns=["day"], written={"day": "date"})
    texts(figure)
    assert len(figure.axes[0].get_xticks()) <= 8


@pytest.mark.parametrize("how", [{"town": NAMES}, {"city": "names"}, {"city": []}, {"city": [1, 2]}])
def test_a_wrong_way_to_write_gets_a_clear_error(how):
    data, samples, _ = written()
    for call, columns in ((plots.pairs, ["city", "day", "size"]), (plots.compare, ["city", "day"])):
        with pytest.raises(ValueError, match="expected written"):
            call(data[:, : len(columns)], samples[:, : len(columns)], columns=columns, written=how)


def test_pairs_says_when_it_draws_a_part_of_the_rows_and_draws_the_same_part_again():
    data, samples = normal(3000, 2), normal(500, 2)
    first, second = (plots.pairs(data, samples, max_rows=1000) for _ in range(2))
    assert "data: 1,000 of 3,000 rows, chosen at random" in texts(first)
    assert np.array_equal(stairs(first.axes[0])["data"].values, stairs(second.axes[0])["data"].values)


@pytest.mark.parametrize(
    "values",
    [np.zeros((50, 3)), normal(1, 3), normal(2, 3), normal(50, 3) * [1e-12, 1, 1e12], np.round(normal(50, 3)), normal(50, 3) + 1e9],
    ids=["constant", "one row", "two rows", "scales", "grid", "offset"],
)
def test_pairs_of_awkward_values_can_be_drawn(values):
    figure = plots.pairs(values, values)
    texts(figure)
    assert all(low < high for axes in figure.axes for low, high in (axes.get_xlim(), axes.get_ylim()))


APART = normal(800, 3) - np.array([1.5, 2, 2.5]), normal(900, 3, 1) + np.array([1.5, 2, 2.5])
"""Data and samples that lie apart, so that it is told which of them is drawn where."""


def middle(stairs):
    return np.average(0.5 * (stairs.edges[1:] + stairs.edges[:-1]), weights=stairs.values)


def test_pairs_draws_data_as_shades_and_samples_as_lines():
    data, samples = APART
    figure = plots.pairs(data, samples)
    texts(figure)
    place = iter(figure.axes)
    for row in range(3):
        for column in range(row + 1):
            axes = next(place)
            if row == column:
                found = stairs(axes)
                assert middle(found["data"]) == pytest.approx(data[:, row].mean(), abs=0.5)
                assert middle(found["samples"]) == pytest.approx(samples[:, row].mean(), abs=0.5)
                continue
            shades, lines = axes.collections
            assert shades.filled
            assert not lines.filled
            for drawn, rows_ in ((shades, data), (lines, samples)):
                points = np.concatenate([path.vertices for path in drawn.get_paths() if len(path.vertices)])
                assert np.abs(points - rows_.mean(0)[[column, row]]).max() < 4
            assert {to_hex(color) for color in shades.get_facecolor()} <= set(style.DATA_SHADES)
            assert {to_hex(color) for color in lines.get_edgecolor()} == {style.SAMPLES}


def test_compare_draws_each_in_its_colour():
    data, samples = (values[:, :2] for values in APART)
    joint, above, beside, corner = plots.compare(data, samples).axes
    dots = joint.collections[0]
    of_data = {tuple(row) for row in data}
    for point, color in zip(np.asarray(dots.get_offsets()), dots.get_facecolor(), strict=True):
        assert to_hex(color) == (style.DATA if tuple(point) in of_data else style.SAMPLES)
    for axes, column in ((above, 0), (beside, 1)):
        found = stairs(axes)
        assert middle(found["data"]) == pytest.approx(data[:, column].mean(), abs=0.5)
        assert middle(found["samples"]) == pytest.approx(samples[:, column].mean(), abs=0.5)
    keys = {
        text.get_text(): handle.get_color()
        for text, handle in zip(corner.get_legend().get_texts(), corner.get_legend().legend_handles, strict=True)
    }
    assert keys == {"data": style.DATA, "samples": style.SAMPLES}
    assert len({tuple(row) for row in np.asarray(dots.get_offsets())}) == 1600


def test_the_foot_counts_what_lies_beyond_the_axes():
    values = normal(1000, 2)
    values[:3] += 100
    assert "beyond the axes: 3 of 1,000 rows of data and 7 of 900 samples" in texts(
        plots.compare(values, np.concatenate([normal(893, 2, 1), np.full((7, 2), -1e3)]))
    )


def test_regions_hold_the_share_that_they_say():
    values = normal(200_000, 2)
    edges = [np.linspace(-5, 5, 65)] * 2
    mass = regions.smooth(values, edges, [1.0, 1.0])
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    for share, cut in zip(sorted(regions.SHARES, reverse=True), regions.heights(mass, regions.SHARES), strict=True):
        assert mass[mass >= cut].sum() == pytest.approx(share, abs=0.03)
        # Of a standard normal the region of share s is the disc of radius sqrt(-2 log(1 - s)).
        radius = math.sqrt(-2 * math.log(1 - share))
        area = (mass >= cut).sum() * (10 / 64) ** 2
        assert area == pytest.approx(math.pi * radius**2, rel=0.12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40), st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40))
def test_limits_are_finite_ordered_and_hold_most_of_the_data(data, samples):
    low, high = rows.limits(np.array(data), np.array(samples))
    assert np.isfinite([low, high]).all()
    assert low < high
    assert np.mean((np.array(data) >= low) & (np.array(data) <= high)) >= 0.9
    edges = rows.bins(np.array(data), (low, high))
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= low + 1e-6 * (high - low)
    assert edges[-1] >= high - 1e-6 * (high - low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.compare(normal(9, 3), normal(9, 3)), "expected one or two columns, got 3"),
        (lambda: plots.compare(normal(9, 2), normal(9, 3)), "samples: expected as many columns as the data has, 2, got 3"),
        (lambda: plots.pairs(normal(9, 2), normal(9, 3), ["a", "b"]), "samples: expected 2 columns"),
        (lambda: plots.pairs(normal(9, 13), normal(9, 13)), "expected at most 12 columns, got 13"),
        (lambda: plots.compare(normal(9, 2), np.full((9, 2), np.nan)), "samples: expected at least one row of finite values, got 9"),
        (lambda: plots.compare(np.zeros((0, 2)), normal(9, 2)), "data: expected at least one row of finite values, got 0"),
        (lambda: plots.compare(np.zeros((9, 0)), normal(9, 2)), "at least one column"),
        (lambda: plots.compare({}, normal(9, 2)), "names or positions of columns"),
        (lambda: plots.compare(np.zeros((9, 2, 2)), normal(9, 2)), r"of shape \(rows, columns\) or \(rows,\), got \(9, 2, 2\)"),
        (lambda: plots.compare(["1.5", "a"], normal(9, 1)), "data: expected numbers, got values of type"),
        (lambda: plots.compare(pd.DataFrame({"a": ["1", "2"]}), normal(9, 1)), "column 'a' of data: expected numbers"),
        (lambda: plots.compare(torch.zeros(3, 1, dtype=torch.complex64), normal(9, 1)), "expected numbers, got values of type complex64"),
        (lambda: plots.compare(pd.DataFrame({"a": [1.0]}), normal(9, 1), "b"), r"columns among \['a'\], got 'b'"),
        (lambda: plots.compare(normal(9, 2), normal(9, 2), [0, 2]), "columns by position, 0 to 1"),
        (lambda: plots.compare(normal(9, 2), normal(9, 2), [0, "a"]), "columns by position, 0 to 1"),
        (lambda: plots.compare(normal(9, 2), normal(9, 2), []), "names or positions of columns, got"),
        (lambda: plots.compare(normal(9, 2), normal(9, 2), [True]), "names or positions of columns, got"),
        (lambda: plots.compare(normal(9, 2), normal(9, 2), max_rows=0), "max_rows: expected a whole number of at least 1, got 0"),
        (lambda: plots.pairs(normal(9, 2), normal(9, 2), max_rows=1.5), "max_rows: expected a whole number"),
    ],
)
def test_wrong_rows_get_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# learning_curve


class Past:
    """What a fit may return."""

    train = (3.0, 2.0, 1.5, 1.4)
    validation = (3.1, 2.2, 1.8, 1.9)
    learning_rate = (1e-3, 1e-3, 5e-4, 1e-4)
    best_epoch = 3
    best_loss = 1.8


def test_learning_curve_draws_losses_best_epoch_and_learning_rate():
    loss, rate = plots.learning_curve(Past()).axes
    lines = {line.get_label(): line for line in loss.lines}
    assert np.array_equal(lines["train"].get_ydata(), Past.train)
    assert np.array_equal(lines["validation"].get_ydata(), Past.validation)
    assert np.array_equal(lines["train"].get_xdata(), [1, 2, 3, 4])
    best = lines["best: 1.8 at epoch 3"]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (3, 1.8)
    assert np.array_equal(rate.lines[0].get_ydata(), Past.learning_rate)
    assert (rate.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss (nats)")


@pytest.mark.parametrize(("objective", "words"), [("likelihood", "loss (nats)"), ("flow_matching", "loss"), (None, "loss (nats)")])
def test_learning_curve_says_nats_where_the_loss_is_in_nats(objective, words):
    figure = plots.learning_curve({"train": [2.0, 1.0], "objective": objective})
    assert figure.axes[0].get_ylabel() == words


def test_learning_curve_takes_a_dict_and_what_is_missing_is_not_drawn():
    figure = plots.learning_curve({"train": [2.0, math.nan, 1.0], "validation": [], "learning_rate": None, "best_epoch": 0})
    assert [line.get_label() for line in figure.axes[0].lines] == ["train"]
    texts(figure)
    figure = plots.learning_curve({"train": [2.0], "best_epoch": 0, "best_loss": 1.0})
    assert "best: 1 before epoch 1" in [line.get_label() for line in figure.axes[0].lines]
    texts(plots.learning_curve({"train": [math.nan], "learning_rate": [0.0]}))
    texts(plots.learning_curve({"train": [math.inf, 1.0], "learning_rate": [math.nan, math.nan]}))


def test_learning_curve_cuts_off_a_steep_start():
    losses = [1e6, 1e3, *np.linspace(3, 1, 98)]
    low, high = plots.learning_curve({"train": losses, "validation": losses}).axes[0].get_ylim()
    assert low < 1
    assert 3 < high < 10


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({}, "at least one loss in 'train'"),
        ({"train": []}, "at least one loss in 'train'"),
        (None, "got a NoneType"),
        ({"train": [1.0, 2.0], "validation": [1.0]}, "'validation' to have as many values as 'train', 2, got 1"),
        ({"train": [1.0, 2.0], "learning_rate": [1.0]}, "'learning_rate' to have as many values"),
    ],
)
def test_a_wrong_history_gets_a_clear_error(history, message):
    with pytest.raises(ValueError, match=message):
        plots.learning_curve(history)


# curve


def main_line(axes):
    return max(axes.lines, key=lambda line: len(line.get_xdata()))


PLANS = [Spline(), Spline(order="linear"), Exp(), Exp().inv, Sigmoid(), Sigmoid().inv, Tanh(), Affine(), AffineFixed(1.0, -2.0)]


@pytest.mark.parametrize("plan", [*PLANS, Power(-1.0), LeakyReLU()], ids=repr)
def test_curve_is_what_the_module_gives(plan):
    figure = plots.curve(plan)
    texts(figure)
    above, below = figure.axes
    x = torch.as_tensor(main_line(above).get_xdata())
    y, ladj = plan.build((1,)).double()(x[:, None])
    assert torch.allclose(torch.as_tensor(main_line(above).get_ydata()), y[:, 0])
    assert torch.allclose(torch.as_tensor(main_line(below).get_ydata()), ladj)
    assert np.isfinite([*above.get_xlim(), *above.get_ylim(), *below.get_ylim()]).all()
    assert above.get_title(loc="left") == repr(plan)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("order", ["quadratic", "linear"])
def test_knots_of_a_spline_lie_on_its_curve(order, turned):
    plan = Spline(bins=6, order=order)
    above, below = plots.curve(plan.inv if turned else plan, seed=3).axes
    knots = next(line for line in above.lines if line.get_label() == "knots")
    assert len(knots.get_xdata()) == 7
    assert {knots.get_xdata()[0], knots.get_xdata()[-1]} == {-5.0, 5.0}
    for axes in (above, below):
        knots = next(line for line in axes.lines if line.get_label() == "knots")
        x, y = main_line(axes).get_data()
        assert np.allclose(np.interp(knots.get_xdata(), x, y), knots.get_ydata(), atol=1e-6)


def test_parameters_are_given_or_drawn_from_a_seed_and_the_plan_is_left_alone():
    affine = main_line(plots.curve(Affine(), parameters={"loc": 2.0}).axes[0])
    assert np.allclose(affine.get_ydata(), affine.get_xdata() + 2)
    module = Spline(bins=4).build((2,))
    before = copy.deepcopy(module.state_dict())
    lines = [main_line(plots.curve(module, seed=seed).axes[0]).get_ydata() for seed in (0, 0, 1)]
    assert np.array_equal(lines[0], lines[1])
    assert len(lines[0]) != len(lines[2]) or not np.allclose(lines[0], lines[2])
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    widths = torch.tensor([1.0, 0.0, -1.0, 0.0])
    above = plots.curve(Spline(bins=4), parameters={"widths": widths}).axes[0]
    knots = next(line for line in above.lines if line.get_label() == "knots").get_xdata()
    assert np.argmax(np.diff(knots)) == 0
    assert np.argmin(np.diff(knots)) == 2


def test_curve_of_a_layer_of_a_flow_has_a_line_for_each_element():
    flow = Flow(StandardNormal(), [Linear(), Spline(bins=4), Affine()], event_shape=3)
    figure = plots.curve(flow, layer=1)
    above, below = figure.axes
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["element 0", "element 1", "element 2"]
    with torch.no_grad():
        flow.transform.layers[1].parameters_of.offset.normal_(generator=torch.Generator().manual_seed(0))
    above, below = plots.curve(flow, layer=1).axes
    module = copy.deepcopy(flow.transform.layers[1]).double()
    for axes, kind in ((above, 0), (below, 1)):
        for element in range(3):
            line = next(line for line in axes.lines if line.get_label() == f"element {element}")
            x = torch.as_tensor(line.get_xdata())
            one = torch.zeros(len(x), 3, dtype=torch.float64)
            one[:, element] = x
            y, ladj = module(one)
            expected = y[:, element] if kind == 0 else ladj - module(torch.zeros(1, 3, dtype=torch.float64))[1]
            found = torch.as_tensor(line.get_ydata())
            if kind == 1:
                expected = expected - expected[0]
                found = found - found[0]
            assert torch.allclose(found, expected, atol=1e-9)
    assert plots.curve(flow, layer=-1).axes[0].get_title(loc="left") == "Affine()"


def test_curve_of_a_whole_flow_of_one_number_and_of_a_conditional_map():
    flow = Flow(StandardNormal(), [Spline(), Affine(), Exp()], event_shape=1)
    assert len(plots.curve(flow).axes) == 2
    assert len(plots.curve(Exp().build(())).axes) == 2
    plan = Elementwise(Affine(), net=MLP((4,)))
    flow = Flow(StandardNormal(), plan, 1, context_shape=2)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(1))
    flow.calibrate(torch.randn(50, 1), 3 + 2 * torch.randn(50, 2))
    context = torch.tensor([1.0, -1.0])
    line = main_line(plots.curve(flow, context=context).axes[0])
    expected = flow.from_base(torch.as_tensor(line.get_xdata()).float()[:, None], context)[0][:, 0]
    assert np.allclose(line.get_ydata(), expected.detach(), atol=1e-4)
    assert len(plots.curve(plan, seed=0, context=[0.5]).axes) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.curve(NSF(2)), "expected an elementwise map"),
        (lambda: plots.curve(Coupling(Affine()).build(2)), "expected an elementwise map"),
        (lambda: plots.curve(Linear().build(3), seed=0), "expected an elementwise map"),
        (lambda: plots.curve(Affine().build(9)), "at most 8 elements, got 9"),
        (lambda: plots.curve(NSF(2), layer=99), "expected layer to be one of the"),
        (lambda: plots.curve(Spline), "expected a plan such as Spline"),
        (lambda: plots.curve(Power(), extent=(-1, 1)), r"within \(0, inf\)"),
        (lambda: plots.curve(Exp(), extent=(1, 1)), "low < high"),
        (lambda: plots.curve(Exp(), extent=(1, math.inf)), "low < high"),
        (lambda: plots.curve(Exp(), points=1), "points: expected a whole number of at least 2"),
        (lambda: plots.curve(Affine(), parameters={"shift": 1.0}), r"expected parameters among .*, got \['shift'\]"),
        (lambda: plots.curve(Spline(bins=4), parameters={"widths": [1.0, 2.0]}), r"'widths' of shape \(4,\)"),
        (lambda: plots.curve(NSF(2), layer=0, parameters={"widths": 1.0}), "a kernel with free parameters"),
        (lambda: plots.curve(Elementwise(Affine(), net=MLP()), context=[1.0], parameters={"loc": 1.0}), "a kernel with free parameters"),
        (lambda: plots.curve(Elementwise(Affine(), net=MLP()).build(1, 2)), r"one context of shape \(2,\), got none"),
        (lambda: plots.curve(Elementwise(Affine(), net=MLP()).build(1, 2), context=[1.0]), r"of shape \(2,\), got \(1,\)"),
    ],
)
def test_a_wrong_curve_gets_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# density and grid


def test_density_of_two_numbers_is_the_density_of_the_flow():
    flow = Flow(StandardNormal(), [AffineFixed((1.0, -2.0), (0.5, 2.0))], event_shape=2)
    figure = plots.density(flow, extent=((-2, 4), (-12, 8)), points=50)
    assert "axes hold 100.00 % of the probability" in texts(figure)
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 4), (-12, 8))
    image = np.asarray(axes.images[0].get_array())
    x, y = -2 + 6 * (np.arange(50) + 0.5) / 50, -12 + 20 * (np.arange(50) + 0.5) / 50
    at = torch.tensor(np.stack(np.meshgrid(x, y), -1), dtype=torch.float32)
    assert np.allclose(image, flow.log_prob(at).exp().detach(), rtol=1e-4, atol=1e-6)
    # A line around a share q of a normal is where the squared distance in standard deviations is -2 log(1 - q).
    (contours,) = axes.collections
    found = [((path.vertices - [1.0, -2.0]) / [0.5, 2.0]) ** 2 for path in contours.get_paths()]
    for squares, share in zip(found, (0.9, 0.5), strict=True):
        assert squares.sum(1) == pytest.approx(-2 * np.log(1 - share), rel=0.2)


def test_density_of_one_number_is_a_curve_and_data_a_histogram():
    flow = Flow(StandardNormal(), [Exp()], event_shape=())
    figure = plots.density(flow, data=flow.sample((500,)), columns=["price"])
    axes = figure.axes[0]
    x, y = axes.lines[0].get_data()
    expected = flow.log_prob(torch.tensor(x[x > 0], dtype=torch.float32)).exp().detach()
    assert np.allclose(y[x > 0], expected, rtol=1e-4)
    assert (y[x <= 0] == 0).all()
    assert set(stairs(axes)) == {"data"}
    assert axes.get_xlabel() == "price"
    assert "of the probability" in texts(figure)


def test_density_takes_a_context_a_conditioned_flow_and_any_distribution():
    flow = NSF(2, context=1, transforms=2)
    one = plots.density(flow, context=[0.5], extent=(-3, 3), points=20)
    two = plots.density(flow(torch.tensor([0.5])), extent=(-3, 3), points=20)
    assert np.array_equal(one.axes[0].images[0].get_array(), two.axes[0].images[0].get_array())
    target = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert "of the probability" in texts(plots.density(target, data=normal(3000, 2)))
    assert len(plots.density(torch.distributions.Gamma(2.0, 1.0)).axes[0].lines) == 1
    strict = Flow(StandardNormal(), [Exp()], event_shape=1, validate_args=True)
    assert len(plots.density(strict.double(), extent=(-1, 3)).axes[0].lines) == 1


def test_axes_have_the_names_of_the_columns_that_the_flow_was_fitted_to():
    flow = NSF(2, transforms=1)
    flow.columns = ("height", "weight")
    assert plots.density(flow, points=20).axes[0].get_ylabel() == "weight"
    assert plots.grid(flow, points=20).axes[1].get_xlabel() == "height"
    table = pd.DataFrame(normal(30, 3), columns=["age", "weight", "height"])
    dots = plots.density(flow, data=table, points=20).axes[0].collections[-1]
    assert np.array_equal(dots.get_offsets(), table[["height", "weight"]])


def test_grid_lines_are_what_the_flow_makes_of_the_base_grid():
    flow = NSF(2, transforms=2)
    flow.standardize(torch.randn(200, 2) * 3 + 1)
    figure = plots.grid(flow, lines=5, extent=((-1, 1), (-2, 2)), points=30)
    texts(figure)
    base, data, contours = figure.axes
    assert len(base.lines) == len(data.lines) == 10
    assert np.allclose(base.lines[0].get_xdata(), -1)
    assert np.allclose(base.lines[9].get_ydata(), 2)
    for straight, bent in zip(base.lines, data.lines, strict=True):
        x = torch.tensor(np.stack(straight.get_data(), -1), dtype=torch.float32)
        assert np.allclose(np.stack(bent.get_data(), -1), flow.transform(x)[0].detach(), atol=1e-5)
    assert data.get_xlim() == contours.get_xlim()
    assert len(contours.collections) == 2


def test_grid_of_transforms_and_of_conditional_flows():
    assert len(plots.grid(Spline()).axes) == 2
    assert plots.grid(Sigmoid().inv, lines=3).axes[0].get_xlim()[0] > -0.1
    assert len(plots.grid(Linear().build(2), extent=(-1, 1)).axes) == 2
    assert len(plots.grid(NSF(2, context=1, transforms=1), context=[1.0], points=20).axes) == 3
    assert len(plots.grid(NSF(2, context=1, transforms=1)(torch.ones(1)), points=20).axes) == 3
    assert len(plots.grid(Flow(torch.distributions.StudentT(3 * torch.ones(2)), [Affine()], event_shape=2), points=20).axes) == 3
    bounded = Flow(torch.distributions.Beta(2 * torch.ones(2), 2 * torch.ones(2)), [Sigmoid().inv, Affine()], event_shape=2)
    assert plots.grid(bounded, points=20).axes[0].get_xlim() == pytest.approx((0, 1), abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.density(NSF(3)), r"one or two numbers, got events of shape \(3,\)"),
        (lambda: plots.density(NSF(2, context=1)), "expected one context of shape"),
        (lambda: plots.density(NSF(2), context=[1.0]), "expected no context"),
        (lambda: plots.density(NSF(2, context=1), context=[[1.0], [2.0]]), "draw one picture for each"),
        (lambda: plots.density(NSF(2, context=1)(torch.zeros(1)), context=[1.0]), "expected no context"),
        (lambda: plots.density(Normal(torch.zeros(2), 1.0)), r"one distribution, got a batch of \(2,\)"),
        (lambda: plots.density(Spline()), "expected a flow or a distribution, got a Spline"),
        (lambda: plots.density(NSF(2), extent=(1, 0)), "low < high"),
        (lambda: plots.density(NSF(2), extent=(0, 1, 0, 1)), "expected extent to be"),
        (lambda: plots.density(NSF(2), points=1), "points: expected a whole number of at least 2"),
        (lambda: plots.density(NSF(2), data=normal(9, 3)), "data of 2 columns, as the flow has, got 3"),
        (lambda: plots.density(NSF(2), columns=["a"]), "expected 1 columns"),
        (lambda: plots.density(Flow(StandardNormal(), [Exp()], 1), extent=(-2, -1)), "zero everywhere"),
        (lambda: plots.grid(NSF(3)), r"expected a flow of two numbers, got events of shape \(3,\)"),
        (lambda: plots.grid(Affine().build(1)), "expected a flow of two numbers"),
        (lambda: plots.grid(NSF(2), lines=1), "lines: expected a whole number of at least 2"),
        (lambda: plots.grid(NSF(2), extent="wide"), "extent|could not convert"),
        (lambda: plots.grid(Power(), extent=(-1, 1)), "within its domain"),
        (lambda: plots.grid(Normal(torch.zeros(2), 1.0)), "expected a flow, a plan or a built module"),
        (lambda: plots.grid(NSF(2, context=2)), r"expected one context of shape \(2,\)"),
    ],
)
def test_a_wrong_map_gets_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_density_that_is_nan_is_an_error():
    flow = NSF(2, transforms=1)
    with torch.no_grad():
        next(flow.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="got NaN at 25 of 25 points"):
        plots.density(flow, extent=(-1, 1), points=5)
    with pytest.raises(ValueError, match="expected finite samples"):
        plots.density(flow)


# outside


def draw_all():
    flow = NSF(2, transforms=1)
    return [
        plots.compare(normal(50, 2), normal(50, 2)),
        plots.pairs(normal(50, 3), normal(50, 3)),
        plots.learning_curve({"train": [2.0, 1.0]}),
        plots.nats(Comparison((Compared("a", 1.0, 0.0, 1.0, 3), Compared("b", 2.0, 0.1, 1.0, 3)), 50, {})),
        plots.curve(Spline(), seed=0),
        plots.grid(flow, points=20),
        plots.density(flow, points=20),
    ]


def test_nothing_outside_the_figure_changes():
    import matplotlib as mpl
    import matplotlib._pylab_helpers as windows

    # The values as they are kept: reading the backend through rcParams would choose one.
    before = {name: dict.__getitem__(mpl.rcParams, name) for name in mpl.rcParams}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    open_before = list(windows.Gcf.figs)
    flow = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    figures = [plots.density(flow, points=20), plots.curve(Affine(), seed=0), plots.compare(normal(50, 2), normal(50, 2))]
    assert torch.equal(state, torch.get_rng_state())
    for figure in figures[1:]:
        picture, size = figure._repr_png_()
        assert picture.startswith(b"\x89PNG")
        assert (size["width"], size["height"]) == tuple(round(100 * inches) for inches in figure.get_size_inches())
    draw_all()
    after = {name: dict.__getitem__(mpl.rcParams, name) for name in mpl.rcParams}
    assert all(after[name] is before[name] or after[name] == before[name] for name in before)
    assert list(windows.Gcf.figs) == open_before
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_a_figure_can_be_pickled_and_written_in_the_formats_of_papers(tmp_path):
    figure = pickle.loads(pickle.dumps(plots.compare(normal(50, 2), normal(50, 2))))
    for ending in ("pdf", "svg", "png"):
        figure.savefig(tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").stat().st_size > 1000


def test_the_users_dark_style_does_not_break_the_light_look():
    import matplotlib as mpl

    with mpl.rc_context({"axes.facecolor": "black", "figure.facecolor": "black", "axes.grid": True, "text.color": "white"}):
        for figure in draw_all():
            assert figure.get_facecolor() == (1, 1, 1, 1)
            for axes in figure.axes:
                assert not any(line.get_visible() for line in axes.get_xgridlines())
                assert axes.xaxis.label.get_color() != "white"


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.compare(normal(5, 1), normal(5, 1)),
        lambda: plots.pairs(normal(5, 2), normal(5, 2)),
        lambda: plots.learning_curve({"train": [1.0]}),
        lambda: plots.nats(Comparison((Compared("a", 1.0, 0.0, 1.0, 3),), 50, {})),
        lambda: plots.curve(Exp()),
        lambda: plots.grid(NSF(2, transforms=1)),
        lambda: plots.density(NSF(2, transforms=1), points=5),
    ],
)
def test_a_missing_matplotlib_says_what_to_install(call, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "pushforward\[plots\]"'):
        call()
