"""Pyro's transforms by name, those of `pushforward.transforms`; no logic of its own."""

from pushforward.transforms import *  # noqa: F403
from pushforward.transforms import __all__ as __all__
