"""The command `pushforward`, also ``python -m pushforward``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from pushforward.core.extras import require


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments without the program's name; None for those of the process.
    """
    try:
        require("typer", "cli")
        from pushforward.cli import run

        code = run(sys.argv[1:] if argv is None else argv)
    except ImportError as error:
        code = _fail(str(error), 1)
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    if argv is None:
        # All is done but for the end of the process, whose exit code it is.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _fail(message: str, code: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"pushforward: error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
