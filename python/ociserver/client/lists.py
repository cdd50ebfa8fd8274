"""Lists of names, page by page: by the registry's links, or by the last name where it has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from yarl import URL

from ociserver.client.answers import error_of, next_page
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
            # More than it gives at once: then as many as it likes.
            page_size = 0
            following = with_query(url, last=start_after)
            continue
        page = _names(body, member)
        for name in page:
            # What a registry that knows no `last` sends again is dropped.
            if name > start_after:
                yield name
        last: str = page[-1] if page else ""
        following = linked(answer, following)
        if following is None and page and len(page) == page_size and last > start_after:
            # No link, but a full page: some registries leave the link out, and more would have come of those that
            # ignore `n`.
            following = with_query(url, n=str(page_size), last=last)
        start_after = max(start_after, last)


async def read_page(transport: Transport, url: URL, scope: str, unknown: str) -> tuple[Answer, bytes]:
    """A page of a list: its answer and its document.

    Raises:
        OCIError: the registry refuses; `unknown` is the code of a 404 without one.
        HTTPError: it is too large.
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
        raise HTTPError(502, "the registry's list is no JSON object")
    # Go's registries say null for none.
    names = document.get(member) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise HTTPError(502, f"the registry's list has no {member}")
    return names


def linked(answer: Answer, current: URL) -> URL | None:
    """The next page; None if there is none."""
    target = next_page(answer)
    if target is None:
        return None
    following = answer.join(target)
    if following.origin() != current.origin():
        # Credentials would not go there; and nobody else has this registry's names.
        raise HTTPError(502, f"the registry links to a next page on another host, {following.host}")
    if following == current:
        raise HTTPError(502, "the registry links from a page to itself")
    return following


def with_query(url: URL, **parameters: str) -> URL:
    """A URL with those of the parameters that are not empty."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value)
    return URL(f"{url}?{query}" if query else str(url), encoded=True)
