"""The navigation: the lists of docs/index.md, a section for each of its headings, so that the page and the site's menu are one text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reference import MODULES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

INDEX, REFERENCE, VISION = "docs/index", "docs/reference", "VISION"


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return the links in the lists of a page, as text and target, by the heading that they stand under.

    >>> sections("# Docs\\n## Learn\\n- [All](all.md): it.\\n- [One](a/b.md) and [two](c.md#d).")
    {'Learn': [('All', 'all.md'), ('One', 'a/b.md'), ('two', 'c.md#d')]}
    """
    found: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif title and re.match(r"\s*- |  ", line):
            links = re.findall(r"\[([^\]]+)\]\(([^)\s]+\.md[^)\s]*)\)", line)
            found.setdefault(title, []).extend((link[0], link[1]) for link in links)
    return {title: links for title, links in found.items() if links}


def _tree(entries: list[str], *options: str) -> str:
    return "\n".join(["", "", "```{toctree}", *options, "", *entries, "```", ""])


def _add(app: Sphinx, page: str, text: list[str]) -> None:
    if page == VISION:  # it has no heading
        text[0] = f"# What it is not\n\n{text[0]}"
    if page == INDEX:
        for title, links in sections(text[0]).items():
            text[0] += _tree([f"{name} <{target.removesuffix('.md')}>" for name, target in links], ":hidden:", f":caption: {title}")
    if page == REFERENCE:
        top = [module for module in MODULES if module.count(".") < 2 or module.rpartition(".")[0] == "pushforward.contrib"]
        text[0] += _tree([f"{module.removeprefix('pushforward.')} <reference/{module}>" for module in top], ":maxdepth: 1")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
