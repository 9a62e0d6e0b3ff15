"""Named flows: functions that return a ready flow. They are rows of one table; the page "Add a named flow" adds one.

`__init__.pyi` beside this has their signatures for type checkers and editors; ``make generated`` writes it.
"""

from __future__ import annotations

from pushforward.core.names import missing
from pushforward.flows.mixture import mixture
from pushforward.recipes.table import FLOWS

__all__ = [*sorted(FLOWS), "mixture"]

globals().update(FLOWS)
__getattr__ = missing(__name__)
