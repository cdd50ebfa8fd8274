"""The line of a key in a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

__all__ = ["Key", "find", "line_of"]

Key = str | int


def line_of(text: str, path: Sequence[Key]) -> int:
    """The line on which the statement begins that defines a key; 1 for the file itself.

    Wherever one statement ends and another begins, the lines before are valid TOML. So the statement is the last one of
    the shortest such beginning of the file that has the key. Parsing each beginning is slow, but it happens only for a
    mistake.
    """
    lines = text.splitlines(keepends=True)
    begins = 0
    for number in range(len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # within a statement of several lines
        if path and find(document, path):
            return begins + 1
        begins = number
        while begins < len(lines) and _is_empty(lines[begins]):
            begins += 1
    return 1


def find(document: Any, path: Sequence[Key]) -> bool:
    """Whether a document has a key."""
    try:
        for key in path:
            document = document[key]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _is_empty(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
