"""Every argument of every way to fit, and every option of the command, with wrong values: an error that names it, and nothing changed."""

import copy
import inspect
import math
import re
import warnings

import numpy as np
import pytest
import torch
import typer
from torch.utils.data import DataLoader, IterableDataset

import pushforward as pf
from pushforward.__main__ import main
from pushforward.bases import StandardNormal
from pushforward.bijectors import Affine
from pushforward.cli.app import app
from pushforward.contrib.sklearn import FlowDensity, FlowRegressor
from pushforward.core.facts import BaseFacts
from pushforward.data.writing import write_table

X = np.random.default_rng(0).standard_normal((60, 2))


class Once(IterableDataset):
    """Rows of a generator, which are gone after the first pass."""

    def __init__(self):
        self.rows = iter(torch.tensor(X, dtype=torch.float32))

    def __iter__(self):
        return self.rows


class Raises:
    """What raises where it is asked for its numbers."""

    def __array__(self, *_, **__):
        raise ArithmeticError("not today")


def unusual(maker, *arguments, **options):
    """Return what torch makes under a warning of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return maker(*arguments, **options)


def flow_on_meta():
    with torch.device("meta"):
        return pf.MAF(2)


WHOLE = {"zero": 0, "negative": -1, "broken": 2.5, "word": "3", "true": True, "nan": math.nan, "list": [1], "tensor": torch.ones(2)}
NUMBER = {"zero": 0.0, "negative": -1.0, "word": "3", "true": True, "nan": math.nan, "inf": math.inf, "list": [0.1], "complex": 1j}
WORD = {"other": "fast", "number": 3, "list": ["cosine"], "tensor": torch.ones(2), "bytes": b"cosine"}
FLAG = {"word": "yes", "number": 3, "list": [True]}
FUNCTION = {"number": 3, "word": "print", "list": [print]}
SEED = {"large": 2**70, "negative": -(2**70), "word": "a", "broken": 0.5, "none": None, "true": True, "generator": torch.Generator()}
FLOW = {
    "none": None,
    "module": torch.nn.Linear(2, 2),
    "function": pf.MAF,
    "plan": Affine(),
    "conditioned": pf.MAF(2, context=1)(torch.zeros(1)),
    "on meta": flow_on_meta(),
}
TENSORS = {
    "none": None,
    "word": "text",
    "number": 5,
    "ragged": [[1.0, 2.0], [3.0]],
    "empty": [],
    "objects": [[None, 1.0]] * 9,
    "generator": (row for row in X),
    "dictionary": {"a": X},
    "raises": Raises(),
    "complex": torch.tensor(X).cfloat(),
    "sparse": torch.tensor(X).to_sparse(),
    "meta": torch.zeros(60, 2, device="meta"),
    "nested": unusual(torch.nested.nested_tensor, [torch.ones(2), torch.ones(1)], layout=torch.jagged),
    "quantized": unusual(torch.quantize_per_tensor, torch.tensor(X).float(), 0.1, 0, torch.qint8),
    "dates": np.array(["2020-01-01"] * 60, "datetime64[D]"),
    "shape": X[:, :1],
}
NAMES = {"word": "ab", "number": 3, "twice": ["a", "a"], "numbers": [1, 2], "empty": []}
LOADERS = {
    "loader that gives its rows once": lambda: DataLoader(Once(), batch_size=20),
    "loader of nothing": lambda: DataLoader([]),
    "loader of NaN": lambda: DataLoader(torch.full((60, 2), math.nan), batch_size=20),
    "loader of three": lambda: DataLoader([(torch.zeros(2),) * 3] * 9, batch_size=3),
}
FIT = {
    "flow": FLOW,
    "data": TENSORS | LOADERS,
    "context": {name: TENSORS[name] for name in ("number", "ragged", "shape", "meta")},
    "validation": {"zero": 0.0, "one": 1.0, "above": 1.5, "true": True, "word": "x", "nan": math.nan, "three": (X, None, None)}
    | {name: TENSORS[name] for name in ("ragged", "sparse", "meta", "nested", "quantized", "shape", "complex")}
    | {name: LOADERS[name] for name in ("loader that gives its rows once", "loader of nothing", "loader of NaN")},
    "objective": WORD | {"class": pf.FlowMatching, "of a flow without a field": "flow_matching"},
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "learning_rate": NUMBER,
    "schedule": WORD,
    "patience": WHOLE,
    "seconds": NUMBER,
    "clip": NUMBER,
    "weight_decay": {name: value for name, value in NUMBER.items() if name != "zero"},
    "averaging": NUMBER | {"one": 1.0},
    "standardize": FLAG,
    "whiten": FLAG,
    "mixture": {"negative": -1, "half": 2.5, "true": True, "word": "x", "nan": math.nan, "more than rows": 61},
    "columns": NAMES,
    "context_columns": NAMES,
    "schema": {"number": 3, "word": "ab", "unknown column": {"zz": "count"}, "no kind": {"0": "zz"}, "list": ["count"]},
    "weights": {
        "zeros": np.zeros(60),
        "negative": -np.ones(60),
        "nan": np.full(60, math.nan),
        "inf": np.full(60, math.inf),
        "few": np.ones(3),
        "table": np.ones((60, 2)),
        "word": "x",
        "ragged": [[1.0], [1.0, 2.0]],
    },
    "optimizer": FUNCTION | {"makes nothing": lambda parameters: None, "raises": lambda parameters: 1 / 0},
    "compile": WORD,
    "precision": WORD | {"float64": "float64"},
    "seed": SEED,
    "progress": FLAG,
    "callback": FUNCTION,
}
DENSITY = {
    "none": None,
    "number": 3,
    "distribution": torch.distributions.Normal(0.0, 1.0),
    "numpy": lambda x: np.zeros(len(x)),
    "column": lambda x: x,
    "whole": lambda x: torch.zeros(len(x), dtype=torch.long),
    "nan": lambda x: x.sum(-1) * math.nan,
    "inf": lambda x: x.sum(-1) * 0 + math.inf,
    "nowhere": lambda x: x.sum(-1) * 0 - math.inf,
    "elsewhere": lambda x: x.sum(-1).to("meta"),
}
CONTEXT = {
    "list": [1.0],
    "for a flow without": torch.zeros(1),
}
FIT_TARGET = {
    "flow": FLOW,
    "log_density": DENSITY,
    "context": CONTEXT,
    "divergence": WORD,
    "alpha": {"without alpha divergence": 0.5, "word": "x"},
    "estimator": WORD,
    "annealing": {"zero": 0, "negative": -1, "many": 10**9, "word": "x", "power": lambda step: 2.0, "none": lambda step: None},
    "steps": WHOLE,
    "batch_size": WHOLE | {"one": 1},
    "learning_rate": NUMBER,
    "schedule": WORD,
    "seconds": NUMBER,
    "patience": WHOLE,
    "clip": NUMBER,
    "validation": WHOLE | {"one": 1},
    "optimizer": FUNCTION | {"makes nothing": lambda parameters: None},
    "seed": SEED,
    "progress": FLAG,
    "callback": FUNCTION,
}
IMPORTANCE = {"flow": FLOW, "log_density": DENSITY, "draws": WHOLE, "context": CONTEXT, "batch_size": WHOLE, "seed": SEED}


def normal(x):
    return -0.5 * (x * x).sum(-1)


GOOD = {
    "fit": (pf.fit, FIT, {"data": X, "epochs": 1, "progress": False}),
    "fit_target": (pf.fit_target, FIT_TARGET, {"log_density": normal, "steps": 50, "progress": False}),
    "importance": (pf.importance, IMPORTANCE, {"log_density": normal}),
}
CASES = [(owner, name, case) for owner, (_, table, _) in GOOD.items() for name, values in table.items() for case in values]
# What is said in other words than the argument's name.
WORDS = {
    "flow": "Flow|flow",
    "context": "context",
    "validation": "validation|DataLoader",
    "data": "data|DataLoader",
    "optimizer": "optimizer|division",
}


def made():
    torch.manual_seed(0)
    return pf.MAF(2, transforms=1, widths=(8,))


@pytest.mark.parametrize(("owner", "name", "case"), CASES, ids=["-".join(case) for case in CASES])
def test_a_wrong_argument_is_named_before_anything_changes(owner, name, case):
    function, table, good = GOOD[owner]
    wrong = table[name][case]
    if case in LOADERS:
        wrong = wrong()
    flow = made()
    given = {"flow": flow, **good, name: wrong}
    before, plan, state = copy.deepcopy(flow.state_dict()), flow.plan, torch.get_rng_state()
    with pytest.raises((ValueError, TypeError, ZeroDivisionError) if case == "raises" else (ValueError, TypeError)) as caught:
        function(given.pop("flow"), **given)
    text = str(caught.value)
    assert re.search(WORDS.get(name, name), text), text
    if caught.type is not ZeroDivisionError:
        assert text.startswith(f"{owner}: "), text
        assert "expected" in text
        assert "got" in text
    assert flow.plan == plan
    assert flow.columns is None
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("owner", GOOD)
def test_every_argument_is_tried(owner):
    function, table, _ = GOOD[owner]
    assert set(table) == set(inspect.signature(function).parameters)


@pytest.mark.parametrize("case", ["none", "shape", "nan", "double", "sparse", "meta", "list", "nested"])
@pytest.mark.parametrize("owner", ["fit", "fit_target", "importance"])
def test_a_wrong_context_of_a_conditional_flow_is_named(owner, case):
    function, _, good = GOOD[owner]
    torch.manual_seed(0)
    flow = pf.MAF(2, context=1, transforms=1, widths=(8,))
    rows = 60 if owner == "fit" else 1
    value = torch.linspace(-1, 1, 60)[:rows, None] if owner == "fit" else torch.zeros(1, 1)
    wrong = {
        "none": None,
        "shape": torch.zeros(rows, 3),
        "nan": value * math.nan,
        "double": value.double() if owner != "fit" else torch.zeros(3, 1),
        "sparse": value.to_sparse(),
        "meta": value.to("meta"),
        "list": [[1.0], [2.0, 3.0]],
        "nested": unusual(torch.nested.nested_tensor, [torch.ones(2), torch.ones(1)], layout=torch.jagged),
    }[case]
    before = copy.deepcopy(flow.state_dict())
    given = {"log_density": lambda x, c: normal(x)} if "log_density" in good else {}
    with pytest.raises((ValueError, TypeError), match="context"):
        function(flow, context=wrong, **{**good, **given})
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())


@pytest.mark.filterwarnings("ignore:importance:UserWarning")  # so short a fit gives no good weights
def test_numbers_of_numpy_are_numbers():
    flow = made()
    history = pf.fit(
        flow, X, epochs=np.int64(1), batch_size=np.int32(8), learning_rate=np.float32(1e-3), validation=np.float64(0.2), seed=np.int64(3),
        patience=np.int64(2), clip=np.float32(1.0), progress=False,
    )  # fmt: skip
    assert len(history.train) == 1
    pf.fit_target(flow, normal, steps=np.int64(50), batch_size=np.int64(8), validation=np.int64(8), seed=np.int64(1), progress=False)
    assert len(pf.importance(flow, normal, np.int64(500), batch_size=np.int64(100)).samples) == 500


# The estimators of scikit-learn

ESTIMATOR = {
    "flow": {"none": None, "number": 3, "word": "glow", "flow": pf.MAF(2), "makes nothing": lambda *shape: None},
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "learning_rate": NUMBER,
    "weight_decay": {name: value for name, value in NUMBER.items() if name != "zero"},
    "validation": {"zero": 0.0, "one": 1, "above": 2.0, "word": "x", "true": True, "nan": math.nan},
    "patience": WHOLE,
    "seconds": NUMBER,
    "mixture": {"negative": -1, "broken": 2.5, "true": True, "word": "x", "nan": math.nan},
    "objective": WORD | {"class": pf.FlowMatching},
    "dequantize": FLAG,
    "random_state": {"word": "x", "broken": 0.5, "list": [1.5]},
    "verbose": {"word": "x", "negative": -1, "broken": 0.5},
}


@pytest.mark.parametrize("estimator", [FlowDensity, FlowRegressor])
@pytest.mark.parametrize(("name", "case"), [(name, case) for name, values in ESTIMATOR.items() for case in values])
def test_a_wrong_option_of_an_estimator_is_named(estimator, name, case):
    model = estimator(**({"flow": [Affine()]} | {name: ESTIMATOR[name][case]}))
    with pytest.raises((ValueError, TypeError), match=name if name != "random_state" else "seed|random|cannot") as caught:
        model.fit(X, X[:, 0])
    assert name == "random_state" or str(caught.value).startswith(estimator.__name__)
    assert not hasattr(model, "flow_")


def test_every_option_of_an_estimator_is_tried():
    for estimator in (FlowDensity, FlowRegressor):
        assert set(ESTIMATOR) == set(inspect.signature(estimator).parameters)


# The options of the command

NUMBERS = ["0", "-1", "2.5", "many", "", "nan"]
OPTIONS = {
    "fit": {
        "--output": ["", "no/such/folder/m", "."],
        "--columns": ["zz", "", "a,,b", "a,a", ",", '"a', "c"],
        "--context": ["zz", "", "a,a", "a,b"],
        "--flow": ["spline", "", "3"],
        "--transforms": NUMBERS,
        "--widths": ["0", "-1", "64,x", "", "2.5", "64,,64", "nan"],
        "--bins": [*NUMBERS, "1"],
        "--mixture": NUMBERS[1:],
        "--epochs": NUMBERS,
        "--batch-size": NUMBERS,
        "--learning-rate": ["0", "-1", "nan", "inf", "x", ""],
        "--validation": ["0", "1", "1.5", "nan", "x", ""],
        "--patience": NUMBERS,
        "--seconds": ["0", "-1", "nan", "inf", "x", ""],
        "--objective": ["zz", "", "flow_matching"],
        "--path": ["zz", "", "linear"],
        "--coupling": ["zz", "", "optimal_transport"],
        "--kinetic": ["-1", "nan", "inf", "x", "", "0.1"],
        "--jacobian": ["-1", "nan", "inf", "x", "", "0.1"],
        "--kind": ["a", "=count", "a=zz", "zz=count", "", "c=count"],
        "--seed": ["-1", "2.5", "a", "", str(2**70)],
    },
    "sample": {
        "-n": NUMBERS,
        "--output": ["", "no/such/folder/t.csv", "t.xls"],
        "--seed": ["-1", "2.5", "a", "", str(2**70)],
        "--given": ["a=1", "", "=", "a"],
        "--context-table": ["none.csv", "", "t.csv"],
    },
    "score": {"--output": ["", "no/such/folder/t.csv", "t.xls"], "--by": ["row", "", "column"], "--given": ["a=1", "", "=", "a"]},
    "impute": {"-n": NUMBERS, "--output": ["", "no/such/folder/t.csv", "t.xls"], "--seed": ["-1", "2.5", "a", "", str(2**70)]},
    "describe": {"--batch": NUMBERS},
    "plot": {
        "--output": ["no/such/folder/t.png", "t.bmp", "t.csv"],
        "--columns": ["zz", "", "a,a"],
        "--rows": [*NUMBERS, "1"],
        "--seed": ["-1", "2.5", "a", "", str(2**70)],
    },
}
WRITTEN = {
    "--delimiter": ["ab", "", '"'],
    "--decimal": ["x", "", ";"],
    "--encoding": ["latin-99", ""],
    "--missing": ["", ",", "a,,b"],
}
"""How a table is written; of the commands that read one."""
OPTIONS["schema"] = {
    "--kind": ["a", "=count", "a=zz", "zz=count", ""],
    "--columns": ["zz", "", "a,a"],
    "--exclude": ["zz", "", "a,a"],
}
OPTIONS["fit"]["--exclude"] = ["zz", "", "a,a"]
OPTIONS["compare"] = {
    "--output": ["", "no/such/folder/p.png", "p.bmp"],
    "--columns": ["zz", "", "a,a"],
    "--exclude": ["zz", "", "a,a"],
    "--kind": ["x", "=count", "a=zz", "zz=count", ""],
    "--seconds": ["0", "-1", "nan", "inf", "x", ""],
    "--seed": ["-1", "2.5", "a", "", str(2**70)],
}
for _command in ("fit", "sample", "score", "impute", "schema", "plot", "compare"):
    OPTIONS[_command].update(WRITTEN)
FLAGS = {"--dequantize", "--drop-missing", "--quiet", "--json", "--float64", "--header", "--support", "--outside"}
ASKED = [(command, option, value) for command, options in OPTIONS.items() for option, values in options.items() for value in values]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("options")
    with write_table(made / "t.csv", ["a", "b"]) as append:
        append(X)
    lines = (made / "t.csv").read_text().splitlines()
    (made / "t.csv").write_text("".join(f"{line},{'x' if i else 'c'}\n" for i, line in enumerate(lines)))
    torch.manual_seed(0)
    model = pf.MAF(2, transforms=1, widths=(8,))
    model.columns = ("a", "b")
    model.save(made / "m")
    table = {"a": X[:, 0], "b": X[:, 1]}
    pf.TableFlow(table, (8,)).measure(table).save(made / "all")
    return made


USUAL = {
    "fit": ["t.csv", "--output", "new", "--epochs", "1", "--transforms", "1", "--widths", "8", "-q"],
    "sample": ["m", "-n", "3", "--output", "new.csv"],
    "score": ["m", "t.csv", "--output", "new.csv"],
    "impute": ["all", "t.csv", "--output", "new.csv"],
    "describe": ["m"],
    "schema": ["t.csv"],
    "plot": ["m", "t.csv", "--output", "new.png"],
    "compare": ["t.csv", "--output", "new.png", "-q"],
}


@pytest.mark.parametrize(("command", "option", "value"), ASKED)
def test_a_wrong_option_of_the_command_is_one_line_that_names_it(folder, monkeypatch, capsys, command, option, value):
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    usual = list(USUAL[command])
    if option in usual:
        usual[usual.index(option) + 1] = value
    else:
        usual += [option, value]
    code = main([command, *usual])
    out, err = capsys.readouterr()
    assert code in (1, 2), err
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("pushforward: error: ")
    assert all(line.startswith("pushforward: ") for line in lines)
    named = option in lines[-1] or option.lstrip("-").replace("-", "_") in lines[-1]
    assert named or (value and value in lines[-1]), lines[-1]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_every_option_of_the_command_is_tried():
    commands = typer.main.get_command(app).commands
    for name, options in OPTIONS.items():
        there = {max(part.opts, key=len) for part in commands[name].params if part.opts[0].startswith("-")} - FLAGS - {"--help"}
        assert set(options) == there
    assert set(OPTIONS) == set(commands)


def test_a_flow_without_a_base_that_fits_is_as_it_was():
    """What fails after the location and scale of the data were measured puts the flow back, its plan too."""
    flow = pf.Flow(StandardNormal(), [Affine()], 2)
    before = copy.deepcopy(flow.state_dict())
    with pytest.raises(ZeroDivisionError):
        pf.fit(flow, X, optimizer=lambda parameters: 1 / 0, progress=False)
    assert str(flow.plan) == "Compose((Affine(),))"
    assert flow.state_dict().keys() == before.keys()
    assert np.isfinite(pf.fit(flow, X, epochs=1, progress=False).best_loss)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: pf.train.NegativeLogLikelihood(3), TypeError, "NegativeLogLikelihood: expected a Flow, got int"),
        (
            lambda: pf.train.NegativeLogLikelihood(pf.MAF(2))(torch.zeros(5, 2), weights=torch.ones(5, 1)),
            ValueError,
            r"NegativeLogLikelihood: expected one weight a row, of shape \(5,\), got \(5, 1\)",
        ),
        (lambda: pf.data.dequantize("x"), TypeError, "dequantize: expected x to be numbers"),
        (lambda: pf.data.dequantize(torch.full((3,), float("nan"))), ValueError, "dequantize: expected finite values"),
        (lambda: BaseFacts(accuracy=3), TypeError, "BaseFacts: expected accuracy to be a Tolerance, got 3"),
    ],
)
def test_what_is_public_in_its_folder_says_its_own_name(call, error, said):
    with pytest.raises(error, match=said):
        call()
