"""Columns of text, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["counted", "printable", "rows_of"]

MAX_TEXT: Final = 1000
"""Maximum number of characters that are shown of a text."""


def printable(text: str) -> str:
    """An untrusted text of limited length, without characters that control a terminal."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}..."


def counted(count: int, noun: str) -> str:
    """`1 tag`, `2 tags`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def rows_of(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
