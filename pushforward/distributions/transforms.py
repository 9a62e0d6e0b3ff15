"""Pyro's transforms by name, those of `pushforward.transforms`; no logic of its own."""

import typing as _typing

from pushforward.transforms import *

if not _typing.TYPE_CHECKING:
    from pushforward.transforms import __all__
