"""choose: a flow for a table, of a family and size that held-out rows choose; clocks are the tests' own."""

import itertools

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import pushforward as pf
from pushforward.train import CANDIDATES, Candidate, limit, search

pytestmark = pytest.mark.fits

SMALL = {"transforms": 1, "widths": (8,)}
FEW = (
    Candidate("normal", components=1, whiten=True),
    Candidate("mixture of 3", components=3, whiten=True),
    Candidate("coupling", "NSF", SMALL),
    Candidate("autoregressive", "NSF-AR", SMALL, features=2),
    Candidate("affine", "MAF", SMALL, features=2),
    Candidate("over a mixture", "MAF", SMALL, components=3, whiten=True, features=2),
)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Each look at the clock is a second."""
    ticks = itertools.count()
    monkeypatch.setattr(limit, "clock", lambda: float(next(ticks)))


def normal(count=300, columns=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=torch.Generator().manual_seed(9))
    return torch.randn(count, columns, generator=generator) @ mixing.T


def humps(count=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 3, (count, 1), generator=generator) * 5.0
    return corner + torch.randn(count, 2, generator=generator) * torch.tensor([0.3, 1.0])


def chosen(data, *rest, seconds=200, **options):
    return pf.choose(data, *rest, seconds=seconds, progress=False, **{"candidates": FEW, **options})


def nats(flow, rows, context=None):
    with torch.no_grad():
        return -flow.log_prob(rows, context).mean().item()


def test_the_best_on_the_held_out_rows_is_returned_with_what_became_of_all():
    held = humps(200, 1)
    flow, history = chosen(humps(), validation=held)
    losses = [one.loss for one in history.candidates]
    assert losses == sorted(losses)
    assert {one.name for one in history.candidates} == {one.name for one in FEW}
    assert history.tried == {one.name: one.loss for one in history.candidates}
    first = history.candidates[0]
    assert history.best_loss == first.loss == pytest.approx(nats(flow, held), abs=1e-5)
    assert first.plan == f"{flow.base.plan!r}, {flow.plan!r}"
    assert first.epochs == len(history.train) == len(history.validation) == len(history.seconds)
    assert history.best_loss == min([history.start, *history.validation, *history.averaged])
    after = history.best_epoch - 1
    assert history.best_epoch == 0 or history.best_loss == min(history.validation[after], history.averaged[after])
    assert history.to_dict()["candidates"][0]["name"] == first.name
    assert repr(history).startswith(f"ChoiceHistory({first.name!r} of 6, epochs=")


def test_normal_rows_get_what_a_normal_distribution_is_worth_and_clusters_a_mixture():
    rows, unseen = normal(), normal(4000, seed=1)
    flow, history = chosen(rows, seconds=400)
    true = torch.distributions.MultivariateNormal(torch.zeros(4), torch.cov(unseen.T))
    assert nats(flow, unseen) < -true.log_prob(unseen).mean().item() + 0.15
    assert all(one.seconds > 0 for one in history.candidates)
    flow, history = chosen(humps(), seconds=100)
    assert history.tried["mixture of 3"] < history.tried["normal"] - 0.5
    assert nats(flow, humps(4000, 1)) < nats(chosen(humps(), seconds=100, candidates=FEW[:1]).flow, humps(4000, 1)) - 0.5


def test_the_time_goes_to_those_that_are_ahead(monkeypatch):
    # The losses of a fit are told: those of "affine" fall, others stay.
    losses = {"coupling": 3.0, "autoregressive": 2.0, "affine": 5.0, "over a mixture": 4.0}
    given, now = [], [0.0]
    monkeypatch.setattr(limit, "clock", lambda: now[0])

    def fit(flow, data, *, seconds, **options):
        name = next(one.name for one in FEW if one.make(4).plan == flow.plan and one.make(4).base.plan == flow.base.plan)
        given.append((name, seconds))
        now[0] += min(seconds, 300.0)
        losses[name] = losses.get(name, 9.0) - (1.5 if name == "affine" else 0.0)
        stopped = "patience" if name == "coupling" and seconds > 100 else "seconds"
        return pf.History(train=[1.0], validation=[losses[name]], start=9.0, best_epoch=1, best_loss=losses[name], stopped=stopped)

    monkeypatch.setattr(search, "fit", fit)
    history = chosen(normal(), seconds=1600.0).history
    assert given[0][0] == "normal"
    flows = [(name, round(seconds)) for name, seconds in given if seconds > 1]
    assert flows == [
        *((name, 100) for name in ("coupling", "autoregressive", "affine", "over a mixture")),
        *((name, 200) for name in ("autoregressive", "coupling")),
        ("autoregressive", 800),
        ("autoregressive", 500),
        ("autoregressive", 200),
    ]
    assert [(one.name, round(one.seconds)) for one in history.candidates][:2] == [("autoregressive", 1100), ("coupling", 300)]
    assert history.stopped == "seconds"
    assert len(history.train) == 5


OVER = Candidate("over", "NSF", {"transforms": 2, "widths": (8,)}, components=None)


def test_a_flow_over_the_best_density_begins_as_that_density():
    flow, history = chosen(humps(), seconds=300, candidates=[*FEW[:2], OVER])
    losses = history.tried
    assert history.candidates[0].name == "over"
    assert losses["over"] < losses["mixture of 3"] < losses["normal"]
    assert flow.base.plan.components == 3
    # Its first loss, before any step, is that of the density.
    assert history.start == pytest.approx(losses["mixture of 3"], abs=1e-4)
    _, history = chosen(humps(), seconds=300, candidates=[FEW[0], OVER])
    assert history.start == pytest.approx(history.tried["normal"], abs=1e-4)


@pytest.mark.parametrize(("seconds", "first"), [(1000.0, ["coupling", "autoregressive", "over"]), (100.0, ["over"])])
def test_a_time_too_short_to_compare_flows_goes_to_the_one_that_begins_as_the_best_density(monkeypatch, seconds, first):
    given, now = [], [0.0]
    monkeypatch.setattr(limit, "clock", lambda: now[0])

    def fit(flow, data, *, seconds, **options):
        closed = seconds < 1
        now[0] += 10.0 if closed else min(seconds, 300.0)
        given.append((flow, closed))
        return pf.History(train=[1.0], validation=[2.0], start=9.0, best_epoch=1, best_loss=2.0, stopped="seconds")

    monkeypatch.setattr(search, "fit", fit)
    history = chosen(normal(), seconds=seconds, candidates=[FEW[0], FEW[2], FEW[3], OVER]).history
    flows = [flow for flow, closed in given if not closed]
    assert len(flows) >= len(first)
    tried = {one.name for one in history.candidates if one.seconds > 0 and one.name != "normal"}
    assert tried == set(first)


def test_a_flow_over_a_density_that_is_not_there_is_not_tried():
    history = chosen(humps(), candidates=[FEW[2], OVER]).history
    assert [(one.name, one.seconds > 0) for one in history.candidates] == [("coupling", True), ("over", False)]
    with pytest.raises(ValueError, match="expected a candidate"):
        chosen(humps(), torch.randn(300, 1), candidates=[OVER])
    with pytest.raises(ValueError, match="Candidate: expected a flow that begins as the best density"):
        Candidate("over nothing", components=None)
    for count in (-1, 2.5, True):
        with pytest.raises(ValueError, match="Candidate: expected components"):
            Candidate("odd", components=count)


def test_patience_hands_the_time_on():
    still = [Candidate("first", "MAF", SMALL), Candidate("second", "NSF", SMALL)]
    history = chosen(normal(60, 2), seconds=10**6, candidates=still).history
    assert [one.stopped for one in history.candidates] == ["patience"] * 2
    assert history.stopped == "patience"


def test_without_time_the_classical_densities_are_there():
    flow, history = chosen(normal(), seconds=1e-6)
    assert history.candidates[0].name == "normal"
    assert history.best_loss < 1e3
    assert flow.sample((3,)).shape == (3, 4)


def test_a_conditional_density_has_no_mixtures():
    c = torch.randn(300, 2, generator=torch.Generator().manual_seed(3))
    x = normal(300, 2) * 0.3 + 3 * c
    flow, history = chosen(x, c)
    assert flow.context_shape == (2,)
    assert {one.name for one in history.candidates} == {"coupling", "autoregressive", "affine"}
    assert history.best_loss < history.start
    table = pd.DataFrame({"a": x[:, 0], "u": c[:, 0], "b": x[:, 1]})
    flow = chosen(table, context_columns=["u"], seconds=200).flow
    assert (flow.columns, flow.context_columns) == (("a", "b"), ("u",))
    assert chosen(table, columns=["b"], seconds=50).flow.columns == ("b",)


@pytest.mark.parametrize("data", [normal(200, 1), normal(200, 1)[:, 0], normal(200, 1).tolist(), normal(200, 1).numpy()])
def test_one_column_of_any_kind(data):
    flow, history = chosen(data, seconds=200)
    assert flow.event_shape == (1,)
    assert {one.name for one in history.candidates} == {"normal", "mixture of 3", "coupling"}


def test_precision_and_place_are_what_the_data_needs():
    rows = normal(300, 2).double()
    assert chosen(rows, seconds=50).flow.dtype == torch.float32
    assert chosen(rows + 1e9, seconds=50).flow.dtype == torch.float64
    assert chosen(rows, seconds=50, dtype=torch.float64, device="cpu").flow.dtype == torch.float64


def test_the_same_ticks_and_seed_give_the_same_and_nothing_else_is_touched(monkeypatch):
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        monkeypatch.setattr(limit, "clock", itertools.count().__next__)
        found.append(chosen(humps(), seconds=500, seed=seed).history)
    assert found[0].tried == found[1].tried != found[2].tried
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_count():
    rows = torch.cat([normal(200, 2), normal(200, 2) + 50])
    weights = torch.cat([torch.ones(200), torch.full((200,), 1e-9)])
    flow = chosen(rows, weights=weights, seconds=50, candidates=FEW[:1], validation=normal(50, 2, 1)).flow
    assert flow.sample((500,), generator=torch.Generator().manual_seed(0)).mean(0).abs().max() < 5


def test_one_that_cannot_be_fitted_is_told_of_and_left():
    grid = torch.arange(300)[:, None] % 4 + torch.tensor([[0.0, 1.0]])
    grid[:, 1] = torch.arange(300) % 3
    many = Candidate("mixture of 25", components=25, whiten=True)
    with pytest.warns(UserWarning, match="columns on a grid"):
        history = chosen(grid, candidates=(FEW[0], many, FEW[4]), seconds=50).history
    failed = next(one for one in history.candidates if one.name == "mixture of 25")
    assert "expected at least 25 different rows" in failed.stopped
    assert failed.loss == float("inf")
    assert history.candidates[0].loss < float("inf")


def test_the_user_may_end_it():
    seen = []
    flow, history = chosen(humps(), callback=lambda history: seen.append(history) or len(seen) == 3)
    assert (history.stopped, len(seen)) == ("callback", 3)
    assert flow.sample((2,)).shape == (2, 2)

    def interrupt(history):
        raise KeyboardInterrupt

    flow, history = chosen(humps(), callback=interrupt)
    assert history.interrupted
    assert history.candidates[0].name == "mixture of 3"


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((normal(),), {"seconds": 0}, ValueError, "choose: expected seconds to be a finite number above 0"),
        ((normal(),), {"validation": None}, ValueError, "choose: expected validation"),
        ((normal(),), {"validation": 2.0}, ValueError, "validation to be a share"),
        ((normal(),), {"seed": 0.5}, ValueError, "choose: expected seed"),
        ((normal(),), {"candidates": ["NSF"]}, TypeError, "choose: expected candidates to be a list of Candidate"),
        ((normal(5),), {"candidates": FEW[:1]}, ValueError, "choose: expected a candidate for 4 features, 0 of context and 5 rows"),
        ((normal().reshape(2, 2, -1),), {}, ValueError, r"choose: expected data of shape \(n, columns\)"),
        ((None,), {}, TypeError, "choose: expected rows of data"),
        (("text",), {}, ValueError, "text: expected a file name that ends in"),
        (("none.csv",), {}, FileNotFoundError, "no file none.csv"),
        ((DataLoader(normal()),), {}, TypeError, "choose: expected rows in memory"),
        ((normal(),), {"columns": ["a"]}, ValueError, "choose: expected a DataFrame"),
        ((torch.full((50, 2), float("nan")),), {}, ValueError, "expected finite data"),
        ((torch.ones(50, 2),), {}, ValueError, "constant"),
        ((normal(),), {"callback": 3}, TypeError, "choose: expected callback"),
    ],
)
def test_wrong_input_is_explained(arguments, options, error, words):
    with pytest.raises(error, match=words):
        chosen(*arguments, **{"seconds": 50, **options})


def test_every_row_of_the_table_can_be_fitted():
    assert len({one.name for one in CANDIDATES}) == len(CANDIDATES)
    for one in CANDIDATES:
        for features, context in ((1, 0), (3, 0), (3, 2)):
            if one.suits(features, context, 1000):
                assert one.make(features, context).event_shape == (features,)
                assert one.make(features, context).context_shape == ((context,) if context else None)
    # A normal distribution is there for every table, and something that bends for every conditional one.
    assert any(one.closed and one.suits(1, 0, 30) for one in CANDIDATES)
    assert any(not one.closed and one.suits(1, 1, 30) for one in CANDIDATES)
