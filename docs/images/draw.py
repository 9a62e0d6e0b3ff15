"""Draws the pictures of the documents anew with the documents' own code; weather.png is the demo's, so run `make demo` before."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent
PICTURES = {
    "all-of-it.md": ["spline"],
    "tutorials/two-circles.md": ["compare", "density", "grid"],
    "tutorials/conditional-density.md": ["conditional"],
    "tutorials/a-density-you-can-trust.md": ["trust-paths", "trust-error"],
    "variational-inference.md": ["variational-lost", "variational-annealed"],
}


def keep(source: Path, name: str) -> None:
    """Write a picture as a small file: 128 colours, at most 1000 pixels wide."""
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((1000, 1000))
    picture.quantize(128, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)
    print(HERE / f"{name}.png")


def main() -> None:
    """Run the pages and keep their pictures."""
    demo = DOCS.parent / "out" / "pairs.png"
    if demo.exists():
        keep(demo, "weather")
    for page, names in PICTURES.items():
        blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            torch.manual_seed(0)
            exec("\n".join(blocks), {"__name__": "page"})
            for name in names:
                keep(Path(f"{name}.png"), name)
            os.chdir(HERE)


if __name__ == "__main__":
    main()
