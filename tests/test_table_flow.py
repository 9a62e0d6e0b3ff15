"""The density of a table: normalised in the measure of each kind, its samples' own, and the marginals before it is trained."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.data import Schema
from pushforward.tables.orders import draw_known
from tests.table_cases import BEGUN, KINDS, frame_of, model_of, schema_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def outcomes(model, kind):
    """Return values of a column, coded, with what each counts for in the measure: 1 for an outcome, or as trapezoids have it."""
    variable = model.model.variables[model.columns.index(kind)]
    cases = [float(at) for at in range(len(variable.column.categories))] or [*variable.atoms]
    cases += [math.nan] * variable.may_be_missing
    values, counts = [torch.tensor(cases, dtype=torch.float64)], [torch.ones(len(cases), dtype=torch.float64)]
    if variable.number is not None:
        chart, grid = model.model.chart_of(variable), model.model.grid_of(variable)
        ends = torch.tensor([1e-7, 1 - 1e-7], dtype=torch.float64)
        low, high = chart.inverse(ends, 1 - ends).tolist()
        if grid.step:
            first, last = round((low - grid.origin) / grid.step) - 1, round((high - grid.origin) / grid.step) + 1
            x = grid.origin + grid.step * np.arange(first, last + 1.0)
            x = np.unique(grid.settle(x))
            x = torch.from_numpy(x[~np.isin(x, variable.atoms)])
            width = torch.full_like(x, grid.step)
        else:
            # Half of the points where the marginal has them, half in equal steps, between which each bend is seen.
            shares = torch.linspace(1e-7, 1 - 1e-7, 15_000, dtype=torch.float64)
            x = torch.cat([chart.inverse(shares, 1 - shares), torch.linspace(low, high, 5_000, dtype=torch.float64)]).unique()
            x = x[~torch.isin(x, torch.tensor(variable.atoms, dtype=torch.float64))]
            width = torch.zeros_like(x)
            width[1:] += x.diff() / 2
            width[:-1] += x.diff() / 2
        values.append(x)
        counts.append(width)
    return torch.cat(values), torch.cat(counts)


def beside(kind):
    """Return another kind with two categories."""
    return "numbered" if kind == "binary" else "binary"


def scores_of(model, coded, columns=None):
    return model.log_prob(model.decode(coded, "dict"), columns)


@pytest.mark.parametrize(("kind", "classes"), BEGUN)
def test_probabilities_and_densities_of_each_kind_are_1_together(kind, classes):
    frame = frame_of(kind, beside(kind))
    model = model_of(frame, classes=classes)
    values, counts = outcomes(model, kind)
    for other in (0.0, 1.0):
        coded = torch.stack([values, torch.full_like(values, other)], 1)
        joint = scores_of(model, coded)
        first = model.log_prob(model.decode(coded, "dict"), by="column")[kind]
        total = float((torch.exp(first) * counts).sum())
        assert total == pytest.approx(1, abs=1e-3), kind
        assert torch.isfinite(joint).all()


@pytest.mark.parametrize(("kind", "classes"), BEGUN)
def test_a_conditional_of_each_kind_is_1_together(kind, classes):
    frame = frame_of("large count", kind) if kind != "large count" else frame_of("count", kind)
    model = model_of(frame, classes=classes)
    values, counts = outcomes(model, kind)
    for other in (3.0, 70.0):
        coded = torch.stack([torch.full_like(values, other), values], 1)
        second = model.log_prob(model.decode(coded, "dict"), by="column")[kind]
        assert float((torch.exp(second) * counts).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("kind", "classes"), BEGUN)
def test_samples_have_the_probabilities_of_the_density(kind, classes):
    """In 12 parts of a column: of two columns the second, whose conditional the first moves."""
    frame = frame_of(beside(kind), kind)
    model = model_of(frame, classes=classes)
    n = 8000
    drawn = model.encode(model.sample(n, generator=seeded()))
    values, counts = outcomes(model, kind)
    first = model.log_prob(model.decode(torch.stack([torch.ones_like(values), values], 1), "dict"), by="column")[kind]
    mass = torch.exp(first) * counts
    some = drawn[drawn[:, 0] == 1, 1]
    order = torch.argsort(values.nan_to_num(math.inf))
    values, mass = values[order].nan_to_num(1e300), mass[order]
    sums = torch.cumsum(mass, 0)
    edges = [int(torch.searchsorted(sums, share)) for share in torch.linspace(0.02, 0.98, 12).tolist()]
    for edge in edges:
        edge = min(edge, len(values) - 1)
        wanted, seen = float(sums[edge]), float((some.nan_to_num(1e300) <= values[edge]).double().mean())
        # Five standard deviations, and half of the mass of the trapezoid at the edge.
        assert seen == pytest.approx(wanted, abs=5 * math.sqrt(0.25 / len(some)) + float(mass[edge]) + 1e-3)


def test_before_it_is_trained_a_model_is_the_product_of_its_columns_marginals():
    kinds = ["real", "atom", "missing count", "categorical", "circular", "date"]
    frame = frame_of(*kinds)
    schema = schema_of(frame)
    model = pf.TableFlow(schema, widths=(16,)).measure(frame)
    alone = sum(pf.TableFlow(Schema((schema[kind],)), widths=(16,)).measure(frame).log_prob(frame) for kind in kinds)
    assert torch.allclose(model.log_prob(frame), alone, atol=1e-5)
    parts = model.log_prob(frame, by="column")
    shares = frame["categorical"].value_counts(normalize=True)
    wanted = torch.tensor([math.log(shares[city]) for city in frame["categorical"]])
    assert torch.allclose(parts["categorical"], wanted.double(), atol=0.02)
    missing = frame["missing count"].isna()
    none = float(parts["missing count"][torch.tensor(missing.to_numpy())][0])
    assert none == pytest.approx(math.log(missing.mean()), abs=0.02)
    atom = float(parts["atom"][torch.tensor((frame["atom"] == 0).to_numpy())][0])
    assert atom == pytest.approx(math.log((frame["atom"] == 0).mean()), abs=0.02)


def test_an_atom_on_a_grid_has_its_share_of_the_rows():
    frame = frame_of("atom on a grid", n=2000)
    model = pf.TableFlow(schema_of(frame), widths=(16,)).measure(frame)
    assert model.schema["atom on a grid"].atoms
    at_7 = float(model.log_prob({"atom on a grid": [7]}))
    assert math.exp(at_7) == pytest.approx((frame["atom on a grid"] == 7).mean(), abs=2e-3)


def test_the_parts_by_column_are_the_sum_and_go_in_the_order_of_the_schema():
    model = model_of(frame := frame_of("real", "count", "categorical", "missing"))
    parts = model.log_prob(frame, by="column")
    assert list(parts) == list(model.columns)
    assert torch.allclose(sum(parts.values()), model.log_prob(frame), atol=1e-12)
    # The first depends on nothing else, the second on the first.
    other = frame.assign(count=frame["count"] + 1)
    assert torch.equal(model.log_prob(other, by="column")["real"], parts["real"])
    assert not torch.allclose(model.log_prob(other, by="column")["categorical"], parts["categorical"])


def test_rows_alone_are_as_rows_together():
    frame = frame_of("missing atom", "count", "categorical", "circular", "many")
    model = model_of(frame).double()
    together = model.log_prob(frame)
    alone = torch.cat([model.log_prob(frame.iloc[[at]]) for at in range(20)])
    assert torch.allclose(together[:20], alone, rtol=0, atol=1e-11)
    assert together.shape == (len(frame),)
    assert model.log_prob(frame.iloc[:0]).shape == (0,)


def test_a_column_that_is_not_asked_about_is_no_missing_one():
    frame = frame_of("missing", "categorical")
    model = model_of(frame)
    some = frame.iloc[:1].assign(missing=np.nan)
    both, alone = model.log_prob(some), model.log_prob(some, ["categorical"])
    assert not torch.allclose(both, alone)
    assert torch.equal(alone, model.log_prob(some[["categorical"]], ["categorical"]))
    with pytest.raises(ValueError, match="column 'missing': expected in the data, which does not have it"):
        model.log_prob(some[["categorical"]])


def test_steps_are_those_that_all_values_keep_to():
    found = {
        kind: model_of(frame_of(kind)).model.grids[0]
        for kind in ("half hours", "date", "zone", "moment", "whole", "huge count", "odd step")
    }
    assert {kind: grid.step for kind, grid in found.items()} == {
        "half hours": 1800, "date": 86400, "zone": 3600, "moment": 0, "whole": 0, "huge count": 0, "odd step": 0.5,
    }  # fmt: skip
    assert found["whole"].rounding == found["huge count"].rounding == 1
    assert found["odd step"].origin % 0.5 == 0.25
    # What is too fine for cells is drawn on them all the same.
    for kind in ("whole", "huge count"):
        drawn = model_of(frame_of(kind)).sample(200, library="dict", generator=seeded())[kind]
        assert all(isinstance(one, int) for one in drawn)
    wide = pd.DataFrame({"x": np.arange(0.0, 4e7, 1e5)})
    assert (model_of(wide).sample(200, generator=seeded())["x"] % 1 == 0).all()


def test_what_is_outside_has_no_probability_where_that_is_asked():
    frame = frame_of("positive", "categorical", "step", "count")
    model = model_of(frame)
    rows = frame.iloc[:5].copy()
    rows.loc[0, "positive"] = -1
    rows.loc[1, "categorical"] = "Rom"
    rows.loc[2, "step"] = 20.05
    rows.loc[3, "count"] = -4
    scores = model.log_prob(rows, unseen="outside")
    assert torch.isneginf(scores[:4]).all()
    assert torch.allclose(scores[4], model.log_prob(frame.iloc[4:5])[0], atol=1e-5)
    with pytest.raises(ValueError, match="column 'positive': expected at least 0, got -1 in row 0; column 'categorical'"):
        model.log_prob(rows)
    with pytest.raises(ValueError, match=r"column 'step': expected values 0\.1 apart, .* got 20\.05 in row 2"):
        model.log_prob(frame.iloc[:3].assign(step=[20.0, 20.1, 20.05]))


def test_samples_come_back_as_the_table_came_and_keep_to_what_there_can_be():
    frame = frame_of(*KINDS)
    model = model_of(frame)
    drawn = model.sample(3000, generator=seeded())
    assert list(drawn.columns) == list(frame.columns)
    for kind in KINDS:
        missing = drawn[kind].isna().any()
        assert drawn[kind].dtype == frame[kind].dtype, kind
        assert not missing or model.schema[kind].missing > 0
    model.schema.check(drawn)
    model.log_prob(drawn)
    assert set(drawn["many"]) <= set(frame["many"])
    assert model.sample(0).shape == (0, len(KINDS))
    pd.testing.assert_frame_equal(drawn, model.sample(3000, generator=seeded()))
    assert model.sample(3, library="pyarrow").column_names == list(frame.columns)
    plain = model.sample(3, library="dict")
    assert all(isinstance(one, int) for one in plain["count"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_has_all_of_it(tmp_path, dtype):
    frame = frame_of(*KINDS)
    model = model_of(frame).to(dtype)
    model.save(tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    back = pf.TableFlow.load(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert (back.schema, back.widths, back.bins, back.dtype) == (model.schema, model.widths, model.bins, dtype)
    assert torch.equal(back.log_prob(frame), model.log_prob(frame))
    pd.testing.assert_frame_equal(back.sample(50, generator=seeded()), model.sample(50, generator=seeded()))


def test_files_are_told_apart_and_checked(tmp_path):
    from pushforward import io

    model = model_of(frame_of("real", "binary"))
    model.save(tmp_path / "table.safetensors")
    pf.NSF(2).save(tmp_path / "flow.safetensors")
    with pytest.raises(ValueError, match=r"a table's; read it with pushforward\.TableFlow\.load"):
        pf.load(tmp_path / "table.safetensors")
    with pytest.raises(ValueError, match=r"got a flow; read it with pushforward\.load"):
        pf.TableFlow.load(tmp_path / "flow.safetensors")
    header, tensors = io.read(tmp_path / "table.safetensors")
    header.pop("format")
    changes = {
        "a newer version": {"table": 99},
        "schema of .* is none": {"schema": {"version": 1, "columns": [{"name": "x", "kind": "odd"}]}},
        "bins": {"bins": 10**9},
        "widths": {"widths": [0]},
        "activation": {"activation": "exp"},
        "dtype": {"dtype": "float16"},
        "types of columns": {"types": {"nobody": "int64"}},
        "do not fit its plan": {"widths": [16, 32]},
        "with so small a file": {"widths": [2**20, 2**20]},
    }
    for message, change in changes.items():
        io.write(tmp_path / "bad.safetensors", {**header, **change}, tensors)
        with pytest.raises(ValueError, match="version 99" if "newer" in message else message):
            pf.TableFlow.load(tmp_path / "bad.safetensors")
    for name, value in [("knots", math.nan), ("masses", 0.0), ("densities", -1.0)]:
        broken = {key: tensor.clone() for key, tensor in tensors.items()}
        broken[f"model.charts.0.{name}"].fill_(value)
        io.write(tmp_path / "bad.safetensors", header, broken)
        with pytest.raises(ValueError, match="increasing knots with masses of 1"):
            pf.TableFlow.load(tmp_path / "bad.safetensors")


def test_known_columns_are_drawn_for_all_orders_alike():
    known, count = draw_known(60_000, 4, 0.0, seeded())
    # Each place comes as often, and each set of a size as often as the others.
    sizes = known.sum(1)
    assert torch.equal(torch.bincount(sizes), torch.full((4,), 15_000))
    assert torch.equal(count, 4 / (4 - sizes))
    sets = (known[sizes == 2].long() * torch.tensor([1, 2, 4, 8])).sum(1)
    found = torch.bincount(sets, minlength=16)
    assert (found > 0).sum() == 6
    assert found[found > 0].min() > 2200
    known, _ = draw_known(1000, 4, 1.0, seeded())
    assert bool((known[:, :-1] | ~known[:, 1:]).all())


def test_the_loss_of_a_step_is_an_unbiased_one_of_all_orders():
    from itertools import permutations

    from pushforward.tables.chain import score_chain
    from pushforward.train.tables import TableLoss

    model = model_of(frame := frame_of("missing", "count", "categorical"))
    events = model.model.events(model.encode(frame.iloc[:50]))
    orders = list(permutations(range(3)))
    with torch.no_grad():
        wanted = -sum(score_chain(model.model, events, order).logs.sum(1) for order in orders).mean() / len(orders)
    loss, random = TableLoss(model), seeded()
    packed = events.packed().repeat(40, 1)
    with torch.no_grad():
        found = torch.stack([loss(packed, *draw_known(len(packed), 3, 0.0, random)) for _ in range(60)])
    assert float(found.mean()) == pytest.approx(float(wanted), abs=5 * float(found.std()) / math.sqrt(60) + 1e-5)


def test_many_categories_and_columns_take_moderately_many_parameters():
    schema = Schema.find({"city": [f"city {i}" for i in range(10_000)] * 2}, {"city": "categorical"})
    city = pf.TableFlow(schema)
    assert sum(p.numel() for p in city.parameters()) < 1_000_000
    rows = {f"x{i}": np.random.default_rng(i).normal(size=12) for i in range(500)}
    wide = pf.TableFlow(Schema.find(rows)).measure(rows)
    assert sum(p.numel() for p in wide.parameters()) < 9_000_000
    assert torch.isfinite(wide.log_prob({name: values[:2] for name, values in rows.items()})).all()


WRONG = [
    (lambda m, f: pf.TableFlow(f, widths=()), "widths to be a list"),
    (lambda m, f: pf.TableFlow(f, widths=(0,)), "widths to be a whole number of at least 1"),
    (lambda m, f: pf.TableFlow(f, bins=1), "bins to be a whole number of at least 2"),
    (lambda m, f: pf.TableFlow(f, activation="exp"), "activation to be one of"),
    (lambda m, f: pf.TableFlow(Schema(())), "a schema with columns"),
    (
        lambda m, f: pf.TableFlow({"name": [f"n {i}" for i in range(30)]}),
        r"got 'name' \(text: 30 different texts in 30 rows\); leave them out",
    ),
    (lambda m, f: pf.TableFlow(f).log_prob(f), "a model that has met data"),
    (lambda m, f: pf.TableFlow(f).sample(3), "a model that has met data"),
    (lambda m, f: pf.TableFlow(f).measure(f.iloc[:0]), "rows to measure"),
    (lambda m, f: m.log_prob(f, by="row"), "by to be 'column' or None"),
    (lambda m, f: m.log_prob(f, ["age"]), "no column 'age'"),
    (lambda m, f: m.log_prob(f, "real"), "columns to be a list of names"),
    (lambda m, f: m.log_prob(f, ["real", "real"]), "each column once"),
    (lambda m, f: m.log_prob(f, unseen="x"), "unseen to be"),
    (lambda m, f: m.sample(-1), "n to be a whole number"),
    (lambda m, f: m.sample(2.5), "n to be a whole number"),
    (lambda m, f: m.sample(2, library="excel"), "library to be one of"),
    (lambda m, f: copy.deepcopy(m).half().save("x"), "float32 or float64"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_input_is_refused(call, message):
    frame = frame_of("real", "binary", n=50)
    with pytest.raises(ValueError, match=message):
        call(model_of(frame), frame)


@pytest.mark.parametrize(("kind", "seed"), [("real", 0), ("positive", 1), ("interval", 2), ("circular", 3)])
def test_a_density_of_points_integrates_to_1_however_narrow_it_is(kind, seed):
    frame = frame_of(kind)
    model = model_of(frame, 0.5, seed, narrow=True)
    own = model.sample(20_000, generator=seeded())[kind].to_numpy()
    grid = model.model.grid_of(model.model.variables[0])
    low, high = (-np.inf if grid.ends[0] is None else grid.ends[0]), (np.inf if grid.ends[1] is None else grid.ends[1])
    # Nodes where the density is, where the data is, and far out.
    far = np.ptp(frame[kind]) * np.geomspace(1e-9, 1e6, 4000)
    start, stop = max(low, float(frame[kind].min())), min(high, float(frame[kind].max()))
    x = np.concatenate([own, np.linspace(start, stop, 20_001), start - far, start + far, stop - far, stop + far, [low, high]])
    x = np.unique(x[np.isfinite(x) & (x >= low) & (x <= high)])
    x = np.sort(np.concatenate([x, (x[1:] + x[:-1]) / 2]))
    density = np.exp(model.log_prob(pd.DataFrame({kind: x})).numpy())
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 3, "expected one weight a row, 400, got 3"),
        ([math.nan] * 400, "expected finite weights of at least 0, got others in rows 0, 1"),
        ([1.0] * 399 + [-1.0], "expected finite weights of at least 0, got others in rows 399"),
        ([0.0] * 400, "expected weights with a weight above 0, got none"),
        ("x", "expected weights"),
        (np.ones((400, 2)), r"expected weights of shape \(n,\), got \(400, 2\)"),
        (["1"] * 400, "expected weights to be numbers"),
    ],
)
def test_wrong_weights_are_refused_wherever_marginals_are_measured(weights, words):
    frame = frame_of("real", "categorical")
    model = pf.TableFlow(frame, widths=(8,))
    with pytest.raises(ValueError, match=f"TableFlow.measure: {words}"):
        model.measure(frame, weights)
    assert not model.measured
    with pytest.raises(ValueError, match=f"fit: {words}"):
        pf.fit(model, frame, weights=weights, epochs=1, progress=False)
    assert not model.measured


def test_rows_without_a_weight_are_not_there():
    frame = frame_of("positive", "count", "missing")
    light = np.r_[np.ones(200), np.zeros(200)]
    some = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame, 7 * torch.tensor(light))
    half = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame.iloc[:200])
    assert torch.allclose(some.log_prob(frame[:200]), half.log_prob(frame[:200]), atol=1e-9)


def test_what_draws_no_numbers_is_refused():
    frame = frame_of("missing", "categorical")
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    view = model.condition({"categorical": "Bonn"})
    for call in (
        model.sample,
        view.sample,
        lambda n, generator: model.impute(frame, n, generator=generator),
        lambda n, generator: model.disagreement(frame, n, generator=generator),
    ):
        with pytest.raises(TypeError, match=r"expected generator to be a torch\.Generator or None, got int"):
            call(3, generator=3)
