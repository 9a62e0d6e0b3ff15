"""`make quick` runs the tests that a change touches, the nearest first, and says what it did not run."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
specification = importlib.util.spec_from_file_location("quick", ROOT / "scripts" / "quick.py")
quick = importlib.util.module_from_spec(specification)
specification.loader.exec_module(quick)

FILES = {
    "pushforward/__init__.py": "",
    "pushforward/sums.py": "def total(a, b):\n    return a + b\n\n\ndef product(a, b):\n    return a * b\n\n\n"
    "def twice(a):\n    return total(a, a)\n",
    "pushforward/uses.py": "from pushforward.sums import product, total\n\n\ndef square(a):\n    return product(a, a)\n\n\ndef thrice(a):\n"
    "    return total(a, 2 * a)\n",
    "pushforward/apart.py": "def alone(a):\n    return a\n",
    "tests/test_sums.py": "from pushforward.sums import product, twice\n\n\ndef test_twice():\n    assert twice(2) == 4\n\n\n"
    "def test_product():\n    assert product(2, 3) == 6\n",
    "tests/test_uses.py": "import pytest\nfrom pushforward import uses\n\n\n@pytest.mark.parametrize('name', ['thrice', 'square'])\n"
    "def test_by_name(name):\n    assert getattr(uses, name)(3) == 9\n",
    "tests/test_apart.py": "from pushforward.apart import alone\n\n\ndef test_alone():\n    assert alone(1) == 1\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "quick.py", tmp_path / "scripts")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(quick, "ROOT", tmp_path)
    return tmp_path


def edit(project, path, old, new):
    (project / path).write_text(FILES[path].replace(old, new))


def run(project, *arguments):
    command = [sys.executable, "-m", "scripts.quick", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env={**quick.os.environ, "PYTHONPATH": "."})


def test_a_changed_line_touches_what_names_its_definition_step_by_step(project):
    edit(project, "pushforward/sums.py", "a + b", "b + a")
    changed = quick.changes_of([])
    assert changed == {"pushforward/sums.py": {2}}
    assert quick.near(changed) == {"total": 0, "twice": 1, "thrice": 1}


def test_a_file_that_is_told_has_changed_as_a_whole(project):
    assert quick.near(quick.changes_of([str(project / "pushforward/sums.py")])) == {
        **dict.fromkeys(("total", "product", "twice"), 0),
        **dict.fromkeys(("square", "thrice"), 1),
    }


def test_without_a_change_it_is_the_last_commit(project):
    edit(project, "pushforward/apart.py", "return a", "return +a")
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qam", "more"], cwd=project, check=True)
    assert quick.near(quick.changes_of([])) == {"alone": 0}


def test_only_files_of_tests_that_name_it_are_chosen(project):
    changed = quick.changes_of([str(project / "pushforward/apart.py")])
    assert quick.Choice(list(changed), quick.near(changed)).test_files() == ["pushforward/apart.py", "tests/test_apart.py"]


def test_a_page_is_tested_by_the_tests_of_the_pages():
    assert "tests/test_docs.py" in quick.Choice(["docs/training.md"], {}).test_files()


def test_a_fault_is_found_and_what_is_far_is_left_out(project):
    edit(project, "pushforward/sums.py", "a + b", "a - b")
    done = run(project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_twice" in done.stdout
    assert "test_by_name[thrice]" in done.stdout
    assert "test_apart" not in done.stdout
    edit(project, "pushforward/sums.py", "a + b", "b + a")
    done = run(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 tests in" in done.stdout


def test_no_time_is_no_success(project):
    edit(project, "pushforward/sums.py", "a + b", "b + a")
    done = run(project, "--seconds", "-1")
    assert done.returncode == 1
    assert "0 tests in" in done.stdout
    assert "4 had no time" in done.stdout
