"""The performance page is true to its figures, its figures are complete, and our flows have the parameters that each work states.

No peer is installed here: what is known of peers is what the figures say.
"""

import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from speed import bars, driver, page, picture, tables, works  # noqa: E402
from speed.libraries import bare, ours  # noqa: E402
from speed.libraries.torched import Actions, CannotError  # noqa: E402

FIGURES, PAGE = ROOT / "docs" / "performance.json", ROOT / "docs" / "performance.md"
SMALL = [work for work in works.WORKS.values() if work is not works.LARGE]


@pytest.fixture(scope="module")
def data():
    return json.loads(FIGURES.read_text())


def pairs(data):
    """Return every measured work of every library, with its place."""
    for threads, table in data["times"].items():
        for work, libraries in table.items():
            for library, found in libraries.items():
                yield (threads, work, library), found


def test_the_page_is_what_the_figures_say(data):
    assert PAGE.read_text() == page.page(data)


def test_every_work_has_every_library_or_a_reason(data):
    assert set(data["times"]["1"]) == set(works.WORKS)
    assert set(data["times"]["2"]) == {work.name for work in works.TWO_THREADS}
    for place, found in pairs(data):
        assert found.get("cannot") or found["actions"], place
    for table in data["times"].values():
        for work, libraries in table.items():
            assert set(libraries) == set(driver.LIBRARIES), work


def test_every_action_has_a_time_a_limit_or_a_reason(data):
    for (threads, work, library), found in pairs(data):
        stated = works.WORKS[work] if threads == "1" else next(w for w in works.TWO_THREADS if w.name == work)
        if "cannot" in found:
            continue
        assert set(found["actions"]) == {*stated.actions, *(stated.own if library == "ours" else ())}
        for action in found["actions"].values():
            if "median" in action:
                assert 0 < action["low"] <= action["median"] <= action["high"] < math.inf
                assert action["rounds"] >= 1
                assert action["calls"] >= 1
            else:
                assert action.get("cannot") or action["limit"] > 0


def test_all_libraries_have_the_parameters_that_the_work_states(data):
    for place, found in pairs(data):
        if "cannot" not in found:
            assert found["stated"] == works.WORKS[place[1]].parameters
            if found["parameters"] != found["stated"]:
                assert found["note"], f"{place}: {found['parameters']} parameters for {found['stated']}: why?"
                assert place[2] == "bare", place


@pytest.mark.parametrize("work", SMALL, ids=lambda work: work.name)
def test_our_flows_and_the_bare_networks_have_the_stated_parameters(work):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert Actions(work, ours.build(work)).count == work.parameters
        if work.nets:
            assert Actions(work, bare.build(work)).count == work.parameters - work.free
        else:
            with pytest.raises(CannotError, match="no network"):
                bare.build(work)


def test_stated_parameters_of_the_largest_work():
    # Counted by hand, since the build takes seconds: (784 + 1) 1024 + 1025 * 1024 + 1025 * 2 * 784, five times.
    assert works.LARGE.parameters == 5 * (785 * 1024 + 1025 * 1024 + 1025 * 1568)


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_our_actions_run(kind):
    work = works.Work("small", kind, features=4, layers=2, widths=(8, 8), batch=16, context=3 * (kind == "coupling"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        actions = Actions(work, ours.build(work))
        before = float(actions.train())
        for name in works.ACTIONS:
            getattr(actions, name)()
        after = min(float(actions.train()) for _ in range(20))
    assert after < before


def test_data_is_the_same_every_time_and_standardised():
    for work in (*works.MAIN, *works.JOBS):
        rows, _ = works.data(work)
        assert rows.shape == (work.batch, work.features)
        assert (rows == works.data(work)[0]).all()
    rings = works.data(works.JOBS[0])[0]
    assert abs(rings.mean(0)).max() < 1e-6
    assert abs(rings.std(0) - 1).max() < 1e-5


def test_bars_meet_or_miss():
    keep = bars.Bar(1, "x", 2.0, {"1": 1.9, "2": 2.0})
    assert (keep.verdict, bars.Bar(1, "x", 2.0, {"1": 1.9, "2": 2.1}).verdict) == ("met", "**missed** with two threads")
    assert bars.Bar(1, "x", 2.0, {"1": 2.1}).verdict == "**missed**"
    assert bars.Bar(3, "x", 8.0, {"1": 8.0}, at_least=True).verdict == "met"
    assert bars.Bar(6, "x", None, {"1": 8.0}).verdict == "shown"
    assert bars.Bar(1, "x", 2.0).verdict == "not measured"


def test_all_points_have_figures(data):
    found = bars.all_bars(data)
    assert {bar.point for bar in found} == set(range(1, len(page.POINTS) + 1))
    for bar in found:
        assert "1" in bar.measured, bar.what
        assert bar.point not in (1, 2) or set(bar.measured) == {"1", "2"}, bar.what


def test_slope_of_a_power():
    curve = {str(n): {"median": 3.0 * n**1.5} for n in (2, 4, 8, 16)}
    assert picture.slope(curve) == pytest.approx(1.5)
    assert picture.slope({"2": {"median": 1.0}, "4": {"limit": 10.0}}) is None


def test_cells():
    assert tables.cell({"median": 0.0123, "low": 0.012, "high": 0.2}) == "12.3 (12.0–200)"
    assert tables.cell({"limit": 10.0}) == "> 10 s"
    assert tables.cell({}) == "–"


def test_the_page_names_no_place_of_a_machine():
    for text in (PAGE.read_text(), FIGURES.read_text()):
        assert not re.search(r"(?<![\w.])/(?:work|tmp|home|usr|root|opt)/", text)
