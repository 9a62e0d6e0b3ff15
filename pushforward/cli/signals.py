"""What ends a command from outside: Ctrl-C, and the signals with which a system ends programs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pushforward import startup

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Signals:
    """While it is entered, each of the signals raises KeyboardInterrupt, unless somebody already has another use for it.

    Attributes:
        number: The last of them that came; that of Ctrl-C if none did.
        came: Whether one came. An exception is lost where it meets C code that takes any for a missing attribute, so long work asks.
    """

    def __init__(self) -> None:
        self.number = int(signal.SIGINT)
        self.came = False
        self._before: dict[int, Any] = {}
        self._waiting = False

    def __enter__(self) -> Signals:
        # Python lets no other thread ask for signals, and gives them to none.
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler, startup.end):  # one that nohup ignores stays ignored
                    self._before[number] = before
                    signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.number, self.came = number, True
        if not self._waiting:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.came:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the block come to its end, whatever comes."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
