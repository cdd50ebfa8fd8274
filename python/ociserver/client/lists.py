"""Lists of names, page by page. The next page is the one that the registry links to, or the one after the last name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from yarl import URL

from ociserver.client.answers import error_of
from ociserver.client.headers import next_page
from ociserver.client.limits import MAX_LIST_SIZE
from ociserver.client.requests import Request
from ociserver.client.transport import Answer, Transport
from ociserver.errors import HTTPError, OCIError

__all__ = ["linked", "names", "read_page", "with_query"]

_TOO_MANY: Final = frozenset({"UNSUPPORTED", "PAGINATION_NUMBER_INVALID"})


async def names(
    transport: Transport,
    url: URL,
    scope: str,
    member: str,
    start_after: str,
    page_size: int,
) -> AsyncIterator[str]:
    """The names in `member` of each page's document, strictly after `start_after`."""
    following: URL | None = with_query(url, n=str(page_size), last=start_after)
    while following is not None:
        try:
            answer, body = await read_page(transport, following, scope, "NAME_UNKNOWN")
        except OCIError as error:
            if error.code not in _TOO_MANY or page_size == 0:
                raise
            # The registry refuses the page size. Let it choose the size.
            page_size = 0
            following = with_query(url, last=start_after)
            continue
        page = _names(body, member)
        for name in page:
            # A registry that does not know `last` sends earlier names again. Drop them.
            if name > start_after:
                yield name
        last: str = page[-1] if page else ""
        following = linked(answer, following)
        if following is None and page and len(page) == page_size and last > start_after:
            # A full page without a link. Some registries omit the link, and a registry that ignores `n` would have sent
            # more than a full page.
            following = with_query(url, n=str(page_size), last=last)
        start_after = max(start_after, last)


async def read_page(transport: Transport, url: URL, scope: str, unknown: str) -> tuple[Answer, bytes]:
    """A page of a list: its answer and its document.

    Raises:
        OCIError: the registry refuses the request. `unknown` is the code for a 404 that has none.
        HTTPError: the page is too large.
    """

    async def read(answer: Answer) -> tuple[Answer, bytes]:
        if answer.status != 200:
            raise await error_of(answer, unknown)
        body = await answer.read(MAX_LIST_SIZE)
        if body is None:
            raise HTTPError(502, f"a page of the registry's list is larger than {MAX_LIST_SIZE} bytes")
        return answer, body

    return await transport.fetch(Request("GET", url, scope, repeatable=True), read)


def _names(body: bytes, member: str) -> list[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise HTTPError(502, "the registry's list is not a JSON object")
    # Registries in Go send null for an empty list.
    names = document.get(member) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise HTTPError(502, f"the registry's list does not contain {member}")
    return names


def linked(answer: Answer, current: URL) -> URL | None:
    """The URL of the next page; None on the last page."""
    target = next_page(answer)
    if target is None:
        return None
    following = answer.join(target)
    if following.origin() != current.origin():
        # The client would not send its credentials there, and another host cannot have this registry's names.
        raise HTTPError(502, f"the registry links to a next page on another host, {following.host}")
    if following == current:
        raise HTTPError(502, "the registry links from a page to itself")
    return following


def with_query(url: URL, **parameters: str) -> URL:
    """The URL with the parameters that are not empty."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value)
    return URL(f"{url}?{query}" if query else str(url), encoded=True)
