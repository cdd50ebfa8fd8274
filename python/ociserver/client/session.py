"""An upload at a remote registry: its Location, and the requests to it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from ociserver.client.answers import error_of
from ociserver.client.headers import upload_size
from ociserver.client.ids import UploadIds
from ociserver.client.progress import Progress
from ociserver.client.requests import BufferedBody, Request, StreamBody
from ociserver.client.transport import Answer, Transport
from ociserver.errors import HTTPError, OCIError, RegistryError

__all__ = ["HEAD_REFUSED", "MEDIA_TYPE", "Session", "with_digest"]

MEDIA_TYPE: Final = "application/octet-stream"
_BINARY: Final = {"Content-Type": MEDIA_TYPE}

HEAD_REFUSED: Final = frozenset({405, 501})
"""Statuses of registries without HEAD. The client sends a GET instead."""


def with_digest(location: URL, digest: str) -> URL:
    """The URL that closes an upload. The Location may already have a query, which must stay as it is."""
    text = str(location)
    return URL(f"{text}{'&' if '?' in text else '?'}digest={digest.replace(':', '%3A')}", encoded=True)


@dataclass(slots=True)
class Session:
    """An upload at the registry: its Location, and the requests that every kind of writer needs."""

    transport: Transport
    ids: UploadIds
    left: Progress
    repository: str
    scope: str
    # Not in `repr`: it may be signed.
    location: URL = field(repr=False)
    min_chunk: int = 0

    @property
    def id(self) -> str:
        return self.ids.make(self.repository, self.location)

    def request(
        self, method: str, url: URL, body: BufferedBody | StreamBody | None, headers: dict[str, str] | None = None
    ) -> Request:
        return Request(method, url, self.scope, {**_BINARY, **(headers or {})}, body)

    def moved(self, answer: Answer) -> None:
        """Store the newest Location: some registries keep their state in it."""
        location = answer.headers.get("Location")
        if location:
            self.location = answer.join(location)

    def leave(self, size: int) -> None:
        """Remember the size of the upload, for the next writer."""
        with contextlib.suppress(HTTPError):  # the Location cannot become an id, so there will be no next writer
            self.left.note(self.repository, self.id, size)

    async def error(self, answer: Answer) -> RegistryError:
        """The exception for an answer. A 400 without a code means that the registry does not know the upload."""
        error = await error_of(answer, "BLOB_UPLOAD_UNKNOWN")
        unread = answer.status == 400 and (isinstance(error, HTTPError) or getattr(error, "code", "") == "UNKNOWN")
        return OCIError("BLOB_UPLOAD_UNKNOWN") if unread else error

    async def progress(self) -> int:
        """Ask the registry for the size of the upload. Raises BLOB_UPLOAD_UNKNOWN."""
        answer = await self.transport.send(Request("GET", self.location, self.scope, repeatable=True))
        async with answer:
            if answer.status not in (200, 204):
                raise await self.error(answer)
            size = upload_size(answer)
            if size is None:
                raise HTTPError(502, "the registry's answer does not give the size of the upload")
            self.moved(answer)
            return size

    async def closed(self, answer: Answer, digest: str) -> None:
        """Check the answer to a request that closes the upload."""
        async with answer:
            if answer.status != 201:
                raise await self.error(answer)
            found = answer.headers.get("Docker-Content-Digest", digest)
            if found != digest:
                raise HTTPError(502, "the registry stored the blob under another digest than the client pushed")

    async def has(self, digest: str) -> bool:
        """Whether the blob is in the repository."""
        url = self.ids.address.blob(self.repository, digest)
        async with await self.transport.send(Request("HEAD", url, self.scope, repeatable=True)) as answer:
            if answer.status not in HEAD_REFUSED:
                return answer.status == 200
        first_byte = Request("GET", url, self.scope, {"Range": "bytes=0-0"}, repeatable=True)
        async with await self.transport.send(first_byte) as answer:
            return answer.status in (200, 206, 416)

    async def delete(self) -> None:
        """Delete the upload. An upload that does not exist any more is not an error."""
        async with await self.transport.send(Request("DELETE", self.location, self.scope)) as answer:
            if answer.status not in (200, 202, 204, 404):
                raise await self.error(answer)
