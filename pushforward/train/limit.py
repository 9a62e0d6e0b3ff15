"""Limit: the time that a fit may take, on a clock of the wall or another one."""

from __future__ import annotations

import time
from collections.abc import Callable

from pushforward.train import options as check

clock: Callable[[], float] = time.perf_counter
"""The clock, in seconds since whenever."""


class Limit:
    """The seconds that are left of a fit, from the moment that this is made.

    Args:
        seconds: How many there are (None: no end).
        measure: A clock of its own, such as ``time.process_time`` for the time of the processor; None for that of the wall.

    >>> Limit(None).over, Limit(3600).over, Limit(None).gone
    (False, False, 0.0)
    """

    def __init__(self, seconds: float | None, measure: Callable[[], float] | None = None) -> None:
        self.seconds, self.measure = seconds, measure
        self.began = self._now()

    def _now(self) -> float:
        return clock() if self.measure is None else self.measure()

    @classmethod
    def of(cls, owner: str, seconds: float | Limit | None, optional: bool = True) -> Limit:
        """Return a limit from what was given for seconds, or raise ValueError."""
        if isinstance(seconds, Limit):
            return seconds
        check.real(owner, "seconds", seconds, optional=optional)
        return cls(seconds)

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return self._now() - self.began

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
        return Limit(None if self.seconds is None else max(0.0, min(share * self.seconds, self.seconds - self.spent)), self.measure)
