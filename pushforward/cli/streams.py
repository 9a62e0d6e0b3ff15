"""Standard output and standard error, which may be closed, full, or read by nobody any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Messages:
    """Standard error that takes what it can: no message is worth the work that it tells of."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text, or let it go."""
        try:
            return 0 if self.stream is None else self.stream.write(text)
        except (OSError, ValueError):
            let_go(self.stream)
            self.stream = None
            return 0

    def flush(self) -> None:
        """Write what is kept back, or let it go."""
        with suppress(OSError, ValueError):
            if self.stream is not None:
                self.stream.flush()

    def isatty(self) -> bool:
        """Tell whether somebody looks at it."""
        return self.stream is not None and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def messages() -> Iterator[None]:
    """Make standard error one that no command fails for."""
    before = sys.stderr
    sys.stderr = Messages(before)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before


def fill_closed() -> None:
    """Open what is closed of the first three files to nowhere, so that no table or model becomes standard output or standard error."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def let_go(stream: TextIO | None) -> None:
    """Let what is left in a buffer that cannot be written go nowhere, so that it does not raise once more at exit."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
