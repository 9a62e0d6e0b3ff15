"""compare: models of one table in one measure, on the same rows, in equal time; clocks are the tests' own."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward import plots
from pushforward.__main__ import main
from pushforward.cli.signals import Signals
from pushforward.data import Schema
from pushforward.train import bench
from pushforward.train.comparison import Compared, Comparison
from tests.test_choose_tables import numbers, people

TYPED = {"independent columns", "normal copula", "latent classes", "TableFlow"}
NUMBERS = TYPED | {"one normal", "mixture of normals", "NSF"}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Each look at the clock is a second of the processor."""
    monkeypatch.setattr(bench, "clock", itertools.count().__next__)


def compared(data, seconds=9, **options):
    return pf.compare(data, **{"seconds": seconds, "progress": False, **options})


@pytest.mark.fits
def test_numbers_are_compared_with_flows_and_classical_densities():
    held = numbers(500, 1)
    found = compared(numbers(), held=held, seconds=60)
    assert {row.name for row in found.rows} == NUMBERS
    assert (found.held, found.left_out, found.spread) == (500, {}, ())
    assert [row.nats for row in found.rows] == sorted(row.nats for row in found.rows)
    assert (found.best, found.best.error) == (found.rows[0], 0.0)
    # One normal distribution with the covariance of the rows is known in closed form.
    rows = torch.tensor(numbers().to_numpy())
    normal = torch.distributions.MultivariateNormal(rows.mean(0), torch.cov(rows.T, correction=0))
    scores = normal.log_prob(torch.tensor(held.to_numpy()))
    assert found["one normal"].nats == pytest.approx(-float(scores.mean()), abs=1e-3)
    assert found["one normal"].parameters == 1 + 2 + 2 + 1
    alone = compared(numbers(), held=held)["independent columns"]
    assert alone.nats > found["one normal"].nats + 0.5
    assert alone.nats == found["independent columns"].nats
    assert found["NSF"].seconds >= 60 > found["normal copula"].seconds
    assert found["TableFlow"].parameters == sum(p.numel() for p in pf.TableFlow(numbers()).parameters())
    assert 0 < found["independent columns"].parameters < found["normal copula"].parameters


def test_the_error_is_that_of_the_difference_on_each_row():
    held = people(300, 1)
    found = compared(people(), held=held)
    measured = pf.TableFlow(Schema.find(people()), (8,)).measure(people(), classes=False)
    whole = measured.log_prob(held)
    alone = sum(measured.log_prob(held, [name]) for name in measured.columns)
    assert found["normal copula"].nats == pytest.approx(-float(whole.mean()))
    assert found["independent columns"].nats == pytest.approx(-float(alone.mean()))
    if found.best.name == "normal copula":
        assert found["independent columns"].error == pytest.approx(float((whole - alone).std()) / math.sqrt(300))
    # What is as good as the best on average may be the best: classes that were not kept are the copula.
    assert all(0 < row.error < 0.2 for row in found.rows[1:] if row.nats > found.best.nats)


def test_a_table_of_all_kinds_has_no_flow_of_numbers():
    found = compared(people())
    assert {row.name for row in found.rows} == TYPED
    assert found.held == 80
    assert found.left_out == dict.fromkeys(
        ("one normal", "mixture of normals", "NSF"), "city: categorical; income: values with a probability of their own and 2 more"
    )
    assert found["normal copula"].nats < found["independent columns"].nats - 0.05


def test_flows_of_numbers_are_scored_by_the_cells_of_a_grid():
    # Coarse cells, of which the probability is known: a normal distribution of rounded values.
    frame, held = (0.4 * numbers(2000)).round(0)[["a"]], (0.4 * numbers(2000, 1)).round(0)[["a"]]
    # Far out, where a cell has another mean than its middle.
    held = held[held["a"].abs() >= 2]
    found = compared(frame, held=held, schema={"a": "real"})
    assert found.spread == ("a",)
    scale = math.sqrt(float(frame["a"].var(ddof=0)) + 1 / 12)
    normal = torch.distributions.Normal(float(frame["a"].mean()), scale)
    x = torch.tensor(held["a"].to_numpy())
    cells = torch.log(normal.cdf(x + 0.5) - normal.cdf(x - 0.5))
    assert found["one normal"].nats == pytest.approx(-float(cells.mean()), abs=0.06)
    assert "averaged over the cells of a" in str(found)
    # In another unit all have as many nats more.
    tenth = compared(frame / 10, held=held / 10, schema={"a": "real"})
    for name in ("one normal", "independent columns"):
        assert tenth[name].nats == pytest.approx(found[name].nats - math.log(10), abs=0.01)


def test_rows_that_are_held_out_are_fitted_by_none(monkeypatch):
    fitted, numbers_of = [], []
    whole, choose = bench.fit, bench.choose

    def fit(model, data, weights, **options):
        (fitted if isinstance(model, pf.TableFlow) else numbers_of).append((data, weights))
        return whole(model, data, weights=weights, **options)

    def chosen(data, **options):
        numbers_of.append((data, None))
        return choose(data, **options)

    monkeypatch.setattr(bench, "fit", fit)
    monkeypatch.setattr(bench, "choose", chosen)
    frame = numbers()
    compared(frame, seconds=9)
    ((data, weights),) = fitted
    assert data is frame
    assert (int((weights == 1).sum()), int((weights == 0).sum())) == (320, 80)
    seen = torch.tensor(frame.to_numpy())[weights > 0]
    assert len(numbers_of) == 3
    assert all(torch.equal(rows, seen) for rows, _ in numbers_of)


@pytest.mark.fits
def test_weights_count_in_fits_and_in_what_is_held_out():
    frame = people()
    heavy = (frame["city"] == "Köln").to_numpy().astype(float)
    some = compared(frame, weights=heavy)
    assert some.held == round(0.2 * heavy.sum())
    assert some["independent columns"].nats < compared(frame)["independent columns"].nats - 0.3
    far, held = pd.concat([numbers(), numbers() + 50]), numbers(500, 1)
    light = compared(far, held=held, weights=np.repeat([1.0, 1e-12], 400), seconds=9)
    plain = compared(numbers(), held=held, seconds=9)
    for name in ("one normal", "independent columns"):
        assert light[name].nats == pytest.approx(plain[name].nats, abs=0.1)


@pytest.mark.fits
def test_the_same_seed_gives_the_same_and_nothing_else_is_touched(monkeypatch):
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        monkeypatch.setattr(bench, "clock", itertools.count().__next__)
        found.append(compared(numbers(), seed=seed))
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["dict", "csv", "array"])
def test_tables_of_every_kind_are_compared_alike(tmp_path, kind):
    frame = numbers()
    data = {"dict": lambda: {name: list(frame[name]) for name in frame}, "array": frame.to_numpy, "csv": lambda: tmp_path / "t.csv"}[kind]()
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert compared(data)["independent columns"].nats == pytest.approx(compared(frame)["independent columns"].nats)


def test_what_fails_is_left_out_and_what_ends_it_ends_all(monkeypatch):
    def fails(*_, **__):
        raise ValueError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(bench, "choose", fails)
        found = compared(numbers())
    assert found.left_out == dict.fromkeys(("one normal", "mixture of normals"), "no such luck")
    assert "left out: one normal, mixture of normals (no such luck)" in str(found)
    with pytest.raises(KeyboardInterrupt):
        compared(people(), callback=lambda history: True)

    def interrupt(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(numbers(), callback=interrupt)


def test_a_model_on_another_grid_is_not_compared(monkeypatch):
    whole = bench.fit

    def fit(model, **options):
        history = whole(model, **options)
        if isinstance(model, pf.TableFlow):
            model.model.charts[0].spacing[0] = 2.0
        return history

    monkeypatch.setattr(bench, "fit", fit)
    assert compared(people(60)).left_out["TableFlow"].startswith("its rows lie on grids of steps [2.0,")


RESULT = Comparison(
    (Compared("TableFlow", 7.0, 0.0, 30.0, 12345), Compared("independent columns", 8.5, 0.25, 0.1, 10)), 200, {"NSF": "city: categorical"}
)


def test_as_text_it_is_a_table():
    assert str(RESULT).splitlines() == [
        "model                 nats  more than the best  seconds  parameters",
        "TableFlow            7.000                         30.0      12,345",
        "independent columns  8.500       1.500 ± 0.250      0.1          10",
        "nats a row of 200 rows that no model has seen; fewer are better",
        "left out: NSF (city: categorical)",
    ]
    with pytest.raises(KeyError, match="no model 'MAF'; there are TableFlow, independent columns"):
        RESULT["MAF"]


def test_the_picture_has_what_each_is_behind_with_two_errors():
    (axes,) = plots.nats(RESULT).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["TableFlow", "independent columns"]
    assert axes.get_title(loc="left") == "TableFlow: 7.000 nats a row, 200 rows held out"
    (bars,) = axes.collections
    assert np.allclose([segment[:, 0] for segment in bars.get_segments()], [[0, 0], [1.0, 2.0]])
    low, high = axes.get_xlim()
    assert low < 0 < 2 < high
    with pytest.raises(TypeError, match=r"nats: expected a Comparison, as pushforward\.compare returns it, got a dict"):
        plots.nats({})


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (people(), {"seconds": 0}, ValueError, "compare: expected seconds to be a finite number above 0"),
        (people(), {"held": 0.0}, ValueError, "compare: expected held to be a share between 0 and 1, or a table, got 0.0"),
        (people(), {"held": None}, ValueError, "compare: expected held to be a share"),
        (people(), {"held": "x"}, ValueError, "compare: expected held to be a share"),
        (people(), {"held": people()[["city"]]}, ValueError, "compare: column 'income': expected in the data"),
        (people(), {"held": people(1)}, ValueError, "2 to score, got 400 and 1"),
        (people(), {"columns": "city"}, ValueError, "compare: expected columns to be a list"),
        (people(), {"columns": ["zz"]}, ValueError, "no column 'zz'"),
        (people(), {"schema": 3}, TypeError, "compare: expected schema to be a Schema or kinds by column, got 3"),
        (people(), {"weights": np.ones(3)}, ValueError, "compare: expected one weight a row, 400, got 3"),
        (people(), {"seed": 0.5}, ValueError, "compare: expected seed"),
        (people(), {"progress": 3}, ValueError, "compare: expected progress"),
        (people(), {"callback": 3}, TypeError, "compare: expected callback"),
        (numbers(9), {}, ValueError, "compare: expected at least 10 rows, got 9"),
        (None, {}, TypeError, "compare: expected rows of data, got None"),
        (np.zeros((3, 3, 3)), {}, ValueError, r"compare: expected data of shape \(n, columns\)"),
        ("none.csv", {}, FileNotFoundError, "no file none.csv"),
    ],
)
def test_wrong_input_is_explained(data, options, error, words):
    with pytest.raises(error, match=words):
        compared(data, **options)


# The command


def test_the_command_prints_the_table_and_draws_it(tmp_path, monkeypatch, capsys):
    people().assign(note=[f"text{i}" for i in range(400)]).to_csv(tmp_path / "t.csv", index=False)
    argv = ["compare", str(tmp_path / "t.csv"), "--seconds", "20", "--kind", "city=categorical", "--exclude", "since"]
    assert main([*argv, "-o", str(tmp_path / "p.png")]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["model", "nats", "more", "than", "the", "best", "seconds", "parameters"]
    assert {line.split("  ")[0] for line in said.out.splitlines()[1:5]} == TYPED
    assert "left out: note (text: 400 different texts in 400 rows)" in said.err
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(tmp_path / "t.csv")
    monkeypatch.setattr(bench, "clock", itertools.count().__next__)
    assert said.out == f"{compared(frame, 20, columns=['city', 'income', 'age'])}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--columns", "a", "--exclude", "a"], "a column is both in --columns and in --exclude: a"),
        (["--exclude", "a,b"], "no column is left to compare models of: all are excluded"),
        (["-o", "p.bmp"], "expected a name that ends in .png, .pdf, .svg"),
    ],
)
def test_wrong_use_of_the_command_is_one_line(tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    numbers().to_csv("t.csv", index=False)
    assert main(["compare", "t.csv", *argv]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("p.*"))


def test_a_signal_ends_the_command(tmp_path, monkeypatch):
    people().to_csv(tmp_path / "t.csv", index=False)

    def signalled(data, callback, **_):
        callback(None)
        raise AssertionError("it goes on")

    def check(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Signals, "check", check)
    monkeypatch.setattr(pf, "compare", signalled)
    assert main(["compare", str(tmp_path / "t.csv"), "-q"]) == 130
