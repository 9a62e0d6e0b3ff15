"""fit: what it takes, what it refuses, what it leaves behind."""

import copy
import math
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset

import pushforward as pf
from pushforward.bases import StandardNormal
from pushforward.bijectors import Affine, Coupling, Exp, Spline
from pushforward.data import dequantize
from pushforward.layers.standardize import StandardizeModule

QUICK = {"epochs": 2, "batch_size": 64, "progress": False}
FLOWS = {
    "NICE": partial(pf.NICE, transforms=2),
    "RealNVP": partial(pf.RealNVP, transforms=2),
    "MAF": partial(pf.MAF, transforms=2),
    "IAF": partial(pf.IAF, transforms=2),
    "NSF coupling": partial(pf.NSF, transforms=2),
    "NSF autoregressive": partial(pf.NSF, structure="autoregressive", transforms=2),
}


LEVELS = pd.MultiIndex.from_product([["a"], ["x", "y"]])


def rows(n=200, d=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def maf(features=2, context=0):
    torch.manual_seed(0)
    return pf.MAF(features, context, transforms=2, widths=(16,))


def nsf(features):
    torch.manual_seed(0)
    return pf.NSF(features, transforms=2)


def weights_of(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def finite(flow):
    return all(bool(torch.isfinite(value).all()) for value in flow.state_dict().values())


# Bad data


def bad_sets():
    x = rows(120, 3)
    rng = np.random.default_rng(1)
    outlier = x.copy()
    outlier[17, 1] = 1e9
    return {
        "duplicates": np.repeat(x[:12], 10, axis=0),
        "scale 1e6": x * 1e6,
        "scale 1e-6": x * 1e-6,
        "offset 1e5": x.astype(np.float64) + 1e5,
        "outlier": outlier,
        "cauchy": rng.standard_cauchy((120, 3)),
        "integers": rng.integers(-3, 4, (120, 3)),
        "tiny": x[:5],
        "mixed scales": x * np.array([1e-6, 1.0, 1e6]),
    }


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("case", bad_sets())
def test_bad_data_never_gives_nan(name, case):
    torch.manual_seed(0)
    flow = FLOWS[name](3)
    x = bad_sets()[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = pf.fit(flow, x, epochs=3, batch_size=128, progress=False)
    assert bool(caught) == (case in ("duplicates", "integers"))
    assert finite(flow)
    assert np.isfinite(history.best_loss)
    assert history.best_loss <= history.start
    assert bool(torch.isfinite(flow.log_prob(torch.tensor(x, dtype=torch.float32))).all())
    assert bool(torch.isfinite(flow.sample((50,))).all())


def spoiled(value):
    x = rows(100, 3)
    x[[7, 40], 1] = value
    return x


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (spoiled(np.nan), r"2 rows: 7, 40 \(column 1\)"),
        (spoiled(np.inf), r"2 rows: 7, 40 \(column 1\)"),
        (spoiled(1.0) * np.array([1, 0, 1]), "constant.*column 1"),
        (rows(1, 3), "at least 3 rows"),
    ],
)
def test_bad_rows_and_columns_are_named_before_the_first_step(name, x, message):
    flow = FLOWS[name](3)
    before = weights_of(flow)
    with pytest.raises(ValueError, match=message):
        pf.fit(flow, x, **QUICK)
    assert same(before, flow.state_dict())


def conditional():
    return maf(2, context=1)


@pytest.mark.parametrize(
    ("make", "arguments", "options", "message"),
    [
        (maf, (rows(50, 3),), {}, r"data of shape \(n, 2\).*got \(50, 3\)"),
        (maf, (rows(50, 2)[:, 0],), {}, r"data of shape \(n, 2\).*got \(50,\)"),
        (maf, (rows(0, 2),), {}, "expected rows of data, got none"),
        (maf, (rows(2, 2),), {}, "at least 3 rows"),
        (maf, (rows(1, 2),), {"validation": None}, "at least 2 rows"),
        (maf, (rows(), rows()), {}, "expected no context"),
        (conditional, (rows(),), {}, "expected a context"),
        (conditional, (rows(), rows(199, 1)), {}, "as many rows of context as of data, 200, got 199"),
        (conditional, (rows(), rows(200, 1) * np.nan), {}, "expected finite context"),
        (conditional, (rows(), rows(200, 1) * 0), {}, "got context with 1 constant"),
        (maf, (rows().astype(float) + 1e7,), {}, "large offset.*column 0, column 1"),
        (maf, (rows().astype(float) * 1e200,), {}, "too large"),
        (lambda: maf().double(), (rows().astype(float) * 1e200,), {}, "spread has a square.*column 0, column 1"),
        (lambda: maf().double(), (rows().astype(float) * 1e-200,), {}, "spread has a square.*other units"),
        (maf, (rows(),), {"weights": -np.ones(200)}, "weights of at least 0"),
        (maf, (rows(),), {"weights": np.ones(3)}, "as many rows of weights"),
        (maf, (rows(),), {"weights": np.zeros(200)}, "a weight above 0"),
        (maf, (rows(),), {"weights": np.ones((200, 1))}, r"weights of shape \(n,\)"),
        (maf, (rows(),), {"validation": 1.5}, "validation to be a share"),
        (maf, (rows(),), {"validation": True}, "validation to be a share"),
        (maf, (rows(),), {"validation": (rows(), None, None)}, "got a tuple of 3"),
        (maf, (rows(),), {"validation": rows(20, 3)}, r"data of shape \(n, 2\)"),
        (maf, (rows(),), {"epochs": 0}, "epochs"),
        (maf, (rows(),), {"batch_size": 2.5}, "batch_size"),
        (maf, (rows(),), {"patience": 0}, "patience"),
        (maf, (rows(),), {"learning_rate": -1.0}, "learning_rate"),
        (maf, (rows(),), {"clip": float("nan")}, "clip"),
        (maf, (rows(),), {"schedule": "step"}, "schedule"),
        (maf, (rows(),), {"columns": ["a", "b"]}, "expected a DataFrame"),
        (maf, (pd.DataFrame(rows(), columns=LEVELS),), {}, r"a name for each column, got names of several levels, such as \('a', 'x'\)"),
        (maf, (rows(),), {"optimizer": lambda p: torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)}, "got one of others"),
        (maf, (pd.DataFrame(rows(), columns=["a", "b"]),), {"columns": ["a", "c"]}, r"columns \['c'\].*\['a', 'b'\]"),
        (maf, (pd.DataFrame({"a": rows()[:, 0], "b": ["x"] * 200}),), {}, "'b' \\(String\\)"),
        (maf, (pd.DataFrame({"a": rows()[:, 0], "b": pd.Categorical(["x", "y"] * 100)}),), {}, "'b' \\(Categorical"),
        (maf, (pd.DataFrame(spoiled(np.nan)[:, :2], columns=["a", "b"]),), {}, "7, 40 \\(column 'b'\\)"),
        (conditional, (pd.DataFrame(rows(200, 3), columns=["a", "b", "c"]), rows()), {"context_columns": ["c"]}, "got both"),
        (lambda: pf.Flow(StandardNormal(), [Affine(), Exp()], 2), (rows(),), {}, r"data in \(0, inf\).*rows"),
        (lambda: pf.Flow(Normal(torch.zeros(2), 1.0), [Affine()]), (rows(),), {}, "batch shape.*Independent"),
        (lambda: pf.Flow(StandardNormal(), [Exp()], 2), (rows(),), {}, "parameters that require a gradient"),
        (maf, (DataLoader(rows()),), {"weights": np.ones(200)}, "DataLoader without context, weights"),
        (maf, (DataLoader([]),), {}, "DataLoader without any"),
        (maf, (DataLoader(TensorDataset(*[torch.tensor(rows())] * 3)),), {}, "gives 3 parts"),
        (maf, (DataLoader(torch.tensor(spoiled(np.nan)[:, :2]), batch_size=10),), {}, "2 rows|7"),
    ],
)  # fmt: skip
def test_wrong_input_is_explained(make, arguments, options, message):
    flow = make()
    before = weights_of(flow)
    with pytest.raises(ValueError, match=message):
        pf.fit(flow, *arguments, **{**QUICK, **options})
    assert same(before, flow.state_dict())


@pytest.mark.parametrize(
    "data", ["text", [["a", "b"]], rows().astype(complex), torch.tensor(rows()).to_sparse(), np.array([[None, 1.0]] * 9)]
)
def test_what_is_no_number_is_refused(data):
    with pytest.raises(TypeError, match="fit: expected data to be"):
        pf.fit(maf(), data, **QUICK)


# What data may be


def kinds():
    x = np.round(rows() * 64) / 64
    wide = np.zeros((200, 4), np.float32)
    wide[:, ::2] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "tensor": torch.tensor(x),
        "float64 tensor": torch.tensor(x).double(),
        "half": x.astype(np.float16),
        "float64": x.astype(np.float64),
        "long double": x.astype(np.longdouble),
        "big endian": x.astype(">f4"),
        "fortran": np.asfortranarray(x),
        "strided": wide[:, ::2],
        "reversed": np.ascontiguousarray(x[::-1])[::-1],
        "read-only": locked,
        "list": x.tolist(),
        "masked": np.ma.masked_array(x, np.zeros_like(x, dtype=bool)),
        "pandas": pd.DataFrame(x),
        "nullable": pd.DataFrame(x).astype("Float64"),
        "pyarrow": pa.table({"a": x[:, 0], "b": x[:, 1]}),
    }


@pytest.mark.filterwarnings("ignore:fit. columns on a grid")
def test_every_kind_of_array_gives_the_same_fit():
    flow = maf(2)
    pf.fit(flow, kinds()["float64"], **QUICK)
    for kind, data in kinds().items():
        other = maf(2)
        pf.fit(other, data, **QUICK)
        assert same(flow.state_dict(), other.state_dict()), kind


@pytest.mark.parametrize("x", [rows(200, 1), rows(200, 1)[:, 0], pd.Series(rows(200, 1)[:, 0], name="r")])
def test_one_feature_takes_one_axis(x):
    flow = nsf(1)
    assert np.isfinite(pf.fit(flow, x, **QUICK).best_loss)


def test_dataframe_sets_the_columns():
    frame = pd.DataFrame(rows(200, 4), columns=["a", "b", "c", "d"])
    flow = maf(2, context=1)
    pf.fit(flow, frame, columns=["d", "a"], context_columns=["c"], **QUICK)
    assert (flow.columns, flow.context_columns) == (("d", "a"), ("c",))
    again = maf(2, context=1)
    pf.fit(again, frame[["d", "a"]].to_numpy(), frame["c"], **QUICK)
    assert same(flow.state_dict(), again.state_dict())
    pf.fit(flow, frame, **QUICK)  # the columns of the first fit
    assert flow.columns == ("d", "a")
    rest = maf(3, context=1)
    pf.fit(rest, frame, context_columns=["b"], validation=frame.iloc[:20], **QUICK)
    assert rest.columns == ("a", "c", "d")


def test_loader_is_streamed():
    x = torch.tensor(rows(300))
    whole = maf(2)
    pf.fit(whole, x, validation=None, **QUICK)
    streamed = maf(2)
    history = pf.fit(streamed, DataLoader(x, batch_size=100, shuffle=True), **QUICK)
    assert history.monitored == "training"
    assert history.validation == []
    assert torch.allclose(streamed.transform.layers[-1].loc, whole.transform.layers[-1].loc)
    c = x[:, :1] * 2 + torch.from_numpy(rows(len(x), seed=3)[:, :1])
    given = maf(2, context=1)
    history = pf.fit(given, DataLoader(TensorDataset(x, c), batch_size=100), validation=(x[:50], c[:50]), **QUICK)
    assert history.monitored == "validation"
    assert len(history.validation) == 2
    assert bool(given.context_units.calibrated)


def test_images_and_scalars():
    image = pf.Flow(StandardNormal(), [Affine()], (2, 3))
    assert np.isfinite(pf.fit(image, rows(60, 6).reshape(60, 2, 3), **QUICK).best_loss)
    still = rows(60, 6).reshape(60, 2, 3)
    still[:, 1, 2] = 4
    with pytest.raises(ValueError, match=r"element \(1, 2\)"):
        pf.fit(image, still, **QUICK)
    scalar = pf.Flow(Normal(0.0, 1.0), [Spline()])
    assert np.isfinite(pf.fit(scalar, rows(60, 1)[:, 0], **QUICK).best_loss)


# What it promises


def test_same_seed_same_bits_and_the_users_randomness_is_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    flows = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng():
            flow = maf(2)
        pf.fit(flow, rows(), seed=seed, **QUICK)
        flows.append(weights_of(flow))
        loader = DataLoader(torch.tensor(rows()), batch_size=50, shuffle=True)
        pf.fit(flow, loader, **QUICK)
        flows.append(weights_of(flow))
    assert same(flows[0], flows[2])
    assert same(flows[1], flows[3])
    assert not same(flows[0], flows[4])
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


def test_layers_that_draw_are_seeded():
    def fitted(seed):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        flow = pf.Flow(StandardNormal(), [Coupling(Affine(), mask=[0], net=net)], 2).eval()
        torch.manual_seed(seed)
        pf.fit(flow, rows(), **QUICK)
        return weights_of(flow)

    assert same(fitted(1), fitted(2))


def test_interrupt_keeps_the_best_weights():
    seen = {}

    def stop(history):
        seen[len(history.train)] = weights_of(flow)
        if len(history.train) == 6:
            raise KeyboardInterrupt

    flow = maf(2).eval()
    options = {"batch_size": 64, "learning_rate": 0.3, "schedule": None, "averaging": None}
    history = pf.fit(flow, rows(), epochs=50, progress=False, callback=stop, **options)
    assert history.interrupted
    assert history.stopped == "interrupted"
    assert len(history.train) == len(history.validation) == len(history.learning_rate) == len(history.seconds) == 6
    assert history.best_loss == min([history.start, *history.validation])
    if history.best_epoch:
        assert same(seen[history.best_epoch], flow.state_dict())
        assert history.validation[history.best_epoch - 1] == history.best_loss
    assert not flow.training


def test_interrupt_in_the_middle_of_an_epoch(monkeypatch):
    flow = maf(2)
    original, calls = flow.log_prob, iter(range(10**6))

    def log_prob(x, c=None):
        if flow.training and next(calls) == 2 * 12 + 5:  # the third epoch, each of 12 steps
            raise KeyboardInterrupt
        return original(x, c)

    monkeypatch.setattr(flow, "log_prob", log_prob)
    history = pf.fit(flow, rows(), **{**QUICK, "epochs": 5})
    assert history.interrupted
    assert len(history.train) == len(history.validation) == len(history.learning_rate) == len(history.seconds) == 2
    assert finite(flow)


def test_callback_can_stop():
    history = pf.fit(maf(2), rows(), progress=False, callback=lambda history: len(history.train) == 2)
    assert history.stopped == "callback"
    assert len(history.train) == 2


def test_best_weights_give_the_best_loss_in_the_users_units():
    x = rows(300) * np.array([1e-3, 1e3], np.float32) + np.array([5, -2], np.float32)
    held = rows(100, seed=3) * np.array([1e-3, 1e3], np.float32) + np.array([5, -2], np.float32)
    flow = maf(2)
    history = pf.fit(flow, x, validation=held, epochs=5, progress=False)
    with torch.no_grad():
        assert -flow.log_prob(torch.tensor(held)).mean().item() == pytest.approx(history.best_loss, abs=1e-5)


def test_patience_and_schedules():
    x = rows(100)
    history = pf.fit(maf(2), x, learning_rate=0.05, patience=3, epochs=100, averaging=None, progress=False)
    assert history.stopped == "patience"
    assert len(history.train) == history.best_epoch + 3
    history = pf.fit(maf(2), x, schedule="cosine", learning_rate=0.01, epochs=4, patience=None, progress=False)
    assert history.learning_rate == pytest.approx([0.01, 0.01 * 0.5 * (1 + 2**-0.5), 0.005, 0.01 * 0.5 * (1 - 2**-0.5)])
    history = pf.fit(maf(2), x, learning_rate=0.05, patience=None, epochs=40, progress=False)
    assert min(history.learning_rate) < 0.05
    assert set(np.log2(0.05 / np.array(history.learning_rate)).round(9) % 1) == {0.0}
    # A step of nothing makes no loss better: the rate is halved after each eight epochs.
    history = pf.fit(maf(2).double(), x, learning_rate=1e-300, patience=None, epochs=20, standardize=False, progress=False)
    assert history.learning_rate == [1e-300] * 8 + [5e-301] * 8 + [2.5e-301] * 4


def test_fitting_again_goes_on():
    flow = maf(2)
    x = rows(300) * 7 + 3
    x[:, 1] += x[:, 0] ** 2
    first = pf.fit(flow, x, validation=x, epochs=30, progress=False)
    kept = flow.transform.layers[-1].scale.clone()
    again = pf.fit(flow, x * 1.01, epochs=2, validation=x, progress=False)
    assert torch.equal(kept, flow.transform.layers[-1].scale)
    assert again.start == first.best_loss < first.start
    pf.fit(flow, rows(300, seed=4) * 9 + 3, epochs=1, standardize=True, progress=False)
    assert not torch.equal(kept, flow.transform.layers[-1].scale)
    raw = maf(2)
    pf.fit(raw, rows(), standardize=False, **QUICK)
    assert not any(bool(m.calibrated) for m in raw.modules() if isinstance(m, StandardizeModule))


def test_saved_and_loaded_flow_knows_that_it_was_fitted(tmp_path):
    flow = maf(2)
    pf.fit(flow, rows() + 100, **QUICK)
    flow.save(tmp_path / "flow.safetensors")
    loaded = pf.load(tmp_path / "flow.safetensors")
    pf.fit(loaded, rows() - 100, standardize=None, **QUICK)
    assert torch.equal(loaded.transform.layers[-1].loc, flow.transform.layers[-1].loc)


@pytest.mark.fits
def test_weights_count_rows():
    x = np.concatenate([rows(500, 1), rows(500, 1, seed=2) * 0.5 + 6])
    w = np.repeat([1.0, 0.0], 500)
    one, other = nsf(1), nsf(1)
    pf.fit(one, x, weights=w, validation=None, epochs=20, progress=False)
    assert abs(one.transform.layers[-1].loc.item()) < 0.2
    pf.fit(other, x, weights=np.repeat([3.0, 1.0], 500), epochs=60, progress=False)
    assert abs(other.sample((20000,), generator=torch.Generator().manual_seed(0)).mean().item() - 1.5) < 0.2
    scaled = nsf(1)
    history = pf.fit(scaled, x, weights=np.repeat([300.0, 100.0], 500), epochs=60, progress=False)
    assert np.isfinite(history.best_loss)
    assert torch.allclose(scaled.log_prob(torch.tensor(x)), other.log_prob(torch.tensor(x)), atol=1e-2)


def test_float64_is_trained_in_float64():
    flow = maf(2).double()
    x = rows(200).astype(np.float64) + 1e9
    history = pf.fit(flow, x, epochs=5, progress=False)
    assert flow.dtype == torch.float64
    assert history.best_loss < 3.2
    assert flow.log_prob(torch.tensor(x)).dtype == torch.float64


def test_an_optimizer_that_asks_for_losses_is_refused():
    flow = maf()
    plan, before = flow.plan, copy.deepcopy(flow.state_dict())
    for fit in (
        lambda: pf.fit(flow, rows(), optimizer=torch.optim.LBFGS, **QUICK),
        lambda: pf.fit_target(flow, lambda x: -x.square().sum(-1), steps=2, optimizer=torch.optim.LBFGS, progress=False),
    ):
        with pytest.raises(TypeError, match="expected an optimizer that takes one gradient a step, got LBFGS, which asks for the loss"):
            fit()
    assert flow.plan == plan
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


def test_own_optimizer_and_frozen_parameters():
    flow = maf(2)
    frozen = next(flow.parameters())
    frozen.requires_grad_(False)
    before = frozen.clone()
    history = pf.fit(flow, rows(), optimizer=lambda parameters: torch.optim.SGD(parameters, 1e-3), **QUICK)
    assert history.learning_rate == [1e-3, 1e-3]
    assert torch.equal(before, frozen)
    assert all(p.grad is None for p in flow.parameters())


def test_steps_without_a_finite_loss_are_skipped(monkeypatch):
    flow = maf(2)
    original = flow.log_prob
    calls = iter(range(10**6))
    monkeypatch.setattr(flow, "log_prob", lambda x, c=None: original(x, c) * (float("nan") if flow.training and next(calls) % 2 else 1.0))
    history = pf.fit(flow, rows(), **QUICK)
    # Two epochs, each of four passes of three steps; every other step is spoiled.
    assert history.skipped_steps == 12
    assert "12 steps skipped" in repr(history)
    assert finite(flow)

    def broken(x, c=None):
        return original(x, c) * (float("inf") if flow.training else 1.0)

    monkeypatch.setattr(flow, "log_prob", broken)
    before = weights_of(flow)
    with pytest.raises(FloatingPointError, match=r"steps of epoch 1.*learning_rate"):
        pf.fit(flow, rows(), **QUICK)
    assert same(before, flow.state_dict())


def test_wild_learning_rate_leaves_the_best_weights():
    flow = maf(2)
    history = pf.fit(flow, rows(), learning_rate=1e4, epochs=5, progress=False)
    assert finite(flow)
    assert history.best_loss <= history.start


def test_progress_is_on_stderr(capsys):
    pf.fit(maf(2), rows(), epochs=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "best" in err
    assert "validation loss" in err


def test_history_is_plain():
    history = pf.fit(maf(2), rows(), **QUICK)
    assert list(history.to_dict()) == [
        "train", "validation", "learning_rate", "seconds", "start", "best_epoch", "best_loss", "monitored", "stopped", "skipped_steps",
        "tried", "averaged", "objective", "nats", "error", "evaluations",
    ]  # fmt: skip
    assert repr(history).startswith("History(epochs=2, best validation loss")


# Grids


def test_dequantize_finds_steps_and_keeps_cells():
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [rng.integers(0, 9, 1000), rng.standard_normal(1000), rng.integers(0, 50, 1000) * 0.1, rng.integers(0, 5, 1000) * 25.0]
    )
    y, steps = dequantize(x, generator=torch.Generator().manual_seed(0))
    assert steps == pytest.approx([1.0, 0.0, 0.1, 25.0])
    assert np.array_equal(np.rint(y[:, 0]), x[:, 0])
    assert np.array_equal(y[:, 1], x[:, 1])
    assert bool((np.abs(y - x).max(0) <= steps / 2 + 1e-12).all())
    assert np.array_equal(y, dequantize(x, generator=torch.Generator().manual_seed(0))[0])
    assert y.dtype == np.float64
    t, _ = dequantize(torch.tensor(x, dtype=torch.float32))
    assert isinstance(t, torch.Tensor)
    assert t.dtype == torch.float32
    flat, step = dequantize(x[:, 0])
    assert flat.shape == (1000,)
    assert step.shape == (1,)
    half_zero = np.where(rng.random(1000) < 0.7, 0.0, rng.random(1000))
    assert dequantize(half_zero)[1] == [0.0]
    with pytest.raises(ValueError, match="dequantize: expected finite"):
        dequantize(np.array([1.0, np.nan]))


def test_grids_are_named_once():
    frame = pd.DataFrame(rows(), columns=["smooth", "rounded"])
    frame["rounded"] = frame["rounded"].round()
    with pytest.warns(UserWarning, match="column 'rounded'.*dequantize") as caught:
        pf.fit(maf(2), frame, **QUICK)
    assert len(caught) == 1
    pf.fit(maf(2), dequantize(frame.to_numpy())[0], **QUICK)


def test_a_value_that_comes_many_times_is_named():
    x = rows(300)
    x[:10, 0], x[:60, 1] = 0.5, 0.5
    with pytest.warns(UserWarning, match=r"one value many times: column 1 \(20 % of the rows\)\. ") as caught:
        pf.fit(maf(2), x, validation=None, **QUICK)
    assert len(caught) == 1


def test_the_losses_are_means_by_weight_in_nats():
    """Whatever the sizes of the weights are, and in evaluation as the flow is then."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    flow = pf.Flow(StandardNormal(), [Coupling(Affine(), mask=[0], net=net)], 2).double()
    x, held, w = torch.tensor(rows(100)).double(), torch.tensor(rows(50, seed=1)).double(), np.linspace(0.1, 5, 100)
    options = {"epochs": 1, "batch_size": 100, "learning_rate": 1e-12, "standardize": False, "progress": False}
    history = pf.fit(flow, x, validation=held, **options)
    flow.eval()
    assert history.start == pytest.approx(-flow.log_prob(held).mean().item(), rel=1e-9)
    assert history.validation == pytest.approx([history.start], rel=1e-9)
    sound = maf(2).double()
    history = pf.fit(sound, x, weights=w, validation=None, **options)
    assert history.train == pytest.approx([-np.average(sound.log_prob(x).detach(), weights=w)], rel=1e-9)


def test_a_warm_start_goes_on_from_an_earlier_fit():
    x, moved = rows(600), rows(600, seed=1) * 1.1 + 0.1
    first = maf(2)
    pf.fit(first, x, epochs=20, progress=False)
    before = weights_of(first)
    warm = copy.deepcopy(first)
    history = pf.fit(warm, moved, epochs=3, progress=False)
    assert same(before, first.state_dict())  # the earlier fit is left as it is
    cold = pf.fit(maf(2), moved, epochs=3, progress=False)
    assert history.start < cold.start
    assert history.best_loss < cold.best_loss + 0.05


@pytest.mark.parametrize("flow", [lambda: maf(3), lambda: pf.NSF(3, transforms=2, widths=(16, 16))], ids=["MAF", "NSF"])
def test_networks_in_half_precision(flow):
    torch.manual_seed(0)
    x, half, full = rows(400, 3), flow(), flow()
    full.load_state_dict(half.state_dict())
    seen = set()
    dense = next(m for m in half.modules() if isinstance(m, torch.nn.Linear))

    class Products(TorchFunctionMode):
        """Notes the precision of each product."""

        def __torch_function__(self, function, types, arguments=(), keywords=None):
            out = function(*arguments, **(keywords or {}))
            if function is torch.nn.functional.linear:
                seen.add(out.dtype)
            return out

    with Products():
        reduced = pf.fit(half, x, epochs=5, precision="bfloat16", progress=False)
    assert torch.bfloat16 in seen
    assert dense.weight.dtype == torch.float32  # the weights and what the optimiser keeps stay as they are
    whole = pf.fit(full, x, epochs=5, progress=False)
    assert reduced.best_loss == pytest.approx(whole.best_loss, abs=0.05)


@pytest.mark.compiler
def test_a_compiled_step_is_the_same_step(monkeypatch):
    asked = []

    def compiled(module, mode=None):
        asked.append(mode)
        return real(module, backend="aot_eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compiled)
    x, one = rows(200), maf(2)
    two = copy.deepcopy(one)
    fast = pf.fit(one, x, compile="reduce-overhead", **QUICK)
    plain = pf.fit(two, x, **QUICK)
    pf.fit(two, x, compile=True, **QUICK)
    assert asked == ["reduce-overhead", None]
    assert fast.train == pytest.approx(plain.train, abs=1e-4)
    torch._dynamo.reset()


@pytest.mark.parametrize(("option", "words"), [({"compile": "fast"}, "reduce-overhead"), ({"precision": "float64"}, "bfloat16")])
def test_wrong_ways_to_compute_are_named(option, words):
    with pytest.raises(ValueError, match=words):
        pf.fit(maf(2), rows(), **option)


@pytest.mark.parametrize("size", [2.0**-1000, 2.0**-20, 2.0**1000])
def test_only_the_ratios_of_weights_matter(size):
    weights = np.random.default_rng(3).integers(0, 9, 200).astype(float)
    fits = []
    for given in (weights, weights * size, pd.Series(weights * size), torch.tensor(weights * size)):
        flow = maf()
        history = pf.fit(flow, rows(), weights=given, **QUICK)
        assert np.isfinite(history.best_loss)
        fits.append((history.train, weights_of(flow)))
    for losses, state in fits[1:]:
        assert losses == fits[0][0]
        assert same(state, fits[0][1])


def test_rows_that_weigh_next_to_nothing_may_all_be_held_out():
    weights = np.full(200, 1e-200)
    weights[::10] = 1e200
    for seed in range(5):
        history = pf.fit(maf(), rows(), weights=weights, validation=0.02, seed=seed, **QUICK)
        assert np.isfinite(history.start)
        assert np.isfinite(history.best_loss)


def rates_of(flow, rows, **options):
    """Return the learning rate of each step of a fit."""
    taken = []

    def make(parameters):
        optimizer = torch.optim.SGD(parameters, 1.0)
        optimizer.register_step_pre_hook(lambda *_: taken.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    history = pf.fit(flow, rows, optimizer=make, epochs=13, progress=False, clip=1e-6, **{"schedule": None, **options})
    return taken, history


def test_what_knows_something_warms_up():
    rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    flow = pf.MAF(2, transforms=1, widths=(8,))
    taken, _ = rates_of(flow, rows, mixture=0)
    assert set(taken) == {1.0}
    growing = [min(1.0, (step + 1) / 100) for step in range(len(taken))]
    assert len(taken) > 100
    # A flow that has met data, and one that begins as a mixture.
    assert rates_of(flow, rows)[0] == pytest.approx(growing)
    taken, history = rates_of(pf.MAF(2, transforms=1, widths=(8,)), rows, mixture=2, schedule="cosine")
    assert taken[: len(taken) // 13] == pytest.approx(growing[: len(taken) // 13])
    assert taken[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 12 / 13)))
    assert history.learning_rate[-1] == taken[-1]
