"""
How Sphinx makes the documentation. Offline: nothing is fetched.

    make docs

The pictures are text, in ``pictures/``, which Graphviz' ``dot`` draws (Debian: ``apt-get install
graphviz``). Where it is not installed the site shows their text instead, and the build says so.
"""

from __future__ import annotations

import re
import shutil
import sys
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.ext.graphviz import graphviz, render_dot
from sphinx.pycode import ModuleAnalyzer

import crochet

project = "Crochet"
author = "The Crochet maintainers"
copyright = "2026, The Crochet maintainers"
release = version = crochet.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_inline_tabs",
]
exclude_patterns = ["_build", "explanation/hazards-table.md"]
suppress_warnings = ["config.cache"]  # what is below holds functions

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"Crochet {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["crochet.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
# Headings are link targets by their text, as where Markdown is shown without Sphinx.
myst_heading_anchors = 3
# Dashes only. Quotes stay as they are typed: much of what is quoted is code, or an error's text.
smartquotes_action = "D"

# A link or a type that leads nowhere is a warning, and `make docs` takes that for an error.
nitpicky = True
# Others have their own documentation, which is not looked up: that would need a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(asyncio|collections|concurrent|contextlib|os|twisted|types|typing)\..*"),
    (r"py:.*", r"Abstract\w+|Async\w+|Callable|Coroutine|Deferred|Future|CancelledError|TextIO"),
    (r"py:class", r"Spider|BaseSettings|Seconds"),  # of Scrapy's, and seconds
    # Type variables; and what is told in words where it is taken or returned.
    (r"py:(class|obj)", r"(crochet\.[\w.]+\.)?[A-Z](_co)?"),
    (r"py:class", r"(crochet\.[\w.]+\.)(AsyncStream|Heartbeats|Serializer|Shell|StashStatus)"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    (f"The {what} raises", "params_style")
    for what in ("decorated function", "iterator", "with statement")
]
strip_signature_backslash = True  # or a parameter's name loses the underscore that it ends with
html_search_scorer = str(Path(__file__).with_name("search_order.js"))

# What is copied is the code, without prompts and without what it prints.
copybutton_prompt_text = r">>> |\.\.\. |\$ |In \[\d+\]: "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.highlight-none):not(.highlight-text) > div.highlight > pre"

graphviz_output_format = "svg"
graphviz_dot_args = [
    *("-Gbgcolor=transparent", "-Gfontname=Arial", "-Gfontsize=12", "-Gmargin=0"),
    *("-Nfontname=Arial", "-Nfontsize=11", "-Nshape=box", "-Nstyle=rounded", "-Nheight=0.3"),
    *("-Efontname=Arial", "-Efontsize=10", "-Earrowsize=0.7"),
]
DOT = shutil.which("dot")


def _draw(translator: Any, node: graphviz) -> None:
    """
    Put a picture into the page itself, where the page's style sheet gives it the colours of the
    light or the dark mode.
    """
    told = escape(node["alt"])
    if DOT is None:
        translator.body.append(f'<p>{told}</p><pre class="dot">{escape(node["code"])}</pre>')
        raise nodes.SkipNode
    _, file = render_dot(translator, node["code"], node["options"], "svg")
    svg = file.read_text(encoding="utf-8") if file is not None else ""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<title>.*?</title>|<!--.*?-->\n?", "", svg, flags=re.S)
    # More than one on a page would have the same identifiers.
    svg = re.sub(r' id="[^"]*"', "", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{told}" ', 1)
    translator.body.append(f'<div class="picture">{svg}</div>\n')
    raise nodes.SkipNode


def _shorten(*arguments: Any) -> tuple[str | None, str | None]:
    """
    Say ``float`` for what can be made one, as type checkers do.
    """

    def shorten(text: str | None) -> str | None:
        text = text and re.sub(r"[~\w.]*SupportsFloat \| [~\w.]*SupportsIndex", "float", text)
        text = text and re.sub(r"\bSeconds\b", "float | None", text)
        return text and text.replace("SupportsIndex", "int")

    return shorten(arguments[-2]), shorten(arguments[-1])


def _put_types_beside_names(*arguments: Any) -> None:
    """
    Show an attribute's type where its name is, and not in a field of its own.
    """
    lines = arguments[-1]
    attribute = r"^(\.\. attribute:: \w+\n)(.*?)^(   :type: [^\n]*\n)"
    lines[:] = re.sub(attribute, r"\1\3\2", "\n".join(lines), flags=re.M | re.S).split("\n")


def _let_code_break(app: Any, page: str, template: str, context: dict[str, Any], _: object) -> None:
    """
    Let long names in code be broken after an underscore, a dot and the like, on a narrow screen.
    """
    for part in {"body", "title"} & {*context}:
        context[part] = re.sub(
            r'(?<=<span class="pre">)[^<]{16,}',
            lambda code: re.sub(r"(?<=[^\W_])([_./(=\[])(?=[^\W_])", r"\1<wbr>", code[0]),
            context[part],
        )


def _check_the_end(app: object, error: Exception | None) -> None:
    if DOT is None:
        print(
            "Graphviz' `dot` is not installed, so the site has the text of its pictures in their"
            " place: apt-get install graphviz",
            file=sys.stderr,
        )
    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("importing crochet for its documentation has installed a reactor")


def setup(app: Any) -> None:
    """
    Have pictures drawn, and the end of the build checked. Sphinx calls this.
    """
    # The reference has one signature for each function, and not the overloads for type checkers.
    for module in ("crochet._api", "crochet._streams.stream"):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        analyzer.overloads.clear()
    app.add_node(graphviz, override=True, html=(_draw, None))
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _put_types_beside_names, priority=900)
    app.connect("html-page-context", _let_code_break)
    app.connect("build-finished", _check_the_end)
