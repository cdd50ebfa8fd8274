"""Columns of text, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["rows_of"]


def rows_of(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with the columns of all rows under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
