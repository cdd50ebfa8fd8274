"""Patterns of the names of repositories, tags, users and groups.

The language is that of `include` and `exclude` of a `select` registry: `*` is any text, including slashes, `?` is one
character, and `[...]` is one of several characters. Everything is case-sensitive.

A pattern may have any number of `*`. `fnmatch.translate` makes each text between two of them an atomic group, which
never tries another place after it matched (CPython 3.9 or later). So the time is at most the length of the name times
the length of the pattern, and both are bounded.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_PATTERN", "Pattern", "Patterns"]

MAX_PATTERN: Final = 1024
"""Maximum characters of a pattern. The longest name of a repository has 255, but a `[...]` takes several for one."""

_SPECIAL: Final = re.compile(r"[*?\[]")
_NEVER: Final = "(?!)"  # as in the translation of `[z-a]`; a pattern with this text is escaped


class Pattern:
    """A pattern, compiled.

    Args:
        text: the pattern.

    Raises:
        ValueError: it is empty, too long, or no name can match it. The message does not repeat it.
    """

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("a pattern must not be empty")
        if len(text) > MAX_PATTERN:
            raise ValueError(f"a pattern must not have more than {MAX_PATTERN} characters")
        translated = fnmatch.translate(text)
        if _NEVER in translated:
            raise ValueError("a pattern has brackets that match no character: the range in them is reversed")
        special = _SPECIAL.search(text)
        self.text: Final = text
        self.prefix: Final = text[: special.start()] if special else text
        """The text before the first special character. Every name that matches begins with it."""
        self.is_literal: Final = special is None
        """Whether the pattern has no special characters, and so matches only one name."""
        self.is_prefix: Final = special is not None and not text[special.start() :].strip("*")
        """Whether the pattern matches every name that begins with `prefix`."""
        self.expression: Final = re.compile(translated)

    def matches(self, name: str) -> bool:
        """Whether a name, as a whole, has the form of the pattern."""
        return self.expression.match(name) is not None

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class Patterns:
    """Several patterns. A name matches if it matches any of them.

    Names without special characters and beginnings, which most patterns are, cost no regular expression.

    Args:
        patterns: the patterns; without one, no name matches.
    """

    __slots__ = ("_beginnings", "_expressions", "_names", "patterns")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns: Final = tuple(patterns)
        self._names = frozenset(each.text for each in self.patterns if each.is_literal)
        self._beginnings = tuple({each.prefix for each in self.patterns if each.is_prefix})
        self._expressions = tuple(
            {each.text: each.expression for each in self.patterns if not (each.is_literal or each.is_prefix)}.values()
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the patterns, in order."""
        return tuple(each.text for each in self.patterns)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Patterns:
        """Compile several texts.

        Raises:
            ValueError: one of them is not a pattern, see `Pattern`.
        """
        return cls(map(Pattern, texts))

    def matches(self, name: str) -> bool:
        """Whether a name matches any of the patterns."""
        if name in self._names or name.startswith(self._beginnings):
            return True
        # A loop, because it costs less than `any` with a generator.
        for expression in self._expressions:  # noqa: SIM110
            if expression.match(name):
                return True
        return False
