"""How often a request of an upload reads the database, while others commit all the time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Handler
from ociserver._core import upload_path
from ociserver.store import Store
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import REPOSITORY, digest_of
from tests.handler.driver import request
from tests.store.looking import rows

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE


class Requests:
    """Requests to a store, and the transactions that each has run on its database."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self._handler = Handler(store)
        self._works: list[str] = []
        self._numbers = itertools.count()
        self.location = ""
        for name in ("read", "write"):
            monkeypatch.setattr(store.database, name, self._noting(store, getattr(store.database, name)))

    async def make(self, method: str, *pieces: bytes, at: int | None = None, digest: str | None = None) -> list[str]:
        """Make a request, and return the transactions by their names."""
        self._works.clear()
        size = sum(map(len, pieces))
        headers = {} if at is None else {"content-range": f"{at}-{at + size - 1}", "content-length": str(size)}
        target = (self.location or f"/v2/{REPOSITORY}/blobs/uploads/") + (f"?digest={digest}" if digest else "")
        body: Sequence[bytes] | None = pieces or None
        reply = await request(self._handler, method, target, body, headers)
        assert reply.status in (201, 202, 204), reply
        self.location = reply["location"]
        return list(self._works)

    def _noting(self, store: Store, run: Any) -> Any:
        async def noting(work: Any, **options: Any) -> Any:
            # `read` gets a transaction, and `write` what makes one.
            name = (work() if callable(work) else work).__name__
            self._works.append(name)
            result = await run(work, **options)
            # Another client's: what was read is not cached any more.
            rows(store, "INSERT INTO repositories (name) VALUES (?)", f"others/{next(self._numbers)}")
            return result

        return noting


@pytest.fixture
def requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(store, monkeypatch)


async def test_a_small_blob(requests: Requests) -> None:
    assert await requests.make("POST") == ["start_upload"]
    transactions = await requests.make("PUT", b"small", digest=digest_of(b"small"))
    assert transactions == ["finish_blob"]


async def test_a_small_blob_that_another_process_has_started(requests: Requests, other: Store) -> None:
    async with aclosing(await other.push_blob_chunked(REPOSITORY)) as upload:
        requests.location = upload_path(REPOSITORY, upload.id)
    transactions = await requests.make("PUT", b"small", digest=digest_of(b"small"))
    assert transactions == ["find_upload", "finish_blob"]


async def test_a_large_blob_in_chunks_that_say_where_they_begin(requests: Requests) -> None:
    content = os.urandom(3 * LARGE)
    await requests.make("POST")
    transactions = await requests.make("PATCH", content[:LARGE], at=0)
    assert transactions == ["find_upload", "suspend_upload"]
    pieces = [content[at : at + 10_000] for at in range(LARGE, 2 * LARGE, 10_000)]
    pieces[-1] = content[LARGE + 10_000 * (len(pieces) - 1) : 2 * LARGE]
    assert await requests.make("PATCH", *pieces, at=LARGE) == ["find_upload"]
    assert await requests.make("GET") == ["find_upload"]
    transactions = await requests.make("PUT", content[2 * LARGE :], digest=digest_of(content))
    assert transactions == ["find_upload", "finish_blob"]


async def test_a_large_blob_in_bodies_that_are_appended(requests: Requests) -> None:
    content = os.urandom(2 * LARGE)
    await requests.make("POST")
    assert await requests.make("PATCH", content[:LARGE]) == ["find_upload", "find_upload", "suspend_upload"]
    assert await requests.make("PATCH", content[LARGE:]) == ["find_upload", "find_upload"]
    assert await requests.make("PUT", digest=digest_of(content)) == ["find_upload", "finish_blob"]


async def test_a_large_blob_that_is_there_already(requests: Requests, store: Store) -> None:
    """The first transaction finds the other file, and the second one knows whether that file is complete."""
    content = os.urandom(LARGE)
    for transactions in (["find_upload", "finish_blob"], ["find_upload", "finish_blob", "finish_blob"]):
        requests.location = ""
        await requests.make("POST")
        await requests.make("PATCH", content, at=0)
        assert await requests.make("PUT", digest=digest_of(content)) == transactions
    assert len(rows(store, "SELECT 1 FROM copies")) == 1
