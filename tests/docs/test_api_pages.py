"""The reference of the Python API has every module that documents and examples tell people to import."""

from __future__ import annotations

import re

from tests.docs.snippets import ROOT, snippets

_IMPORT = re.compile(r"^(?:from|import) (ociserver[a-z._]*)", re.MULTILINE)
_PAGE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)


def test_every_module_to_import_has_a_page() -> None:
    texts = [snippet.text for snippet in snippets("python")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    imported = {module for text in texts for module in _IMPORT.findall(text)}
    pages = (ROOT / "docs" / "api").glob("*.md")
    described = {module for page in pages for module in _PAGE.findall(page.read_text(encoding="utf-8"))}
    assert {"ociserver", "ociserver.client", "ociserver.compose"} <= imported
    assert imported <= described
