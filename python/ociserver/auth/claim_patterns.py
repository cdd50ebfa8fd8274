"""Patterns of the claims of an identity provider: `{ repository = "org/*", ref_type = "tag" }`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ociserver.auth.patterns import Pattern

__all__ = ["MAX_TEXT", "MAX_VALUES", "ClaimPatterns", "texts_of"]

MAX_TEXT: Final = 1024
"""The most characters of a claim that can match. The paths of workflows have some 200."""

MAX_VALUES: Final = 256
"""The most members of a list that are compared. An identity has fewer groups."""


class ClaimPatterns:
    """Several claims with a pattern each. All of them must match.

    A claim is a string, a number or a truth (`true`, `false`), or a list of them, of which one must match. Objects
    never match, nor does a claim that is absent.

    Args:
        patterns: by name of the claim.

    Raises:
        ValueError: a name is empty, or a text is not a pattern.
    """

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Mapping[str, str]) -> None:
        if not all(patterns):
            raise ValueError("a claim must have a name")
        self._patterns: Final = {name: Pattern(text) for name, text in patterns.items()}

    def __iter__(self) -> Iterator[str]:
        """The names of the claims."""
        return iter(self._patterns)

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Whether all patterns match."""
        return all(any(map(pattern.matches, texts_of(claims.get(name)))) for name, pattern in self._patterns.items())

    def __str__(self) -> str:
        return ", ".join(f"{name} = {pattern.text}" for name, pattern in self._patterns.items())


def texts_of(claim: Any) -> list[str]:
    """The texts of a claim that patterns are compared with."""
    values = claim[:MAX_VALUES] if isinstance(claim, list) else [claim]
    return [text for value in values if (text := _text(value)) is not None and len(text) <= MAX_TEXT]


def _text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
    return None
