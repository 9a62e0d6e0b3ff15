"""The command line: thin commands over the library. Data on standard output or ``-o``, everything else on standard error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import typer

from pushforward.cli.app import app
from pushforward.cli.arguments import say
from pushforward.cli.signals import Signals
from pushforward.cli.streams import fill_closed, let_go, messages
from pushforward.cli.words import in_options


def run(argv: Sequence[str]) -> int:
    """Run one command; return its exit code.

    It is 0, 1 (the command failed), 2 (it was used wrongly), 128 and the number of the signal that ended it (130 for Ctrl-C), or 141
    (nobody reads the output any more).
    """
    fill_closed()
    with messages(), Signals() as signals:
        try:
            return _run(argv, signals)
        except (KeyboardInterrupt, typer.Abort):
            return _fail("interrupted", 128 + signals.number)


def _run(argv: Sequence[str], signals: Signals) -> int:
    try:
        # Not through main() of the command, which has its own way with errors and broken pipes.
        command = typer.main.get_command(app)
        with warnings.catch_warnings(), command.make_context("pushforward", list(argv), obj=signals) as context:
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {in_options(str(message))}")
            command.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        let_go(sys.stdout)
        return 141
    except typer.Abort:
        raise
    except Exception as error:
        # Typer's errors of use have no common class in its public interface.
        if hasattr(error, "format_message"):
            return _fail(f"{error.format_message()} (see pushforward --help)", 2)
        if isinstance(error, OSError) and error.strerror:
            let_go(sys.stdout)
            return _fail(f"{error.strerror}: {error.filename}" if error.filename else error.strerror, 1)
        return _fail(in_options(str(error)) or type(error).__name__, 1)
    return 0


def _fail(message: str, code: int) -> int:
    say(f"error: {message}")
    return code
