"""Pyro: flows at the sites of its models and guides, and its trained flows turned into flows of this library."""

from pushforward.contrib.pyro.convert import convert
from pushforward.contrib.pyro.distribution import PyroFlow, as_pyro
from pushforward.contrib.pyro.guides import AutoFlow

__all__ = ["AutoFlow", "PyroFlow", "as_pyro", "convert"]
