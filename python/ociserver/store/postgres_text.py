"""Statements and values in the form that PostgreSQL takes.

PostgreSQL has no text with the character 0. Clients send such texts: the artifact type of a manifest, a filter of
referrers, where a list begins. So a text is stored with 1 1 for each character 0, and with 1 2 for each character 1.
Two texts are equal, or in order, exactly if their stored forms are.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

from ociserver.store.transaction import MAX_TEXTS, Transaction

__all__ = ["drive", "restored", "storable", "text_of"]

Result = TypeVar("Result")

_LOCK: Final = re.compile(r"[{}]")
_MARK: Final = re.compile(r"\?")


async def drive(fetch: Callable[..., Awaitable[list[Any]]], transaction: Transaction[Result]) -> Result:
    """Run a transaction. `fetch` gets each statement with its parameters, and returns the rows."""
    try:
        statement, parameters = next(transaction)
        while True:
            rows = await fetch(text_of(statement), *map(storable, parameters))
            statement, parameters = transaction.send([tuple(map(restored, row)) for row in rows])
    except StopIteration as end:
        result: Result = end.value
        return result


@lru_cache(MAX_TEXTS)
def text_of(statement: str) -> str:
    """A statement with its locks, and with the placeholders of PostgreSQL."""
    number = 0

    def next_mark(_: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return f"${number}"

    return _MARK.sub(next_mark, _LOCK.sub("", statement))


def storable(value: Any) -> Any:
    """A parameter in its stored form."""
    if isinstance(value, str) and ("\0" in value or "\1" in value):
        return value.replace("\1", "\1\2").replace("\0", "\1\1")
    return value


def restored(value: Any) -> Any:
    """A value of a row, from its stored form."""
    if isinstance(value, str) and "\1" in value:
        return value.replace("\1\1", "\0").replace("\1\2", "\1")
    return value
