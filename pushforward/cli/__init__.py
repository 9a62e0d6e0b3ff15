"""The command line: thin commands over the library. Data on standard output or ``-o``, everything else on standard error."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import typer

from pushforward.cli.arguments import say
from pushforward.cli.commands import app


def run(argv: Sequence[str]) -> int:
    """Run one command; return 0, 1 (it failed), 2 (used wrongly), 130 (interrupted) or 141 (nobody reads the output any more)."""
    try:
        # Not through main() of the command, which has its own way with errors and broken pipes.
        command = typer.main.get_command(app)
        with warnings.catch_warnings(), command.make_context("pushforward", list(argv)) as context:
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        _close_output()
        return 141
    except Exception as error:
        # Typer's errors of use have no common class in its public interface.
        if hasattr(error, "format_message"):
            return _fail(f"{error.format_message()} (see pushforward --help)", 2)
        if isinstance(error, OSError) and error.strerror:
            _close_output()
            return _fail(f"{error.strerror}: {error.filename}" if error.filename else error.strerror, 1)
        return _fail(str(error) or type(error).__name__, 1)
    return 0


def _close_output() -> None:
    """Let what is left in a buffer that cannot be written go nowhere, so that it does not raise once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _fail(message: str, code: int) -> int:
    say(f"error: {message}")
    return code
