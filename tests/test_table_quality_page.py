"""The page on how well tables are modelled is true to its figures, and counts as it says. No peer is installed here."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.generation import mixture, page  # noqa: E402

FIGURES, PAGE = ROOT / "docs" / "table-quality.json", ROOT / "docs" / "table-quality.md"


@pytest.fixture(scope="module")
def data():
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say(data):
    assert PAGE.read_text(encoding="utf-8") == page.page(data)


def test_figures_are_in_their_ranges(data):
    for name, cells in data["tables"].items():
        rows, columns = data["shapes"][name]
        assert rows <= 3000
        assert 6 <= columns <= 21
        for one in cells.values():
            if name not in page.unfinished(data):
                assert {*page.STARTS, *page.OURS, page.REAL, "mixture", "arfpy", "nflows", "SDV copula", "CTGAN", "TVAE"} == set(one)
            for method, found in one.items():
                assert all(math.isfinite(value) for value in found.values()), (name, method)
                assert all(-1 <= found[measure] <= 1 for measure in page.MEASURES if measure in found), (name, method)


def figures(ours, rival, c2st=0.5, seeds=1):
    """Return the figures of a table, the same for all seeds."""
    one = {
        "real rows": {"shapes": 0.99, "c2st": 1.0},
        "independent columns": {"nats": 0.0},
        "TableFlow by fit": {"nats": ours, "c2st": c2st},
        "arfpy": {"nats": rival, "c2st": 0.6},
    }
    return {str(seed): one for seed in range(seeds)}


def test_tables_are_won_by_the_better_of_all_rivals():
    tables = {"won": figures(1.0, 2.0), "lost": figures(2.5, 2.0, 0.7)}
    assert page.compared(tables, "TableFlow by fit", ["arfpy"], "nats", -1) == (["won"], ["lost (0.50 to arfpy)"])
    assert page.compared(tables, "TableFlow by fit", ["arfpy"], "c2st", 1) == (["lost"], ["won (0.10 to arfpy)"])
    # What a table starts from is no rival, and real rows are neither best nor bold.
    lines = page.grid(
        tables,
        ["real rows", "TableFlow by fit", "arfpy"],
        lambda cells, name: page.middle(cells, name, "c2st"),
        max,
        {"won": [100, 3], "lost": [50, 2]},
    )
    assert "| won (100 x 3) | 1.00 | 0.50 | **0.60** |" in lines
    assert "| lost (50 x 2) | 1.00 | **0.70** | 0.60 |" in lines


def test_figures_are_medians_over_seeds_and_a_method_without_one_has_none():
    cells = {str(at): {"arfpy": {"nats": value}} for at, value in enumerate((3.0, 1.0, 2.0))}
    assert page.middle(cells, "arfpy", "nats") == 2.0
    assert page.middle(cells, "arfpy", "c2st") is None
    assert page.mean({"a": cells, "b": {"0": {}}}, "arfpy", "nats") is None


def test_what_is_not_measured_is_said():
    data = {"all": ["a", "b", "c"], "tables": {"a": figures(1.0, 2.0), "b": {"0": {"arfpy": {}}}}}
    assert page.unfinished(data) == ["b", "c"]
    assert page.missing(["b", "c"]) == ["**Not measured yet**, or in part: b, c. The command goes on where it ended.\n"]
    assert page.unfinished({**data, "all": ["a"]}) == page.missing([]) == []


def test_a_normal_between_two_places_is_exact_in_both_tails():
    low = np.array([-40.0, -1.0, 0.0, 39.0, -np.inf])
    high = np.array([-39.0, 1.0, np.inf, 40.0, np.inf])
    found = mixture.log_between(low, high)
    assert found[0] == found[3] == pytest.approx(-765.08, abs=0.1)
    assert found[1:3] == pytest.approx(np.log([0.6826894921, 0.5]))
    assert found[4] == pytest.approx(0.0)
