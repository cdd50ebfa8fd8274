"""The reference of the Python API has every module that documents and examples tell people to use."""

from __future__ import annotations

import re

from tests.docs.snippets import DOCUMENTS, ROOT, snippets

_IMPORT = re.compile(r"^(?:from|import) (ociserver[a-z._]*)", re.MULTILINE)
_NAMED = re.compile(r"`(ociserver[a-z._]*)\.[A-Z]\w*")
_PAGE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)


def test_every_module_to_use_has_a_page() -> None:
    texts = [snippet.text for snippet in snippets("python")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    imported = {module for text in texts for module in _IMPORT.findall(text)}
    # Some names stand only in the text: `ociserver.meter.Meter`.
    named = {module for path in DOCUMENTS for module in _NAMED.findall(path.read_text(encoding="utf-8"))}
    pages = (ROOT / "docs" / "api").glob("*.md")
    described = {module for page in pages for module in _PAGE.findall(page.read_text(encoding="utf-8"))}
    assert {"ociserver", "ociserver.client", "ociserver.compose"} <= imported
    assert {"ociserver.meter", "ociserver.tracing"} <= named
    assert imported | named <= described
