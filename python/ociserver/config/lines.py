"""Where in a TOML file a key stands."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

__all__ = ["Key", "find", "line_of"]

Key = str | int


def line_of(text: str, path: Sequence[Key]) -> int:
    """The line on which the statement begins that brings a key into being; 1 for the file itself.

    The first lines of a file are a file, wherever one statement ends and another begins: so the statement is the last
    of the shortest beginning of the file that has the key. Only who has made a mistake waits for that.
    """
    lines = text.splitlines(keepends=True)
    begins = 0
    for number in range(len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a statement of several lines
        if path and find(document, path):
            return begins + 1
        begins = number
        while begins < len(lines) and _says_nothing(lines[begins]):
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


def _says_nothing(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
