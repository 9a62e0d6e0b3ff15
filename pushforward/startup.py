"""The start of the command: importing the library takes seconds, in which Ctrl-C may come."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def end_command_at_once() -> None:
    """Where this process is the command, let Ctrl-C end it at once; a program that imports the library keeps its own way with it.

    An exception would not do: packages that are half imported turn it into others.
    """
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def end(number: int, frame: FrameType | None) -> None:
    """End the process as the command ends after Ctrl-C; there is nothing yet that would have to be tidied up."""
    if sys.stderr is not None:
        os.write(2, b"pushforward: error: interrupted\n")
    os._exit(130)


def is_command() -> bool:
    """Tell whether this process was started as ``pushforward`` or ``python -m pushforward``."""
    program = sys.argv[0] if sys.argv else ""
    if program != "-m":
        return Path(program).stem == "pushforward"
    # While a package is imported for -m its name stands only in the arguments as the process got them.
    return "-m" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] == ["pushforward"]
