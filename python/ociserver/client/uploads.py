"""Uploads: in chunks that can be sent again, or as one request that streams the caller's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ociserver.client.headers import upload_size
from ociserver.client.limits import CHUNK_SIZE, MAX_CHUNK_SIZE
from ociserver.client.requests import BufferedBody, StreamBody, UnreachableError
from ociserver.client.session import MEDIA_TYPE, Session, with_digest
from ociserver.client.transport import Answer
from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.interface import UNKNOWN_SIZE, Descriptor

__all__ = ["ChunkedUpload", "StreamedUpload"]

Result = TypeVar("Result")


class _Writer:
    """The common part of both kinds of `BlobWriter`. A request continues if its caller is cancelled.

    With `assumed`, the initial size is the last one that this process knew. Another process may have continued the
    upload since then. The writer then appends to what the registry has.
    """

    def __init__(self, session: Session, *, assumed: bool) -> None:
        self._session = session
        self._assumed = assumed
        self._ended = False
        self._suspended = False
        self._work: asyncio.Task[Any] | None = None

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def chunk_size(self) -> int:
        return self._session.min_chunk

    def _check(self) -> None:
        if self._ended or self._suspended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")

    async def _finish_work(self) -> None:
        """Wait for a request whose caller was cancelled. Its result decides the state of the upload."""
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        await self._finish_work()
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        self._work = task
        return await asyncio.shield(task)

    async def cancel(self) -> None:
        await self._finish_work()
        if not self._ended:
            self._ended = True
            await self._run(self._session.delete())


class ChunkedUpload(_Writer):
    """Collects bytes into chunks, and keeps each chunk until the registry has acknowledged it.

    After an interruption, it sends the part of the chunk that the registry does not have.
    """

    def __init__(self, session: Session, offset: int, chunk_size: int = 0, *, assumed: bool = False) -> None:
        super().__init__(session, assumed=assumed)
        if session.min_chunk > MAX_CHUNK_SIZE:
            raise OCIError(
                "UNSUPPORTED",
                f"the registry requires chunks of {session.min_chunk} bytes; the client sends at most {MAX_CHUNK_SIZE}",
            )
        self._limit = max(min(chunk_size or CHUNK_SIZE, MAX_CHUNK_SIZE), session.min_chunk)
        self._offset = offset
        self._pieces: list[bytes] = []
        self._buffered = 0
        # True while it is unknown how many of the buffered bytes the registry has.
        self._unsure = False

    @property
    def size(self) -> int:
        return self._offset + self._buffered

    async def refresh(self) -> None:
        """Ask for the size of the upload, if nothing was written yet."""
        if self._assumed and not self._buffered:
            await self._look()

    async def write(self, data: bytes) -> None:
        await self._finish_work()
        self._check()
        if not data:
            return
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered >= self._limit:
            await self._run(self._flush())

    async def commit(self, digest: str) -> Descriptor:
        check_digest(digest)
        await self._finish_work()
        self._check()
        return await self._run(self._close(digest))

    async def aclose(self) -> None:
        await self._finish_work()
        if self._ended or self._suspended:
            return
        self._suspended = True
        if self._buffered or self._unsure:
            await self._run(self._flush())
        self._session.leave(self._offset)

    async def _flush(self) -> None:
        """Send the buffered bytes and get them acknowledged."""

        async def send(body: BufferedBody) -> None:
            request = self._session.request("PATCH", self._session.location, body, self._content_range())
            async with await self._session.transport.send(request) as answer:
                if answer.status not in (202, 204):
                    raise await self._session.error(answer)
                self._session.moved(answer)
            self._acknowledge(self._buffered)

        await self._persist(send)

    async def _close(self, digest: str) -> Descriptor:
        async def send(body: BufferedBody) -> None:
            url = with_digest(self._session.location, digest)
            request = self._session.request("PUT", url, body, self._content_range() if body.length else None)
            await self._session.closed(await self._session.transport.send(request), digest)

        try:
            await self._persist(send, even_if_empty=True)
        except OCIError as error:
            # Perhaps only the answer was lost. Then the upload no longer exists, and the blob does.
            lost = error.code == "BLOB_UPLOAD_UNKNOWN" and self._unsure
            # The registry may have kept the bytes of a request that it refused.
            self._unsure = self._unsure or self._buffered > 0
            if not lost or not await self._session.has(digest):
                raise
        self._ended = True
        size = self.size
        self._acknowledge(self._buffered)
        return Descriptor(MEDIA_TYPE, digest, size)

    async def _persist(self, send: Callable[[BufferedBody], Awaitable[None]], *, even_if_empty: bool = False) -> None:
        """Send the buffered bytes. After each interruption, send the rest."""
        retries = self._session.transport.retries
        attempt = 1
        while True:
            try:
                if self._unsure:
                    await self._settle()
                if self._buffered or even_if_empty:
                    await send(BufferedBody(self._pieces))
            except UnreachableError:
                self._unsure = True
            except OCIError as error:
                if error.code == "RANGE_INVALID" and self._assumed:
                    await self._look()
                    continue
                # The interrupted request may have continued at the registry after the client asked for the size.
                if error.code != "RANGE_INVALID" or attempt == 1 or self._unsure:
                    raise
                self._unsure = True
            else:
                return
            pause = retries.pause(attempt)
            if pause is None:
                raise UnreachableError(502, "the connection to the registry broke off at every attempt to send a chunk")
            attempt += 1
            await asyncio.sleep(pause)

    async def _settle(self) -> None:
        """Ask the registry how many bytes it has, and drop those from the buffer."""
        size = await self._session.progress()
        if not self._offset <= size <= self.size:
            raise OCIError(
                "RANGE_INVALID",
                f"the registry has {size} bytes of the upload; expected {self._offset} to {self.size} bytes",
            )
        self._acknowledge(size - self._offset)
        self._unsure = False

    async def _look(self) -> None:
        """Continue at the current size of the upload."""
        self._offset, self._assumed = await self._session.progress(), False

    def _acknowledge(self, count: int) -> None:
        self._assumed = False
        self._offset += count
        self._buffered -= count
        self._pieces = BufferedBody(self._pieces).drop(count).pieces if self._buffered else []

    def _content_range(self) -> dict[str, str]:
        return {"Content-Range": f"{self._offset}-{self._offset + self._buffered - 1}"}


class StreamedUpload(_Writer):
    """Streams bytes to an empty upload, as the body of one request. It buffers nothing.

    With a digest, the request is the closing PUT, otherwise a PATCH. It has no Content-Range, which would need the
    length, so registries append the bytes. If the registry refuses the request, the next `write`, `commit` or `aclose`
    raises the error. The client cannot send the bytes again, but the caller can resume the upload.
    """

    def __init__(
        self, session: Session, digest: str | None, length: int | None = None, *, assumed: bool = False
    ) -> None:
        super().__init__(session, assumed=assumed)
        self._digest = digest
        self._pipe = StreamBody(length)
        self._task: asyncio.Task[Answer] | None = None
        self.size = 0

    async def refresh(self) -> None:
        """Ask for the size of the upload, if nothing was written yet."""
        if self._assumed and self._task is None:
            self.size, self._assumed = await self._session.progress(), False

    async def write(self, data: bytes) -> None:
        await self._finish_work()
        self._check()
        if not data:
            return
        if self._task is None:
            self._task = asyncio.ensure_future(self._send())
        if not await self._pipe.put(data):
            await self._refused()
        self.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        check_digest(digest)
        await self._finish_work()
        self._check()
        await self._run(self._close(digest))
        # Nothing was written here: another process wrote the bytes, and the registry did not say how many.
        return Descriptor(MEDIA_TYPE, digest, self.size or UNKNOWN_SIZE)

    async def aclose(self) -> None:
        await self._finish_work()
        if self._ended or self._suspended:
            return
        self._suspended = True
        if self._task is not None and self._digest is not None:
            await self.abort()
            return
        if self._task is not None:
            await self._run(self._finish_patch())
        self._session.leave(self.size)

    async def cancel(self) -> None:
        if not self._ended:
            await self.abort()
        await super().cancel()

    async def _send(self) -> Answer:
        url = self._session.location
        try:
            if self._digest is None:
                return await self._session.transport.send(self._session.request("PATCH", url, self._pipe))
            request = self._session.request("PUT", with_digest(url, self._digest), self._pipe)
            return await self._session.transport.send(request)
        finally:
            self._pipe.close()

    async def _close(self, digest: str) -> None:
        if self._digest is not None and self._task is not None:
            if digest != self._digest:
                raise OCIError(
                    "DIGEST_INVALID", f"the upload was opened for {self._digest}, and closed as another digest"
                )
            self._pipe.end()
            task, self._task = self._task, None
            # The upload ends with this request, whether the registry accepts or refuses it.
            self._suspended = True
            await self._session.closed(await task, digest)
        else:
            await self._finish_patch()
            request = self._session.request("PUT", with_digest(self._session.location, digest), BufferedBody())
            await self._session.closed(await self._session.transport.send(request), digest)
        self._ended = True

    async def _finish_patch(self) -> None:
        if self._task is None:
            return
        self._pipe.end()
        task, self._task = self._task, None
        async with await task as answer:
            if answer.status not in (202, 204):
                raise await self._session.error(answer)
            self._session.moved(answer)
            # The registry's size is larger than the streamed size if the upload was not empty.
            self.size = max(self.size, upload_size(answer) or 0)

    async def _refused(self) -> None:
        """Raise the error for a registry that answered, or disconnected, before the end of the body."""
        task, self._task = self._task, None
        assert task is not None
        self._suspended = True
        async with await task as answer:
            raise await self._session.error(answer)

    async def abort(self) -> None:
        """Abort the request. The registry may keep the bytes that it has received."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await task.result().aclose()
