"""Settings of the site: `make docs` builds it from the pages as they are on GitHub, and from the docstrings."""

import sys
import zlib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import reference  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.ext.autodoc.mock import mock  # noqa: E402

import pushforward  # noqa: E402

project = "pushforward"
author = "The pushforward developers"
copyright = author  # noqa: A001 (Sphinx's word)
release = pushforward.__version__

# The folder of the sources is that of the repository, so that links between pages are the same here and there.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/tutorials/*.md", "docs/reference/*.rst"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "examples", "out", "pushforward", "scripts", "tests", "**/*.egg-info"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton"]
extensions += ["navigation", "crossings", "mathml"]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

autodoc_mock_imports = ["flowtorch", "nessai", "nflows", "normflows", "pocomc", "pyro", "sbi", "zuko"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
default_role = "py:obj"
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = "pushforward"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _start(app: Sphinx, error: Exception | None) -> None:
    """Let the top folder lead to the first page."""
    if error is None and app.builder.name == "html":
        Path(app.outdir, "index.html").write_text('<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n')


def _write(app: Sphinx) -> None:
    with mock(autodoc_mock_imports):
        reference.write()


def setup(app: Sphinx) -> None:
    # A change of the site's own code makes all pages anew.
    app.add_config_value("site_code", zlib.crc32(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))), "env")
    app.connect("builder-inited", _write)
    app.connect("build-finished", _start)
