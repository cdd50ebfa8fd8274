"""What refers to a manifest: by the registry's API, or by the tag schema where it has none.

Without the API the client keeps the list itself: an index under a tag of the subject (spec: referrers tag schema).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from weakref import WeakValueDictionary

from yarl import URL

from ociserver._core import read_stored_manifest
from ociserver.client.lists import with_query
from ociserver.client.referrer_pages import Pages, read_entries
from ociserver.client.transport import Transport
from ociserver.errors import HTTPError, OCIError, RegistryError
from ociserver.interface import Backend, Descriptor
from ociserver.iterators import closing

__all__ = ["Referrers"]

_INDEX: Final = "application/vnd.oci.image.index.v1+json"


class Referrers:
    """Lists them, and keeps the lists that the registry does not.

    Changes of one client are made one after the other. Two clients that change the same list at once may lose an
    entry: the spec has no condition for a PUT that registries would know.

    Args:
        registry: reads and writes the tags.
        transport: asks the API.
        root: of the registry.
    """

    def __init__(self, registry: Backend, transport: Transport, root: URL) -> None:
        self._registry = registry
        self._transport = transport
        self._root = root
        # Until it is known there is something to ask before a deletion.
        self._has_api = False
        # Whether the last list that had pages had them in the order of digests.
        self._in_order = False
        self._reading = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def find(
        self, repository: str, subject: str, artifact_type: str | None = None, *, start_after: str = ""
    ) -> AsyncIterator[Descriptor]:
        """Those after a digest, sorted by digest."""
        pages = self._pages(repository, subject, artifact_type)
        jumps = self._in_order and start_after != ""
        page = await pages.first(start_after if jumps else "")
        if jumps and page is not None and not page.begins_behind(start_after):
            # This list is in another order than those before.
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
        """Note a manifest that the registry took without a word of its subject: the subject, if it is noted."""
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
        if info.annotations:
            entry["annotations"] = dict(info.annotations)
        await self._change(repository, info.subject, manifest.digest, [entry])
        return info.subject

    async def subject(self, repository: str, digest: str) -> str | None:
        """The subject in whose list a manifest may be that is about to be deleted."""
        if self._has_api:
            return None
        try:
            manifest = await self._registry.get_manifest(repository, digest)
        except RegistryError:
            # The deletion itself will say what is wrong.
            return None
        return read_stored_manifest(manifest.content, manifest.descriptor.media_type).subject

    async def deleted(self, repository: str, digest: str, subject: str) -> None:
        """Forget a manifest that was deleted."""
        if not await self._is_kept(repository, subject):
            await self._change(repository, subject, digest, [])

    def _pages(self, repository: str, subject: str, artifact_type: str | None) -> Pages:
        url = URL(f"{self._root}/v2/{repository}/referrers/{subject}", encoded=True)
        filtered = with_query(url, artifactType=artifact_type or "")
        return Pages(self._transport, filtered, f"repository:{repository}:pull", artifact_type, self._reading)

    async def _is_kept(self, repository: str, subject: str) -> bool:
        """Whether the registry keeps the list itself."""
        self._has_api = self._has_api or await self._pages(repository, subject, None).first() is not None
        return self._has_api

    async def _change(self, repository: str, subject: str, digest: str, instead: list[dict[str, Any]]) -> None:
        async with self._turns.setdefault(f"{repository}@{subject}", asyncio.Lock()):
            document, _ = await self._load(repository, subject)
            before = document.get("manifests") or []
            # Other entries stay as they are: they may have fields that we know nothing of.
            document["manifests"] = [entry for entry in before if entry["digest"] != digest] + instead
            if document["manifests"] != before:
                content = json.dumps(document, ensure_ascii=False).encode(errors="replace")
                await self._registry.push_manifest(repository, content, _INDEX, tags=[_tag(subject)])

    async def _load(self, repository: str, subject: str) -> tuple[dict[str, Any], list[Descriptor]]:
        """The list under the tag, and its entries; an empty one where there is none."""
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
            # Spec: report a failure. What somebody else has put there is not ours to overwrite.
            raise HTTPError(502, f"the registry's tag {_tag(subject)}, of referrers, is no index")
        return document, await read_entries(manifest.content)


def _tag(subject: str) -> str:
    """Spec: the algorithm cut to 32 characters, the rest to 64."""
    algorithm, _, value = subject.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"
