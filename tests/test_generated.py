"""What is written from the code is as the code has it."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from scripts.generated import names
from scripts.generated.__main__ import PARTS, stale, writer
from scripts.generated.writer import of_files

FOLDER = Path(__file__).parents[1] / "scripts" / "generated"


@pytest.mark.parametrize("part", PARTS)
def test_it_is_up_to_date(part):
    assert writer(part).stale() == [], "run make generated"


def test_every_file_of_the_folder_is_a_part():
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__", "writer"} == set(PARTS)


def test_files_are_stale_until_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.generated.writer.ROOT", tmp_path)
    made = of_files(lambda: {tmp_path / "new": "text", tmp_path / "old": "other text"})
    (tmp_path / "old").write_text("text")
    assert made.stale() == ["new", "old"]
    made.write()
    assert made.stale() == []
    assert (tmp_path / "old").read_text() == "other text"


def test_names_are_those_of_plans_and_of_functions_that_are_named_as_they_are(tmp_path, monkeypatch):
    assert doctest.testmod(names) == (0, 1)
    for folder in ("kernels", "layers", "nets", "bases"):
        (tmp_path / folder).mkdir()
    plan = "@dataclass(frozen=True, repr=False)\nclass {}: ..."
    (tmp_path / "kernels" / "new.py").write_text(plan.format("Warp") + "\nclass WarpModule: ...\n@dataclass(frozen=True)\nclass Shape: ...")
    (tmp_path / "layers" / "more.py").write_text("def PLU(): ...\ndef helper(): ...\n" + plan.format("_Hidden"))
    monkeypatch.setattr(names, "PACKAGE", tmp_path)
    text = names.files()[tmp_path / "bijectors.py"]
    assert "from pushforward.kernels.new import Warp\n" in text
    assert "from pushforward.layers.more import PLU\n" in text
    assert set(re.findall(r'"(\w+)",', text)) == {"Warp", "PLU", *names.BESIDE_BIJECTORS}
    monkeypatch.setattr("scripts.generated.writer.ROOT", tmp_path)
    assert stale(["names", "tree"]) == {"names": ["bijectors.py", "bases/__init__.py"]}, "the others wait for the names"
    (tmp_path / "layers" / "twice.py").write_text(plan.format("Warp"))
    with pytest.raises(SystemExit, match=r"Warp is defined in kernels\.new and in layers\.twice"):
        names.files()
