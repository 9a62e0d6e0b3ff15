"""Pyro's transforms by name, those of `pushforward.transforms`; no logic of its own."""

from pushforward import transforms
from pushforward.transforms import *  # noqa: F403

__all__ = transforms.__all__
