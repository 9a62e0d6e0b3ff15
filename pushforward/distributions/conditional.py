"""Pyro's conditional distributions and transforms by name; no logic of its own."""

from pushforward.contrib.pyro.face import conditional as _transforms
from pushforward.contrib.pyro.face import conditional_distribution as _distributions
from pushforward.contrib.pyro.face.conditional import *
from pushforward.contrib.pyro.face.conditional_distribution import *

__all__ = _transforms.__all__ + _distributions.__all__
