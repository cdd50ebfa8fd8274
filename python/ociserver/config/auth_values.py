"""The types of values in the table `[auth]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from ociserver.auth.patterns import MAX_PATTERN, Pattern

__all__ = ["Name", "NamePattern", "NamePatterns"]


def _pattern(text: str) -> str:
    Pattern(text)
    return text


def _name(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


NamePattern = Annotated[
    str,
    AfterValidator(_pattern),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_PATTERN}),
]
"""A pattern of names. Its syntax is that of `ociserver.auth.patterns`."""

NamePatterns = Annotated[list[NamePattern], Field(min_length=1)]

Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1})]
"""The name of a group or of a user."""
