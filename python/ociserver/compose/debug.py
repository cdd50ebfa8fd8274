"""A registry that logs each call (Go: `ocidebug`)."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from ociserver._core import ByteRange
from ociserver.adapt import if_any, refresh
from ociserver.backend_like import BackendLike
from ociserver.compose.wrapper import Wrapper
from ociserver.context import request_context
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, BlobWriter, Descriptor, File, Manifest, PushedManifest, Url
from ociserver.iterators import closing
from ociserver.urls import shown

__all__ = ["Debug"]

Item = TypeVar("Item")

_log: Final = logging.getLogger("ociserver.debug")

MAX_UPLOAD: Final = 64
"""Maximum length of an upload's id in the log. Our own ids are not longer."""


class Debug(Wrapper):
    """Logs each call when it has ended: arguments, result or error, duration, and the request that made it.

    Each call is one record at level info of the logger `ociserver.debug`. `record.fields` has the same facts as a
    dictionary, which `--log-format json` writes. The log has the sizes of contents, and not the contents. The reading
    or the writing of a blob is one record, which appears when the reader or writer is closed.

    Args:
        backend: whose calls are logged.
        name: begins each message, to distinguish several backends.
    """

    def __init__(self, backend: BackendLike, name: str = "debug") -> None:
        super().__init__(backend)
        self._name = name
        self._writers = itertools.count(1)

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        asked = None if range is None else str(range)
        with self.call("get_blob", repository=repository, digest=digest, range=asked) as result:
            reader = await self.inner.get_blob(repository, digest, range)
            result.update(size=reader.descriptor.size, start=reader.range[0], stop=reader.range[1])
        return _Reader(self, reader)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        with self.call("get_manifest", repository=repository, digest=digest) as result:
            manifest = await self.inner.get_manifest(repository, digest)
            _note(result, manifest.descriptor)
            return manifest

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        with self.call("get_tag", repository=repository, tag=tag) as result:
            manifest = await self.inner.get_tag(repository, tag)
            _note(result, manifest.descriptor)
            return manifest

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        with self.call("resolve_blob", repository=repository, digest=digest) as result:
            return _note(result, await self.inner.resolve_blob(repository, digest))

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        with self.call("resolve_manifest", repository=repository, digest=digest) as result:
            return _note(result, await self.inner.resolve_manifest(repository, digest))

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        with self.call("resolve_tag", repository=repository, tag=tag) as result:
            return _note(result, await self.inner.resolve_tag(repository, tag))

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        with self.call("locate_blob", repository=repository, digest=digest) as result:
            return _note_place(result, await self.inner.locate_blob(repository, digest))

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        with self.call("push_blob", repository=repository, digest=descriptor.digest, size=descriptor.size) as result:
            return _note(result, await self.inner.push_blob(repository, descriptor, chunks))

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        wishes = {"chunk_size": chunk_size, "algorithm": algorithm}
        with self.call("push_blob_chunked", repository=repository, **wishes) as result:
            writer = await self.inner.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)
            return self._writer(writer, result)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        asked = {"upload": _upload(upload_id), "offset": offset, "digest": digest}
        with self.call("push_blob_chunked_resume", repository=repository, **asked) as result:
            writer = await self.inner.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)
            return self._writer(writer, result)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        with self.call("locate_upload", repository=repository, upload=_upload(upload_id)) as result:
            return _note_place(result, await self.inner.locate_upload(repository, upload_id))

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        names = {"from_repository": from_repository, "repository": to_repository}
        with self.call("mount_blob", **names, digest=digest) as result:
            return _note(result, await self.inner.mount_blob(from_repository, to_repository, digest))

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        asked: dict[str, Any] = {"size": len(content), "media_type": media_type, "digest": digest, "tags": list(tags)}
        if create_only:
            asked["create_only"] = sorted(create_only)
        with self.call("push_manifest", repository=repository, **asked) as result:
            pushed = await self.inner.push_manifest(
                repository, content, media_type, digest=digest, tags=tags, **if_any(create_only)
            )
            result.update(digest=pushed.descriptor.digest, subject=pushed.subject)
            return pushed

    async def delete_blob(self, repository: str, digest: str) -> None:
        with self.call("delete_blob", repository=repository, digest=digest):
            await self.inner.delete_blob(repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        with self.call("delete_manifest", repository=repository, digest=digest):
            await self.inner.delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        with self.call("delete_tag", repository=repository, tag=tag):
            await self.inner.delete_tag(repository, tag)

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        found = self.inner.repositories(start_after=start_after, limit=limit)
        return self._listed("repositories", found, start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        found = self.inner.tags(repository, start_after=start_after, limit=limit)
        return self._listed("tags", found, repository=repository, start_after=start_after, limit=limit)

    def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        found = self.inner.referrers(repository, digest, artifact_type, start_after=start_after, limit=limit)
        asked = {"artifact_type": artifact_type, "start_after": start_after, "limit": limit}
        return self._listed("referrers", found, repository=repository, digest=digest, **asked)

    async def _listed(self, method: str, items: AsyncIterator[Item], **arguments: Any) -> AsyncIterator[Item]:
        """A list. It is logged, with the number of items, when the caller has read or closed it."""
        with self.call(method, **arguments) as result:
            result["items"] = 0
            async with closing(items):
                async for item in items:
                    result["items"] += 1
                    yield item

    def _writer(self, writer: BlobWriter, result: dict[str, Any]) -> BlobWriter:
        number = next(self._writers)
        result.update(writer=number, upload=_upload(writer.id), received=writer.size)
        return _Writer(self, writer, number)

    @contextmanager
    def call(self, method: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Log a call when the block ends. The block fills in the result."""
        result: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            yield result
        except GeneratorExit:
            # A list that the caller closed early has not failed.
            raise
        except BaseException as error:
            result["error"] = error.code if isinstance(error, OCIError) else type(error).__name__
            result["message"] = str(error)
            raise
        finally:
            self._tell(method, arguments, result, time.perf_counter() - began)

    def _tell(self, method: str, arguments: dict[str, Any], result: dict[str, Any], duration_s: float) -> None:
        context = request_context.get()
        said = {name: value for name, value in arguments.items() if value not in (None, "")}
        fields = {
            "backend": self._name,
            "method": method,
            "arguments": said,
            "result": result,
            "duration_s": round(duration_s, 6),
            "request_id": context.request_id if context else None,
        }
        _log.info(
            "%s: %s(%s) -> %s in %.1f ms, request %s",
            self._name,
            method,
            _text(said),
            _text(result) or "ok",
            duration_s * 1000,
            fields["request_id"],
            extra={"fields": fields},
        )


class _Reader:
    """A `BlobReader` that logs its reading as one call."""

    def __init__(self, debug: Debug, inner: BlobReader) -> None:
        self._debug = debug
        self._inner = inner

    @property
    def descriptor(self) -> Descriptor:
        return self._inner.descriptor

    @property
    def range(self) -> tuple[int, int]:
        return self._inner.range

    @property
    def location(self) -> File | Url | bytes | None:
        return self._inner.location

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._debug.call("read", digest=self._inner.descriptor.digest) as result:
            result.update(pieces=0, bytes=0)
            async with closing(aiter(self._inner)) as pieces:
                async for piece in pieces:
                    result["pieces"] += 1
                    result["bytes"] += len(piece)
                    yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Writer:
    """A `BlobWriter` that logs its end, with the number of bytes that were written."""

    def __init__(self, debug: Debug, inner: BlobWriter, number: int) -> None:
        self._debug = debug
        self._inner = inner
        self._number = number
        self._brought = {"pieces": 0, "bytes": 0}

    @property
    def id(self) -> str:
        return self._inner.id

    @property
    def size(self) -> int:
        return self._inner.size

    @property
    def chunk_size(self) -> int:
        return self._inner.chunk_size

    async def refresh(self) -> None:
        await refresh(self._inner)

    async def write(self, data: bytes) -> None:
        try:
            await self._inner.write(data)
        except BaseException:
            with self._debug.call("write", writer=self._number, bytes=len(data)):
                raise
        self._brought["pieces"] += 1
        self._brought["bytes"] += len(data)

    async def commit(self, digest: str) -> Descriptor:
        with self._debug.call("commit", writer=self._number, digest=digest, **self._brought) as result:
            return _note(result, await self._inner.commit(digest))

    async def cancel(self) -> None:
        with self._debug.call("cancel", writer=self._number, **self._brought):
            await self._inner.cancel()

    async def aclose(self) -> None:
        with self._debug.call("aclose", writer=self._number, **self._brought) as result:
            await self._inner.aclose()
            result["received"] = self._inner.size


def _note(result: dict[str, Any], descriptor: Descriptor) -> Descriptor:
    """Record the result of a call and return it."""
    result.update(digest=descriptor.digest, media_type=descriptor.media_type, size=descriptor.size)
    return descriptor


def _note_place(result: dict[str, Any], place: Url | None) -> Url | None:
    # Without the query, which may contain a signature that gives access.
    result["location"] = None if place is None else shown(place.url)
    return place


def _upload(upload_id: str) -> str:
    """An upload's id for the log, without the signature and the query that a remote registry's id may contain."""
    if upload_id.startswith("<"):
        _, _, upload_id = upload_id.partition(">")
    return shown(upload_id)[:MAX_UPLOAD]


def _text(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items())
