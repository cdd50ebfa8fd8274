"""Lists: tags, repositories, referrers (spec: end-8, end-12)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from ociserver._core import next_link
from ociserver.checked import place_of
from ociserver.checked_results import wrong_name, wrong_referrer
from ociserver.errors import HTTPError, OCIError
from ociserver.handler.referrers import INDEX, PIECE, ReferrersPage
from ociserver.handler.responses import Answer, Headers, document
from ociserver.iterators import closing

if TYPE_CHECKING:
    from ociserver.handler.call import Call

__all__ = ["catalog", "referrers", "tags"]

MAX_PAGE: Final = 10_000
"""The most names in a page with `n`, so that the memory of a page is bounded. A Link leads to the rest."""

STREAM_PIECE: Final = 1_000
"""Names in each piece of a list without `n`."""

MAX_REFERRERS: Final = 1_000
MAX_REFERRERS_SIZE: Final = 4 * 1024 * 1024
"""The most entries, and the most bytes of JSON, in a page of referrers. A page is an index, and clients limit the size
of an index like that of any manifest."""

_JSON: Final = (b"content-type", b"application/json")

Names = Callable[[str, int | None], AsyncIterator[str]]


async def tags(call: Call) -> Answer | None:
    """end-8, GET /v2/<name>/tags/list?n=<integer>&last=<tag>: 200, 404."""
    repository = call.request.repository
    assert repository
    backend = call.site.backend

    def names(after: str, limit: int | None) -> AsyncIterator[str]:
        return backend.tags(repository, start_after=after, limit=limit)

    return await _list(call, "tags", names, b'{"name":%s,"tags":[' % json.dumps(repository).encode())


async def catalog(call: Call) -> Answer | None:
    """GET /v2/_catalog?n=<integer>&last=<repository> (Docker registry v2): 200."""
    backend = call.site.backend

    def names(after: str, limit: int | None) -> AsyncIterator[str]:
        return backend.repositories(start_after=after, limit=limit)

    return await _list(call, "repositories", names, b'{"repositories":[')


async def _list(call: Call, method: str, names: Names, head: bytes) -> Answer | None:
    options = call.site.options
    n, last = (None, "") if options.ignore_pagination else (call.request.n, call.request.last or "")
    if n == 0:
        return document([_JSON], head + b"]}")
    if n is not None and 0 < options.max_list_page_size < n:
        raise OCIError("UNSUPPORTED", f"query parameter n is too large (n={n}, max={options.max_list_page_size})")
    if n is None:
        return await _send_all(call, method, names(last, None), head)
    return await _send_page(call, method, names, head, min(n, MAX_PAGE), last)


async def _send_page(call: Call, method: str, names: Names, head: bytes, size: int, last: str) -> Answer:
    # One more name is read, to know whether there is a next page: a full last page has no Link.
    page: list[str] = []
    async with closing(names(last, size + 1)) as found:
        async for name in found:
            page.append(name)
            if len(page) > size:
                break
    headers: Headers = [_JSON]
    has_next = len(page) > size
    del page[size:]
    items = _items(call, method, page)
    if has_next:
        _link(call, headers, page[-1])
    return document(headers, head + items + b"]}")


async def _send_all(call: Call, method: str, names: AsyncIterator[str], head: bytes) -> Answer | None:
    """Send a whole list: in one answer if it is short, else piece by piece with bounded memory."""
    piece: list[str] = []
    prefix = head
    async with closing(names) as found:
        async for name in found:
            if len(piece) == STREAM_PIECE:
                if not call.status:
                    await call.start(200, [_JSON])
                await call.write(prefix + _items(call, method, piece), more=True)
                prefix = b","
                piece.clear()
            piece.append(name)
    end = prefix + _items(call, method, piece) + b"]}"
    if not call.status:
        return document([_JSON], end)
    await call.write(end, more=False)
    return None


async def referrers(call: Call) -> Answer | None:
    """end-12, GET /v2/<name>/referrers/<digest>?artifactType=<type>: 200, 404/400."""
    options = call.site.options
    if options.disable_referrers_api:
        raise HTTPError(404, "referrers API has been disabled")
    artifact_type = None if options.disable_referrers_filtering else call.request.artifact_type
    page = await _referrers_page(call, artifact_type)
    headers: Headers = [(b"content-type", INDEX)]
    if artifact_type:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if page.next_after is not None:
        _link(call, headers, page.next_after)
    if page.size <= PIECE:
        return document(headers, b"".join(page.pieces))
    headers.append((b"content-length", b"%d" % page.size))
    await call.start(200, headers)
    for piece in page.take():
        await call.write(piece, more=True)
    await call.write(b"", more=False)
    return None


async def _referrers_page(call: Call, artifact_type: str | None) -> ReferrersPage:
    request = call.request
    assert request.repository
    assert request.digest
    page = ReferrersPage(MAX_REFERRERS, MAX_REFERRERS_SIZE)
    found = call.site.backend.referrers(
        request.repository, request.digest, artifact_type, start_after=request.last or "", limit=MAX_REFERRERS + 1
    )
    try:
        async with closing(found) as descriptors:
            async for descriptor in descriptors:
                try:
                    is_added = page.add(descriptor)
                except (AttributeError, TypeError) as error:
                    place = place_of(call.site.backend, "referrers")
                    raise TypeError(f"{place} gave {wrong_referrer(descriptor) or error}") from error
                if not is_added:
                    break
    except OCIError as error:
        # Spec: a registry with this API must not answer 404. An unknown repository has no referrers.
        if error.code != "NAME_UNKNOWN":
            raise
    page.end()
    return page


def _items(call: Call, method: str, names: list[str]) -> bytes:
    try:
        # JSON has other values than texts. This notices them, and costs less than a look at the type of each.
        "".join(names)
    except TypeError:
        wrong = next(wrong for name in names if (wrong := wrong_name(name)) is not None)
        raise TypeError(f"{place_of(call.site.backend, method)} gave {wrong}") from None
    return json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")[1:-1]


def _link(call: Call, headers: Headers, last: str) -> None:
    if call.site.options.omit_link_header_from_responses:
        return
    headers.append((b"link", next_link(call.own_path(), call.scope["query_string"], last).encode()))
