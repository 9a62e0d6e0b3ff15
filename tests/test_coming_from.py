"""Coming from another library: every line of code that the page gives runs."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| (.+?) \| (.*?) ?\|", re.MULTILINE)


def lines(section):
    """Return the code of the second column, row by row; a row without any says in its note why."""
    rows = ROW.findall(section)
    assert rows[0][0] == "there"
    return [(there, re.fullmatch(r"`(.+)`", here)[1] if here else None) for there, here in rows[1:] if set(there) != {"-"}]


def test_all_five_are_there():
    assert list(SECTIONS) == ["Pyro", "FlowTorch", "Zuko", "nflows", "normflows"]
    assert all(len(lines(section)) > 30 for section in SECTIONS.values())


@pytest.mark.parametrize("name", SECTIONS)
def test_every_line_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"coming_from_{name}")  # a real one, so that what the lines make can be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(re.search(r"^```python\n(.*?)^```$", SECTIONS[name], re.MULTILINE | re.DOTALL)[1], module.__dict__)
        for there, code in lines(SECTIONS[name]):
            if code is not None:
                try:
                    exec(code, module.__dict__)
                except Exception as error:
                    pytest.fail(f"{there}: {code}: {type(error).__name__}: {error}")


def test_a_row_without_code_gives_a_reason():
    bare = [row for section in SECTIONS.values() for row in re.findall(r"^\| [^|]+ \| \|.*$", section, re.MULTILINE)]
    assert bare
    for row in bare:
        assert re.search(r"\| \| .{8,} \|$", row), row
