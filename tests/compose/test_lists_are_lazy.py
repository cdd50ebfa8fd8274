"""Lists through wrappers: a wrapper reads only as much as the caller does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Backend, Descriptor, Memory, compose
from tests.contract.contents import INDEX, digest_of

pytestmark = pytest.mark.anyio


class Endless(Backend):
    """A registry with endless referrers. Counts those that were read, and records that each list was closed."""

    def __init__(self) -> None:
        self.read = 0
        self.open = 0

    async def referrers(self, *_: Any, **__: Any) -> AsyncIterator[Descriptor]:
        self.open += 1
        try:
            for number in range(1 << 30):
                self.read += 1
                yield Descriptor(INDEX, f"sha256:{number:064x}", 5)
        finally:
            self.open -= 1


WRAPPERS: dict[str, Callable[[Backend], Backend]] = {
    "read-only": compose.ReadOnly,
    "no-delete": compose.NoDelete,
    "immutable": compose.Immutable,
    "select": lambda inner: compose.Select(inner, lambda _: True),
    "access-checker": lambda inner: compose.AccessChecker(inner, lambda *_: None),
    "sub": lambda inner: compose.Sub(inner, "team"),
    "debug": compose.Debug,
    "unify": lambda inner: compose.Unify(inner, Memory()),
    "cache": lambda inner: compose.Cache(inner, Memory()),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
async def test_a_list_that_is_closed_early(wrap: Callable[[Backend], Backend]) -> None:
    inner = Endless()
    async with wrap(inner) as backend:
        found = backend.referrers("project", digest_of(b"subject"), limit=1001)
        async with aclosing(found) as items:  # type: ignore[type-var]
            for _ in range(3):
                await anext(items)
    assert inner.read == 3
    assert inner.open == 0
