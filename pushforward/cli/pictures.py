"""Pictures that commands write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pushforward import plots
from pushforward.cli.arguments import say
from pushforward.data.reading import Array
from pushforward.io import replacing

PICTURES = (".png", ".pdf", ".svg")
"""How the names of pictures end."""


def draw_all(output: Path, data: Array, samples: Array, drawn: Sequence[str], written: dict[str, Any]) -> None:
    """Draw all pairs of columns, and into a folder each column as well."""
    if output.suffix:
        draw(output, plots.pairs(data, samples, columns=drawn, written=written))
        return
    output.mkdir(parents=True, exist_ok=True)
    draw(output / "pairs.png", plots.pairs(data, samples, columns=drawn, written=written))
    for index, name in enumerate(drawn):
        safe = re.sub(r"[^\w.-]+", "_", name)
        own = {name: written[name]} if name in written else {}
        draw(output / f"{index + 1:02d}_{safe}.png", plots.compare(data[:, index], samples[:, index], columns=[name], written=own))


def draw(target: Path, figure: Any) -> None:
    """Write a figure, all of it or nothing, and say so."""
    with replacing(target) as part:
        figure.savefig(part, format=target.suffix[1:])
    say(f"wrote {target}")
