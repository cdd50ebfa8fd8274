"""Reads a blob. The reader verifies it before it gives the last byte, and resumes it after an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from ociserver.client.answers import wrong_content
from ociserver.client.limits import MAX_RESUMES
from ociserver.client.requests import RetryPolicy, UnreachableError
from ociserver.client.transport import Answer
from ociserver.client.verification import Verification
from ociserver.interface import Descriptor, Url

__all__ = ["Reader"]


class Reader:
    """A `BlobReader` of [start, stop) of a blob, from an answer whose body begins at `offset`."""

    def __init__(
        self,
        descriptor: Descriptor,
        span: tuple[int, int],
        answer: Answer,
        offset: int,
        reopen: Callable[[int, int], Awaitable[tuple[Answer, int]]],
        retries: RetryPolicy,
        location: Url | None,
    ) -> None:
        self.descriptor = descriptor
        self.range = span
        self.location = location
        self._answer = answer
        self._offset = offset
        self._reopen = reopen
        self._retries = retries
        whole = span == (0, descriptor.size)
        # A part has no digest to compare with. The whole blob must match the requested digest.
        self._verification = Verification(descriptor.digest.partition(":")[0]) if whole else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        at, stop = self.range
        if at == stop:
            await self._verify()
        resumes = 0
        while at < stop:
            try:
                async for piece in self._wanted(at):
                    at += len(piece)
                    if self._verification is not None:
                        await self._verification.add(piece)
                    if at == stop:
                        # A caller that has the last byte may assume that the blob is complete.
                        await self._verify()
                    yield piece
                    if at == stop:
                        return
                raise UnreachableError(502, f"the registry ended the blob {stop - at} bytes before its end")
            except UnreachableError:
                resumes += 1
                pause = self._retries.pause(min(resumes, self._retries.attempts - 1)) if at > self.range[0] else None
                if pause is None or resumes > MAX_RESUMES:
                    raise
            await self._answer.aclose()
            await asyncio.sleep(pause)
            self._answer, self._offset = await self._reopen(at, stop)

    async def aclose(self) -> None:
        if self._verification is not None:
            self._verification.close()
        await self._answer.aclose()

    async def _wanted(self, start: int) -> AsyncIterator[bytes]:
        """The part of the answer's body from `start` to the end of the range."""
        at, stop = self._offset, self.range[1]
        async for piece in self._answer.pieces():
            begin, end = max(start - at, 0), min(stop - at, len(piece))
            at += len(piece)
            if begin < end:
                yield piece if end - begin == len(piece) else piece[begin:end]
            if at >= stop:
                return

    async def _verify(self) -> None:
        if self._verification is not None and (found := await self._verification.digest()) != self.descriptor.digest:
            raise wrong_content(self.descriptor.digest, found)
