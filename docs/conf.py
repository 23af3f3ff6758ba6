"""Sphinx. `make docs` builds with warnings as errors and executes every tutorial."""

import importlib.util
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

project = "sciml"
author = "The sciml-jax contributors"
copyright = author
version = release = installed_version("sciml-jax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The library changes while a tutorial's text stays, so the outputs are never cached.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_render_markdown_format = "myst"  # outputs may hold formulas, which CommonMark does not know
nb_ipywidgets_js = {}  # would come from a content delivery network

default_role = "py:obj"  # `solve` in a docstring is code, and a link where it is a public name
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "sciml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False

# MathJax is served from the site itself; of all its builds these two parts are enough.
mathjax_path = "mathjax/tex-chtml-full.js"
# As in Jupyter, formulas inside a cell's HTML output are rendered; MyST marks all its own as math.
myst_update_mathjax = False
mathjax3_config = {
    "options": {
        "ignoreHtmlClass": "mathjax_ignore",
        "processHtmlClass": "mathjax_process|math|text_html",
    }
}
MATHJAX_PARTS = ("tex-chtml-full.js", "output/chtml/fonts")


def copy_mathjax(app: Sphinx, failure: Exception | None) -> None:
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = app.outdir / "_static" / "mathjax"
    for part in MATHJAX_PARTS:
        folder = (target / part).parent if (source / part).is_file() else target / part
        copy_asset(source / part, folder)


def list_arguments(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Makes a list of the lines below "Arguments" in a docstring, several names to an item."""
    written, inside = [], False
    for line in lines:
        if line.rstrip(":") == "Arguments":
            inside = True
            written += ["**Arguments**", ""]
        elif inside and line.startswith("  "):
            names, colon, text = line.strip().partition(": ")
            item = not line.startswith("   ") and colon
            shown = ", ".join(f"``{name}``" for name in names.split(", "))
            written.append(f"- {shown}: {text}" if item else line[2:])
        else:
            inside = inside and not line
            written.append(line)
    lines[:] = written


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", list_arguments)
    app.connect("build-finished", copy_mathjax)
