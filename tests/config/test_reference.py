"""docs/config-reference.md has every key of the file."""

from __future__ import annotations

from tests.config.reference import DOCUMENT, document


def test_the_reference_is_that_of_the_schema() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run: python -m tests.config.reference"
