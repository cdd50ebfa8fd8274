"""An upload at a registry elsewhere: where it goes on, and the requests that it takes."""

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
"""Statuses of registries that know no HEAD: what they would say is then asked by GET."""


def with_digest(location: URL, digest: str) -> URL:
    """Where an upload is closed: its Location may have a query already, which must stay as it is."""
    text = str(location)
    return URL(f"{text}{'&' if '?' in text else '?'}digest={digest.replace(':', '%3A')}", encoded=True)


@dataclass(slots=True)
class Session:
    """An upload at the registry: where it goes on, and the requests that every way of writing needs."""

    transport: Transport
    ids: UploadIds
    left: Progress
    repository: str
    scope: str
    # Not shown: it may be signed.
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
        """Take the newest Location: some registries keep their state in it."""
        location = answer.headers.get("Location")
        if location:
            self.location = answer.join(location)

    def leave(self, size: int) -> None:
        """Note how far it is, for whoever goes on with it."""
        with contextlib.suppress(HTTPError):  # nobody could
            self.left.note(self.repository, self.id, size)

    async def error(self, answer: Answer) -> RegistryError:
        """The error that an answer is; what the registry cannot make sense of is an upload that it does not know."""
        error = await error_of(answer, "BLOB_UPLOAD_UNKNOWN")
        unread = answer.status == 400 and (isinstance(error, HTTPError) or getattr(error, "code", "") == "UNKNOWN")
        return OCIError("BLOB_UPLOAD_UNKNOWN") if unread else error

    async def progress(self) -> int:
        """Ask how far it is. Raises BLOB_UPLOAD_UNKNOWN."""
        answer = await self.transport.send(Request("GET", self.location, self.scope, repeatable=True))
        async with answer:
            if answer.status not in (200, 204):
                raise await self.error(answer)
            size = upload_size(answer)
            if size is None:
                raise HTTPError(502, "the registry does not say how far the upload is")
            self.moved(answer)
            return size

    async def closed(self, answer: Answer, digest: str) -> None:
        """Read the answer to a closing request."""
        async with answer:
            if answer.status != 201:
                raise await self.error(answer)
            found = answer.headers.get("Docker-Content-Digest", digest)
            if found != digest:
                raise HTTPError(502, "the registry has made another blob of it than was pushed")

    async def has(self, digest: str) -> bool:
        """Whether the blob is in the repository."""
        url = self.ids.blob(self.repository, digest)
        async with await self.transport.send(Request("HEAD", url, self.scope, repeatable=True)) as answer:
            if answer.status not in HEAD_REFUSED:
                return answer.status == 200
        first_byte = Request("GET", url, self.scope, {"Range": "bytes=0-0"}, repeatable=True)
        async with await self.transport.send(first_byte) as answer:
            return answer.status in (200, 206, 416)

    async def delete(self) -> None:
        """End it. That it is not there any more is no error."""
        async with await self.transport.send(Request("DELETE", self.location, self.scope)) as answer:
            if answer.status not in (200, 202, 204, 404):
                raise await self.error(answer)
