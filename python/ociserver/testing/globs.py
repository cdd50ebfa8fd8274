"""Whether two patterns can match the same text."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

__all__ = ["overlap"]

_TOKEN: Final = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
_ONE: Final = "?"
_ANY: Final = "*"


def overlap(first: str, second: str) -> bool:
    """Whether a text exists that both patterns match (`*`, `?`, `[...]` as in `fnmatch`).

    Brackets count as any character, so the result may be True for two patterns with brackets that match nothing.
    """
    one, two = _tokens(first), _tokens(second)

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(one) and j == len(two):
            return True
        if i < len(one) and one[i] == _ANY:
            return rest(i + 1, j) or (j < len(two) and rest(i, j + 1))
        if j < len(two) and two[j] == _ANY:
            return rest(i, j + 1) or (i < len(one) and rest(i + 1, j))
        if i == len(one) or j == len(two):
            return False
        return (one[i] == two[j] or _ONE in (one[i], two[j])) and rest(i + 1, j + 1)

    return rest(0, 0)


def _tokens(pattern: str) -> list[str]:
    return [_ONE if len(token) > 1 else token for token in _TOKEN.findall(pattern)]
