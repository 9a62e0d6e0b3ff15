"""Pyro's learnable transforms by name, made of the rows of the table; `named.pyi` tells type checkers of their arguments."""

from pushforward.contrib.pyro.face.factory import named
from pushforward.contrib.pyro.face.table import ROWS

NAMES = {name: made for row in ROWS for name, made in named(row, "pushforward.transforms").items()}
globals().update(NAMES)
__all__ = list(NAMES)
