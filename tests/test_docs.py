"""The documents are true: their code runs and prints what they say, their links lead somewhere, their commands work."""

import contextlib
import doctest
import io
import re
import shlex
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch

from pushforward.__main__ import main
from pushforward.native.library import LIBRARY

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DATA = "examples/data"
WEATHER = f"{DATA}/weather.csv.gz"
# They need other people's packages; `make test-interop` runs their code.
ELSEWHERE = {f"docs/{name}.md" for name in ("simulation-based-inference", "tutorials/pyro-flow-guide", "tutorials/pyro-flow-prior")}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


MEMORY = re.compile(r"\d[\d.]* [kMG]?B\b")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, *languages):
    return [match[2] for match in FENCE.finditer(page.read_text()) if match[1] in languages]


def examples(page):
    """Return each block of Python, the line where it starts, and what the page says that it prints: the text block right below it."""
    text = page.read_text()
    found = list(FENCE.finditer(text))
    for match, after in zip(found, [*found[1:], None], strict=True):
        if match[1] == "python":
            printed = after is not None and after[1] == "text" and not text[match.end() : after.start()].strip()
            yield match[2], text.count("\n", 0, match.start()) + 1, after[2] if printed else None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(ROOT / DATA, tmp_path / DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield tmp_path
    if "matplotlib.pyplot" in sys.modules:  # a page leaves its windows to its reader
        sys.modules["matplotlib.pyplot"].close("all")


# They fit several flows for as long as a reader would.
LONG = {f"docs/{name}.md" for name in ("scikit-learn", "tables", "training", "variational-inference", "tutorials/pyro-tutorial")}
RUN = [page for page in PAGES if blocks(page, "python") and name_of(page) not in ELSEWHERE]


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.fits] * (name_of(page) in LONG), id=name_of(page)) for page in RUN])
def test_code_runs_and_prints_what_the_page_says(page, folder, monkeypatch):
    # A real module, so that what a page defines can be pickled.
    module = types.ModuleType(re.sub(r"\W", "_", name_of(page)))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for code, line, printed in examples(page):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("\n" * line + code, name_of(page), "exec"), module.__dict__)
        if printed is not None:
            got = out.getvalue()
            if LIBRARY.handle is None:
                # The pages tell the memory that the compiled kernels take.
                got, printed = (MEMORY.sub("memory", text) for text in (got, printed))
            assert doctest.OutputChecker().check_output(printed, got, SAME), f"{name_of(page)}, line {line}: printed\n{got}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_kinds_that_are_checked(page):
    assert {match[1] for match in FENCE.finditer(page.read_text())} <= {"python", "text", "sh"}
    assert page.read_text().count("```") == 2 * len(FENCE.findall(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", path):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", FENCE.sub("", there.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, f"{name_of(page)}: {target}"


def test_every_page_is_reached_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text())}
    pages = {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {index.resolve()}
    assert pages <= linked


SHORT = {"fit": ["--epochs", "1", "-q"], "compare": ["--seconds", "0.2", "-q"]}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=name_of)
def test_shell_lines_work(page, folder, capsys):
    """Commands of ours run, in order, with fits of one epoch and comparisons of no time; of make and pip, targets and extras exist."""
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for line in "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["pushforward"]:
            arguments = words[1:] + SHORT.get(words[1], [])
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
        elif words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        elif words[:2] == ["pip", "install"]:
            for extra in re.findall(r"\[([\w,]+)\]", line):
                assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in extra.split(",")), line
        else:
            assert words[:1] in ([], ["git"], ["cd"]), f"{name_of(page)}: {line}: how is this checked?"


def test_command_line_page_has_every_command_and_option(capsys):
    from pushforward.cli.app import app

    text = (ROOT / "docs" / "command-line.md").read_text()
    for command in app.registered_commands:
        name = command.callback.__name__
        assert f"## {name}\n" in text
        assert main([name, "--help"]) == 0
        options = set(re.findall(r"(--[a-z-]+)", capsys.readouterr().out)) - {"--help"}
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        assert {o for o in options if not o.startswith("--no-")} <= set(re.findall(r"--[a-z-]+", section)), name
