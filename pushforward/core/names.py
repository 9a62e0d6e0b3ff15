"""Names: where else a name is that is not where it was looked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from typing import Any

PLACES = ("pushforward", *(f"pushforward.{part}" for part in ("flows", "bijectors", "distributions", "targets", "transforms", "plots")))
"""The modules whose names users write."""


def missing(module: str, later: Sequence[str] = ()) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module: it says where a name is, in whatever case it was written.

    Args:
        module: The module.
        later: Those of its parts that are imported when they are first asked for.

    >>> missing("pushforward")("NAF")
    Traceback (most recent call last):
    AttributeError: module 'pushforward' has no attribute 'NAF'; there is pushforward.flows.NAF
    """

    def absent(name: str) -> Any:
        if name in later:
            return importlib.import_module(f"{module}.{name}")
        words = f"module {module!r} has no attribute {name!r}"
        # Python asks here for a part, too, before it imports it.
        own = name.startswith("_") or PathFinder.find_spec(name, getattr(sys.modules[module], "__path__", [])) is not None
        places = [] if own else [_find(place, name) for place in PLACES if place != module]
        found = [place for place in places if place]
        if not found:
            raise AttributeError(words)
        # With an object of its own Python does not add what else it finds in the module: "Did you mean: 'IAF'?"
        raise AttributeError(f"{words}; there is {' and '.join(found)}", name=name, obj=None)

    return absent


def _find(place: str, name: str) -> str | None:
    known: list[str] = getattr(importlib.import_module(place), "__all__", [])
    own = name if name in known else next((one for one in known if one.lower() == name.lower()), None)
    return None if own is None else f"{place}.{own}"
