"""The tree of docs/design.md: every folder and file of the package with the first line of its docstring."""

import ast
import textwrap
from pathlib import Path

from scripts.generated.writer import ROOT, of_files

PAGE = ROOT / "docs" / "design.md"
START, END = "```text\npushforward/\n", "```\n"
INDENT, WIDTH = 18, 150


def first_line(path: Path) -> str:
    """Return the first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def entry(name: str, text: str) -> list[str]:
    """Return the lines of a folder or file, what is told of it beside its name."""
    lines = [" " * INDENT + line for line in textwrap.wrap(text, WIDTH - INDENT, break_long_words=False, break_on_hyphens=False)]
    name = f"  {name}"
    return [name.ljust(INDENT) + lines[0].lstrip(), *lines[1:]] if len(name) < INDENT else [name, *lines]


def tree() -> str:
    """Return the tree as the page has it."""
    package = ROOT / "pushforward"
    lines: list[str] = []
    folders = sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)
    for folder in folders:
        parts = " ".join(sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py"))
        lines += entry(f"{folder.relative_to(package).as_posix()}/", first_line(folder / "__init__.py"))
        lines += entry("", parts) if parts else []
    for file in sorted(package.glob("*.py")):
        if file.name != "__init__.py":
            lines += entry(file.name, first_line(file))
    return START + "\n".join(lines) + "\n" + END


def page() -> str:
    """Return the page with the tree as it is now."""
    text = PAGE.read_text()
    before, _, rest = text.partition(START)
    return before + tree() + rest.partition(END)[2]


WRITER = of_files(lambda: {PAGE: page()})
