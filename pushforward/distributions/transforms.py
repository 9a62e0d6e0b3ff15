"""Pyro's transforms by name, those of `pushforward.transforms`; no logic of its own."""

from pushforward import transforms as _transforms
from pushforward.transforms import *

__all__ = _transforms.__all__
