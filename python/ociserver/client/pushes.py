"""Pushes blobs: in one request, as a stream, by a mount, or as an upload that the caller writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Coroutine
from typing import Any
from urllib.parse import quote

from yarl import URL

from ociserver.client.address import Address, scope_of
from ociserver.client.answers import error_of
from ociserver.client.headers import min_chunk
from ociserver.client.ids import UploadIds
from ociserver.client.limits import SINGLE_POST_SIZE
from ociserver.client.progress import Progress
from ociserver.client.requests import BufferedBody, Request
from ociserver.client.session import MEDIA_TYPE, Session, with_digest
from ociserver.client.transport import Answer, Transport
from ociserver.client.uploads import ChunkedUpload, StreamedUpload
from ociserver.errors import HTTPError, OCIError, RegistryError
from ociserver.interface import UNKNOWN_SIZE, BlobWriter, Descriptor, Url

__all__ = ["BlobPushes"]


class BlobPushes:
    """Everything that sends blobs to a registry.

    Args:
        transport: sends the requests.
        address: of the registry.
        upload_key: signs ids of uploads; see `UploadIds`.
    """

    def __init__(self, transport: Transport, address: Address, upload_key: bytes) -> None:
        self._transport = transport
        self._address = address
        self._ids = UploadIds(address, upload_key)
        self._progress = Progress()
        # False once the registry has answered such a POST with 202.
        self._takes_single_post = True
        self._background: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Wait for the requests that run in the background."""
        while self._background:
            await asyncio.wait(self._background)

    async def push(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        """Push a whole blob: in one request if it is small, else as a stream."""
        if 0 <= descriptor.size <= SINGLE_POST_SIZE:
            return await self._push_small(repository, descriptor, chunks)
        session, digest = await self._start(repository), descriptor.digest
        stream = StreamedUpload(session, digest, None if descriptor.size == UNKNOWN_SIZE else descriptor.size)
        try:
            async for piece in chunks:
                if descriptor.size != UNKNOWN_SIZE and stream.size + len(piece) > descriptor.size:
                    raise _wrong_size(descriptor.size, stream.size + len(piece))
                await stream.write(piece)
            if descriptor.size not in (UNKNOWN_SIZE, stream.size):
                raise _wrong_size(descriptor.size, stream.size)
            size = stream.size
            await stream.commit(digest)
        except BaseException:
            await stream.abort()
            # No caller has the id of this upload, so no caller can resume it.
            self._spawn(session.delete())
            raise
        return Descriptor(MEDIA_TYPE, digest, size)

    async def open(self, repository: str, chunk_size: int, algorithm: str) -> BlobWriter:
        """Start an upload."""
        return ChunkedUpload(await self._start(repository, algorithm), 0, chunk_size)

    async def resume(self, repository: str, upload_id: str, offset: int | None, digest: str | None) -> BlobWriter:
        """Resume an upload; see `Backend.push_blob_chunked_resume`."""
        session = self._session(repository, self._ids.read(repository, upload_id))
        known = self._progress.take(repository, upload_id)
        if offset is not None:
            return ChunkedUpload(session, offset)
        size = await session.progress() if known is None else known
        if size == 0:
            # Most clients send the whole blob in one body.
            return StreamedUpload(session, digest, assumed=known is not None)
        return ChunkedUpload(session, size, assumed=known is not None)

    async def locate(self, repository: str, upload_id: str) -> Url | None:
        """The registry's Location of an upload; None if it is of use only with the client's credentials."""
        return await self._transport.public_url(
            self._ids.read(repository, upload_id), scope_of(repository, "pull,push")
        )

    async def mount(self, from_repository: str | None, to_repository: str, digest: str) -> None:
        """Link a blob of another repository.

        Raises:
            OCIError: UNSUPPORTED if the registry starts an upload instead; else what the registry answers.
        """
        source, scope = "", scope_of(to_repository, "pull,push")
        if from_repository is not None:
            source = f"&from={quote(from_repository, safe='')}"
            scope = f"{scope_of(from_repository, 'pull')} {scope}"
        url = self._address.url(f"/v2/{to_repository}/blobs/uploads/?mount={quote(digest, safe='')}{source}")
        request = Request("POST", url, scope, body=BufferedBody(), repeatable=True)
        async with await self._transport.send(request) as answer:
            if answer.status == 202:
                # The registry has started an upload instead. The caller starts one itself if it needs one.
                self._spawn(self._session_at(to_repository, answer).delete())
                raise OCIError("UNSUPPORTED", "the registry cannot mount the blob")
            if answer.status != 201:
                raise await error_of(answer, "BLOB_UNKNOWN")

    async def _push_small(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        pieces: list[bytes] = []
        size = 0
        async for piece in chunks:
            size += len(piece)
            if size > descriptor.size:
                break
            pieces.append(piece)
        if size != descriptor.size:
            raise _wrong_size(descriptor.size, size)
        body, digest = BufferedBody(pieces), descriptor.digest
        if self._takes_single_post:
            url = self._address.url(f"/v2/{repository}/blobs/uploads/?digest={quote(digest, safe='')}")
            scope, headers = scope_of(repository, "pull,push"), {"Content-Type": MEDIA_TYPE}
            answer = await self._transport.send(Request("POST", url, scope, headers, body, repeatable=True))
            if answer.status == 202:
                # Spec: a registry may ignore the body of this POST. Then it has started an upload.
                self._takes_single_post = False
                async with answer:
                    session = self._session_at(repository, answer)
            else:
                await self._session(repository, url).closed(answer, digest)
                return Descriptor(MEDIA_TYPE, digest, size)
        else:
            session = await self._start(repository)
        put = session.request("PUT", with_digest(session.location, digest), body)
        await session.closed(await self._transport.send(put), digest)
        return Descriptor(MEDIA_TYPE, digest, size)

    async def _start(self, repository: str, algorithm: str = "sha256") -> Session:
        # Every registry supports sha256, but not every registry knows the parameter.
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        url = self._address.url(f"/v2/{repository}/blobs/uploads/{query}")
        # If the answer is lost, the repeated request starts a second upload. The registry expires the first.
        request = Request("POST", url, scope_of(repository, "pull,push"), body=BufferedBody(), repeatable=True)
        async with await self._transport.send(request) as answer:
            if answer.status != 202:
                raise await error_of(answer, "NAME_UNKNOWN")
            return self._session_at(repository, answer)

    def _session(self, repository: str, location: URL) -> Session:
        scope = scope_of(repository, "pull,push")
        return Session(self._transport, self._ids, self._progress, repository, scope, location)

    def _session_at(self, repository: str, answer: Answer) -> Session:
        """The upload that an answer of 202 names."""
        session = self._session(repository, answer.url)
        if "Location" not in answer.headers:
            raise HTTPError(502, "the registry started an upload, but its answer has no Location")
        session.moved(answer)
        session.min_chunk = min_chunk(answer)
        return session

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a request in the background. Its failure is of no use to a caller."""

        async def quietly() -> None:
            with contextlib.suppress(RegistryError):
                await work

        task = asyncio.ensure_future(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _wrong_size(expected: int, received: int) -> OCIError:
    return OCIError("SIZE_INVALID", detail={"expected": expected, "received": received})
