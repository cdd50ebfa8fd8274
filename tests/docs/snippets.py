"""Code blocks of Markdown files, with where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCUMENTS", "ROOT", "Snippet", "snippets"]

ROOT = Path(__file__).parents[2]
_FOLDERS = (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "benches")
DOCUMENTS = sorted(path for folder in _FOLDERS for path in folder.glob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """One fenced block."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def snippets(language: str) -> Iterator[Snippet]:
    """Every block of a language, in every document."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                yield Snippet(str(path.relative_to(ROOT)), line, language, match[2])
