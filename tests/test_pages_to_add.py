"""The pages that tell how to add something are followed to the letter, all in one copy of the tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from page_nets import FILE

ROOT = Path(__file__).parents[1]
PARTS = ("pushforward", "tests", "scripts", "docs", "benchmarks", "conftest.py", "pyproject.toml", "Makefile")
# page -> the files that it has written by hand
BY_HAND = {
    "add-a-bijection": {"pushforward/kernels/warp.py", "tests/cases/univariate.py"},
    "add-a-structure": {"pushforward/layers/shared.py", "tests/cases/core.py"},
    "add-a-net": {"pushforward/nets/convolution.py", "tests/cases/core.py"},
    "add-a-base": {"pushforward/bases/logistic.py", "tests/base_cases.py"},
    "add-a-named-flow": {"pushforward/recipes/table.py"},
}
GOLDEN = ["plan-Warp", "plan-Shared", "plan-Logistic", "CSF", "CSF-given_context", "expected"]
WRITTEN = {
    "pushforward/bijectors.py",
    "pushforward/bases/__init__.py",
    "pushforward/flows/__init__.pyi",
    "docs/design.md",
    "docs/catalogue.md",
    "tests/data/named_flows.json",
    *(f"tests/data/golden/{name}.safetensors" for name in GOLDEN),
}
ROWS = ["Warp", "Shared", "Shared given context, matrix", "Coupling affine, convolutions"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page):
    return (ROOT / "docs" / f"{page}.md").read_text()


def section(page, title):
    """Return what stands under a heading of a page."""
    return re.search(rf"^## {title}\n(.*?)(?=^## )", read(page), re.MULTILINE | re.DOTALL)[1]


def add_file(page, folder):
    """Write the file that the page has as a whole."""
    path, code = re.search(r"^This is the whole of `([\w/.]+)`:\n\n```python\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL).groups()
    assert not (folder / path).exists()
    (folder / path).write_text(code)


def add_rows(page, folder):
    """Add the lines that the page has for a file: imports at the top, rows at the end of a table."""
    text = section(page, "The rows?")
    path = folder / re.search(r"^In `([\w/.]+)`", text, re.MULTILINE)[1]
    table = re.search(r"`(CASES|BASES)`", text)[1]
    for kind, lines in FENCE.findall(text):
        assert kind == "text"
        old = path.read_text()
        if lines.startswith("from "):
            new = re.sub(r"^(?=from pushforward)", lines, old, count=1, flags=re.MULTILINE)
        else:
            new = re.sub(rf"(?ms)^({table}: .*?)(?=^\}})", lambda match, lines=lines: match[1] + lines, old, count=1)
        assert new != old
        path.write_text(new)


def add_net(page, folder):
    """Write the first block of the page into the file that it names, and the row at the end of a table."""
    text = read(page)[read(page).index("## In the library") :]
    assert text.startswith("## In the library\n\nTwo places are written by hand: the file and a row.")
    path, cases = re.search(r"the first block of this page, as `([\w/.]+)`.*?into\s`CASES` of `([\w/.]+)`", text, re.DOTALL).groups()
    assert not (folder / path).exists()
    (folder / path).write_text(FILE)
    (row,) = [lines for kind, lines in FENCE.findall(text) if kind == "text"]
    old = (folder / cases).read_text()
    (folder / cases).write_text(re.sub(r"(?ms)^(CASES: .*?)(?=^\})", lambda match: match[1] + row, old, count=1))


def add_recipe(page, folder):
    """Add a named flow: imports at the top of the table's file, and the row at the end of RECIPES."""
    imports, row = [code for kind, code in FENCE.findall(section(page, "The row")) if kind == "python"]
    table = folder / "pushforward" / "recipes" / "table.py"
    text = table.read_text().replace("from collections.abc", imports + "from collections.abc", 1)
    assert text.count("\n)\n\nFLOWS = ") == 1
    row = textwrap.indent(row.removeprefix("row = ").rstrip() + ",", "    ")
    table.write_text(text.replace("\n)\n\nFLOWS = ", f"\n{row}\n)\n\nFLOWS = "))


ADD = {"add-a-net": [add_net], "add-a-named-flow": [add_recipe]}
"""How a page is followed that does not have a whole file and rows."""


def contents(folder):
    """Return the bytes of every file of a tree."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def changed(before, after):
    return {path for path in before | after if before.get(path) != after.get(path)}


class Followed:
    """A copy of the tree in which the pages were followed."""

    def __init__(self, folder):
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
            else:
                shutil.copy(ROOT / part, folder / part)
        self.by_hand = {}
        for page in BY_HAND:
            before = contents(folder)
            for add in ADD.get(page, [add_file, add_rows]):
                add(page, folder)
            self.by_hand[page] = changed(before, contents(folder))
        before = contents(folder)
        # What `make generated` runs; to measure the numerics takes a minute.
        self.run("-m", "scripts.generated", "--without", "numerics")
        self.written = changed(before, contents(folder))

    def run(self, *words, check=True):
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=check)

    def json(self, code):
        """Return what code prints last, as JSON."""
        return json.loads(self.run("-c", textwrap.dedent(code)).stdout.splitlines()[-1])

    def text(self, path):
        return (self.folder / path).read_text()


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    return Followed(tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("page", BY_HAND)
def test_a_page_has_one_command_and_names_each_file_that_is_written_by_hand(page, followed):
    assert followed.by_hand[page] == BY_HAND[page]
    assert len(BY_HAND[page]) <= 2
    assert [code for kind, code in FENCE.findall(read(page)) if kind == "sh"] == ["make generated\n"]
    rule = re.search(r"^generated:.*\n\t(.*)$", followed.text("Makefile"), re.MULTILINE)[1]
    assert rule == "$(BIN)/python -m scripts.generated"


def test_the_command_writes_the_rest(followed):
    assert followed.written == WRITTEN
    # What was written whole a moment ago is not made once more.
    left = followed.run("-m", "scripts.generated", "--check", *("--without", "catalogue", "--without", "pyro"), check=False)
    assert left.returncode == 1
    assert sorted(left.stderr.splitlines()) == sorted([*(f"numerics: {row}" for row in ROWS), "run make generated"])


def test_what_is_new_is_in_the_pages(followed):
    tree = followed.text("docs/design.md")
    for file in ("warp", "shared", "logistic", "convolution"):
        assert re.search(rf"^ {{18}}.*\b{file}\.py\b", tree, re.MULTILINE)
    catalogue = followed.text("docs/catalogue.md")
    assert "| `Warp` | Sum of stretches and squeezes | `y = x + mean_k (exp(s_k) - 1) tanh(x - c_k)` | (-inf, inf)" in catalogue
    assert "| `2 * terms * D` | 1 evaluation | 1 evaluation, a root |" in catalogue
    assert "| `Shared` | One map for all elements |" in catalogue
    assert "| `Logistic` | Independent logistics around zero | NICE (Dinh et al., 2014) |" in catalogue
    assert "| `ConvNet` | Convolutions of 3 by 3 that keep height and width | Density" in catalogue
    assert (
        "| `CSF` | Cubic-spline flow: monotone cubic splines in coupling layers | Cubic-Spline Flows (Durkan et al., 2019) |" in catalogue
    )


LAWS = [
    "test_laws.py::test_laws[Warp]",
    "test_laws.py::test_laws[Shared]",
    "test_laws.py::test_laws[Shared given context, matrix]",
    "test_laws.py::test_laws[Coupling affine, convolutions]",
    "test_bases_more.py::test_laws_of_flows[Logistic]",
    "test_named_flows.py::test_the_density_is_that_of_the_samples[CSF]",
]
RUN = [
    "test_laws.py::test_log_determinants_of_both_ways_cancel_at_small_values[Warp]",
    "test_laws.py::test_log_determinants_of_both_ways_cancel_at_small_values[Coupling affine, convolutions]",
    "test_laws.py::test_every_plan_has_a_row",
    "test_laws.py::test_heavy_rows_are_further_rows",
    "test_bases_more.py::test_every_base_has_a_row",
    "test_catalogue.py::test_every_plan_is_in_it_with_a_row_of_laws",
    "test_catalogue.py::test_an_entry_says_what_there_is_to_say[Warp]",
    "test_catalogue.py::test_parameters_of_a_free_layer_are_as_many_as_its_formula_says[Warp]",
    "test_doors.py::test_bases[Logistic]",
    "test_fields.py::test_every_plan_has_a_row",
    "test_golden.py::test_every_named_flow_and_every_plan_has_golden_files",
    *(f"test_golden.py::test_a_golden_file_is_the_same_flow[plan, {name}]" for name in ("Warp", "Shared", "Logistic")),
    "test_golden.py::test_a_golden_file_is_the_same_flow[CSF, given context]",
    "test_imports.py::test_imports_only_go_down",
    "test_imports.py::test_the_order_names_what_there_is",
    "test_recipes.py::test_the_stub_is_what_the_rows_say",
    "test_recipes.py::test_plans_and_names_of_weights_are_as_they_were[CSF]",
]


def test_the_tests_go_over_what_is_new(followed):
    """They are collected for it; some are run."""
    files = sorted({name.split("::")[0] for name in (*LAWS, *RUN)})
    code = """
        import pytest
        words = ["-q", "-p", "no:cacheprovider"]
        assert pytest.main([*words, "--collect-only", *FILES]) == 0
        assert pytest.main([*words, *RUN]) == 0
    """
    code = code.replace("FILES", repr([f"tests/{name}" for name in files])).replace("RUN", repr([f"tests/{name}" for name in RUN]))
    done = followed.run("-c", textwrap.dedent(code), check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert {f"tests/{name}" for name in LAWS} <= set(done.stdout.splitlines())


def test_what_is_new_is_written_as_all_code_is(followed):
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    whole = [file for files in BY_HAND.values() for file in files if not (ROOT / file).exists()]
    for command in (["check"], ["format", "--check"]):
        done = followed.run("-m", "ruff", *command, *config, *whole, check=False)
        assert (len(whole), done.returncode) == (4, 0), done.stdout


def test_what_is_new_reaches_every_tool(followed):
    got = followed.json("""
        import inspect, json
        import numpy as np
        import pushforward
        from pushforward import flows
        from pushforward.__main__ import main
        from pushforward.contrib.sklearn import FlowDensity

        rows = np.random.default_rng(0).normal(size=(60, 3))
        np.savetxt("t.csv", rows, delimiter=",", header="a,b,c", comments="")
        code = main(["fit", "t.csv", "-o", "m", "--flow", "csf", "--bins", "4", "--transforms", "1", "--epochs", "1", "-q"])
        bij, dist = pushforward.bijectors, pushforward.distributions
        PUBLIC = [("Warp", bij), ("Shared", bij), ("Logistic", dist), ("CSF", flows), ("ConvNet", bij)]
        flow = pushforward.Flow(dist.StandardNormal(), bij.Coupling(bij.Affine(), net=bij.ConvNet((4,))), (2, 3, 3))
        flow.save("of_convolutions")
        density = FlowDensity("csf", epochs=1, random_state=0).fit(rows)
        print(json.dumps({
            "signature": str(inspect.signature(flows.CSF)),
            "public": [name in there.__all__ for name, there in PUBLIC],
            "module": pushforward.__file__,
            "fitted": [code, repr(pushforward.load("m"))],
            "loaded": repr(pushforward.load("of_convolutions").plan),
            "sklearn": repr(density.flow_),
        }))
    """)
    head = ["def CSF(", "features: int,", "context: int = 0,", "*,", "transforms: int = 5,", "bins: int = 8,", "bound: float = 5.0,"]
    stub = followed.text("pushforward/flows/__init__.pyi")
    assert "\n    ".join(head) in stub
    own = stub[stub.index("def CSF(") : stub.index("def GF(")]
    assert stub.replace(own, "").replace('    "CSF",\n', "") == (ROOT / "pushforward" / "flows" / "__init__.pyi").read_text()
    start = "(features: 'int', context: 'int' = 0, *, transforms: 'int' = 5, bins: 'int' = 8, bound: 'float' = 5.0"
    assert got["signature"].startswith(start)
    assert got["public"] == [True] * 5
    assert got["loaded"] == "Coupling(Affine(), net=ConvNet(channels=(4,)))"
    assert Path(got["module"]).is_relative_to(followed.folder)
    assert got["fitted"][0] == 0
    assert "Coupling(CubicSpline(bins=4)), Linear(), Standardize()" in got["fitted"][1]
    assert "Coupling(CubicSpline(), flip=True)" in got["sklearn"]
