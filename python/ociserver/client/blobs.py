"""Reads blobs, from registries that support ranges and from those that do not."""

from __future__ import annotations

from ociserver._core import ByteRange
from ociserver.client.address import Address, scope_of
from ociserver.client.answers import error_of
from ociserver.client.headers import content_range, media_type, required_length, size_of_range
from ociserver.client.reader import Reader
from ociserver.client.requests import Request
from ociserver.client.session import HEAD_REFUSED, MEDIA_TYPE
from ociserver.client.transport import Answer, Transport
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Descriptor, Url

__all__ = ["Blobs"]


class Blobs:
    """The blobs of a registry. Its methods do what the methods of `Backend` of similar names do."""

    def __init__(self, transport: Transport, address: Address) -> None:
        self._transport = transport
        self._address = address

    async def get(self, repository: str, digest: str, range: ByteRange | None) -> Reader:
        answer = await self._transport.send(self._request(repository, digest, _range_header(range)))
        if answer.status == 416 and range is not None and None in (range.first, range.last):
            answer = await self._with_both_ends(repository, digest, range, answer)
        try:
            return await self._reader(repository, digest, range, answer)
        except BaseException:
            await answer.aclose()
            raise

    async def resolve(self, repository: str, digest: str) -> Descriptor:
        async with await self._transport.send(self._request(repository, digest, {}, "HEAD")) as answer:
            if answer.status == 200:
                return Descriptor(media_type(answer), digest, required_length(answer))
            if answer.status not in HEAD_REFUSED:
                raise await error_of(answer, "BLOB_UNKNOWN")
        return await self._resolve_by_get(repository, digest)

    async def locate(self, repository: str, digest: str) -> Url | None:
        # A GET, because a signed URL is signed for one method. One byte is enough, because nobody reads it.
        request = self._request(repository, digest, {"Range": "bytes=0-0"}, stays=True)
        async with await self._transport.send(request) as answer:
            if answer.elsewhere is not None:
                return Url(str(answer.elsewhere))
            # 416: the blob is empty.
            if answer.status not in (200, 206, 416):
                raise await error_of(answer, "BLOB_UNKNOWN")
            return await self._transport.public_url(answer.url, request.scope)

    def _request(
        self, repository: str, digest: str, headers: dict[str, str], method: str = "GET", *, stays: bool = False
    ) -> Request:
        url = self._address.blob(repository, digest)
        return Request(method, url, scope_of(repository, "pull"), headers, repeatable=True, stays=stays)

    async def _with_both_ends(self, repository: str, digest: str, range: ByteRange, refused: Answer) -> Answer:
        """Request the same range with both ends named. Some registries answer 416 to a range with an open end."""
        await refused.aclose()
        size = size_of_range(refused)
        if size is None:
            size = (await self.resolve(repository, digest)).size
        span = range.resolve(size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": size})
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        return await self._transport.send(self._request(repository, digest, headers))

    async def _resolve_by_get(self, repository: str, digest: str) -> Descriptor:
        """The descriptor of a blob from a GET of its first byte, for a registry without HEAD."""
        request = self._request(repository, digest, {"Range": "bytes=0-0"})
        async with await self._transport.send(request) as answer:
            # 416: the blob is empty.
            if answer.status not in (200, 206, 416):
                raise await error_of(answer, "BLOB_UNKNOWN")
            size = answer.length if answer.status == 200 else size_of_range(answer)
            if size is None and answer.status != 416:
                raise HTTPError(502, "the registry's answer does not give the size of the content")
            return Descriptor(MEDIA_TYPE if answer.status == 416 else media_type(answer), digest, size or 0)

    async def _reader(self, repository: str, digest: str, range: ByteRange | None, answer: Answer) -> Reader:
        if answer.status == 416:
            size = size_of_range(answer)
            if size is None:
                size = (await self.resolve(repository, digest)).size
            raise OCIError("RANGE_INVALID", detail={"size": size})
        if answer.status not in (200, 206):
            raise await error_of(answer, "BLOB_UNKNOWN")
        offset, size = await self._extent(repository, digest, answer)
        span = (0, size) if range is None else range.resolve(size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": size})
        if offset > span[0]:
            raise HTTPError(502, "the registry sent another range than the client requested")

        async def reopen(start: int, stop: int) -> tuple[Answer, int]:
            again = await self._transport.send(
                self._request(repository, digest, {"Range": f"bytes={start}-{stop - 1}"})
            )
            try:
                if again.status not in (200, 206):
                    raise await error_of(again, "BLOB_UNKNOWN")
                begin, whole = await self._extent(repository, digest, again)
                if begin > start or whole != size:
                    raise HTTPError(502, "the registry sent another range than the client requested")
            except BaseException:
                await again.aclose()
                raise
            return again, begin

        descriptor = Descriptor(media_type(answer), digest, size)
        # The storage that a registry redirects to needs no credentials: the URL is enough.
        elsewhere = Url(str(answer.url)) if answer.url.origin() != self._address.origin else None
        return Reader(descriptor, span, answer, offset, reopen, self._transport.retries, elsewhere)

    async def _extent(self, repository: str, digest: str, answer: Answer) -> tuple[int, int]:
        """The offset in the blob at which the answer's body begins, and the size of the blob."""
        if answer.status == 206:
            found = content_range(answer)
            if found is None:
                raise HTTPError(502, "the registry's answer does not say which range it contains")
            start, _, size = found
        else:
            # A registry without ranges sends the whole blob. The reader selects the range from it.
            start, size = 0, answer.length
        if size is None:
            size = (await self.resolve(repository, digest)).size
        return start, size


def _range_header(range: ByteRange | None) -> dict[str, str]:
    if range is None:
        return {}
    first, last = ("" if end is None else end for end in (range.first, range.last))
    return {"Range": f"bytes={first}-{last}"}
