"""The types of values in the table `[auth]`."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from ociserver.auth.patterns import MAX_PATTERN, Pattern

__all__ = ["Name", "NamePattern", "NamePatterns", "Network"]


def _pattern(text: str) -> str:
    Pattern(text)
    return text


def _name(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        # Python's own message repeats the text.
        raise ValueError('must be an address or a network, such as "10.0.0.0/8", without host bits') from None
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

Network = Annotated[
    str,
    AfterValidator(_network),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}),
]
"""An IP address or a network in CIDR notation."""
