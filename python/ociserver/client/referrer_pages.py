"""The pages of the referrers API. The client streams pages that are in order, and collects and sorts all others.

A backend lists referrers sorted by digest, but the spec requires no order from a registry. If the first page is sorted,
and its link has the last digest in `last`, the client assumes that all pages are in this order. Our server's pages are.
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
from ociserver.client.limits import Limits
from ociserver.client.lists import linked, read_page
from ociserver.client.transport import Transport
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Descriptor

__all__ = ["Page", "Pages", "read_entries"]

INLINE: Final = 64 * 1024
"""Largest index in bytes that is parsed on the event loop. It takes a few hundred microseconds."""

_NO_API: Final = frozenset({"UNSUPPORTED", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})


@dataclass(slots=True)
class Page:
    """One page.

    Args:
        entries: those with the requested artifact type. The reader removes each entry that it gives.
        first: digest of the first entry of any artifact type; "" for an empty page.
        last: digest of the last entry of any artifact type; "" for an empty page.
        is_sorted: by digest, without duplicates.
        following: URL of the next page; None on the last page.
        size: of the document, in bytes.
    """

    entries: deque[Descriptor]
    first: str
    last: str
    is_sorted: bool
    following: URL | None
    size: int

    @property
    def is_in_order(self) -> bool:
        """Whether this first page shows that the next page continues where this page ends."""
        return self.is_sorted and self.following is not None and self.following.query.get("last") == self.last != ""

    def begins_behind(self, digest: str) -> bool:
        """Whether this page can be the answer to a request for the entries after a digest."""
        return self.is_sorted and (not self.first or self.first > digest)


class Pages:
    """The pages of one list.

    Args:
        transport: sends the requests.
        url: of the first page.
        scope: of the requests.
        artifact_type: of the requested entries; None for all.
        reading: the lock that `_load` holds while it parses a page, which briefly takes three times the page's size.
        limits: `max_referrers` and `max_referrers_size` bound what `held` collects.
    """

    def __init__(
        self,
        transport: Transport,
        url: URL,
        scope: str,
        artifact_type: str | None,
        reading: asyncio.Lock,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self._transport = transport
        self._url = url
        self._scope = scope
        self._artifact_type = artifact_type
        self._reading = reading

    async def first(self, start_after: str = "") -> Page | None:
        """The first page, or the page after a digest; None if the registry does not have the referrers API."""
        try:
            return await self._load(_behind(self._url, start_after) if start_after else self._url)
        except OCIError as error:
            # Spec: a 404 says that there is no referrers API. A missing repository has its own code.
            if error.code in _NO_API or error.status in (404, 405):
                return None
            raise

    async def in_order(self, page: Page, start_after: str) -> AsyncIterator[Descriptor]:
        """The entries after a digest, from this page on, as the pages arrive.

        Raises:
            HTTPError: a later page is not in order.
        """
        last = ""
        while True:
            if not page.is_sorted or (page.first and page.first <= last):
                raise HTTPError(502, "the registry's pages of referrers are not in the order of the first page")
            while page.entries:
                entry = page.entries.popleft()
                if entry.digest > start_after:
                    yield entry
            if page.following is None:
                return
            last = page.last or last
            page = await self._load(_behind(page.following, start_after) if start_after > last else page.following)

    async def held(self, page: Page) -> list[Descriptor]:
        """All entries from this page on, sorted.

        Raises:
            HTTPError: there are more than the limits allow.
        """
        found: dict[str, Descriptor] = {}
        size = 0
        while True:
            size += page.size
            found.update((entry.digest, entry) for entry in page.entries)
            if len(found) > self._limits.max_referrers or size > self._limits.max_referrers_size:
                raise HTTPError(
                    502,
                    f"the registry lists more than {self._limits.max_referrers} referrers, or more than "
                    f"{self._limits.max_referrers_size} bytes of them, and not in the order of their digests",
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
        HTTPError: the document is not such an index.
    """
    try:
        # A large index takes milliseconds, which would block the event loop.
        found = await asyncio.to_thread(read_referrers, index) if len(index) > INLINE else read_referrers(index)
    except ValueError as error:
        raise HTTPError(502, f"the registry's index of referrers is not valid: {error}") from None
    return [
        Descriptor(media_type, digest, size, kind, {} if annotations is None else Annotations(annotations))
        for media_type, digest, size, kind, annotations in found
    ]


def _behind(url: URL, digest: str) -> URL:
    """The same URL for the entries after a digest. The registry's other parameters stay as they are."""
    path, _, query = str(url).partition("?")
    kept = [piece for piece in query.split("&") if piece and piece.partition("=")[0] != "last"]
    changed = "&".join([*kept, f"last={quote(digest, safe='')}"])
    return URL(f"{path}?{changed}", encoded=True)
