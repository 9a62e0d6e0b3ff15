"""Run the tests that a change touches most, for less than a minute: ``make quick``.

    python scripts/quick.py                        what differs from the last commit; where nothing does, the last commit itself
    python scripts/quick.py pushforward/flow/kl.py      these files, as if all of them had changed

What is touched is told from names, without running anything: a definition that has changed lines, those that name it, in files that import
its file, those that name these, and so on. A test is as far from the change as the nearest name in its parameters, in its body or, farther,
in its file; nearest of all are those that `faults.txt` names for a fault in that file. The nearest run first, one of each function before
the second of any, until the time is up. So it is no proof, as `make test` is, and says how many of the tests that it chose had no time.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WORD = re.compile(r"[A-Za-z_]\w+")
FAR, FILES, MOST = 4, 7, 400
"""How many steps from a change names are followed, and how many files and tests are chosen at most."""
SECONDS = 40.0
NATIVE = "pushforward/native/src/"
BESIDE = 0.5  # a name in the body of a test counts as that much farther than one in its parameters, one elsewhere in its file as four times
OVER = "the time is up"
CHANGED = "PUSHFORWARD_QUICK"  # how the processes of pytest-xdist are told


class File:
    """A file of Python: its definitions by name, with their lines and the names in them, and what it imports."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        self.body: dict[str, tuple[range, set[str]]] = {}
        self.imports: set[str] = set()
        tree = ast.parse(self.text)
        lines = self.text.splitlines()
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [node.name] if hasattr(node, "name") else [target.id for target in targets if isinstance(target, ast.Name)]
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            span = range(first, (node.end_lineno or first) + 1)
            for name in names:
                self.body[name] = (span, words("\n".join(lines[first - 1 : span.stop - 1])))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.imports |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                self.imports |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}

    def changed(self, lines: set[int] | None) -> set[str]:
        """Return the definitions that have one of these lines; all where some line is in none, or none are told."""
        if lines is None or not all(any(line in span for span, _ in self.body.values()) for line in lines):
            return set(self.body)
        return {name for name, (span, _) in self.body.items() if lines & set(span)}


def words(text: str) -> set[str]:
    """Return the names in a text.

    >>> sorted(words("test_laws[Spline, 16 bins]"))
    ['Spline', 'bins', 'test_laws']
    """
    return set(WORD.findall(text))


def module(path: Path) -> str:
    """Return the name by which a file is imported; those of tests see each other without their folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "tests" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def distances(files: dict[str, File], changes: dict[str, set[int] | None]) -> dict[str, int]:
    """Return how many steps each name is from the changes: ``{name: steps}``."""
    found: dict[tuple[str, str], int] = {(name, word): 0 for name, lines in changes.items() for word in files[name].changed(lines)}
    ring = set(found)
    for step in range(FAR):
        by_file = defaultdict(set)
        for name, word in ring:
            by_file[name].add(word)
        ring = set()
        for name, file in files.items():
            # A file sees its own names, and those of what it imports, from wherever these are handed on.
            near = set().union(*(some for other, some in by_file.items() if other == name or other in file.imports))
            for word, (_, inside) in file.body.items():
                if near & inside and (name, word) not in found:
                    found[name, word] = step + 1
                    ring.add((name, word))
    nearest: dict[str, int] = {}
    for (_, word), step in found.items():
        nearest[word] = min(step, nearest.get(word, step))
    return nearest


def changes_of(paths: list[str]) -> dict[str, set[int] | None]:
    """Return the changed files with their changed lines, None for all: of the paths, of the checkout, or of the last commit."""
    if paths:
        return {Path(path).resolve().relative_to(ROOT).as_posix(): None for path in paths}

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    new = git("ls-files", "--others", "--exclude-standard").splitlines()
    difference = git("diff", "--unified=0", "HEAD") or ("" if new else git("diff", "--unified=0", "HEAD~1"))
    found: dict[str, set[int] | None] = dict.fromkeys(new)
    path = ""
    for line in difference.splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ ").removeprefix("b/")
            if path != "/dev/null":
                found[path] = set()
        elif (place := re.match(r"@@ \S+ \+(\d+)(?:,(\d+))? @@", line)) and found.get(path) is not None:
            start, count = int(place[1]), int(place[2] or 1)
            # Of lines that are gone alone, the two between which they were.
            found[path] |= set(range(start, start + count)) if count else {start, start + 1}
    return found


def near(changed: dict[str, set[int] | None]) -> dict[str, int]:
    """Return how many steps the names of the package, and of what the tests share, are from changed files."""
    paths = [*(ROOT / "pushforward").rglob("*.py"), *(path for path in (ROOT / "tests").rglob("*.py") if "test_" not in path.name)]
    files = {module(path): File(path) for path in paths}
    known = {name: lines for path, lines in changed.items() if path.endswith(".py") and (name := module(ROOT / path)) in files}
    for path in changed:
        if path.startswith(NATIVE):  # what names the file of C, or all that hands work to it
            native = {name for name in files if name.startswith("pushforward.native.")}
            known |= dict.fromkeys({name for name in native if Path(path).stem in files[name].text} or native)
    return distances(files, known)


def noticing(paths: list[str]) -> set[str]:
    """Return the tests that a fault planted in one of the files has to be noticed by, as `faults.txt` says."""
    table, found = ROOT / "scripts" / "faults.txt", set()
    for block in table.read_text().split("\n\n") if table.exists() else ():
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines and f"pushforward/{lines[0].partition(': ')[0]}" in paths:
            found |= {line for line in lines[1:] if line.startswith("tests/")}
    return found


class Choice:
    """What is near the changes: names, the paths of the files, and the words by which tests name those that are no Python."""

    def __init__(self, paths: list[str], near: dict[str, int]) -> None:
        self.paths, self.near = paths, near
        self.noticing = noticing(paths)
        self.names = [Path(path).name for path in paths if not path.endswith(".py") and not path.startswith(NATIVE)]

    def of(self, text: str) -> float:
        """Return how far the nearest name of a text is."""
        return min((self.near[word] for word in words(text) & self.near.keys()), default=math.inf)

    def test_files(self) -> list[str]:
        """Return the files to collect: what has changed, and of the tests those which name most of what is near."""
        own = [path for path in self.paths if re.match(r"pushforward/.*\.py$|tests/test_\w+\.py$", path) and (ROOT / path).exists()]
        texts = {path: path.read_text() for path in sorted((ROOT / "tests").glob("test_*.py"))}
        common = Counter(word for text in texts.values() for word in words(text) & self.near.keys())
        score = {}
        for path, text in texts.items():
            counts = Counter(WORD.findall(text))
            # Rare names tell more than those that every file has.
            told = sum((1 + math.log(counts[word])) / (common[word] * 4 ** self.near[word]) for word in counts.keys() & self.near.keys())
            told += 10 * any(test.startswith(f"tests/{path.name}::") for test in self.noticing)
            told += any(step <= 1 and word[:1].isupper() for word, step in self.near.items()) * (path.name == "test_laws.py")
            told += 10 * sum(name in text or (name.endswith(".md") and "test_docs" in path.name) for name in self.names)
            score[path.relative_to(ROOT).as_posix()] = told
        nearest = sorted((path for path in score if score[path] > 0 and path not in own), key=lambda path: -score[path])
        return own + nearest[:FILES]

    def distance(self, item: pytest.Item) -> float:
        """Return how far a test is from the changes."""
        path = item.path.relative_to(ROOT).as_posix()
        if path in self.paths:
            return -1.0
        if {item.nodeid, item.nodeid.partition("[")[0]} & self.noticing:
            return -0.5
        told, cases = [item.name.partition("[")[2]], sys.modules.get("cases")
        for value in getattr(getattr(item, "callspec", None), "params", {}).values():
            told.append(repr(value))
            if cases is not None and isinstance(value, str) and value in cases.CASES:
                told.append(repr(cases.CASES[value]))
        body = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
        if any(name in told[0] for name in self.names):
            return 0.0
        if any(name in body for name in self.names):
            return BESIDE
        return min(self.of(" ".join(told)), self.of(body) + BESIDE, self.of(item.path.read_text()) + 4 * BESIDE)

    def ordered(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Return the tests that are near, the nearest first; of those that are as near one of each function before the second of any."""
        far = {item: distance for item in items if (distance := self.distance(item)) < math.inf}
        turn: Counter[tuple[str, float]] = Counter()
        place = {}
        for item in far:
            kind = item.nodeid.partition("[")[0], far[item]
            place[item] = far[item], turn[kind]
            turn[kind] += 1
        return sorted(far, key=place.__getitem__)[:MOST]


class Plugin:
    """Orders the tests, and ends when the time is up; in each process of pytest-xdist."""

    def __init__(self, choice: Choice, seconds: float) -> None:
        self.choice, self.seconds, self.end = choice, seconds, math.inf

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and order."""
        items[:] = self.choice.ordered([item for item in items if not item.get_closest_marker("heavy")])
        self.end = time.monotonic() + self.seconds

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Leave out what has no time any more."""
        if time.monotonic() > self.end:
            item.add_marker(pytest.mark.skip(reason=OVER))
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """End a test that is still at work when the time is up."""

        def over(number: int, frame: Any) -> None:
            pytest.skip(OVER)

        before = signal.signal(signal.SIGALRM, over)
        signal.setitimer(signal.ITIMER_REAL, max(self.end - time.monotonic(), 0.01))
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class Counted:
    """Counts what ran and what had no time."""

    ran = over = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test where it ended."""
        if report.skipped and OVER in str(report.longrepr):
            self.over += 1
        elif report.when == "call":
            self.ran += 1


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin, in each process of pytest-xdist as well."""
    told = json.loads(os.environ[CHANGED])
    config.pluginmanager.register(Plugin(Choice(told["paths"], told["near"]), told["seconds"]))


def main() -> int:
    """Choose and run; return the exit status of pytest, and 1 where files have changed and nothing ran."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="changed files; what git says unless told")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long tests run at most (default: %(default)s)")
    parser.add_argument("--choose", action="store_true", help="print what would be run, the nearest first")
    options = parser.parse_args()
    changed = changes_of(options.paths)
    choice = Choice(list(changed), near(changed))
    files = choice.test_files()
    print("changed:", *changed, "\ntests of:", *files)
    if not files:
        print("no test names what has changed; `make test` runs all")
        return 0
    os.environ[CHANGED] = json.dumps({"paths": choice.paths, "near": choice.near, "seconds": options.seconds})
    how = ["--collect-only"] if options.choose else ["-n", "2", "--maxfail=10"]
    counted = Counted()
    code = pytest.main(["-q", "-p", "scripts.quick", "-p", "no:cacheprovider", "--tb=short", "-r", "fE", *how, *files], plugins=[counted])
    print(f"{counted.ran} tests in {time.monotonic() - start:.0f} s; {counted.over} had no time, the farthest first. `make test` runs all.")
    if not counted.ran and not options.choose:
        print("expected at least one test of what has changed to run, got none")
        return 1
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
