"""Names: where else a name is that is not where it was looked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

PLACES = ("pushforward", *(f"pushforward.{part}" for part in ("flows", "bijectors", "distributions", "targets", "transforms", "plots")))
"""The modules whose names users write."""


def missing(module: str) -> Callable[[str], NoReturn]:
    """Return the ``__getattr__`` of a module: it says where a name is, in whatever case it was written.

    >>> missing("pushforward")("NAF")
    Traceback (most recent call last):
    AttributeError: module 'pushforward' has no attribute 'NAF'; there is pushforward.flows.NAF
    """

    def absent(name: str) -> NoReturn:
        words = f"module {module!r} has no attribute {name!r}"
        places = [] if name.startswith("_") else [_find(place, name) for place in PLACES if place in sys.modules and place != module]
        found = [place for place in places if place]
        if not found:
            raise AttributeError(words)
        # With an object of its own Python does not add what else it finds in the module: "Did you mean: 'IAF'?"
        raise AttributeError(f"{words}; there is {' and '.join(found)}", name=name, obj=None)

    return absent


def _find(place: str, name: str) -> str | None:
    known: list[str] = getattr(sys.modules[place], "__all__", [])
    own = name if name in known else next((one for one in known if one.lower() == name.lower()), None)
    return None if own is None else f"{place}.{own}"
