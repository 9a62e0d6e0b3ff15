"""Pyro: flows at the sites of its models and guides, its trained flows turned into flows of this library, and its names (`face`).

What needs Pyro is imported when it is first asked for: the face needs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pushforward.contrib.pyro.conversion import convert
    from pushforward.contrib.pyro.distribution import PyroFlow, as_pyro
    from pushforward.contrib.pyro.guides import AutoFlow

__all__ = ["AutoFlow", "PyroFlow", "as_pyro", "convert"]

_PARTS = {"AutoFlow": "guides", "PyroFlow": "distribution", "as_pyro": "distribution", "convert": "conversion"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_PARTS[name]}"), name)
