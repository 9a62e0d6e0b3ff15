"""Latent classes of a table: what it begins with is their mixture, whatever is known; how they are found, kept and left out."""

import copy
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.tables import beginning
from pushforward.tables.chain import score_rows
from pushforward.tables.classes import BINS, widths
from pushforward.tables.maximising import Layout, maximised, normals, sizes_of
from pushforward.tables.steps import Steps, sums_of
from pushforward.tables.variable import VALUE
from tests.table_cases import frame_of, model_of, schema_of, set_classes

KINDS = ["missing", "atom", "atom on a grid", "categorical", "circular", "step", "many"]


def grouped(n=2000, seed=0):
    """Return rows of three groups, in each of which columns are independent."""
    random = np.random.default_rng(seed)
    group = random.integers(0, 3, n)
    return pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[np.where(random.random(n) < 0.9, group, random.integers(0, 3, n))],
            "x": random.normal(np.array([-3.0, 0.0, 3.0])[(group + 1) % 3], 0.5),
            "y": random.normal(np.array([0.0, 4.0, 0.0])[group], 0.7),
            "some": np.where(random.random(n) < np.array([0.05, 0.5, 0.9])[group], np.nan, random.poisson(np.array([2, 9, 30])[group])),
        }
    )


def by_class(model, coded):
    """Return the log of each cell's measure in each class ``(n, columns, K)``, column by column and class by class."""
    classes, events = model.network.classes, model.events(coded)
    found = torch.zeros(*coded.shape, classes.count, dtype=torch.float64)
    for variable in model.variables:
        begin = classes.begins[variable.index]
        case = events.cases[:, variable.index]
        own = torch.exp(classes.logs[begin + case])
        if variable.number is not None:
            begin_below, _, end_below, _, base = events.places[:, variable.number].unbind(-1)
            edges = classes.edges[variable.number]
            index = torch.tensor([int((edges[0, 1:-1] <= at).sum()) for at in ((begin_below + end_below) / 2).tolist()])
            bins = classes.chances[classes.bins[variable.number] + index] / widths(edges)[index].unsqueeze(1)
            own = torch.where((case == VALUE).unsqueeze(1), own * bins * torch.exp(base).unsqueeze(1), own)
        found[:, variable.index] = torch.log(own)
    return found


def begun(frame, odds=40.0):
    """Return a new model that begins with classes alone."""
    model = pf.TableFlow(schema_of(frame), widths=(8,), bins=4).measure(frame, classes=False)
    set_classes(model.model, 4, odds=odds)
    return model


@pytest.mark.parametrize("given", [(), (0,), (3, 5), (1, 2, 4, 6)])
def test_a_model_begins_as_the_mixture_of_its_classes_whatever_is_known(given):
    frame = frame_of(*KINDS)
    model = begun(frame).double()
    coded = model.encode(frame)
    parts, prior = by_class(model.model, coded), model.model.network.classes.weights
    rest = [at for at in range(len(KINDS)) if at not in given]
    for order in (rest, rest[::-1]):
        scores = score_rows(model.model, coded, order, given).logs
        known = list(given)
        for at, column in enumerate(order):
            before = prior + parts[:, known].sum(1)
            wanted = torch.logsumexp(before + parts[:, column], 1) - torch.logsumexp(before, 1)
            assert torch.allclose(scores[:, at], wanted, atol=1e-5), KINDS[column]
            known.append(column)


def test_whole_rows_are_the_same_in_every_order_and_as_tokens_say():
    frame = frame_of("missing", "categorical", "real", "count", n=200)
    model = begun(frame).double()
    parts = by_class(model.model, model.encode(frame)).sum(1)
    whole = torch.logsumexp(model.model.network.classes.weights + parts, 1)
    for order in itertools.islice(itertools.permutations(range(4)), 0, 24, 5):
        assert torch.allclose(score_rows(model.model, model.encode(frame), order).logs.sum(1), whole, atol=1e-5)


def test_beside_the_classes_stands_the_copula():
    frame = frame_of("real", "step", n=300)
    model = begun(frame).double()
    classes = model.model.network.classes
    logs = []
    for odds in (40.0, -40.0, 0.4):
        classes.odds.fill_(odds)
        logs.append(model.log_prob(frame, ["step"], given=["real"]))
    share = 1 / (1 + math.exp(-0.4))
    assert torch.allclose(logs[2], torch.logaddexp(math.log(share) + logs[0], math.log(1 - share) + logs[1]), atol=1e-9)
    # Far from both ends of the odds it is one of them alone.
    plain = copy.deepcopy(model)
    plain.model.network.classes.forget()
    assert not torch.allclose(logs[0], logs[1], atol=0.1)
    assert torch.allclose(logs[1], plain.log_prob(frame, ["step"], given=["real"]), atol=0.05)


def test_classes_are_found_where_there_are_some_and_kept_if_they_say_more():
    model = pf.TableFlow(grouped(), widths=(8,)).measure(grouped())
    alone = pf.TableFlow(grouped(), widths=(8,)).measure(grouped(), classes=False)
    new = grouped(1000, 1)
    assert model.model.network.classes.count
    assert alone.model.network.classes.count == 0
    gain = float((model.log_prob(new) - alone.log_prob(new)).mean())
    assert gain > 0.5
    # Of any cell the others, missing ones among them.
    none = model.condition({"x": -3.0, "y": 0.0}).probabilities("some")[None]
    assert none == pytest.approx(0.9, abs=0.08)
    assert model.condition({"x": 3.0}).mean("y") == pytest.approx(4.0, abs=0.3)
    again = model.measure(grouped(), classes=False)
    assert torch.allclose(again.log_prob(new), alone.log_prob(new))


def test_independent_columns_have_no_classes_and_few_rows_neither():
    frame = frame_of("real", "categorical", "count", "missing", n=1000)
    assert pf.TableFlow(frame, widths=(8,)).measure(frame).model.network.classes.count == 0
    some = grouped(beginning.LEAST - 1)
    assert pf.TableFlow(some, widths=(8,)).measure(some).model.network.classes.count == 0


def test_weights_of_rows_count_in_classes():
    frame = grouped(3000)
    light = np.where(frame["kind"] == "a", 1.0, 1e-6)
    heavy = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame, np.ones(3000))
    some = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame, light)
    assert heavy.condition({"x": 0.0}).probabilities("kind")["c"] > 0.02
    assert some.condition({"x": 0.0}).probabilities("kind")["a"] > 0.995


def test_a_file_brings_classes_back(tmp_path):
    frame = grouped(600)
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    assert f"begins with {model.model.network.classes.count} latent classes" in model.describe()
    model.save(tmp_path / "table.safetensors")
    back = pf.TableFlow.load(tmp_path / "table.safetensors")
    torch.testing.assert_close(back.log_prob(frame), model.log_prob(frame))
    from pushforward import io

    header, tensors = io.read(tmp_path / "table.safetensors")
    header.pop("format")
    assert header["table"] == 2
    prefix = "model.network.classes."
    for change, message in (
        ({"logs": tensors[f"{prefix}logs"].clone().fill_(math.nan)}, "increasing knots with masses of 1"),
        ({"chances": 2 * tensors[f"{prefix}chances"]}, "increasing knots with masses of 1"),
        ({"single": -tensors[f"{prefix}single"]}, "increasing knots with masses of 1"),
        ({"odds": tensors[f"{prefix}odds"][:1].clone()}, "do not fit its plan"),
    ):
        io.write(tmp_path / "bad.safetensors", header, tensors | {f"{prefix}{name}": value for name, value in change.items()})
        with pytest.raises(ValueError, match=message):
            pf.TableFlow.load(tmp_path / "bad.safetensors")
    io.write(tmp_path / "bad.safetensors", {**header, "classes": 2**20}, tensors)
    with pytest.raises(ValueError, match="with so small a file"):
        pf.TableFlow.load(tmp_path / "bad.safetensors")


def test_a_row_is_left_out_of_the_classes_as_if_it_had_not_been_counted():
    """In one class all is counts, so that it can be taken out of them by hand."""
    frame = frame_of("categorical", "real", n=60)
    model = pf.TableFlow(frame, widths=(8,)).measure(frame, classes=False).model
    coded = torch.from_numpy(np.column_stack([frame["categorical"].map({"Bonn": 0, "Köln": 1, "Ulm": 2}), frame["real"]]))
    edges = beginning.edges_of([model.chart_of(v) for v in model.numbers], model.grids)
    layout, events = beginning.layout_of(model, edges), model.events(coded)
    index = model.network.classes.tokens(events, [0, 1], edges)
    found, _ = maximised(layout, index, torch.ones(60).double(), torch.ones(60, 1).double(), 4)
    beginning.begin_with(model, found, edges, edges.new_zeros(1))
    classes = model.network.classes
    every = torch.ones(60, 2, dtype=torch.bool)
    joint, own = classes.left_out(events, every)
    counts = torch.bincount(index[:, 0], minlength=3).double()
    prior = layout.shares[:3]
    row = int((index[:, 0] == 0).nonzero()[0])
    wanted = (counts[0] - 1 + prior[0]) / (59 + 1)
    logs = classes.all_case_logs(torch.ones(60, 1).double(), own)[row, :3]
    assert float(torch.exp(logs[0]) / torch.exp(logs).sum()) == pytest.approx(float(wanted), rel=1e-6)
    of_bin = index[row, 2]
    bins = float((index[:, 2] == of_bin).sum())
    whole = torch.exp(classes.logs[of_bin, 0]) * 61
    step = classes.log_steps([model.variables[1]], torch.ones(60, 1).double(), [torch.tensor([row])], events, own)
    left = float(torch.exp(step) * widths(edges)[0, of_bin - classes.bins[0]])
    assert bins >= 1
    assert left == pytest.approx(float((whole - 1) / 60), rel=1e-6)
    share = math.log((60.5 - 1) / 60.5)
    assert float(joint[row]) == pytest.approx(math.log(wanted) + math.log((whole - 1) / 60) + share, rel=1e-6)


def test_sizes_of_priors_are_those_under_which_the_counts_are_the_most_probable():
    random = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    layout = Layout(torch.zeros(3, dtype=torch.long), mean, torch.zeros(0, BINS + 1).double())
    torch.manual_seed(0)
    for size in (1.0, 16.0, 4096.0):
        shares = torch.distributions.Dirichlet(size * mean).sample((200,)).T
        counts = torch.stack([torch.bincount(torch.multinomial(p, 50, True, generator=random), minlength=3) for p in shares.T], 1)
        found = float(sizes_of(layout, counts.double(), mean.unsqueeze(1).expand(3, 200))[0])
        assert size / 5 < found < 5 * size


def test_normals_have_the_moments_of_the_counts():
    edges = torch.linspace(0, 1, 41, dtype=torch.float64)
    scores = torch.special.ndtri(edges).unsqueeze(0)
    z = 0.7 + 0.4 * torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = torch.histogram(torch.special.ndtr(z), edges).hist.reshape(1, 40, 1)
    found = normals(torch.full((1, 40), 1 / 40, dtype=torch.float64), scores, counts)[0, :, 0]
    assert float(found.sum()) == pytest.approx(1)
    assert torch.allclose(found, counts[0, :, 0] / 100_000, atol=0.012)


def test_steps_go_back_to_where_they_came_from_and_keep_small_shares():
    masses = torch.tensor([[1e-12, 0.6, 0.3, 0.1 - 1e-12]], dtype=torch.float64)
    marginal = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    steps = Steps(sums_of(marginal), sums_of(masses), torch.stack([masses, marginal], 1)).repeated(7)
    below = torch.tensor([1e-20, 0.05, 0.1, 0.2, 0.45, 0.7, 1 - 1e-9], dtype=torch.float64)
    above = torch.where(below > 0.9, 1e-9, 1 - below)
    low, high = steps.forward(below, above)
    assert float(low[0]) == pytest.approx(1e-31, rel=1e-9)
    assert float(high[-1]) == pytest.approx(0.25e-9, rel=1e-6)
    assert torch.allclose(low + high, torch.ones(7).double(), atol=1e-12)
    # Beyond the last edge that differs from 1.
    thin = torch.tensor([[0.5, 0.5 - 1e-18, 1e-18]], dtype=torch.float64)
    masses = torch.tensor([[0.3, 0.4, 0.3]], dtype=torch.float64)
    end = Steps(sums_of(thin), sums_of(masses), torch.stack([masses, thin], 1))
    assert float(end.log_slope(*torch.tensor([[1.0], [5e-18]]).double())) == pytest.approx(math.log(0.8))
    share = torch.tensor([2.5e-19], dtype=torch.float64)
    assert float(end.forward(1 - share, share)[1]) == pytest.approx(0.075)
    assert float(end.inverse(torch.tensor([0.925]).double(), torch.tensor([0.075]).double())[1]) == pytest.approx(2.5e-19, rel=1e-6)
    back = steps.inverse(low, high)
    assert torch.allclose(back[0], below, rtol=1e-9, atol=0)
    assert torch.allclose(back[1], above, rtol=1e-6, atol=0)
    assert float(steps.log_slope(below, above)[4]) == pytest.approx(0.0, abs=1e-12)
    between = steps.take(torch.tensor([0])).log_mean_slope((below[1:2], above[1:2]), (below[4:5], above[4:5]))
    assert float(between) == pytest.approx(math.log(float(low[4] - low[1]) / 0.4), rel=1e-9)


@pytest.mark.fits
def test_a_fit_goes_on_from_the_classes_and_leaves_them_where_it_fails():
    frame = grouped(600)
    model = pf.TableFlow(frame, widths=(16,), bins=4)
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer"):
        pf.fit(model, frame, optimizer=lambda parameters: None, progress=False)
    assert not model.measured
    assert model.model.network.classes.count == 0
    history = pf.fit(model, frame, epochs=3, progress=False)
    assert model.model.network.classes.count > 0
    assert history.best_loss <= history.start + 1e-9


def test_what_is_no_choice_is_refused():
    with pytest.raises(ValueError, match="expected classes to be True or False, got 3"):
        pf.TableFlow(grouped(), widths=(8,)).measure(grouped(), classes=3)


def test_models_with_classes_draw_what_is_missing_and_between():
    frame = frame_of("missing", "atom on a grid", "categorical", "interval step", n=300)
    model = model_of(frame, classes=3)
    drawn = model.impute(frame, 1, generator=torch.Generator().manual_seed(0))[0]
    assert not drawn["missing"].isna().any()
    both = frame.astype({"interval step": object, "atom on a grid": object}).iloc[:40].copy()
    both["interval step"] = [pf.data.Between(10, 60)] * 40
    one = model.log_prob(both)
    summed = torch.stack([model.log_prob(frame.iloc[:40].assign(**{"interval step": k})) for k in range(10, 61)])
    # The last column of the chain, so that it is one sum of cells.
    assert torch.allclose(one, torch.logsumexp(summed, 0), atol=1e-4)
