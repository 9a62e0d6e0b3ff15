"""Formulas as MathML, made when the site is built: browsers draw it themselves, so pages need neither a network nor a script.

What they need is a font for mathematics, which not every system has; the site brings one.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from spacing import spaced
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)
FONT = "STIXTwoMath-Regular.ttf"


def mathml(latex: str, display: str, place: nodes.Node) -> str:
    """Return a formula as MathML; what cannot be converted is a warning of the build."""
    try:
        made = convert(latex, display=display)
    except Exception as error:
        log.warning("formula %r: %r", latex, error, location=place)
        return nodes.unescape(latex)
    if unknown := re.findall(r"\\[A-Za-z]+", made):
        log.warning("formula %r: unknown commands %s", latex, unknown, location=place)
    return spaced(made)


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), "inline", node))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{mathml(node.astext(), "block", node)}</div>')
    raise nodes.SkipNode


def _copy_font(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        font = resources.files("ziamath") / "fonts" / FONT
        (Path(app.outdir) / "_static" / FONT).write_bytes(font.read_bytes())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", _copy_font)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
