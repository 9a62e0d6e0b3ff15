"""The site has every page in its menu, every public name in its reference, and every word in its glossary. The build is `make docs`."""

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site():
    """The modules that make the site, of which none needs Sphinx to be imported."""
    sys.path.insert(0, str(DOCS / "site"))
    yield {name: importlib.import_module(name) for name in ("navigation", "reference", "spacing")}
    sys.path.remove(str(DOCS / "site"))
    for name in ("navigation", "reference", "spacing"):
        del sys.modules[name]


def test_every_page_is_in_the_menu_once(site):
    sections = site["navigation"].sections((DOCS / "index.md").read_text())
    targets = [(DOCS / target).resolve() for links in sections.values() for _, target in links]
    pages = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")]
    assert sorted(targets) == sorted(page.resolve() for page in pages if page.name != "index.md")
    assert set((DOCS).rglob("*.md")) <= set(pages)


def test_the_menu_is_read_from_lists_under_headings(site):
    text = "[x](x.md)\n## One\n- [a](a.md): [b](b.md#c)\n  and [d](../d.md)\n\n[e](e.md)\n## Two\ntext\n## Three\n- [f](f.png) [g](g.md)"
    found = {"One": [("a", "a.md"), ("b", "b.md#c"), ("d", "../d.md")], "Three": [("g", "g.md")]}
    assert site["navigation"].sections(text) == found


def public_modules(reference, name):
    """Return the modules that a public module exports, itself included."""
    module = importlib.import_module(name)
    inside = [one for one in reference.names(name) if isinstance(getattr(module, one), ModuleType)]
    return {name}.union(*(public_modules(reference, f"{name}.{one}") for one in inside))


def test_every_public_module_has_a_page(site):
    reference = site["reference"]
    contrib = ROOT / "pushforward" / "contrib"
    adapters = {path.stem for path in (*contrib.glob("*.py"), *(file.parent for file in contrib.glob("*/__init__.py")))}
    adapters -= {"__init__", "recipes"}  # what adapters share
    expected = {f"pushforward.contrib.{name}" for name in adapters}
    for name in ("pushforward", "pushforward.data", "pushforward.train", "pushforward.contrib.flowtorch"):
        expected |= public_modules(reference, name)
    assert set(reference.MODULES) == expected - set(reference.SAME)
    for module, other in reference.SAME.items():
        assert set(importlib.import_module(module).__all__) <= set(importlib.import_module(other).__all__)


IMPORTED = ("pushforward", "pushforward.contrib.sklearn", "pushforward.contrib.conversion", "pushforward.contrib.flowtorch")


@pytest.fixture(scope="module")
def pages(site):
    # Other adapters need the packages that they adapt; `make docs` stands in for those.
    names = [m for m in site["reference"].MODULES if ".contrib." not in m or m.startswith(IMPORTED[1:])]
    return site["reference"].pages(names)


def exported(module):
    """Return the names of a module's ``__all__``, or what it defines."""
    there = importlib.import_module(module)
    own = [name for name, value in vars(there).items() if getattr(value, "__module__", "") == module and not name.startswith("_")]
    return set(getattr(there, "__all__", own))


def test_every_public_name_is_in_the_reference(pages):
    for module, text in pages.items():
        entries = set(re.findall(r"^   (\w+)$|``(\w+)``[,.]|^- :doc:`[\w.]+\.(\w+) <|^\.\. py:class:: [\w.]+\.(\w+)$", text, re.MULTILINE))
        assert exported(module) <= {name for entry in entries for name in entry}, module


def test_every_class_and_function_is_documented_once_by_a_public_path(pages):
    documented = [path for text in pages.values() for path in re.findall(r"^\.\. (?:auto|py:)\w+:: ([\w.]+\.\w+)$", text, re.MULTILINE)]
    documented = [path for path in documented if path not in pages]
    assert len(documented) == len(set(documented))
    values = {}
    for path in documented:
        module, _, name = path.rpartition(".")
        assert module in pages
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert values.setdefault(id(value), path) == path
    ours = [getattr(importlib.import_module(m), name) for m in pages for name in exported(m)]
    ours = [v for v in ours if (inspect.isclass(v) or inspect.isfunction(v)) and not v.__module__.startswith("torch.")]
    assert {id(value) for value in ours} == set(values)


def test_names_of_adapters_are_read_as_they_are_imported(site):
    for module in site["reference"].MODULES:
        if module.startswith(IMPORTED[1:]):
            assert set(site["reference"].names(module)) == exported(module)
        assert site["reference"].names(module)


def test_the_reference_names_no_path_inside_the_package(site, pages):
    public = {*site["reference"].MODULES, *site["reference"].SAME}
    for text in pages.values():
        for path in re.findall(r"pushforward(?:\.\w+)+", text):
            assert path in public or path.rpartition(".")[0] in public, path


def test_docstrings_name_no_path_inside_the_package(site, pages):
    public = {*site["reference"].MODULES, *site["reference"].SAME, "pushforward.contrib"}
    for module in pages:
        for name in exported(module):
            for path in re.findall(r"pushforward(?:\.\w+)+", inspect.getdoc(getattr(importlib.import_module(module), name)) or ""):
                assert path in public or path.rpartition(".")[0] in public, f"{module}.{name}: {path}"


def first_column(table):
    return [cells.split("|")[1].strip() for cells in table.splitlines() if cells.startswith("| ") and not cells.startswith("| word")]


def words(cell):
    """Return the words of a cell.

    >>> sorted(words("`A`, b (`C`)"))
    ['a', 'b', 'c']
    """
    return {word.strip("` ").lower() for word in re.split(r"[,()]", cell)} - {""}


def test_the_glossary_has_every_word_of_the_vocabulary():
    vocabulary = (DOCS / "design.md").read_text().split("## Vocabulary")[1].split("\n## ")[0]
    known = set().union(*map(words, first_column((DOCS / "glossary.md").read_text())))
    wanted = set().union(*map(words, first_column(vocabulary)))
    assert len(wanted) > 15
    assert wanted - known == set()


MINUS, BAR = "<mo>&#x02212;</mo>", '<mo stretchy="false">&#x0007C;</mo>'


@pytest.mark.parametrize(
    ("made", "spaced"),
    [
        (f"<mo>&#x0003D;</mo>{MINUS}", '<mo>&#x0003D;</mo><mo form="prefix">&#x02212;</mo>'),
        (f'<mo stretchy="false">&#x0005B;</mo>{MINUS}', '<mo stretchy="false">&#x0005B;</mo><mo form="prefix">&#x02212;</mo>'),
        (f"<mi>x</mi>{MINUS}<mi>y</mi>", f"<mi>x</mi>{MINUS}<mi>y</mi>"),
        (f"{BAR}<mi>x</mi>{BAR}", BAR.replace("mo s", 'mo form="prefix" s') + "<mi>x</mi>" + BAR.replace("mo s", 'mo form="postfix" s')),
        (f"<mi>x</mi>{BAR}<mi>c</mi>", f"<mi>x</mi>{BAR}<mi>c</mi>"),
        ("<mi>log</mi><mi>p</mi>", '<mi>log</mi><mspace width="0.167em"/><mi>p</mi>'),
        ("<mi>log</mi><mo>&#x00028;</mo>", "<mi>log</mi><mo>&#x00028;</mo>"),
        ("<mi>;</mi>", "<mo>;</mo>"),
    ],
)
def test_formulas_get_the_spaces_of_tex(site, made, spaced):
    assert site["spacing"].spaced(made) == spaced
