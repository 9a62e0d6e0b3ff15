"""Plant faults in a copy of the package, one at a time, and print which tests notice them: ``make mutants``.

    python scripts/mutants.py                    every fault of faults.txt, with the tests named beside it
    python scripts/mutants.py kernels M7         those with one of these words in their file, reason or mark
    python scripts/mutants.py --whole flow.py    and all other tests too, where the named ones do not notice

A fault that no test notices is a place where the next one goes unseen: write the test of its kind. The exit status is 1 where fewer than
95 % are noticed, or where an entry no longer fits the code. What pytest says is kept in out/mutants.
"""

from __future__ import annotations

import argparse
import ast
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "out" / "mutants"
ENOUGH = 0.95
LIMIT, WHOLE_LIMIT = 300, 3600  # seconds for the named tests of a fault, and for all others
WHOLE = ("-m", "not heavy", "tests", "pushforward")
# Where tests of this repository read no more than they find in a copy without these.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "out", "build", "__pycache__", "*.egg-info")
# What takes long to import and is not ours: every run starts as a fork of a process that has it.
PRELOADED = ("torch", "numpy", "scipy.stats", "pandas", "sklearn", "matplotlib.figure", "pyarrow.csv")


class Fault(NamedTuple):
    """A fault: ``wrong`` in the place of ``right``, which its file has exactly once, and the ids of the tests that have to notice it."""

    file: str
    mark: str
    reason: str
    right: str
    wrong: str
    tests: tuple[str, ...]

    def found_in(self, words: list[str]) -> bool:
        """Return whether one of the words is its mark, or a part of its file or its reason."""
        return not words or any(word == self.mark or word in self.file or word in self.reason for word in words)

    def planted(self, text: str) -> str:
        """Return the text of its file with the fault in it."""
        if text.count(self.right) != 1:
            raise ValueError(f"{self.file}: {self.reason}: expected the right text once, got it {text.count(self.right)} times")
        made = text.replace(self.right, self.wrong)
        if self.file.endswith(".py"):
            ast.parse(made, self.file)
        return made


def read(text: str) -> list[Fault]:
    """Return the faults of a table, whose form its first lines tell.

    >>> read("a.py: [M1] adds\\n-x - y\\n+x + y\\ntests/test_a.py::test_sum")
    [Fault(file='a.py', mark='M1', reason='adds', right='x - y', wrong='x + y', tests=('tests/test_a.py::test_sum',))]
    """
    found = []
    for block in text.split("\n\n"):
        head, *lines = [line for line in block.splitlines() if not line.startswith("#")] or [""]
        if not head:
            continue
        file, _, reason = head.partition(": ")
        mark, _, rest = reason.removeprefix("[").partition("] ") if reason.startswith("[") else ("", "", reason)
        right, wrong = ("\n".join(line[1:] for line in lines if line[:1] == sign) for sign in "-+")
        found.append(Fault(file, mark, rest, right, wrong, tuple(line for line in lines if line[:1] not in "-+")))
    return found


def pytest_in(folder: Path, arguments: list[str], log: Path) -> None:
    """Run pytest in a copy; the body of a process of its own."""
    os.setsid()  # so that what it starts can be ended with it
    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    import pytest

    sys.exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments])))


class Copy:
    """A copy of the checkout, in which faults are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        self.compiled = {path: path.read_bytes() for path in folder.glob("pushforward/native/_kernels*")}

    def run(self, arguments: list[str], log: Path, limit: float) -> int | None:
        """Return the exit code of pytest, or None where it takes too long."""
        process = multiprocessing.get_context("forkserver").Process(target=pytest_in, args=(self.folder, arguments, log))
        process.start()
        process.join(limit)
        code = process.exitcode
        if code is None:
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        return code

    def noticed(self, fault: Fault, log: Path, whole: bool) -> str | None:
        """Plant a fault, and return the name of the test that notices it, if one does."""
        path = self.folder / "pushforward" / fault.file
        right = path.read_text()
        try:
            self._write(path, fault.planted(right))
            by = self._told(list(fault.tests), log, LIMIT)
            if by is None and whole:
                by = self._told([*WHOLE, *(f"--deselect={test}" for test in fault.tests)], log, WHOLE_LIMIT)
            return by
        finally:
            self._write(path, right, sound=True)

    def _told(self, arguments: list[str], log: Path, limit: float) -> str | None:
        code = self.run(arguments, log, limit)
        if code in (0, None):
            return None
        lines = log.read_text(errors="replace").splitlines()
        named = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
        if code in (4, 5):
            raise ValueError(f"expected tests of these names, got none: {' '.join(arguments)}")
        return named[0] if named else "the import" if code == 2 else f"the end of the process, {code}"

    def _write(self, path: Path, text: str, sound: bool = False) -> None:
        path.write_text(text)
        for old in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            old.unlink()  # its date may be that of the text before
        if path.suffix in (".c", ".h"):
            if sound:
                for file, content in self.compiled.items():
                    file.write_bytes(content)
            else:
                build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
                subprocess.run(build, cwd=self.folder, check=True, capture_output=True)


def main() -> int:
    """Plant the chosen faults; print a row for each, and how many are noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="words of files, reasons or marks; all faults unless told")
    parser.add_argument("--whole", action="store_true", help="run all other tests too where the named ones do not notice")
    parser.add_argument("--jobs", type=int, default=1, help="how many faults at a time")
    options = parser.parse_args()
    faults = [fault for fault in read((ROOT / "scripts" / "faults.txt").read_text()) if fault.found_in(options.words)]
    if not faults:
        parser.error(f"expected words of faults, got {' '.join(options.words)}")
    for fault in faults:
        fault.planted((ROOT / "pushforward" / fault.file).read_text())  # before anything is run
    os.environ |= {"OMP_NUM_THREADS": "1", "CI": "1"}  # one example of each property, always the same
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOADED))
    LOGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies: queue.Queue[Copy] = queue.Queue()
        for index in range(options.jobs):
            copies.put(Copy(Path(folder) / str(index)))
        sound = LOGS / "sound.txt"
        tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
        if copies.queue[0].run(tests, sound, WHOLE_LIMIT) != 0:
            print(f"expected all named tests to pass without a fault; see {sound}")
            return 1

        def attempt(index: int) -> str | None:
            copy = copies.get()
            try:
                return copy.noticed(faults[index], LOGS / f"{index}.txt", options.whole)
            finally:
                copies.put(copy)

        print("| file | fault | noticed by |\n| --- | --- | --- |")
        count = 0
        for fault, by in zip(faults, pool.map(attempt, range(len(faults))), strict=True):
            count += by is not None
            marked = f"{fault.mark}: " if fault.mark else ""
            print(f"| {fault.file} | {marked}{fault.reason} | {by or '**not noticed**'} |", flush=True)
    print(f"\n{count} of {len(faults)} faults noticed, {100 * count / len(faults):.0f} %")
    return int(count < ENOUGH * len(faults))


if __name__ == "__main__":
    sys.exit(main())
