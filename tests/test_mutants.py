"""The table of planted faults fits the code, and its driver tells what is noticed; `make mutants` plants them all."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
specification = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
mutants = importlib.util.module_from_spec(specification)
specification.loader.exec_module(mutants)
FAULTS = mutants.read((ROOT / "scripts" / "faults.txt").read_text())


def test_the_table_is_read_as_its_example_says():
    assert doctest.testmod(mutants) == (0, 1)


def test_every_fault_still_applies():
    for fault in FAULTS:
        text = (ROOT / "pushforward" / fault.file).read_text()
        assert fault.planted(text) != text
        assert fault.tests


def test_every_test_that_has_to_notice_is_there():
    named = {tuple(test.split("[")[0].split("::")) for fault in FAULTS for test in fault.tests}
    files = {file: ast.parse((ROOT / file).read_text()).body for file in {file for file, _ in named}}
    there = {(file, node.name) for file, body in files.items() for node in body if isinstance(node, ast.FunctionDef)}
    assert named <= there


def test_faults_are_spread_over_the_package():
    assert len({(fault.file, fault.right) for fault in FAULTS}) == len(FAULTS)
    assert {fault.mark for fault in FAULTS} == {"", *(f"M{i}" for i in range(1, 13)), *(f"T{i}" for i in range(1, 7))}
    count = Counter(fault.file.split("/")[0] for fault in FAULTS if not fault.mark)
    folders = {path.parent.name for path in (ROOT / "pushforward").glob("*/__init__.py")}
    assert folders <= set(count)
    assert count.total() >= 50


TABLE = """
# A comment, which is no fault.

sums.py: [M1] adds where it should subtract
-return a - b
+return a + b
tests/test_sums.py::test_difference

sums.py: a product is a power
-    return a * b
-    # of two
+    return a**b
tests/test_sums.py::test_product

sums.py: nonsense
-return a % b
+raise SystemExit
tests/test_sums.py::test_rest
"""
CODE = (
    "def difference(a, b):\n    return a - b\n\ndef product(a, b):\n    return a * b\n    # of two\n\ndef rest(a, b):\n    return a % b\n"
)
TESTS = """from pushforward.sums import difference, product, rest

def test_difference():
    assert difference(3, 2) == 1

def test_product():
    assert product(2, 2) == 4

def test_rest():
    assert rest(5, 3) == 2

def test_another_product():
    assert product(2, 3) == 6
"""


def test_the_driver_tells_what_is_noticed(tmp_path):
    driver = (ROOT / "scripts" / "mutants.py").read_text()
    wanted = driver[driver.index("PRELOADED = (") :].split("\n", 1)[0]
    files = {
        "pushforward/__init__.py": "", "pushforward/sums.py": CODE, "tests/test_sums.py": TESTS, "scripts/faults.txt": TABLE,
        "scripts/mutants.py": driver.replace(wanted, "PRELOADED = ('pytest', 'hypothesis')"),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(*words):
        done = subprocess.run([sys.executable, "scripts/mutants.py", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    code, said = run("power", "nonsense", "--jobs", "2")
    assert said[2:4] == [
        "| sums.py | a product is a power | **not noticed** |",
        "| sums.py | nonsense | tests/test_sums.py::test_rest |",
    ]
    assert (code, said[-1]) == (1, "1 of 2 faults noticed, 50 %")
    code, said = run("power", "M1", "--whole")
    assert said[2:4] == [
        "| sums.py | M1: adds where it should subtract | tests/test_sums.py::test_difference |",
        "| sums.py | a product is a power | tests/test_sums.py::test_another_product |",
    ]
    assert (code, said[-1]) == (0, "2 of 2 faults noticed, 100 %")
    assert (tmp_path / "pushforward" / "sums.py").read_text() == CODE
    (tmp_path / "tests" / "test_sums.py").write_text(TESTS.replace("== 1", "== 5"))
    assert run("M1") == (1, [f"expected all named tests to pass without a fault; see {tmp_path / 'out' / 'mutants' / 'sound.txt'}"])
