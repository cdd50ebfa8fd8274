"""Blocks of pages, for tests that do what a page says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.docs.snippets import ROOT

__all__ = ["block"]

_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block(page: str, begins: str, changes: Mapping[str, str]) -> str:
    """The only block of a page in `docs` that begins so, for this machine.

    Args:
        page: the name of the file.
        begins: how the block begins.
        changes: texts of the block, such as paths and ports, and what stands in their place.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = (match[1] for match in _BLOCK.finditer(text) if match[1].startswith(begins))
    for old, new in changes.items():
        assert old in found, f"{page}: the block has no {old}"
        found = found.replace(old, new)
    return str(found)
