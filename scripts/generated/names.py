"""The modules that only list names, bijectors and bases: read from the files of the package, none of which is run for it."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from scripts.generated.writer import ROOT, of_files

PACKAGE = ROOT / "pushforward"
WIDTH = 140
WRITTEN = "# Written by `make generated`; not by hand.\n"
BIJECTORS = '"""All plans by name, and the short names that users know; no logic of its own."""\n'
BASES = '"""Base distributions: what a flow pushes forward."""\n'
# What is public beside the plans of a folder, and the functions that are named as plans are.
BESIDE_BIJECTORS = {
    "Bijector": "core.bijector",
    "Inverse": "core.bijector",
    "Compose": "core.compose",
    "Kernel": "kernels.kernel",
    "to_support": "layers.domains",
}
BESIDE_BASES = {"wrap": "bases.wrapped"}


def public(node: ast.stmt) -> str | None:
    """Return the name of a plan, or of a function that returns plans and is named as they are; of anything else, None.

    >>> [public(node) for node in ast.parse("@dataclass(frozen=True, repr=False)\\nclass A: ...\\nclass B: ...\\ndef C(): ...").body]
    ['A', None, 'C']
    """
    if isinstance(node, ast.ClassDef):
        plan = any(isinstance(one, ast.Call) and "repr" in [word.arg for word in one.keywords] for one in node.decorator_list)
    else:
        plan = isinstance(node, ast.FunctionDef)
    return node.name if plan and isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0].isupper() else None


def found(*folders: str) -> dict[str, str]:
    """Return the public names of the files in some folders, each with its module."""
    names: dict[str, str] = {}
    for path in (path for folder in folders for path in sorted((PACKAGE / folder).glob("*.py"))):
        for name in filter(None, map(public, ast.parse(path.read_text(encoding="utf-8")).body)):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            if name in names:
                raise SystemExit(f"{name} is defined in {names[name]} and in {module}: rename one of them")
            names[name] = module
    return names


def imports(names: dict[str, str]) -> str:
    """Return the lines that import names, as the linter sorts and wraps them."""
    modules: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name.lower())):
        modules.setdefault(f"from pushforward.{names[name]} import", []).append(name)
    short = {head: f"{head} {', '.join(own)}" for head, own in modules.items()}
    long = {head: "\n".join([f"{head} (", *(f"    {one}," for one in own), ")"]) for head, own in modules.items()}
    return "\n".join(short[head] if len(short[head]) <= WIDTH else long[head] for head in sorted(modules)) + "\n"


def listed(names: dict[str, str]) -> str:
    """Return ``__all__``, as the linter sorts it."""
    order = sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    lines = textwrap.wrap(" ".join(f'"{name}",' for name in order), WIDTH - 4)
    return "\n".join(["__all__ = [", *(f"    {line}" for line in lines), "]  # fmt: skip\n"])


def files() -> dict[Path, str]:
    """Return the text of each file."""
    plans = found("kernels", "layers", "nets") | BESIDE_BIJECTORS
    bases = found("bases") | BESIDE_BASES
    missing = "from pushforward.core.names import missing\n"
    before, after = ({k: v for k, v in plans.items() if (f"from pushforward.{v}" < missing) is first} for first in (True, False))
    guard = "if not TYPE_CHECKING:\n    __getattr__ = missing(__name__)\n"
    head = BIJECTORS + WRITTEN + "\nfrom typing import TYPE_CHECKING\n\n" + imports(before) + missing + imports(after)
    return {
        PACKAGE / "bijectors.py": "\n".join([head, listed(plans), guard]),
        PACKAGE / "bases" / "__init__.py": "\n".join([BASES + WRITTEN + "\n" + imports(bases), listed(bases)]),
    }


WRITER = of_files(files)
