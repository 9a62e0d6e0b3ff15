"""Write what type checkers and editors read of Pyro's learnable transforms, whose classes and functions are made of a table::

python scripts/stubs.py
ruff format pushforward/contrib/pyro/face/named.pyi
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pushforward.contrib.pyro.face import named

FILE = Path(named.__file__).with_suffix(".pyi")
HEAD = """# Written by scripts/stubs.py, of the rows in table.py.
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional
"""


def arguments(made: Any) -> str:
    """Return the arguments of a class or function, as they are written."""
    given = inspect.signature(made).parameters.values()
    return ", ".join(f"{p.name}: {p.annotation}" + ("" if p.default is p.empty else f" = {p.default!r}") for p in given)


def stub() -> str:
    """Return the text of the stub."""
    parts = [HEAD]
    for name, made in named.NAMES.items():
        first = made.__doc__.splitlines()[0]
        if not isinstance(made, type):
            result = first.split("`")[1]
            parts.append(f'def {name}({arguments(made)}) -> {result}:\n    """{first}"""\n')
        elif made.__name__ == name:
            head = f'class {name}({made.__base__.__name__}):\n    """{first}"""\n'
            parts.append(f"{head}\n    def __init__({', '.join(filter(None, ['self', arguments(made)]))}) -> None: ...\n")
        else:
            parts.append(f"{name} = {made.__name__}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(stub())
