"""Lists, page by page: by the registry's links, or by the last name where it has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from yarl import URL

from ociserver._core import is_digest
from ociserver.client.answers import error_of, next_page
from ociserver.client.limits import MAX_LIST_SIZE, MAX_REFERRERS
from ociserver.client.requests import Request
from ociserver.client.transport import Answer, Transport
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Descriptor

__all__ = ["names", "read_index", "referrers"]

_TOO_MANY: Final = frozenset({"UNSUPPORTED", "PAGINATION_NUMBER_INVALID"})
_NO_API: Final = frozenset({"UNSUPPORTED", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})


async def names(
    transport: Transport,
    url: URL,
    scope: str,
    member: str,
    start_after: str,
    page_size: int,
) -> AsyncIterator[str]:
    """The names in `member` of each page's document, strictly after `start_after`."""
    following: URL | None = _with_query(url, n=str(page_size), last=start_after)
    while following is not None:
        try:
            answer, document = await _page(transport, following, scope, "NAME_UNKNOWN")
        except OCIError as error:
            if error.code not in _TOO_MANY or page_size == 0:
                raise
            # More than it gives at once: then as many as it likes.
            page_size = 0
            following = _with_query(url, last=start_after)
            continue
        # Go's registries say null for none.
        page = document.get(member) or []
        if not isinstance(page, list) or not all(isinstance(name, str) for name in page):
            raise HTTPError(502, f"the registry's list has no {member}")
        for name in page:
            # What a registry that knows no `last` sends again is dropped.
            if name > start_after:
                yield name
        last: str = page[-1] if page else ""
        following = _linked(answer, following)
        if following is None and page and len(page) == page_size and last > start_after:
            # No link, but a full page: some registries leave the link out, and more would have come of those that
            # ignore `n`.
            following = _with_query(url, n=str(page_size), last=last)
        start_after = max(start_after, last)


async def referrers(transport: Transport, url: URL, scope: str, artifact_type: str | None) -> list[Descriptor] | None:
    """All that refer to a subject, sorted by digest; None where the registry does not have the API."""
    found: dict[str, Descriptor] = {}
    following: URL | None = _with_query(url, artifactType=artifact_type or "")
    while following is not None:
        try:
            answer, document = await _page(transport, following, scope, "UNSUPPORTED")
        except OCIError as error:
            # Spec: a 404 says that there is no such API; that there is no such repository is said by its code.
            if error.code in _NO_API or error.status in (404, 405):
                return None
            raise
        applied = {entry.strip() for entry in answer.headers.get("OCI-Filters-Applied", "").split(",")}
        wanted = None if "artifactType" in applied else artifact_type
        found.update((entry.digest, entry) for entry in read_index(document, wanted))
        if len(found) > MAX_REFERRERS:
            raise HTTPError(502, f"the registry lists more than {MAX_REFERRERS} referrers")
        following = _linked(answer, following)
    return [found[digest] for digest in sorted(found)]


def read_index(document: Mapping[str, Any], artifact_type: str | None) -> list[Descriptor]:
    """The descriptors of an index, those of one type if it is given."""
    entries = document.get("manifests") or []
    if not isinstance(entries, list):
        raise HTTPError(502, "the registry's index of referrers has no manifests")
    found = map(_descriptor, entries)
    return [entry for entry in found if artifact_type is None or entry.artifact_type == artifact_type]


def _descriptor(entry: Any) -> Descriptor:
    if isinstance(entry, dict):
        media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
        kind, annotations = entry.get("artifactType"), entry.get("annotations") or {}
        described = isinstance(media_type, str) and isinstance(digest, str) and is_digest(digest)
        sized = type(size) is int and size >= 0
        typed = kind is None or isinstance(kind, str)
        noted = isinstance(annotations, dict) and all(isinstance(value, str) for value in annotations.values())
        if described and sized and typed and noted:
            return Descriptor(entry["mediaType"], entry["digest"], entry["size"], kind or None, annotations)
    raise HTTPError(502, "the registry's index of referrers has an entry that is no descriptor")


async def _page(transport: Transport, url: URL, scope: str, unknown: str) -> tuple[Answer, dict[str, Any]]:
    async def read(answer: Answer) -> tuple[Answer, dict[str, Any]]:
        if answer.status != 200:
            raise await error_of(answer, unknown)
        body = await answer.read(MAX_LIST_SIZE)
        if body is None:
            raise HTTPError(502, f"a page of the registry's list is larger than {MAX_LIST_SIZE} bytes")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise HTTPError(502, "the registry's list is no JSON object")
        return answer, document

    return await transport.fetch(Request("GET", url, scope, repeatable=True), read)


def _linked(answer: Answer, current: URL) -> URL | None:
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


def _with_query(url: URL, **parameters: str) -> URL:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value)
    return URL(f"{url}?{query}" if query else str(url), encoded=True)
