"""Reads from an upstream registry, and checks its answers before the cache keeps them or passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from ociserver._core import digest_of
from ociserver.compose.cache.health import Health, RefusedError, failure_of
from ociserver.errors import HTTPError, OCIError, RegistryError, marshal_error
from ociserver.interface import Backend, BlobReader, Descriptor, Manifest
from ociserver.iterators import closing
from ociserver.media_types import fetched_type, is_media_type
from ociserver.meter import Meter

__all__ = ["Upstream", "wrong_content"]

Item = TypeVar("Item")

MAX_SIZE: Final = 1 << 50
"""Largest size of a content in bytes: 1 PiB. Sums of such sizes fit into 64 bits."""

_REFUSALS: Final = frozenset({401, 403})


class Upstream:
    """Reads from one upstream.

    If the registry refuses the credentials of the cache, the client of the cache is not at fault. The error becomes a
    502, and never a 401, which would make the client sign in to the cache.

    Args:
        backend: the registry.
        host: the host that it stands for, for messages; "" for the registry's own host.
        retry_after: see `Health`.
        answer_timeout: seconds that upstream has to begin an answer, including retries.
        meter: is told of requests that failed.
    """

    def __init__(
        self, backend: Backend, host: str, retry_after: float, answer_timeout: float, meter: Meter | None = None
    ) -> None:
        self.backend = backend
        self.host = host or _host_of(backend)
        self.health = Health(self.host, retry_after)
        self._answer_timeout = answer_timeout
        self._meter = meter

    async def get_blob(self, name: str, digest: str) -> BlobReader:
        """Open a blob. Its size is known. Read it with `read`."""
        async with self._asking(name):
            reader = await self.backend.get_blob(name, digest)
            try:
                _check(reader.descriptor)
            except BaseException:
                await reader.aclose()
                raise
            return reader

    async def read(self, name: str, reader: BlobReader) -> AsyncIterator[bytes]:
        """The pieces of a blob, with errors translated."""
        with self._metered(), self._translated(name):
            async for piece in reader:
                yield piece

    async def resolve_blob(self, name: str, digest: str) -> Descriptor:
        async with self._asking(name):
            return _check(await self.backend.resolve_blob(name, digest))

    async def get_manifest(self, name: str, digest: str) -> Manifest:
        async with self._asking(name):
            return _verified(await self.backend.get_manifest(name, digest), digest)

    async def get_tag(self, name: str, tag: str) -> Manifest:
        async with self._asking(name):
            manifest = await self.backend.get_tag(name, tag)
            return _verified(manifest, manifest.descriptor.digest)

    async def resolve_tag(self, name: str, tag: str) -> Descriptor:
        async with self._asking(name):
            return _check(await self.backend.resolve_tag(name, tag))

    async def listed(self, name: str, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """The entries of a list, with errors translated."""
        async with closing(items) as open_items:
            async with self._asking(name):
                first = await anext(open_items, None)
            if first is None:
                return
            yield first
            with self._metered(), self._translated(name):
                async for item in open_items:
                    yield item

    def count(self, error: Exception) -> None:
        """Report a failure of upstream to the meter."""
        failure = failure_of(error)
        if failure is not None and self._meter:
            self._meter.upstream_failed(failure)

    @asynccontextmanager
    async def _asking(self, name: str) -> AsyncIterator[None]:
        """Wrap a request to upstream, up to the beginning of its answer.

        Raises:
            NotAskedError: upstream failed recently.
            HTTPError: 504 if it does not answer in time.
        """
        with self._metered(), self.health.asking(name), self._translated(name):
            try:
                async with asyncio.timeout(self._answer_timeout):
                    yield
            except TimeoutError:
                raise HTTPError(
                    504, f"upstream ({self.host}) did not answer within {self._answer_timeout:g} seconds"
                ) from None

    @contextmanager
    def _metered(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.count(error)
            raise

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except RegistryError as error:
            wire = marshal_error(error)
            if wire.status not in _REFUSALS:
                raise
            raise RefusedError(
                502,
                f"upstream refuses the credentials of this cache ({self.host}: {wire.status} {wire.code} for {name}); "
                "check the credentials of this cache there, and the name of the repository",
            ) from None


def wrong_content(digest: str) -> OCIError:
    """The error for bytes that do not match the digest. Status 502, because upstream and not the client is at fault."""
    return OCIError(
        "DIGEST_INVALID", "upstream's content does not match its digest", detail={"digest": digest}, status=502
    )


def _verified(manifest: Manifest, digest: str) -> Manifest:
    """The manifest with the media type from its bytes. Raises an error if its digest is wrong."""
    content = manifest.content
    if digest_of(content, digest.partition(":")[0]) != digest:
        raise wrong_content(digest)
    kind = fetched_type(content, manifest.descriptor.media_type)
    if kind is None:
        raise HTTPError(502, "upstream's manifest has an invalid media type")
    return Manifest(replace(manifest.descriptor, media_type=kind, digest=digest, size=len(content)), content)


def _check(descriptor: Descriptor) -> Descriptor:
    if not is_media_type(descriptor.media_type):
        raise HTTPError(502, "upstream sent an invalid media type")
    if not 0 <= descriptor.size <= MAX_SIZE:
        raise HTTPError(502, "upstream sent no valid size of the content")
    return descriptor


def _host_of(backend: Any) -> str:
    """The host of a client, which may be inside wrappers."""
    while backend is not None:
        host = getattr(backend, "host", None)
        if isinstance(host, str):
            return host
        backend = getattr(backend, "inner", None)
    return "the upstream registry"
