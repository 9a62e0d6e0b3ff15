"""The command: write what is stale, or tell what is. ``python -m scripts.generated --help``"""

from __future__ import annotations

import argparse
import importlib
import sys

from scripts.generated.writer import Writer

# In this order: what comes later imports the library, which needs its lists of names first. The last measures, and takes the longest.
PARTS = ("names", "header", "tree", "flows", "pyro", "catalogue", "recorded", "golden", "numerics")


def writer(part: str) -> Writer:
    """Return the writer of a part; it is imported when it is its turn."""
    found = importlib.import_module(f"scripts.generated.{part}").WRITER
    assert isinstance(found, Writer)
    return found


def stale(parts: list[str]) -> dict[str, list[str]]:
    """Return what is stale, by part. Where names are, the others are not looked at, since the library may not import."""
    found: dict[str, list[str]] = {}
    for part in parts:
        found |= {part: words} if (words := writer(part).stale()) else {}
        if "names" in found:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make generated", description="Write what is written from the code.")
    parser.add_argument("--check", action="store_true", help="tell what is stale, and write nothing")
    parser.add_argument("--without", action="append", choices=PARTS, default=[], help="leave a part out (may be repeated)")
    options = parser.parse_args()
    parts = [part for part in PARTS if part not in options.without]
    if options.check:
        lines = [f"{part}: {word}" for part, words in stale(parts).items() for word in words]
        sys.exit("\n".join([*lines, "run make generated"]) if lines else 0)
    for part in parts:
        for word in writer(part).stale():
            print(f"{part}: {word}", file=sys.stderr)
        writer(part).write()


if __name__ == "__main__":
    main()
