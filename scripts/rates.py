"""Run the tests of quality from many starts, and print how often each passes and its margins: ``make test-rates``.

    python scripts/rates.py                      every test of `TESTS` from 20 starts, and every page of `PAGES` on 20 processors
    python scripts/rates.py --starts 5 founding  what pytest's -k chooses by one of these words

A start moves the seeds of torch, from which first weights and batches are drawn: a wider spread than roundings make. Pages
print what one seed gives, so they are run as they are, on simulated processors that round differently (tests/other_processor.py).

For each comparison of two numbers in a test, the margin is how far the figure is on the right side of its bar; `sigma` is the mean margin
in standard deviations over the starts. Below 4, another start may fail. Where most starts are alike, look at the least margin as well.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]

TESTS = [
    "tests/test_founding.py::test_your_first_flow",
    "tests/test_founding_pyro.py",
    "tests/test_fit_quality.py",
    "tests/test_fit.py",
    "tests/test_sklearn.py",
    "tests/test_variational.py",
    "tests/test_demo.py::test_the_demo_made_small",
]
PAGES = ["tests/test_docs.py::test_code_runs_and_prints_what_the_page_says"]
WRAPPED = re.compile(r"(?:np\.float\d+|tensor)\(([-+.\de]+|inf|nan)(?:, [^()]*)?\)")
TERMS = (ast.Expression, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop, ast.cmpop)


def margin(explanation: str) -> float | None:
    """Return how far the figure of a comparison is on the right side, or None where it does not compare numbers.

    >>> margin("1.5 <= 1.65"), margin("np.float64(0.5) < (0.5 + 0.05)"), margin("1.46 == 1.45 ± 0.03"), margin("'a' == 'a'")
    (0.15, 0.05, 0.02, None)
    """
    line = WRAPPED.sub(r"\1", explanation.split("\n")[0].strip().removeprefix("assert "))
    text, _, within = line.partition(" ± ")
    try:
        tree = ast.parse(text, mode="eval")
        if not isinstance(tree.body, ast.Compare) or not all(isinstance(node, TERMS) for node in ast.walk(tree)):
            return None
        values = [float(eval(ast.unparse(side))) for side in (tree.body.left, *tree.body.comparators)]
        allowed = float(within) if within else None
    except (SyntaxError, TypeError, ValueError):
        return None
    found = []
    for left, sign, right in zip(values, tree.body.ops, values[1:], strict=False):
        if isinstance(sign, (ast.Lt, ast.LtE)):
            found.append(right - left)
        elif isinstance(sign, (ast.Gt, ast.GtE)):
            found.append(left - right)
        elif allowed is not None:
            found.append(allowed - abs(left - right))
    return round(min(found), 12) if found else None


class Recorder:
    """Notes of each test whether it passed, and of each assertion its margin."""

    def __init__(self) -> None:
        self.results: dict[str, str] = {}
        self.margins: dict[str, float] = {}

    def note(self, item, lineno, original, explanation):
        value = margin(explanation)
        if value is not None:
            key = f"{item.nodeid} {original}"
            self.margins[key] = min(value, self.margins.get(key, value))

    def pytest_assertion_pass(self, item, lineno, orig, expl):
        self.note(item, lineno, orig, expl)

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None:
            self.results[item.nodeid] = "failed"
            entry = call.excinfo.traceback[-1]
            self.note(item, entry.lineno + 1, str(entry.statement).strip().removeprefix("assert "), str(call.excinfo.value))
        elif call.when == "call":
            self.results.setdefault(item.nodeid, "passed")


def child(start: int, nodes: list[str], words: list[str], out: str) -> int:
    """Run tests in this process with moved seeds, and write what came of them."""
    import pytest
    import torch

    if not os.environ.get("PUSHFORWARD_TEST_BLAS"):
        seed = torch.manual_seed
        torch.manual_seed = lambda value: seed(int(value) + 1000 * start)
    recorder = Recorder()
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "enable_assertion_pass_hook=true", "--tb=no", "-k", " or ".join(words)]
    code = pytest.main([*arguments, *nodes], plugins=[recorder])
    Path(out).write_text(json.dumps([recorder.results, recorder.margins]))
    return int(code)


def start_of(folder: str, start: int, nodes: list[str], words: list[str]) -> tuple[dict[str, str], dict[str, float]]:
    """Return what came of the tests of one start, run in a process of its own: passed or failed, and the margins of assertions."""
    kind = "pages" if nodes is PAGES else "tests"
    # Assertions are rewritten to tell what they compared, in modules of their own.
    more = {"PYTHONPYCACHEPREFIX": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
    if nodes is PAGES and start:
        more["PUSHFORWARD_TEST_BLAS"] = f"other{start}"
    out = Path(folder) / f"{start}.{kind}.json"
    command = [sys.executable, __file__, "--child", str(start), str(out), *nodes, *words]
    subprocess.run(command, cwd=ROOT, env=os.environ | more, stdout=subprocess.DEVNULL)
    found, values = json.loads(out.read_text())
    if found:
        failed = [name for name, result in found.items() if result == "failed"]
        passed = f"start {start}, {kind}: {len(found) - len(failed)} of {len(found)} pass"
        print("\n    ".join([passed, *failed]), file=sys.stderr, flush=True)
    return found, values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run what pytest's -k chooses by one of these words (none: all)")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the number of the first start")
    parser.add_argument("--jobs", type=int, default=2, help="how many starts to run at a time")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        nodes = [word for word in given.words if word in TESTS + PAGES]
        return child(int(given.child[0]), nodes, [word for word in given.words if word not in nodes], given.child[1])
    results: dict[str, list[str]] = {}
    margins: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as pool:
        starts = range(given.first, given.first + given.starts)
        runs = [pool.submit(start_of, folder, start, nodes, given.words) for start in starts for nodes in (TESTS, PAGES)]
        for each in runs:
            found, values = each.result()
            for name, result in found.items():
                results.setdefault(name, []).append(result)
            for name, value in values.items():
                margins.setdefault(name, []).append(value)
    print("| test | passed |\n| --- | --- |")
    for name, each in results.items():
        print(f"| {name} | {each.count('passed')} of {len(each)} |")
    print("\n| assertion | least margin | mean | deviation | sigma |\n| --- | --- | --- | --- | --- |")
    for name, values in margins.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        sigma = f"{statistics.mean(values) / spread:.1f}" if spread else "-"
        print(f"| {name} | {min(values):.4g} | {statistics.mean(values):.4g} | {spread:.2g} | {sigma} |")
    return int(any("failed" in each for each in results.values()))


if __name__ == "__main__":
    sys.exit(main())
