"""Sphinx configuration; `make docs` builds with warnings as errors."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

import generate

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "scionwood"
author = "the scionwood authors"
release = version = version("scionwood")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "scionwood"
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
napoleon_use_rtype = False


def setup(app: "Sphinx") -> None:
    """Make the pages that are not written by hand before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: generate.main(Path(app.srcdir) / "_generated"))
