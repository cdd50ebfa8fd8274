"""Settings of Sphinx, which makes the documentation site from the Markdown files of the repository (`make docs`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from ociserver import __version__  # noqa: E402

project = "ociserver"
author = "the authors of ociserver"
copyright = "the authors of ociserver, Apache-2.0"  # noqa: A001  (Sphinx reads this name)
version = release = __version__

# The whole repository is the source, so that links between its documents work here as they do in a clone.
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "examples/*.md",
    "benches/*.md",
    "tests/hostile/*.md",
]
exclude_patterns = [".*", "target", "dist", "results", "rust", "python", "**/node_modules"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
# Anchors of headings are those of GitHub.
myst_heading_anchors = 4
# A link to a file that is no page copies the file.
myst_all_links_external = False
highlight_language = "text"
suppress_warnings = ["myst.header"]  # the changelog has headings of the same level in each version

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"ociserver {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
# Nothing is fetched from elsewhere: the site works without a network, and below any path.
html_theme_options: dict[str, Any] = {"navigation_with_keys": False}

_LOADED: Final = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:|/)[^>]*>""")
_EXAMPLE: Final = re.compile(r"\n\n((?: {4}[^\n]*(?:\n+|$))+)")
_CODE: Final = re.compile(r"`([^`]+)`(\w?)")
_MARKUP: Final = re.compile(r"([*|\\]|_(?=\W|$))")


def _marked_up(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText. Ours are text with code in backticks, and no other markup."""
    if what != "module":
        lines[:] = _text("\n".join(lines)).split("\n")
        return
    # The docstrings of modules have examples, which are indented.
    parts = _EXAMPLE.split(str(obj.__doc__))
    parts[::2] = map(_text, parts[::2])
    parts[1::2] = [f"\n\n.. code-block:: python\n\n{example}\n\n" for example in parts[1::2]]
    lines[:] = "".join(parts).split("\n")


def _text(text: str) -> str:
    parts: list[str] = []
    at = 0
    for code in _CODE.finditer(text):
        # A letter directly after code, as in a plural, needs a separator.
        separator = "\\ " if code[2] else ""
        parts += _MARKUP.sub(r"\\\1", text[at : code.start()]), f"``{code[1].strip()}``{separator}{code[2]}"
        at = code.end()
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[at:])])


def _check_addresses(app: Sphinx, failure: Exception | None) -> None:
    """Refuse a site that loads anything from elsewhere, or that works only at the root of a host."""
    for page in Path(app.outdir).rglob("*.html"):
        found = _LOADED.search(page.read_text(encoding="utf-8"))
        if found is not None:
            raise ExtensionError(f"{page} does not work offline or below a path: {found[0]}")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", _check_addresses)
    # Before napoleon, which makes markup of its own.
    app.connect("autodoc-process-docstring", _marked_up, priority=400)
