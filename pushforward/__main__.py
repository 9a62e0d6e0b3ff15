"""The command `pushforward`, also ``python -m pushforward``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pushforward.extras import require


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments without the program's name; None for those of the process.
    """
    try:
        require("typer", "cli")
    except ImportError as error:
        sys.stderr.write(f"pushforward: error: {error}\n")
        return 1
    from pushforward.cli import run

    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
