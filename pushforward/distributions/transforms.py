"""Pyro's transforms by name, those of `pushforward.transforms`; no logic of its own."""

import typing as _typing

from pushforward import transforms as _transforms
from pushforward.transforms import *

if not _typing.TYPE_CHECKING:
    __all__ = _transforms.__all__
