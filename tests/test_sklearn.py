"""scikit-learn: the estimators keep its rules, and their answers are those of the density."""

import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from pushforward.bases import StandardNormal, StudentT
from pushforward.bijectors import MLP, Affine, AffineFixed, Autoregressive, Elementwise, Spline
from pushforward.contrib.sklearn import FlowDensity, FlowRegressor
from pushforward.files import load
from pushforward.flow.flow import Flow
from pushforward.flow.mixture_start import mixture_of
from pushforward.flows import CNF, MAF, NSF
from pushforward.train import FlowMatching

pytestmark = pytest.mark.filterwarnings("ignore:fit. columns on a grid:UserWarning")
NORMAL = [Elementwise(Affine(), net=MLP((32,)))]
"""A normal y, of which location and scale are functions of x."""
SPLINE = [Autoregressive(Spline(), net=MLP((32,))), *NORMAL]
QUICK = {"epochs": 5, "random_state": 0}


def table(n=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x * [1.0, 10.0, 0.1] + [0.0, 5.0, 1000.0] + 0.5 * x[:, :1]


def wave(n=1500):
    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, (n, 1))
    scale = 0.2 + 0.1 * np.abs(x[:, 0])
    return x, 10 + np.sin(x[:, 0]) + scale * rng.normal(size=n), scale


@pytest.fixture(scope="module")
def density():
    return FlowDensity("maf", **QUICK).fit(table())


@pytest.fixture(scope="module")
def spline():
    x, y, _ = wave()
    return FlowRegressor(SPLINE, random_state=0, epochs=40).fit(x, y)


@pytest.fixture(scope="module")
def pair():
    """Two targets that go together, given one column."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 1))
    first = x[:, 0] + rng.normal(size=800)
    return x, FlowRegressor(SPLINE, random_state=0, epochs=30).fit(x, np.column_stack([first, first + 0.3 * rng.normal(size=800)]))


@pytest.mark.fits
@pytest.mark.parametrize(
    "estimator",
    [FlowDensity(partial(NSF, transforms=1), epochs=2), FlowRegressor(partial(NSF, transforms=1), epochs=5)],
    ids=["density", "regressor"],
)
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_skip=None)
    assert len(results) > 50
    # Arrays of other libraries are asked for by an environment variable alone; nothing is expected to fail.
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= {"check_array_api_input"}


# The density


def test_a_normal_is_that_of_a_mixture_of_one():
    x = table()
    flow = FlowDensity([Affine()], validation=None, epochs=20, random_state=0).fit(x)
    normal = GaussianMixture(1, covariance_type="diag", reg_covar=0.0).fit(x)
    # The best is known, and the flow starts there: it may only wander by what its steps leave.
    assert flow.score(x) == pytest.approx(normal.score(x), abs=1e-3)
    for which in ("aic", "bic"):  # both count two parameters a column
        assert getattr(flow, which)(x) == pytest.approx(getattr(normal, which)(x), abs=2 * len(x) * 1e-3)


def test_scores_are_those_of_the_flow_in_float64(density):
    x = table()
    scores = density.score_samples(x)
    assert scores.dtype == np.float64
    assert scores.shape == (300,)
    np.testing.assert_allclose(scores, density.flow_.log_prob(torch.tensor(x)).detach().numpy(), rtol=1e-12)
    assert density.score(x) == scores.mean()


CONTINUOUS = partial(CNF, widths=(8,), tolerance=1e-3)


@pytest.mark.fits
def test_flow_matching_fits_densities_and_says_them_in_nats():
    x = table()
    model = FlowDensity(CONTINUOUS, objective="flow_matching", epochs=20, random_state=0).fit(x)
    nats = model.history_.nats
    assert nats[model.history_.best_epoch] < nats[0]
    # The held-out rows are a tenth of all, whose log-densities have a standard deviation of about 1.2.
    assert model.score(x) == pytest.approx(-nats[model.history_.best_epoch], abs=1.0)
    given, y, _ = wave(600)
    regressor = FlowRegressor(CONTINUOUS, objective=FlowMatching(times="late"), epochs=60, patience=None, random_state=0).fit(given, y)
    low, middle, high = regressor.predict_quantiles(given, [0.1, 0.5, 0.9]).T
    assert (low < middle).all()
    assert (middle < high).all()
    assert np.mean((y > low) & (y < high)) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("kind", [FlowDensity, FlowRegressor])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "matching"}, "expected objective to be 'likelihood', 'flow_matching', or a FlowMatching or a Likelihood"),
        ({"objective": "flow_matching"}, "expected a flow with one Continuous layer in its list of layers for objective='flow_matching'"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
        kind(**options).fit(table(20), table(20)[:, 0])


def test_it_maps_to_the_base_and_back(density):
    x = table()
    z = density.transform(x)
    assert np.abs(z.mean(0)).max() < 0.3
    np.testing.assert_allclose(density.inverse_transform(z), x, rtol=1e-9)
    named = clone(density).set_output(transform="pandas").fit(pd.DataFrame(x, columns=["a", "b", "c"]))
    assert list(named.transform(pd.DataFrame(x, columns=["a", "b", "c"])).columns) == ["flowdensity0", "flowdensity1", "flowdensity2"]
    assert list(named.feature_names_in_) == ["a", "b", "c"]


def test_samples_follow_their_seed_and_the_data(density):
    drawn = density.sample(4000)
    assert drawn.shape == (4000, 3)
    np.testing.assert_array_equal(drawn, density.sample(4000))
    assert not np.array_equal(drawn, density.sample(4000, random_state=1))
    assert not np.array_equal(density.sample(2, np.random.RandomState(1)), density.sample(2, np.random.RandomState(2)))
    x = table()
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.4 * x.std(0).max(), rtol=0)
    np.testing.assert_allclose(drawn.std(0), x.std(0), rtol=0.3)


def test_the_user_keeps_his_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    FlowDensity("maf", **QUICK).fit(table(50)).sample(3)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_copies_and_the_order_of_rows_is_none():
    x, weights = table(60), np.arange(60) % 4
    weighted = FlowDensity("maf", **QUICK).fit(x, sample_weight=weights)
    repeated = FlowDensity("maf", **QUICK).fit(np.repeat(x, weights, axis=0)[::-1])
    np.testing.assert_array_equal(weighted.score_samples(x), repeated.score_samples(x))
    plain, shuffled = FlowDensity("maf", **QUICK).fit(x), FlowDensity("maf", **QUICK).fit(x[::-1])
    np.testing.assert_array_equal(plain.score_samples(x), shuffled.score_samples(x))
    assert not np.array_equal(plain.score_samples(x), weighted.score_samples(x))


@pytest.mark.parametrize("size", [2.0**-1000, 2.0**1000])
def test_only_the_ratios_of_weights_matter(size):
    x, weights = table(60), 1.0 + np.arange(60) % 4
    one, two = (FlowDensity("maf", **QUICK).fit(x, sample_weight=w) for w in (weights, weights * size))
    np.testing.assert_array_equal(one.score_samples(x), two.score_samples(x))


def test_held_out_rows_are_weighted_too():
    # The heavy half lies at 3, the light one at -3: the density must say so in what is kept, whichever rows chose it.
    x = np.concatenate([np.random.default_rng(0).normal(size=(100, 1)) + side for side in (3.0, -3.0)])
    weights = np.repeat([9.0, 1.0], 100)
    flow = FlowDensity("nsf", random_state=0, epochs=30).fit(x, sample_weight=weights)
    share = (flow.sample(4000) > 0).mean()
    assert abs(share - 0.9) < 0.08


def test_a_grid_is_spread():
    x = np.random.default_rng(0).integers(0, 6, size=(300, 1)).astype(float)
    flow = FlowDensity("nsf", dequantize=True, random_state=0, epochs=20).fit(x)
    # Six cells of one unit each: no density can be far above their probability.
    assert -2.2 < flow.score(x) < -np.log(6) + 0.4


@pytest.mark.parametrize(
    "flow",
    ["NSF", MAF, partial(NSF, transforms=1), Affine(), [Affine()], lambda features: MAF(features, transforms=1)],
    ids=["name", "function", "partial", "plan", "list", "lambda"],
)
def test_flows_of_all_kinds(flow):
    assert FlowDensity(flow, epochs=1, random_state=0).fit(table(20)).score(table(20)) > -20


@pytest.mark.parametrize("state", [None, 5, np.random.RandomState(0)])
def test_random_states_of_all_kinds(state):
    assert FlowDensity([Affine()], epochs=1, random_state=state).fit(table(20)).sample(2).shape == (2, 3)


# The conditional density


def test_a_normal_y_is_known_exactly():
    x, y, _ = wave()
    model = FlowRegressor(NORMAL, random_state=0, epochs=40).fit(x, y)
    mean, deviation = model.predict(x, return_std=True)
    q = [0.001, 0.3, 0.5, 0.99]
    np.testing.assert_allclose(model.predict_quantiles(x, q), stats.norm.ppf(q, mean[:, None], deviation[:, None]), rtol=1e-9)
    np.testing.assert_allclose(model.log_prob(x, y), stats.norm.logpdf(y, mean, deviation), rtol=1e-8)


@pytest.mark.fits
def test_the_wave_is_learned(spline):
    x, y, scale = wave(6000)
    best = stats.norm.entropy(scale=scale).mean()
    assert -spline.log_prob(x, y).mean() < best + 0.08
    assert spline.score(x, y) > 0.7
    low, high = spline.predict_interval(x, coverage=0.8).T
    assert np.all(low < high)
    assert np.mean((low < y) & (y < high)) == pytest.approx(0.8, abs=0.05)


def test_answers_are_those_of_samples(spline):
    x, n = np.array([[-2.0], [0.0], [2.5]]), 20000
    drawn = spline.sample(x, n)
    assert drawn.shape == (3, n)
    mean, deviation = spline.predict(x, return_std=True)
    assert np.all(np.abs(drawn.mean(1) - mean) < 5 * deviation / np.sqrt(n))
    np.testing.assert_allclose(drawn.std(1), deviation, rtol=0.05)
    for q, value in zip((0.05, 0.5, 0.95), spline.predict_quantiles(x).T, strict=True):
        assert np.all(np.abs((drawn < value[:, None]).mean(1) - q) < 5 * np.sqrt(q * (1 - q) / n))
    np.testing.assert_array_equal(spline.predict_interval(x, 0.6), spline.predict_quantiles(x, [0.2, 0.8]))


def test_a_falling_flow_has_rising_quantiles():
    x, y, _ = wave(200)
    model = FlowRegressor([*NORMAL, AffineFixed(0.0, -1.0)], **QUICK).fit(x, y)
    mean, deviation = model.predict(x, return_std=True)
    q = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(model.predict_quantiles(x, q), stats.norm.ppf(q, mean[:, None], deviation[:, None]), rtol=1e-9)


def test_two_targets_are_one_density(pair):
    x, model = pair
    n = 20000
    mean, deviation = model.predict(x[:3], return_std=True)
    drawn = model.sample(x[:3], n)
    assert drawn.shape == (3, n, 2)
    # The sobol points' own error is far below that of the samples.
    assert np.all(np.abs(drawn.mean(1) - mean) < 6 * deviation / np.sqrt(n))
    quantiles = model.predict_quantiles(x[:3], [0.1, 0.9])
    assert quantiles.shape == (3, 2, 2)
    assert model.predict_interval(x[:3]).shape == (3, 2, 2)
    below = (drawn[:, :, None] < quantiles[:, None]).mean(1)
    np.testing.assert_allclose(below, np.broadcast_to([[0.1], [0.9]], (3, 2, 2)), atol=0.015)
    assert np.corrcoef(drawn[0].T)[0, 1] > 0.8  # 0.96 in the data


def test_the_shape_of_y_is_kept():
    x, y, _ = wave(100)
    column = FlowRegressor(NORMAL, **QUICK).fit(x, y[:, None])
    flat = FlowRegressor(NORMAL, **QUICK).fit(pd.DataFrame(x, columns=["x"]), pd.Series(y))
    assert column.predict(x).shape == (100, 1)
    assert column.sample(x, 7).shape == (100, 7, 1)
    np.testing.assert_array_equal(column.predict(x)[:, 0], flat.predict(pd.DataFrame(x, columns=["x"])))


def test_rows_do_not_depend_on_each_other(spline, pair):
    for model, x in ((spline, wave(400)[0]), (pair[1], pair[0][:300])):
        np.testing.assert_allclose(model.predict(x)[7:9], model.predict(x[7:9]), rtol=1e-12)
        np.testing.assert_array_equal(model.predict(x), model.predict(x))


def test_a_support_is_kept():
    x, y, _ = wave(200)
    model = FlowRegressor(partial(NSF, transforms=1, support=["positive"]), **QUICK).fit(x, np.exp(y - 10))
    assert model.sample(x, 10).min() > 0
    assert model.predict_quantiles(x, [1e-6]).min() > 0
    assert model.log_prob(x[:1], [-1.0])[0] == -np.inf


@pytest.mark.parametrize("seed", range(10))
def test_rare_and_constant_columns_are_no_trouble(seed):
    x, y, _ = wave(40)
    rare = np.zeros((40, 2))
    rare[3, 0] = 1.0
    model = FlowRegressor(NORMAL, epochs=1, random_state=seed).fit(np.hstack([x, rare]), y)
    assert np.isfinite(model.predict(np.hstack([x, rare + 1]))).all()


# In scikit-learn's own tools


def test_pipelines_and_searches():
    x, y, _ = wave(120)
    frame = pd.DataFrame({"x": x[:, 0], "kind": np.array(["a", "b", "c"])[np.arange(120) % 3]})
    columns = make_column_transformer((StandardScaler(), ["x"]), (OneHotEncoder(), ["kind"]))
    pipeline = make_pipeline(columns, FlowRegressor(NORMAL, **QUICK))
    options = {"flowregressor__flow": [NORMAL, "nsf"], "flowregressor__learning_rate": [1e-3]}
    search = GridSearchCV(pipeline, options, cv=2, scoring=log_score).fit(frame, y)
    assert search.predict(frame).shape == (120,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(cross_val_score(make_pipeline(StandardScaler(), FlowDensity([Affine()], **QUICK)), table(), cv=3)).all()


def log_score(pipeline, X, y):
    return pipeline[-1].log_prob(pipeline[:-1].transform(X), y).mean()


def test_it_clones_pickles_and_dumps(density, tmp_path):
    x = table()
    joblib.dump(density, tmp_path / "density.joblib")
    for other in (pickle.loads(pickle.dumps(density)), joblib.load(tmp_path / "density.joblib"), clone(density).fit(x)):
        np.testing.assert_array_equal(other.score_samples(x), density.score_samples(x))
    assert not hasattr(clone(density), "flow_")
    assert "flow='maf'" in repr(density)


# Wrong input


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"flow": "glow"}, lambda x: x, "expected flow to be a name"),
        ({"flow": MAF(3)}, lambda x: x, "expected flow to be a name"),
        (
            {"flow": lambda features: features},
            lambda x: x,
            r"FlowDensity: expected a pushforward\.Flow of event_shape \(3,\) .*, got 3",
        ),
        ({"flow": lambda features: MAF(2)}, lambda x: x, r"expected a pushforward\.Flow of event_shape \(3,\)"),
        ({}, lambda x: x[:1], "minimum of 2"),
        ({}, np.ones_like, "at least 3 different rows to fit to, got 1 among 40"),
        ({}, lambda x: np.where(x > 1000, np.nan, x), "contains NaN"),
        ({}, lambda x: x * [1, 0, 1], "constant"),
        ({"epochs": 0}, lambda x: x, "epochs"),
        ({"validation": 2.0}, lambda x: x, "validation"),
    ],
)
def test_a_density_refuses(options, change, message):
    with pytest.raises(ValueError, match=message):
        FlowDensity(**({"flow": "maf"} | options)).fit(change(table(40)))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.ones(40), "FlowRegressor: expected values that vary, got y constant over the 36 rows to train on, and so without a density$"),
        (np.column_stack([np.arange(40.0), np.ones(40)]), "got column 1 of y constant over the 36 rows .*; leave it out"),
    ],
)
def test_targets_that_do_not_vary(y, words):
    with pytest.raises(ValueError, match=words):
        FlowRegressor(random_state=0).fit(table(40), y)


def test_columns_that_do_not_vary_are_named():
    rows = table(40) * [1, 0, 1]
    with pytest.raises(ValueError, match="FlowDensity: expected values that vary, got column 1 of X constant"):
        FlowDensity(random_state=0).fit(rows)
    with pytest.raises(ValueError, match="got column 'b' constant"):
        FlowDensity(random_state=0).fit(pd.DataFrame(rows, columns=["a", "b", "c"]))


def test_a_density_refuses_later(density):
    with pytest.raises(ValueError, match="expected n_samples"):
        density.sample(0)
    with pytest.raises(ValueError, match="expected 3 columns to map back, got 2"):
        density.inverse_transform(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="Negative values"):
        FlowDensity().fit(table(20), sample_weight=-np.ones(20))


def test_a_regressor_refuses(spline):
    x, y, _ = wave(50)
    with pytest.raises(ValueError, match="expected a column of X that varies"):
        FlowRegressor().fit(np.ones_like(x), y)
    with pytest.raises(ValueError, match="whose quantiles are known, got one from StudentT"):
        FlowRegressor(lambda features, context: Flow(StudentT(), NORMAL, features, context)).fit(x, y)
    for quantiles in ([0.0], [1.0], [], 0.5, [np.nan]):
        with pytest.raises(ValueError, match="expected quantiles"):
            spline.predict_quantiles(x, quantiles)
    for coverage in (0, 1.0, np.nan):
        with pytest.raises(ValueError, match="expected coverage"):
            spline.predict_interval(x, coverage)
    with pytest.raises(ValueError, match="expected y of shape"):
        spline.log_prob(x, y[:, None])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        spline.log_prob(x, y[:-1])


def test_samples_of_what_was_spread_are_in_kind(tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"age": rng.poisson(3, 400), "height": rng.normal(170, 9, 400), "humidity": rng.integers(60, 101, 400)})
    density = FlowDensity("maf", dequantize=True, **QUICK).fit(frame)
    assert [column.kind for column in density.schema_] == ["count", "real", "interval"]
    drawn = density.sample(500)
    assert not density.schema_.outside(drawn)[0].any()
    np.testing.assert_array_equal(drawn[:, [0, 2]], np.rint(drawn[:, [0, 2]]))
    assert (drawn[:, 0] == 0).any()
    assert len(np.unique(drawn[:, 1])) > 400
    density.flow_.save(tmp_path / "m")
    assert load(tmp_path / "m").schema == density.schema_
    model = FlowRegressor(NORMAL, dequantize=True, **QUICK).fit(frame[["height"]], frame[["age", "humidity"]])
    drawn = model.sample(frame[["height"]], 3)
    assert drawn.shape == (400, 3, 2)
    np.testing.assert_array_equal(drawn, np.rint(drawn))
    assert (FlowDensity("maf", **QUICK).fit(frame).sample(20)[:, 0] % 1 != 0).all()


def test_a_mixture_that_a_density_begins_as_can_be_told_and_left_out():
    rows = np.random.default_rng(0).standard_normal((300, 2)) + np.where(np.arange(300) % 2, 6.0, -6.0)[:, None]
    for mixture, plan in ((0, StandardNormal()), (3, mixture_of(3)), (None, mixture_of(2))):
        density = FlowDensity("realnvp", mixture=mixture, epochs=1, random_state=0).fit(rows)
        assert density.flow_.base.plan == plan
    with pytest.raises(ValueError, match="FlowRegressor: expected mixture to be 0 or None, as quantiles are of a normal base, got 3"):
        FlowRegressor("realnvp", mixture=3).fit(rows[:, :1], rows[:, 1])
