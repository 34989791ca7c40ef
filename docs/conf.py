"""Sphinx settings: Markdown pages, and the reference from docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from docutils.utils.math import latex2mathml

import engine

project = "Ballast"
author = "the Ballast contributors"
copyright = "the Ballast contributors, Apache-2.0"
version = release = engine.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
]
root_doc = "index"
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = f"Ballast {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["ballast.css"]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_typehints = "none"  # the docstrings say type, shape and unit
autodoc_member_order = "bysource"
autosummary_generate = False  # entries stand on the module's own page
numpydoc_show_class_members = False  # autodoc lists them
numpydoc_class_members_toctree = False

default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    # Single backticks in docstrings link where they name something public; they also
    # name parameters and fragments of code.
    ("py:obj", r".*"),
    # Base classes that autodoc prints and that have no page: the standard library's,
    # and private bases.
    ("py:class", r"(?!engine\.|strategies\.|backtests\.).*"),
    ("py:class", r".*\._.*"),
]


class Names(Directive):
    """A table of public names, then the entry of each.

    A line ``...`` stands for all that the page does not list; so does no line at all.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Expand to autosummary and autodoc directives."""
        module = self.arguments[0]
        names = [line.strip() for line in self.content if line.strip()]
        if "..." in names or not names:  # what the page does not list elsewhere
            page = self.state.document["source"]
            listed = re.findall(r"^   (\w+)$", Path(page).read_text(), re.M)
            names = [name for name in names if name != "..."]
            names += [n for n in public_names(module) if n not in listed]
        lines = [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   ~{module}.{name}" for name in names] + [""]
        for name in names:
            lines += _alias(module, name) or _entry(module, name)
        node = nodes.section()
        node.document = self.state.document
        text = StringList(lines, source=f"{module} (names)")
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def public_names(module: str) -> list[str]:
    """Names that a module offers, other modules left out."""
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or [
        name
        for name in dir(found)
        if getattr(getattr(found, name), "__module__", None) == module
    ]
    return [
        name
        for name in names
        if not name.startswith("_") and not inspect.ismodule(getattr(found, name))
    ]


def _alias(module: str, name: str) -> list[str]:
    """Where the flat namespace repeats a library's name, a link to its entry."""
    if module != "engine":
        return []
    found = getattr(importlib.import_module(module), name)
    for home in ("engine.covariance", "engine.shocks"):
        if name in public_names(home):
            if getattr(importlib.import_module(home), name) is found:
                return [f"``engine.{name}`` is :py:obj:`{home}.{name}`.", ""]
    return []


def _entry(module: str, name: str) -> list[str]:
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found):
        error = issubclass(found, BaseException)
        lines = [f".. auto{'exception' if error else 'class'}:: {module}.{name}"]
        lines += [] if error else ["   :members:"]
    elif callable(found):
        lines = [f".. autofunction:: {module}.{name}"]
    else:
        lines = [f".. autodata:: {module}.{name}", "   :no-value:"]
    return [*lines, ""]


# Formulas become MathML: nothing is fetched when a page is read.
def _mathml(self: Any, node: nodes.Element, *, block: bool) -> None:
    tex = node.astext().replace("\n", " ")
    # MathML leaves no room around functions written as text.
    tex = re.sub(r"(?<=[\w})])\s*(\\(?:ln|exp|max|min)\b)", r"\\,\1", tex)
    tex = re.sub(r"(\\ln)\s+(?=[\w\\])", r"\1\\,", tex)
    markup = "".join(latex2mathml.tex2mathml(tex, as_block=block))
    if block:
        self.body.append(f'<div class="formula" tabindex="0">{markup}</div>')
    else:
        self.body.append(markup)
    raise nodes.SkipNode


def _inline(self: Any, node: nodes.Element) -> None:
    _mathml(self, node, block=False)


def _display(self: Any, node: nodes.Element) -> None:
    _mathml(self, node, block=True)


def setup(app: Any) -> None:
    """Register the directive and the renderer of formulas."""
    app.add_directive("names", Names)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
