"""The page on how well fits go is true to its figures, and its figures are complete. No peer is installed here."""

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "fits"))

import clients_page  # noqa: E402
import quality_page  # noqa: E402

FIGURES, PAGE = ROOT / "docs" / "fit-quality.json", ROOT / "docs" / "fit-quality.md"


@pytest.fixture(scope="module")
def data():
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say(data):
    assert PAGE.read_text(encoding="utf-8") == quality_page.page(data, clients_page.kept_section(ROOT / "docs"))


def test_the_figures_of_other_tools_are_complete():
    clients = json.loads((ROOT / "docs" / "fit-clients.json").read_text(encoding="utf-8"))["clients"]
    assert set(clients) == {"sbi", "Pyro", "samplers"}
    for jobs in clients.values():
        for cells in jobs.values():
            for one in cells.values():
                assert any(name.startswith("pushforward") or "pushforward" in name for name in one)
                assert all(math.isfinite(found["error"]) and found["deviation"] > 0 for found in one.values())


def test_ours_have_half_of_the_time_of_sbi():
    clients = json.loads((ROOT / "docs" / "fit-clients.json").read_text(encoding="utf-8"))["clients"]
    for cells in clients["sbi"].values():
        for one in cells.values():
            for name, found in one.items():
                if name.startswith("pushforward"):
                    # The last epoch may end a little later.
                    assert found["seconds"] < 0.6 * one["sbi"]["seconds"], name


def test_each_fit_has_its_figures(data):
    for job, cells in data["jobs"].items():
        for seed, one in cells.items():
            named = set(one["found"])
            assert {*quality_page.OURS, *quality_page.CLASSICAL, "nflows, 0.001", "nflows, 0.003", "zuko, 0.001", "zuko, 0.003"} <= named, (
                job
            )
            assert all(math.isfinite(found["nats"]) for found in one["found"].values()), (job, seed)
            assert set(one["behind"]) == set(quality_page.OURS)
            assert all(set(others) == named - set(quality_page.OURS) for others in one["behind"].values())


def test_loops_have_the_same_time(data):
    for job, cells in data["jobs"].items():
        for one in cells.values():
            for name, found in one["found"].items():
                if "curve" in found:
                    # The last step may end a little later.
                    assert one["unit"] <= found["seconds"] < 1.2 * one["unit"], (job, name)


def one(ours, peer, normal, error=0.1, best=None, curve=(3.0, 2.0)):
    """Return the figures of a job and seed, in which all of ours score alike."""
    nats = dict.fromkeys(quality_page.OURS, ours) | {
        "nflows, 0.001": peer,
        "zuko, 0.003": peer + 1,
        "normal": normal,
        "mixture": normal + 1,
    }
    behind = {name: {other: [ours - nats[other], error] for other in nats if other not in quality_page.OURS} for name in quality_page.OURS}
    found = {name: {"nats": value, "curve": list(curve) if name in quality_page.OURS else [3.0, 2.5]} for name, value in nats.items()}
    return {"best": best, "found": found, "behind": behind}


def test_wins_are_counted_by_the_medians_and_their_errors():
    jobs = {"ahead": [one(1.0, 2.0, 3.0)], "level": [one(2.05, 2.0, 3.0)], "behind": [one(2.5, 2.0, 1.0)]}
    assert quality_page.wins(jobs, "pushforward, fit", None) == (["ahead"], ["behind"], ["behind"])
    three = {"job": [one(2.5, 2.0, 3.0), one(1.0, 2.0, 3.0), one(1.5, 2.0, 3.0)]}
    assert quality_page.gap(three["job"], "pushforward, fit", "peers") == (-0.5, 0.1)
    assert quality_page.wins(three, "pushforward, fit", ["zuko, 0.003"]) == (["job"], [], [])


def test_the_time_to_reach_a_peer_is_the_first_check_that_is_as_good():
    assert quality_page.share(one(1.0, 2.0, 3.0, curve=(3.0, 2.6, 2.5, 2.0)), "pushforward, 0.001") == 0.3
    assert quality_page.share(one(1.0, 2.0, 3.0, curve=(3.0, 2.6)), "pushforward, 0.001") is None
    assert quality_page.nats([one(1.0, 2.0, 3.0, best=-0.25)], "normal") == [2.75]
