"""
How Sphinx makes the documentation. Offline: nothing is fetched.

    make docs
"""

from __future__ import annotations

import sys

import crochet

project = "Crochet"
author = "The Crochet maintainers"
copyright = "2026, The Crochet maintainers"
release = version = crochet.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "explanation/hazards-table.md"]

html_theme = "furo"
html_title = f"Crochet {release}"
html_show_sphinx = False
html_copy_source = False

# Headings are link targets by their text, as where Markdown is shown without Sphinx.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words; generics of decorators explain little
napoleon_numpy_docstring = False
napoleon_custom_sections = [("The decorated function raises", "params_style")]


def _refuse_a_reactor(app: object, error: Exception | None) -> None:
    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("importing crochet for its documentation has installed a reactor")


def setup(app: object) -> None:
    """
    Have the end of the build checked. Sphinx calls this.
    """
    app.connect("build-finished", _refuse_a_reactor)
