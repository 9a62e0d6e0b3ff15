"""Every option of the command and of the estimators is handed on and takes effect: each has something that it changes."""

from __future__ import annotations

import inspect
from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import typer

import pushforward as pf
from pushforward import plots
from pushforward.__main__ import main
from pushforward.cli import form
from pushforward.cli.app import app
from pushforward.contrib.sklearn import FlowDensity, FlowRegressor, estimator
from pushforward.core.draws import Drawing
from pushforward.data.dialect import Format
from pushforward.data.reading import open_table
from pushforward.data.schema import Schema
from pushforward.data.writing import write_table
from pushforward.train.comparison import Compared, Comparison

X = np.random.default_rng(0).standard_normal((80, 2)).astype(np.float32) * [2.0, 5.0] + [1.0, -3.0]
C = np.random.default_rng(1).standard_normal((80, 1)).astype(np.float32)


def known(rows):
    return {tuple(row) for row in np.asarray(rows, np.float32).tolist()}


def state_of(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables, a model of two columns, the same with bounds, one of a whole table, and one of two columns given two."""
    made = tmp_path_factory.mktemp("options")
    grid = np.random.default_rng(0).integers(0, 6, (80, 2)).astype(float)
    for name, columns in {"t": {"a": X[:, 0], "b": X[:, 1], "c": C[:, 0]}, "grid": {"a": grid[:, 0], "b": grid[:, 1]}}.items():
        with write_table(made / f"{name}.csv", list(columns)) as append:
            append(np.column_stack(list(columns.values())))
    lines = (made / "t.csv").read_text().splitlines()
    (made / "missing.csv").write_text("\n".join([lines[0], "1,,2", *lines[1:]]) + "\n")
    for name, context in (("m", 0), ("given", 2)):
        torch.manual_seed(0)
        model = pf.RealNVP(2, context, transforms=2, widths=(8,))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.5 * torch.randn(parameter.shape)
        model.columns, model.context_columns = ("a", "b"), ("c", "d") if context else None
        model.save(made / name)
        if not context:
            model.schema = Schema.find({"a": X[:5, 0].clip(0, 1), "b": X[:5, 1]}, {"a": "interval:0:1"})
            model.save(made / "bounded")
    whole = pf.TableFlow(Schema.find({"a": X[:, 0], "b": X[:, 1]}), (8,))
    whole.measure({"a": X[:, 0], "b": X[:, 1]})
    whole.save(made / "all")
    (made / "gaps.csv").write_text("a,b\n" + "".join(f"{a!r},\n" for a in X[:9, 0].tolist()))
    with write_table(made / "contexts.csv", ["d", "c"]) as append:
        append(np.arange(40.0).reshape(20, 2) / 10)
    return made


def run(folder, *argv):
    """Run a command, and return what it did: what readers, `fit` and pictures got, what it wrote and printed."""
    seen = SimpleNamespace(argv=argv, fits=[], options={}, form=Format())

    def fit(flow, x, c=None, **options):
        seen.fits.append((flow, x, c))
        seen.options, seen.start = options, state_of(flow)
        return pf.History(train=[1.0], best_epoch=1, best_loss=1.0)

    def pairs(data, samples, columns, written):
        seen.data, seen.samples, seen.names = np.asarray(data), np.asarray(samples), columns
        return draw(data, samples, columns)

    def read(path, form):
        seen.form = form
        return open_table(path, form)

    def compare(source, **options):
        seen.options, seen.source = options, source
        return Comparison((Compared("TableFlow", 7.0, 0.0, 1.0, 3),), 20, {})

    draw = plots.pairs
    before = {path.name for path in folder.iterdir()}
    with (
        mock.patch.object(pf, "fit", fit),
        mock.patch.object(pf, "compare", compare),
        mock.patch.object(plots, "pairs", pairs),
        mock.patch.object(form, "open_table", read),
    ):
        assert main(list(argv)) == 0
    seen.new = {path.name: path for path in folder.iterdir() if path.name not in before}
    if seen.fits:
        ((seen.flow, seen.x, seen.c),) = seen.fits
    return seen


@pytest.fixture
def tried(folder, monkeypatch, capsys):
    """Return a function that runs a command in the folder, and removes what it wrote."""
    monkeypatch.chdir(folder)

    def command(*argv):
        seen = run(folder, *argv)
        seen.out = capsys.readouterr().out
        seen.tables = {name: open_table(path).read() for name, path in seen.new.items() if path.suffix == ".csv"}
        for path in seen.new.values():
            path.unlink()
        return seen

    return command


PLOT = ["plot", "m", "t.csv", "-o", "new.png"]
FIT = ["fit", "t.csv", "-o", "new", "--columns", "a,b"]
SCHEMA = ["schema", "t.csv"]
COMPARE = ["compare", "t.csv"]


def of_table(*argv):
    """Return the options that say how a table is written, which whatever reads one has."""
    return {
        "--delimiter": ([*argv, "--delimiter", ","], lambda seen: seen.form.delimiter == ","),
        "--decimal": ([*argv, "--decimal", "."], lambda seen: seen.form.decimal == "."),
        "--encoding": ([*argv, "--encoding", "latin-1"], lambda seen: seen.form.encoding == "latin-1"),
        "--header": ([*argv, "--header"], lambda seen: seen.form.header is True),
        "--missing": ([*argv, "--missing", "-99,x"], lambda seen: tuple(seen.form.missing) == ("-99", "x")),
    }


# The option with its value, and what tells that it was taken; without the option it does not hold.
COMMAND = {
    "fit": {
        "--output": (["fit", "t.csv", "--output", "other"], lambda seen: set(seen.new) == {"other"}),
        "--columns": ([*FIT[:4], "--columns", "b,a"], lambda seen: seen.flow.columns == ("b", "a") and np.allclose(seen.x, X[:, ::-1])),
        "--context": ([*FIT, "--context", "c"], lambda seen: seen.c is not None and np.allclose(seen.c, C)),
        "--flow": ([*FIT, "--flow", "maf"], lambda seen: "Autoregressive(Affine()" in repr(seen.flow)),
        "--transforms": ([*FIT, "--transforms", "3"], lambda seen: repr(seen.flow).count("Coupling") == 3),
        "--widths": ([*FIT, "--widths", "5,6"], lambda seen: "widths=(5, 6)" in repr(seen.flow)),
        "--bins": ([*FIT, "--bins", "5"], lambda seen: "Spline(bins=5)" in repr(seen.flow)),
        "--mixture": ([*FIT, "--mixture", "3"], lambda seen: seen.options.get("mixture") == 3),
        "--objective": (
            [*FIT, "--flow", "cnf", "--objective", "flow_matching"],
            lambda seen: seen.options.get("objective") == "flow_matching",
        ),
        "--path": (
            [*FIT, "--flow", "cnf", "--objective", "flow_matching", "--path", "variance_preserving"],
            lambda seen: seen.options.get("objective") == pf.FlowMatching(path="variance_preserving"),
        ),
        "--coupling": (
            [*FIT, "--flow", "cnf", "--objective", "flow_matching", "--coupling", "optimal_transport"],
            lambda seen: seen.options.get("objective") == pf.FlowMatching(coupling="optimal_transport"),
        ),
        "--kinetic": (
            [*FIT, "--flow", "cnf", "--kinetic", "0.2"],
            lambda seen: seen.options.get("objective") == pf.Likelihood(kinetic=0.2),
        ),
        "--jacobian": (
            [*FIT, "--flow", "cnf", "--jacobian", "0.2"],
            lambda seen: seen.options.get("objective") == pf.Likelihood(jacobian=0.2),
        ),
        "--epochs": ([*FIT, "--epochs", "7"], lambda seen: seen.options.get("epochs") == 7),
        "--batch-size": ([*FIT, "--batch-size", "9"], lambda seen: seen.options.get("batch_size") == 9),
        "--learning-rate": ([*FIT, "--learning-rate", "0.02"], lambda seen: seen.options.get("learning_rate") == 0.02),
        "--validation": ([*FIT, "--validation", "0.3"], lambda seen: seen.options.get("validation") == 0.3),
        "--patience": ([*FIT, "--patience", "4"], lambda seen: seen.options.get("patience") == 4),
        "--seconds": ([*FIT, "--seconds", "2.5"], lambda seen: seen.options.get("seconds") == 2.5),
        "--seed": ([*FIT, "--seed", "5"], lambda seen: seen.options.get("seed") == 5 and same(seen.start, first_weights(5))),
        "--dequantize": (["fit", "grid.csv", "-o", "new", "--dequantize"], lambda seen: len(np.unique(seen.x)) == 160),
        "--drop-missing": (["fit", "missing.csv", *FIT[2:], "--drop-missing"], lambda seen: len(seen.x) == 80),
        "--quiet": ([*FIT, "--quiet"], lambda seen: seen.options["progress"] is False),
        "--exclude": ([*FIT[:4], "--exclude", "c"], lambda seen: seen.flow.columns == ("a", "b")),
        "--kind": ([*FIT, "--kind", "a=interval:-90:90"], lambda seen: seen.flow.schema["a"].high == 90),
        "--support": (
            [*FIT, "--kind", "a=interval:-90:90", "--support"],
            lambda seen: seen.flow.support.check(torch.tensor([[80.0, 0.0], [100.0, 0.0]])).tolist() == [True, False],
        ),
        "--float64": ([*FIT, "--float64"], lambda seen: seen.flow.dtype == torch.float64),
        **of_table(*FIT),
    },
    "sample": {
        "-n": (["sample", "m", "-n", "7"], lambda seen: len(seen.out.splitlines()) == 8),
        "--output": (["sample", "m", "-n", "3", "--output", "o.csv"], lambda seen: seen.out == "" and set(seen.new) == {"o.csv"}),
        "--seed": (["sample", "m", "-n", "3", "--seed", "5"], lambda seen: drawn_with(5, seen.out)),
        "--given": (
            ["sample", "given", "-n", "2", "--given", "d=0.25", "--given", "c=-1"],
            lambda seen: seen.out.startswith("c,d,a,b\n-1,0.25,"),
        ),
        "--context-table": (
            ["sample", "given", "-n", "1", "--context-table", "contexts.csv"],
            lambda seen: [row.split(",")[:2] for row in seen.out.splitlines()[1:3]] == [["0.1", "0"], ["0.3", "0.2"]],
        ),
        **of_table("sample", "given", "-n", "1", "--context-table", "contexts.csv"),
    },
    "score": {
        "--output": (["score", "m", "t.csv", "--output", "o.csv"], lambda seen: seen.out == "" and set(seen.new) == {"o.csv"}),
        "--by": (["score", "all", "t.csv", "--by", "column"], lambda seen: seen.out.startswith("a,b\n")),
        "--given": (["score", "all", "t.csv", "--by", "column", "--given", "a"], lambda seen: seen.out.startswith("b\n")),
        "--outside": (["score", "bounded", "t.csv", "--outside"], lambda seen: "-inf" in seen.out),
        **of_table("score", "m", "t.csv"),
    },
    "impute": {
        "-n": (["impute", "all", "t.csv", "-n", "2"], lambda seen: seen.out.startswith("imputation,a,b\n")),
        "--output": (["impute", "all", "t.csv", "--output", "o.csv"], lambda seen: seen.out == "" and set(seen.new) == {"o.csv"}),
        "--seed": (["impute", "all", "gaps.csv", "--seed", "5"], lambda seen: filled_with(5, seen.out)),
        **of_table("impute", "all", "gaps.csv"),
    },
    "schema": {
        "--kind": ([*SCHEMA, "--kind", "a=interval:-90:90"], lambda seen: "interval -90 to 90" in seen.out),
        "--columns": ([*SCHEMA, "--columns", "b"], lambda seen: [row.split()[0] for row in seen.out.splitlines()[1:]] == ["b"]),
        "--exclude": ([*SCHEMA, "--exclude", "a"], lambda seen: [row.split()[0] for row in seen.out.splitlines()[1:]] == ["b", "c"]),
        "--json": ([*SCHEMA, "--json"], lambda seen: seen.out.startswith("{")),
        **of_table(*SCHEMA),
    },
    "describe": {
        "--batch": (["describe", "m", "--batch", "123"], lambda seen: "batch 123:" in seen.out),
        "--json": (["describe", "m", "--json"], lambda seen: seen.out.startswith("{")),
    },
    "plot": {
        "--output": (["plot", "m", "t.csv", "--output", "other.svg"], lambda seen: set(seen.new) == {"other.svg"}),
        "--columns": ([*PLOT, "--columns", "b"], lambda seen: seen.names == ("b",) and known(seen.data) <= known(X[:, 1:])),
        "--rows": ([*PLOT, "--rows", "30"], lambda seen: len(seen.data) == len(seen.samples) == 30),
        "--seed": ([*PLOT, "--seed", "5"], lambda seen: np.allclose(seen.samples, draws(5, 80), rtol=1e-6)),
        **of_table(*PLOT),
    },
    "compare": {
        "--output": ([*COMPARE, "--output", "p.png"], lambda seen: set(seen.new) == {"p.png"}),
        "--columns": ([*COMPARE, "--columns", "b,a"], lambda seen: seen.options["schema"].names == ("b", "a")),
        "--exclude": ([*COMPARE, "--exclude", "c"], lambda seen: seen.options["schema"].names == ("a", "b")),
        "--kind": ([*COMPARE, "--kind", "a=interval:-90:90"], lambda seen: seen.options["schema"]["a"].high == 90),
        "--seconds": ([*COMPARE, "--seconds", "2.5"], lambda seen: seen.options["seconds"] == 2.5),
        "--seed": ([*COMPARE, "--seed", "5"], lambda seen: seen.options["seed"] == 5),
        "--quiet": ([*COMPARE, "--quiet"], lambda seen: seen.options["progress"] is False),
        **of_table(*COMPARE),
    },
}


def first_weights(seed):
    with Drawing(seed):
        return state_of(pf.NSF(2))


def draws(seed, count):
    flow = pf.load("m")
    with torch.no_grad():
        return flow.sample((count,), generator=torch.Generator().manual_seed(seed)).numpy()


def drawn_with(seed, text):
    return np.allclose([[float(value) for value in row.split(",")] for row in text.splitlines()[1:]], draws(seed, 3), rtol=1e-5)


def filled_with(seed, text):
    table = {"a": X[:9, 0], "b": np.full(9, np.nan)}
    (whole,) = pf.TableFlow.load("all").impute(table, generator=torch.Generator().manual_seed(seed))
    return np.allclose([float(row.split(",")[1]) for row in text.splitlines()[1:]], whole["b"])


@pytest.mark.parametrize(("command", "option"), [(command, option) for command, options in COMMAND.items() for option in options])
def test_an_option_of_the_command_takes_effect(tried, command, option):
    argv, told = COMMAND[command][option]
    assert told(tried(*argv))


# The same without it, where that is another call than the usual one; None where it has to be there.
WITHOUT = {
    "--columns": {"fit": FIT[:4]},
    "--objective": {"fit": [*FIT, "--flow", "cnf"]},
    "--path": {"fit": [*FIT, "--flow", "cnf", "--objective", "flow_matching"]},
    "--coupling": {"fit": [*FIT, "--flow", "cnf", "--objective", "flow_matching"]},
    "--kinetic": {"fit": [*FIT, "--flow", "cnf"]},
    "--jacobian": {"fit": [*FIT, "--flow", "cnf"]},
    "--exclude": {"fit": FIT[:4]},
    "--dequantize": {"fit": ["fit", "grid.csv", "-o", "new"]},
    "--drop-missing": {"fit": None},
    "--output": {"fit": None, "plot": None},
    "-n": {"sample": None},
    "--by": {"score": ["score", "all", "t.csv"]},
    "--outside": {"score": None},
    "--given": {"sample": None, "score": ["score", "all", "t.csv", "--by", "column"]},
    "--context-table": {"sample": None},
}
USUAL = {
    "fit": FIT,
    "schema": SCHEMA,
    "sample": ["sample", "m", "-n", "3"],
    "score": ["score", "m", "t.csv"],
    "impute": ["impute", "all", "gaps.csv"],
    "describe": ["describe", "m"],
    "plot": PLOT,
    "compare": COMPARE,
}


@pytest.mark.parametrize(("command", "option"), [(command, option) for command, options in COMMAND.items() for option in options])
def test_without_the_option_the_command_does_something_else(tried, command, option):
    argv = WITHOUT.get(option, {}).get(command, USUAL[command])
    assert argv is None or not COMMAND[command][option][1](tried(*argv))


def test_a_fit_and_a_picture_have_a_seed_of_their_own_where_none_is_given(tried):
    assert tried(*FIT).options["seed"] == 0
    assert np.allclose(tried(*PLOT).samples, draws(0, 80), rtol=1e-6)
    assert len({tried(*USUAL["sample"]).out for _ in range(2)}) == 2


# The estimators of scikit-learn


def estimated(kind, **options):
    """Return what the fit of an estimator was given."""
    seen = SimpleNamespace()
    whole = estimator.fit

    def fit(flow, *parts, **given):
        seen.flow, seen.parts, seen.options, seen.start = flow, parts, given, state_of(flow)
        return whole(flow, *parts, **{**given, "epochs": 1})

    x = np.round(X)
    with mock.patch.object(estimator, "fit", fit):
        model = kind(**{"random_state": 0, **options})
        seen.model = model.fit(x) if kind is FlowDensity else model.fit(C, x)
    seen.held = seen.options["validation"]
    return seen


ESTIMATOR = {
    "flow": ("maf", lambda seen: "Autoregressive(Affine()" in repr(seen.flow)),
    "objective": ("flow_matching", lambda seen: seen.options["objective"] == seen.model.history_.objective == "flow_matching"),
    "epochs": (7, lambda seen: seen.options["epochs"] == 7),
    "batch_size": (9, lambda seen: seen.options["batch_size"] == 9),
    "learning_rate": (0.02, lambda seen: seen.options["learning_rate"] == 0.02),
    "weight_decay": (0.5, lambda seen: seen.options["weight_decay"] == 0.5),
    "validation": (None, lambda seen: seen.held is None),
    "patience": (4, lambda seen: seen.options["patience"] == 4),
    "seconds": (60.0, lambda seen: seen.options["seconds"] == 60.0),
    "mixture": (0, lambda seen: seen.options["mixture"] == 0),
    "dequantize": (True, lambda seen: not np.array_equal(seen.parts[0], np.round(seen.parts[0]))),
    "random_state": (5, lambda seen: not same(seen.start, estimated(type(seen.model)).start)),
    "verbose": (1, lambda seen: seen.options["progress"] is True),
}


# What an option of an estimator needs beside it.
BESIDE = {"objective": {"flow": partial(pf.CNF, widths=(8,), tolerance=1e-2)}}


@pytest.mark.filterwarnings("ignore:fit. columns on a grid")
@pytest.mark.parametrize("option", ESTIMATOR)
@pytest.mark.parametrize("kind", [FlowDensity, FlowRegressor])
def test_an_option_of_an_estimator_takes_effect(kind, option):
    value, told = ESTIMATOR[option]
    beside = BESIDE.get(option, {})
    assert told(estimated(kind, **{option: value}, **beside))
    assert not told(estimated(kind, **beside))


@pytest.mark.filterwarnings("ignore:fit. columns on a grid")
def test_the_seed_of_an_estimator_is_that_of_its_weights_its_split_and_its_fit():
    one, two, other = (estimated(FlowDensity, random_state=state, validation=0.3) for state in (1, 1, 2))
    assert same(one.start, two.start)
    assert not same(one.start, other.start)
    assert np.array_equal(one.parts[0], two.parts[0])
    assert not np.array_equal(one.parts[0], other.parts[0])
    assert one.options["seed"] == two.options["seed"] != other.options["seed"]
    trained, held = known(one.parts[0]), known(one.held[0])
    assert trained | held == known(np.round(X))
    assert not trained & held


def test_every_option_has_something_that_it_changes():
    there = typer.main.get_command(app).commands
    assert set(COMMAND) == set(there)
    for name, options in COMMAND.items():
        found = {max(part.opts, key=len) for part in there[name].params if part.opts[0].startswith("-")}
        assert set(options) == found - {"--help"}
    for kind in (FlowDensity, FlowRegressor):
        assert set(ESTIMATOR) == set(inspect.signature(kind).parameters)
