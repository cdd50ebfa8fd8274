"""Several registries as one (Go: `ociunify`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from weakref import WeakValueDictionary

from ociserver._core import ByteRange
from ociserver.adapt import complete, if_any
from ociserver.backend_like import BackendLike
from ociserver.compose.unify.merge import merged
from ociserver.compose.unify.outcomes import UNKNOWN, everywhere, most_telling, settle
from ociserver.compose.unify.reads import at_once, in_turn
from ociserver.compose.unify.tee import tee
from ociserver.compose.unify.upload import Upload, decode_id
from ociserver.errors import OCIError
from ociserver.interface import Backend, BlobReader, BlobWriter, Descriptor, Manifest, PushedManifest, Url

__all__ = ["Unify"]

Result = TypeVar("Result")
Tagged = TypeVar("Tagged", Manifest, Descriptor)


class Unify(Backend):
    """Reads from any of several registries, and writes to all of them or to the first.

    A content comes from the first registry that gives it, even if earlier ones fail. A list merges the lists of all, in
    order and without duplicates. If one registry fails, the list fails, because a part of it would look complete.

    `writes="all"`: the registries mirror each other. A write goes to all of them concurrently, and succeeds if all do.
    A deletion succeeds if one succeeds and the others have nothing to delete. If only some registries fail, the
    caller gets the error of the first of these, and the other registries keep the change. A repetition of the write
    repairs that. If one registry refuses a blob while its bytes arrive, the push is aborted everywhere. If a tag points
    at different manifests, reading it is UNKNOWN with status 409.

    `writes="first"`: the first registry is an overlay, and the others are read-only. A tag comes from the first
    registry that has it. After its deletion there, the tag of the next registry is visible.

    Args:
        backends: two or more registries.
        reads: `sequential` asks one registry after the other; `concurrent` asks all, and the fastest answer wins.
        writes: see above.

    Raises:
        ValueError: there are fewer than two registries.
    """

    def __init__(
        self,
        *backends: BackendLike,
        reads: Literal["sequential", "concurrent"] = "sequential",
        writes: Literal["all", "first"] = "all",
    ) -> None:
        if len(backends) < 2:
            raise ValueError(f"{len(backends)} registries cannot be unified: give two or more")
        self._backends = [complete(backend) for backend in backends]
        self._writers = self._backends if writes == "all" else self._backends[:1]
        self._ask = in_turn if reads == "sequential" else at_once
        self._stack = AsyncExitStack()
        # All registries set tags in the same order, and write an upload's bytes before the next request looks at it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for backend in self._backends:
                await stack.enter_async_context(backend)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        return await self._read(lambda backend: backend.get_blob(repository, digest, range))

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return await self._read(lambda backend: backend.get_manifest(repository, digest))

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return await self._tagged(repository, tag, lambda backend: backend.get_tag(repository, tag))

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return await self._read(lambda backend: backend.resolve_blob(repository, digest))

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self._read(lambda backend: backend.resolve_manifest(repository, digest))

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self._tagged(repository, tag, lambda backend: backend.resolve_tag(repository, tag))

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """The location in the first registry that has the blob. Skips a registry that fails."""
        for backend in self._backends:
            with contextlib.suppress(Exception):
                location = await backend.locate_blob(repository, digest)
                if location is None:
                    # The backend may not have checked whether the blob exists.
                    await backend.resolve_blob(repository, digest)
                return location
        # The read that follows reports the error.
        return None

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        def push_to(backend: Backend) -> Callable[[AsyncIterator[bytes]], Coroutine[Any, Any, Descriptor]]:
            return lambda pieces: backend.push_blob(repository, descriptor, pieces)

        return settle(await tee(chunks, [push_to(backend) for backend in self._writers]))[0]

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        def start(backend: Backend) -> Coroutine[Any, Any, BlobWriter]:
            return backend.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

        return await self._upload([start(backend) for backend in self._writers], give_up=lambda writer: writer.cancel())

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        def resume(backend: Backend, own_id: str) -> Coroutine[Any, Any, BlobWriter]:
            return backend.push_blob_chunked_resume(repository, own_id, offset=offset, digest=digest)

        ids = decode_id(upload_id, len(self._writers))
        resumed = [resume(backend, own_id) for backend, own_id in zip(self._writers, ids, strict=True)]
        return await self._upload(resumed, give_up=lambda writer: writer.aclose())

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        """The first registry's location, if only that one takes writes. Else the others would miss the bytes."""
        if len(self._writers) > 1:
            return None
        return await self._writers[0].locate_upload(repository, *decode_id(upload_id, 1))

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        # If only some registries have the blob, the error makes the client push the bytes, which repairs that.
        return (await self._write(lambda backend: backend.mount_blob(from_repository, to_repository, digest)))[0]

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
        def push(backend: Backend) -> Coroutine[Any, Any, PushedManifest]:
            return backend.push_manifest(
                repository, content, media_type, digest=digest, tags=tags, **if_any(create_only)
            )

        async with self._turn(repository):
            return (await self._write(push))[0]

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self._delete(repository, lambda backend: backend.delete_blob(repository, digest))

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._delete(repository, lambda backend: backend.delete_manifest(repository, digest))

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._delete(repository, lambda backend: backend.delete_tag(repository, tag))

    # Lister

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        lists = [backend.repositories(start_after=start_after, limit=limit) for backend in self._backends]
        return merged(lists, str, limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        lists = [backend.tags(repository, start_after=start_after, limit=limit) for backend in self._backends]
        return merged(lists, str, limit)

    def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        lists = [
            backend.referrers(repository, digest, artifact_type, start_after=start_after, limit=limit)
            for backend in self._backends
        ]
        return merged(lists, lambda descriptor: descriptor.digest, limit)

    # Shared

    async def _read(self, call: Callable[[Backend], Coroutine[Any, Any, Result]]) -> Result:
        return await self._ask([partial(call, backend) for backend in self._backends])

    async def _tagged(
        self, repository: str, tag: str, call: Callable[[Backend], Coroutine[Any, Any, Tagged]]
    ) -> Tagged:
        if len(self._writers) == 1:
            return await in_turn([partial(call, backend) for backend in self._backends])
        found = await self._ask_all(call)
        if len({_digest(each) for each in found}) > 1:
            # Another task may be setting the tag. Then the answers agree when it has finished.
            async with self._turn(repository):
                found = await self._ask_all(call)
        digests = [_digest(each) for each in found]
        if len(set(digests)) > 1:
            raise OCIError("UNKNOWN", f"the registries disagree about tag {tag}", detail=digests, status=409)
        return found[0]

    async def _ask_all(self, call: Callable[[Backend], Coroutine[Any, Any, Tagged]]) -> list[Tagged]:
        """The answers of all registries that do not fail, at least one."""
        outcomes = await asyncio.gather(*(call(backend) for backend in self._backends), return_exceptions=True)
        found = [each for each in outcomes if not isinstance(each, BaseException)]
        if not found:
            raise most_telling([each for each in outcomes if isinstance(each, BaseException)])
        return found

    async def _write(self, call: Callable[[Backend], Coroutine[Any, Any, Result]]) -> list[Result]:
        return await everywhere([call(backend) for backend in self._writers])

    async def _delete(self, repository: str, call: Callable[[Backend], Coroutine[Any, Any, None]]) -> None:
        async with self._turn(repository):
            await everywhere([call(backend) for backend in self._writers], forgive=UNKNOWN)

    async def _upload(
        self,
        opening: Sequence[Coroutine[Any, Any, BlobWriter]],
        give_up: Callable[[BlobWriter], Coroutine[Any, Any, None]],
    ) -> Upload:
        outcomes = await asyncio.gather(*opening, return_exceptions=True)
        writers = [each for each in outcomes if not isinstance(each, BaseException)]
        if len(writers) < len(outcomes):
            await asyncio.gather(*(give_up(writer) for writer in writers), return_exceptions=True)
        settle(outcomes)
        return Upload(writers, self._turn(writers[0].id))

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())


def _digest(found: Manifest | Descriptor) -> str:
    return found.descriptor.digest if isinstance(found, Manifest) else found.digest
