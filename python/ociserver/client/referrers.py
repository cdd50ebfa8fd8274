"""Referrers of a manifest, from the referrers API, or from the tag schema if the registry does not have the API.

Without the API, the client maintains the list itself: an index under a tag (spec: referrers tag schema).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from weakref import WeakValueDictionary

from ociserver._core import read_stored_manifest
from ociserver.client.address import Address, scope_of
from ociserver.client.limits import DEFAULT_LIMITS, Limits
from ociserver.client.lists import with_query
from ociserver.client.referrer_pages import Pages, read_entries
from ociserver.client.transport import Transport
from ociserver.errors import HTTPError, OCIError, RegistryError
from ociserver.interface import Backend, Descriptor
from ociserver.iterators import closing

__all__ = ["Referrers"]

_INDEX: Final = "application/vnd.oci.image.index.v1+json"


class Referrers:
    """Lists referrers, and maintains the lists that the registry does not.

    One client changes a list one step at a time. If two clients change the same list concurrently, an entry may get
    lost: the spec has no conditional PUT.

    Args:
        registry: reads and writes the tags.
        transport: sends requests to the API.
        address: of the registry.
        limits: of the lists that the client sorts in memory.
    """

    def __init__(
        self, registry: Backend, transport: Transport, address: Address, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._registry = registry
        self._transport = transport
        self._address = address
        self._limits = limits
        # While this is False, a deletion first reads the manifest to find its subject.
        self._has_api = False
        # Whether the last list with pages was in the order of digests.
        self._in_order = False
        self._reading = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def find(
        self, repository: str, subject: str, artifact_type: str | None = None, *, start_after: str = ""
    ) -> AsyncIterator[Descriptor]:
        """The referrers after a digest, sorted by digest."""
        pages = self._pages(repository, subject, artifact_type)
        jumps = self._in_order and start_after != ""
        page = await pages.first(start_after if jumps else "")
        if jumps and page is not None and not page.begins_behind(start_after):
            # This list is not in order, unlike the lists before.
            jumps = self._in_order = False
            page = await pages.first()
        if page is not None and (jumps or page.is_in_order):
            self._has_api = self._in_order = True
            async with closing(pages.in_order(page, start_after)) as ordered:
                async for entry in ordered:
                    yield entry
            return
        if page is not None:
            self._has_api = True
            found = await pages.held(page)
        else:
            _, entries = await self._load(repository, subject)
            by_digest = {each.digest: each for each in entries if artifact_type in (None, each.artifact_type)}
            found = [by_digest[digest] for digest in sorted(by_digest)]
        for entry in found:
            if entry.digest > start_after:
                yield entry

    async def pushed(self, repository: str, manifest: Descriptor, content: bytes) -> str | None:
        """Add a manifest to the list, unless the registry maintains it. Returns the subject if it was added."""
        info = read_stored_manifest(content, manifest.media_type)
        if info.subject is None or await self._is_kept(repository, info.subject):
            return None
        entry: dict[str, Any] = {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.size,
        }
        if info.artifact_type:
            entry["artifactType"] = info.artifact_type
        if info.annotations_json:
            # The property parses the JSON each time.
            entry["annotations"] = info.annotations
        await self._change(repository, info.subject, manifest.digest, [entry])
        return info.subject

    async def subject(self, repository: str, digest: str) -> str | None:
        """The subject of a manifest that the caller is about to delete, if the client may have to change its list."""
        if self._has_api:
            return None
        try:
            manifest = await self._registry.get_manifest(repository, digest)
        except RegistryError:
            # The deletion reports the error.
            return None
        return read_stored_manifest(manifest.content, manifest.descriptor.media_type).subject

    async def deleted(self, repository: str, digest: str, subject: str) -> None:
        """Remove a deleted manifest from the list of its subject."""
        if not await self._is_kept(repository, subject):
            await self._change(repository, subject, digest, [])

    def _pages(self, repository: str, subject: str, artifact_type: str | None) -> Pages:
        url = self._address.url(f"/v2/{repository}/referrers/{subject}")
        filtered = with_query(url, artifactType=artifact_type or "")
        scope = scope_of(repository, "pull")
        return Pages(self._transport, filtered, scope, artifact_type, self._reading, self._limits)

    async def _is_kept(self, repository: str, subject: str) -> bool:
        """Whether the registry maintains the list."""
        self._has_api = self._has_api or await self._pages(repository, subject, None).first() is not None
        return self._has_api

    async def _change(self, repository: str, subject: str, digest: str, instead: list[dict[str, Any]]) -> None:
        async with self._turns.setdefault(f"{repository}@{subject}", asyncio.Lock()):
            document, _ = await self._load(repository, subject)
            before = document.get("manifests") or []
            # Other entries stay as they are: they may have members that the client does not know.
            document["manifests"] = [entry for entry in before if entry["digest"] != digest] + instead
            if document["manifests"] != before:
                content = json.dumps(document, ensure_ascii=False).encode(errors="replace")
                await self._registry.push_manifest(repository, content, _INDEX, tags=[_tag(subject)])

    async def _load(self, repository: str, subject: str) -> tuple[dict[str, Any], list[Descriptor]]:
        """The index under the tag, and its entries; an empty index if the tag does not exist."""
        try:
            manifest = await self._registry.get_tag(repository, _tag(subject))
        except OCIError as error:
            if error.code == "MANIFEST_UNKNOWN":
                return {"schemaVersion": 2, "mediaType": _INDEX, "manifests": []}, []
            raise
        try:
            document = json.loads(manifest.content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or document.get("mediaType", _INDEX) != _INDEX:
            # Spec: report a failure. Do not overwrite another client's content.
            raise HTTPError(502, f"the registry's tag {_tag(subject)}, which lists referrers, is not an index")
        return document, await read_entries(manifest.content)


def _tag(subject: str) -> str:
    """The tag of a subject. Spec: the algorithm cut to 32 characters, the rest to 64."""
    algorithm, _, value = subject.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"
