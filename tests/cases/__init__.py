"""One row or more for every plan: the laws run over all of them. A family a file, each with a ``CASES`` of its own.

A family's ``HEAVY`` names rows that take the compiler long; every plan has another row that does not.
"""

from __future__ import annotations

import importlib
import pkgutil

from cases.core import SMALL
from pushforward.core.bijector import Bijector

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {}
HEAVY: set[str] = set()
for _module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
    _family = importlib.import_module(f"cases.{_module}")
    for _name, _row in _family.CASES.items():
        assert _name not in CASES, f"two rows are called {_name!r}"
        CASES[_name] = _row
    HEAVY |= getattr(_family, "HEAVY", set())

__all__ = ["CASES", "HEAVY", "SMALL"]
