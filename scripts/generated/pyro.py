"""The stub of Pyro's learnable transforms, whose classes and functions are made of a table: what type checkers and editors read."""

from __future__ import annotations

from pushforward.contrib.pyro.face import factory, named, words
from pushforward.contrib.pyro.face.row import Row
from pushforward.contrib.pyro.face.table import ROWS
from scripts.generated.writer import ROOT, formatted, of_files

FILE = ROOT / "pushforward" / "contrib" / "pyro" / "face" / "named.pyi"
HEAD = """# Written by `make generated`, of the rows in table.py.
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional
"""


def written(row: Row, kind: str) -> str:
    """Return the arguments of a class or function, as they are written."""
    found = list(words.arguments(row, kind).parameters.values())
    parts = [f"{p.name}: {p.annotation}" + ("" if p.default is p.empty else f" = {p.default!r}") for p in found]
    by_name = next((i for i, p in enumerate(found) if p.kind is p.KEYWORD_ONLY), None)
    return ", ".join(parts if by_name is None else [*parts[:by_name], "*", *parts[by_name:]])


def stub() -> str:
    """Return the text of the stub, before it is formatted."""
    parts = [HEAD]
    for row in ROWS:
        for upper, lower in factory.KINDS:
            if row.words(upper):
                cls, function, base = row.named(upper), row.named(lower), named.NAMES[row.named(upper)].__base__.__name__
                first, second = (named.NAMES[name].__doc__.splitlines()[0] for name in (cls, function))
                own = ", ".join(filter(None, ["self", written(row, upper)]))
                parts.append(f'class {cls}({base}):\n    """{first}"""\n\n    def __init__({own}) -> None: ...\n')
                parts.append(f'def {function}({written(row, lower)}) -> {cls}:\n    """{second}"""\n')
    return "\n".join(parts)


WRITER = of_files(lambda: {FILE: formatted(stub(), FILE.name)})
