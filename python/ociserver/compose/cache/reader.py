"""Reads a blob while it is downloaded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from ociserver._core import ByteRange
from ociserver.compose.cache.download import Download, State
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import BlobReader, Descriptor

__all__ = ["DownloadReader", "EvictedError", "open_download"]

READ_SIZE: Final = 256 * 1024
"""Bytes of one read. `BlobReader.__aiter__` explains this size."""

SMALL: Final = 64 * 1024
"""Size in bytes up to which a blob is verified before the answer begins, so that an error can have its own status."""


class EvictedError(Exception):
    """The blob was evicted between its download and its first read."""


class DownloadReader:
    """A `BlobReader` of a download. Gives the bytes that have arrived, and waits for more.

    Args:
        download: the caller has called its `join`.
        descriptor: of the blob.
        span: (start, stop), stop exclusive.
        open_rest: opens a part of a blob that is KEPT.
    """

    location = None

    def __init__(
        self,
        download: Download,
        descriptor: Descriptor,
        span: tuple[int, int],
        open_rest: Callable[[ByteRange], Awaitable[BlobReader]],
    ) -> None:
        self.descriptor = descriptor
        self.range = span
        self._download = download
        self._attempt = download.attempt
        self._open_rest = open_rest
        self._open = True
        self._has_given = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.part(*self.range)

    async def part(self, at: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes of any part of the blob."""
        download = self._download
        while at < stop:
            if download.attempt != self._attempt and self._has_given:
                raise HTTPError(502, "the download was restarted, and the blob's bytes may differ; request it again")
            self._attempt = download.attempt
            ready = min(download.available, stop)
            data = await download.read(at, min(READ_SIZE, ready - at)) if at < ready else b""
            if data:
                at += len(data)
                self._has_given = True
                yield data
            elif download.state is State.FAILED:
                assert download.error
                raise download.error
            elif download.state in (State.KEPT, State.WHOLE):
                break
            else:
                await download.changed()
        if at < stop:
            # The download has no file, or not any more.
            rest = await self._open_rest(ByteRange(at, stop - 1))
            try:
                async for data in rest:
                    yield data
            finally:
                await rest.aclose()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._download.leave()


async def open_download(
    download: Download,
    range: ByteRange | None,
    open_kept: Callable[[ByteRange | None], Awaitable[BlobReader]],
    open_rest: Callable[[ByteRange], Awaitable[BlobReader]],
) -> BlobReader:
    """Open the blob of a download, or a part of it, when its size is known. Wait for all of a small blob.

    Args:
        download: of the blob.
        range: the part; None for all of it.
        open_kept: opens the blob in the local registry.
        open_rest: the same for a part, and fetches the blob again if it is evicted.

    Raises:
        OCIError: RANGE_INVALID.
        EvictedError: the caller has to start another download.
        Exception: the error of the download.
    """
    download.join()
    try:
        while _is_to_come(download):
            await download.changed()
        if download.state is State.FAILED:
            assert download.error
            raise download.error
        descriptor = download.descriptor
        assert descriptor
        if download.state is State.KEPT:
            try:
                reader = await open_kept(range)
            except OCIError as error:
                raise (EvictedError() if error.code == "BLOB_UNKNOWN" else error) from None
            download.leave()
            return reader
        span = (0, descriptor.size) if range is None else range.resolve(descriptor.size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": descriptor.size})
        return DownloadReader(download, descriptor, span, open_rest)
    except BaseException:
        download.leave()
        raise


def _is_to_come(download: Download) -> bool:
    if download.state is State.ASKED:
        return True
    descriptor = download.descriptor
    return download.state is State.COMING and descriptor is not None and descriptor.size <= SMALL
