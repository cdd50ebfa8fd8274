"""The referrers API, page by page: as they come where they are in order, and else when all have come.

Backends list referrers sorted by digest. The spec asks a registry for no order: one whose first page is sorted, and
links behind its last digest, is taken to have all of them in this order, as ours has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import quote

from yarl import URL

from ociserver._core import read_referrers
from ociserver.annotations import Annotations
from ociserver.client.limits import MAX_REFERRERS, MAX_REFERRERS_SIZE
from ociserver.client.lists import linked, read_page
from ociserver.client.transport import Transport
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Descriptor

__all__ = ["Page", "Pages", "read_entries"]

INLINE: Final = 64 * 1024
"""Bytes of an index up to which it is read on the event loop: some hundred microseconds."""

_NO_API: Final = frozenset({"UNSUPPORTED", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})


@dataclass(slots=True)
class Page:
    """One page.

    Args:
        entries: those that are asked for; taken out as they are given.
        first: digest of the first entry, asked for or not; "" where there is none.
        last: likewise of the last.
        is_sorted: by digest, without repeats.
        following: where the next page is, if there is one.
        size: bytes of the document.
    """

    entries: deque[Descriptor]
    first: str
    last: str
    is_sorted: bool
    following: URL | None
    size: int

    @property
    def is_in_order(self) -> bool:
        """Whether it shows, as a first page, that those behind it go on where it ends."""
        return self.is_sorted and self.following is not None and self.following.query.get("last") == self.last != ""

    def begins_behind(self, digest: str) -> bool:
        """Whether this page can be the one that was asked for, of those behind a digest."""
        return self.is_sorted and (not self.first or self.first > digest)


class Pages:
    """The pages of one list.

    Args:
        transport: asks the registry.
        url: of the first page.
        scope: of the requests.
        artifact_type: which entries are asked for; None for all.
        reading: held while a page is read, which takes three times its size for a moment.
    """

    def __init__(
        self, transport: Transport, url: URL, scope: str, artifact_type: str | None, reading: asyncio.Lock
    ) -> None:
        self._transport = transport
        self._url = url
        self._scope = scope
        self._artifact_type = artifact_type
        self._reading = reading

    async def first(self, start_after: str = "") -> Page | None:
        """The first page, or the one that begins behind a digest; None where the registry does not have the API."""
        try:
            return await self._load(_behind(self._url, start_after) if start_after else self._url)
        except OCIError as error:
            # Spec: a 404 says that there is no such API; that there is no such repository is said by its code.
            if error.code in _NO_API or error.status in (404, 405):
                return None
            raise

    async def in_order(self, page: Page, start_after: str) -> AsyncIterator[Descriptor]:
        """The entries behind a digest, from this page on, as they come.

        Raises:
            HTTPError: the registry's pages are not in order after all.
        """
        last = ""
        while True:
            if not page.is_sorted or (page.first and page.first <= last):
                raise HTTPError(502, "the registry's pages of referrers are not in the order in which they began")
            while page.entries:
                entry = page.entries.popleft()
                if entry.digest > start_after:
                    yield entry
            if page.following is None:
                return
            last = page.last or last
            page = await self._load(_behind(page.following, start_after) if start_after > last else page.following)

    async def held(self, page: Page) -> list[Descriptor]:
        """All entries, from this page on, sorted.

        Raises:
            HTTPError: they are more than are held.
        """
        found: dict[str, Descriptor] = {}
        size = 0
        while True:
            size += page.size
            found.update((entry.digest, entry) for entry in page.entries)
            if len(found) > MAX_REFERRERS or size > MAX_REFERRERS_SIZE:
                raise HTTPError(
                    502,
                    f"the registry lists more than {MAX_REFERRERS} referrers, or {MAX_REFERRERS_SIZE} bytes of them, "
                    "in no order",
                )
            if page.following is None:
                return [found[digest] for digest in sorted(found)]
            page = await self._load(page.following)

    async def _load(self, url: URL) -> Page:
        answer, body = await read_page(self._transport, url, self._scope, "UNSUPPORTED")
        async with self._reading:
            entries = await read_entries(body)
        digests = [entry.digest for entry in entries]
        applied = {entry.strip() for entry in answer.headers.get("OCI-Filters-Applied", "").split(",")}
        if "artifactType" not in applied and self._artifact_type is not None:
            entries = [entry for entry in entries if entry.artifact_type == self._artifact_type]
        return Page(
            deque(entries),
            digests[0] if digests else "",
            digests[-1] if digests else "",
            all(one < two for one, two in pairwise(digests)),
            linked(answer, url),
            len(body),
        )


async def read_entries(index: bytes) -> list[Descriptor]:
    """The descriptors of an index of referrers.

    Raises:
        HTTPError: it is no such index.
    """
    try:
        # A large one takes milliseconds, in which others have their turns.
        found = await asyncio.to_thread(read_referrers, index) if len(index) > INLINE else read_referrers(index)
    except ValueError as error:
        raise HTTPError(502, f"the registry's index of referrers is none: {error}") from None
    return [
        Descriptor(media_type, digest, size, kind, {} if annotations is None else Annotations(annotations))
        for media_type, digest, size, kind, annotations in found
    ]


def _behind(url: URL, digest: str) -> URL:
    """The same page, but beginning behind a digest; what else the registry has put into the URL stays as it is."""
    path, _, query = str(url).partition("?")
    kept = [piece for piece in query.split("&") if piece and piece.partition("=")[0] != "last"]
    changed = "&".join([*kept, f"last={quote(digest, safe='')}"])
    return URL(f"{path}?{changed}", encoded=True)
