"""A few cases of each fuzzer, always the same ones; `make fuzz` does many more, at random."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", fuzz.names())
def test_a_short_run_finds_nothing(name):
    found = {seed: finding for seed in range(fuzz.fuzzer(name).SHORT) if (finding := fuzz.attempt(name, seed)) is not None}
    assert not found, "\n".join(f"--only {name} --seed {seed} --cases 1:\n{finding}" for seed, finding in found.items())


PLANTED = {
    "finds": ("return 'the words of a finding' if random.random() < 2 else None", "the words of a finding"),
    "raises": ("raise KeyError('raised')", "KeyError: 'raised'"),
    "warns": ("import warnings; warnings.warn('warned')", "UserWarning: warned"),
    "aborts": ("import os; os.abort()", "the case ended the process with exit code -6"),
    "broken": ("nonsense = (", "the case ended the process with exit code 1"),
    "slow": ("import time; time.sleep(60)", "took longer than 0.1 s"),
    "good": ("return None", None),
}


def test_the_driver_finds_what_there_is_to_find(tmp_path):
    folder = tmp_path / "tests" / "fuzz"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        (folder / name).write_text((ROOT / "tests" / "fuzz" / name).read_text().replace("LIMIT = 60.0", "LIMIT = 0.1"))
    for name, (body, _) in PLANTED.items():
        (folder / f"{name}.py").write_text(f"SHORT = 1\n\ndef case(random, folder):\n    {body}\n")
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "2", "--seed", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    table = [line.split()[:3] for line in done.stdout.splitlines()[-len(PLANTED) :]]
    assert table == [[name, "2", "0" if PLANTED[name][1] is None else "2"] for name in sorted(PLANTED)]
    assert done.returncode == 1
    for name, (_, words) in PLANTED.items():
        for seed in (5, 6):
            title = f"{name}, --only {name} --seed {seed} --cases 1:\n"
            assert (title in done.stdout) == (words is not None)
            assert words is None or words in done.stdout.split(title)[1].split("--only")[0]


def test_the_driver_ends_well_where_there_is_nothing_to_find(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--only", "writers", "--cases", "1", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.split()[-4:-1] == ["writers", "1", "0"]
