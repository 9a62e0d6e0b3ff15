"""The stub of the named flows, pushforward/flows/__init__.pyi: what type checkers and editors know of them."""

import textwrap

from pushforward.recipes.recipe import Recipe
from pushforward.recipes.table import RECIPES
from scripts.generated.writer import ROOT, of_files

FILE = ROOT / "pushforward" / "flows" / "__init__.pyi"
HEAD = '''"""Named flows: functions that return a ready flow. Written by `make generated` from pushforward/recipes/table.py."""

from collections.abc import Sequence

from pushforward.flow.flow import Flow
from pushforward.flows.mixture import mixture as mixture
from pushforward.nets.net import NetLike
from pushforward.recipes.stack import Support
'''


def stub(recipe: Recipe) -> str:
    """Return the signature and the docstring of the function of a recipe, as the formatter leaves them."""
    lines = [f"def {recipe.name}("]
    for one in recipe.signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and "    *," not in lines:
            lines.append("    *,")
        value = f'"{one.default}"' if isinstance(one.default, str) else repr(one.default)
        lines.append(f"    {one.name}: {one.annotation}{'' if one.default is one.empty else f' = {value}'},")
    raw = "r" if "\\" in recipe.doc else ""
    quoted = f'{raw}"""{recipe.doc}"""'
    return "\n".join([*lines, ") -> Flow:", textwrap.indent(quoted, "    ")])


def text() -> str:
    """Return the text of the stub."""
    # The linter's order: names in capitals first.
    names = [*sorted((recipe.name for recipe in RECIPES), key=lambda name: (not name.isupper(), name)), "mixture"]
    public = "\n".join(["__all__ = [", *(f'    "{name}",' for name in names), "]\n"])
    return "\n".join([HEAD, public, *(stub(recipe) + "\n" for recipe in sorted(RECIPES, key=lambda recipe: recipe.name))])


WRITER = of_files(lambda: {FILE: text()})
