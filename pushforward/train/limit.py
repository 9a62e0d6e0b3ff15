"""Limit: the time that a fit may take, on a clock of the wall."""

from __future__ import annotations

import time
from collections.abc import Callable

clock: Callable[[], float] = time.perf_counter
"""The clock, in seconds since whenever."""


class Limit:
    """The seconds that are left of a fit, from the moment that this is made.

    Args:
        seconds: How many there are (None: no end).

    >>> Limit(None).over, Limit(3600).over, Limit(None).gone
    (False, False, 0.0)
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.began = seconds, clock()

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return clock() - self.began

    @property
    def gone(self) -> float:
        """Share of the seconds that is gone, from 0 to 1; 0 where there is no end."""
        if self.seconds is None:
            return 0.0
        return min(1.0, self.spent / self.seconds) if self.seconds > 0 else 1.0

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self.gone >= 1

    def part(self, share: float) -> Limit:
        """Return a limit that begins now and has a share of all seconds, or what is left of them where that is less."""
        return Limit(None if self.seconds is None else max(0.0, min(share * self.seconds, self.seconds - self.spent)))
