"""The client backend."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from yarl import URL

from ociserver._core import (
    ByteRange,
    digest_of,
    is_digest,
    is_repository,
    is_tag,
    manifest_media_type,
)
from ociserver.client.answers import error_of, wrong_content
from ociserver.client.auth import Authorization, Credentials, Find, Negotiated
from ociserver.client.headers import (
    content_range,
    digest_header,
    manifest_length,
    media_type,
    min_chunk,
    required_length,
    size_of_range,
    subject_header,
)
from ociserver.client.ids import UploadIds
from ociserver.client.limits import MAX_MANIFEST_SIZE, MAX_TAGS, PAGE_SIZE, SINGLE_POST_SIZE
from ociserver.client.lists import names
from ociserver.client.progress import Progress
from ociserver.client.reader import Reader
from ociserver.client.referrers import Referrers
from ociserver.client.requests import BufferedBody, Request, RetryPolicy
from ociserver.client.session import HEAD_REFUSED, MEDIA_TYPE, Session, with_digest
from ociserver.client.transport import Answer, Transport
from ociserver.client.uploads import ChunkedUpload, StreamedUpload
from ociserver.errors import HTTPError, OCIError, RegistryError
from ociserver.interface import UNKNOWN_SIZE, Backend, BlobWriter, Descriptor, Manifest, PushedManifest, Url
from ociserver.iterators import closing
from ociserver.manifests import check_tags, pushed_digest
from ociserver.media_types import fetched_type, is_media_type
from ociserver.urls import parse_registry_url

__all__ = ["Client"]

_ACCEPT: Final = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.oci.artifact.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v1+prettyjws, "
    "application/vnd.docker.distribution.manifest.v1+json, */*"
)

_HUB: Final = frozenset({"docker.io", "index.docker.io"})
"""Names of Docker Hub, whose registry is at another one."""


class Client(Backend):
    """A registry elsewhere, over the distribution API (Go: `ociclient`).

    Whatever is read by digest is verified against the digest that was asked for, and whatever is read by tag
    against the one that the registry names. Bodies are streamed both ways.

    Args:
        url: of the registry, with the scheme: `https://registry.example`, `http://localhost:5000`. A path is
            what stands before `/v2/`.
        credentials: shown when the registry asks for them, in the way that it asks; or what finds them then, such
            as `docker_credentials`.
        authorization: what authorises requests, instead of `credentials`.
        retries: how often and how patiently requests are repeated.
        page_size: names to ask for at a time.
        upload_key: what signs the ids of uploads that the registry keeps at other places than the spec's; processes
            that are to continue each other's uploads share it. By default one of its own.

    Certificates and proxies are those of the environment: `SSL_CERT_FILE`, `SSL_CERT_DIR`, `HTTPS_PROXY`,
    `HTTP_PROXY`, `NO_PROXY`. One event loop may use it at a time.

    Raises:
        ValueError: the URL is not that of a registry, or has credentials in it. The message does not repeat it.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | Find | None = None,
        authorization: Authorization | None = None,
        retries: RetryPolicy | None = None,
        page_size: int = PAGE_SIZE,
        upload_key: bytes | None = None,
    ) -> None:
        if credentials is not None and authorization is not None:
            raise ValueError("give credentials or authorization, not both")
        if page_size < 1:
            raise ValueError(f"page_size is {page_size}; it must be 1 or more")
        self._root = _root(url)
        self._transport = Transport(
            self._root.origin(), authorization or Negotiated(credentials, _host(self._root)), retries or RetryPolicy()
        )
        self._ids = UploadIds(self._root, upload_key or secrets.token_bytes(32))
        self._left = Progress()
        self._referrers = Referrers(self, self._transport, self._root)
        self._page_size = page_size
        # Until it has answered one with 202.
        self._takes_single_post = True
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def host(self) -> str:
        """The registry's `host` or `host:port`."""
        return _host(self._root)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._background:
            await asyncio.wait(self._background)
        await self._transport.close()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Reader:
        _check(repository, digest=digest)
        answer = await self._transport.send(self._blob_request(repository, digest, _range_header(range)))
        if answer.status == 416 and range is not None and None in (range.first, range.last):
            answer = await self._spelled_out(repository, digest, range, answer)
        try:
            return await self._reader(repository, digest, range, answer)
        except BaseException:
            await answer.aclose()
            raise

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        _check(repository, digest=digest)
        return await self._manifest(repository, digest, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        _check(repository, tag=tag)
        return await self._manifest(repository, tag, None)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        _check(repository, digest=digest)
        answer = await self._transport.send(self._blob_request(repository, digest, {}, "HEAD"))
        async with answer:
            if answer.status == 200:
                return Descriptor(media_type(answer), digest, required_length(answer))
            if answer.status not in HEAD_REFUSED:
                raise await error_of(answer, "BLOB_UNKNOWN")
        return await self._described_by_get(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        _check(repository, digest=digest)
        return await self._resolve(repository, digest, digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        _check(repository, tag=tag)
        return await self._resolve(repository, tag, None)

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """Where the registry redirects to, which may be signed, or its own URL if it asks nobody who they are."""
        _check(repository, digest=digest)
        # A GET, as what is signed is signed for one method; its first byte, as nobody wants the rest here.
        request = self._blob_request(repository, digest, {"Range": "bytes=0-0"}, stays=True)
        async with await self._transport.send(request) as answer:
            if answer.elsewhere is not None:
                return Url(str(answer.elsewhere))
            # 416: the blob is empty.
            if answer.status not in (200, 206, 416):
                raise await error_of(answer, "BLOB_UNKNOWN")
            return await self._public(answer.url, request.scope)

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        _check(repository, digest=descriptor.digest)
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
            # Nobody will continue it: its id was never told.
            self._spawn(session.delete())
            raise
        return Descriptor(MEDIA_TYPE, digest, size)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        _check(repository)
        return ChunkedUpload(await self._start(repository, algorithm), 0, chunk_size)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        session = self._session(repository, self._ids.read(repository, upload_id))
        known = self._left.take(repository, upload_id)
        if offset is not None:
            return ChunkedUpload(session, offset)
        size = await session.progress() if known is None else known
        if size == 0:
            # A whole body, as most clients send it.
            return StreamedUpload(session, digest, assumed=known is not None)
        return ChunkedUpload(session, size, assumed=known is not None)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        """The registry's Location, if that is on another host or it asks nobody who they are."""
        return await self._public(self._ids.read(repository, upload_id), _scope(repository, "pull,push"))

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        _check(to_repository, digest=digest)
        source, scope = "", _scope(to_repository, "pull,push")
        if from_repository is not None:
            _check(from_repository)
            source = f"&from={quote(from_repository, safe='')}"
            scope = f"{_scope(from_repository, 'pull')} {scope}"
        url = self._url(f"/v2/{to_repository}/blobs/uploads/?mount={quote(digest, safe='')}{source}")
        async with await self._transport.send(
            Request("POST", url, scope, body=BufferedBody(), repeatable=True)
        ) as answer:
            if answer.status == 202:
                # An upload instead, which the caller may start himself: this one nobody has use for.
                self._spawn(self._session_at(to_repository, answer).delete())
                raise OCIError("UNSUPPORTED", "the registry cannot mount the blob")
            if answer.status != 201:
                raise await error_of(answer, "BLOB_UNKNOWN")
        return await self.resolve_blob(to_repository, digest)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        _check(repository, digest=digest)
        check_tags(tags)
        found = pushed_digest(content, digest)
        media_type = manifest_media_type(content, media_type)
        subject: str | None = None
        set_tags: list[str] = []
        for references in _references(found, list(dict.fromkeys(tags))):
            subject, accepted = await self._put_manifest(repository, content, media_type, found, references)
            set_tags += accepted
        descriptor = Descriptor(media_type, found, len(content))
        if subject is None:
            subject = await self._referrers.pushed(repository, descriptor, content)
        return PushedManifest(descriptor, tuple(set_tags), subject)

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        _check(repository, digest=digest)
        await self._delete(repository, f"blobs/{digest}", "BLOB_UNKNOWN")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        _check(repository, digest=digest)
        subject = await self._referrers.subject(repository, digest)
        await self._delete(repository, f"manifests/{digest}", "MANIFEST_UNKNOWN")
        if subject is not None:
            await self._referrers.deleted(repository, digest, subject)

    async def delete_tag(self, repository: str, tag: str) -> None:
        _check(repository, tag=tag)
        await self._delete(repository, f"manifests/{tag}", "MANIFEST_UNKNOWN")

    # Lister

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        url = self._url("/v2/_catalog")
        size = self._page(limit)
        async for name in names(self._transport, url, "registry:catalog:*", "repositories", start_after, size):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        _check(repository)
        url, scope = self._url(f"/v2/{repository}/tags/list"), _scope(repository, "pull")
        async for tag in names(self._transport, url, scope, "tags", start_after, self._page(limit)):
            yield tag

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        _check(repository, digest=digest)
        found = self._referrers.find(repository, digest, artifact_type, start_after=start_after)
        async with closing(found) as entries:
            async for entry in entries:
                yield entry

    # Requests

    def _url(self, path: str) -> URL:
        return URL(f"{self._root}{path}", encoded=True)

    async def _public(self, url: URL, scope: str) -> Url | None:
        """A URL of the registry for somebody who has none of our credentials; None if it would be of no use to him."""
        if url.origin() == self._root.origin() and await self._transport.authorizes(scope):
            return None
        return Url(str(url))

    def _blob_request(
        self, repository: str, digest: str, headers: dict[str, str], method: str = "GET", *, stays: bool = False
    ) -> Request:
        url = self._ids.blob(repository, digest)
        return Request(method, url, _scope(repository, "pull"), headers, repeatable=True, stays=stays)

    def _manifest_request(self, repository: str, reference: str, method: str = "GET") -> Request:
        url = self._url(f"/v2/{repository}/manifests/{reference}")
        return Request(method, url, _scope(repository, "pull"), {"Accept": _ACCEPT}, repeatable=True)

    async def _spelled_out(self, repository: str, digest: str, range: ByteRange, refused: Answer) -> Answer:
        """The answer to the same range with both of its ends: some registries know no open ones, and refuse them."""
        await refused.aclose()
        size = size_of_range(refused)
        if size is None:
            size = (await self.resolve_blob(repository, digest)).size
        span = range.resolve(size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": size})
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        return await self._transport.send(self._blob_request(repository, digest, headers))

    async def _described_by_get(self, repository: str, digest: str) -> Descriptor:
        """What a HEAD of a blob would say, by a GET of its first byte."""
        request = self._blob_request(repository, digest, {"Range": "bytes=0-0"})
        async with await self._transport.send(request) as answer:
            # 416: the blob is empty.
            if answer.status not in (200, 206, 416):
                raise await error_of(answer, "BLOB_UNKNOWN")
            size = answer.length if answer.status == 200 else size_of_range(answer)
            if size is None and answer.status != 416:
                raise HTTPError(502, "the registry does not say how long the content is")
            return Descriptor(MEDIA_TYPE if answer.status == 416 else media_type(answer), digest, size or 0)

    async def _reader(self, repository: str, digest: str, range: ByteRange | None, answer: Answer) -> Reader:
        if answer.status == 416:
            size = size_of_range(answer)
            if size is None:
                size = (await self.resolve_blob(repository, digest)).size
            raise OCIError("RANGE_INVALID", detail={"size": size})
        if answer.status not in (200, 206):
            raise await error_of(answer, "BLOB_UNKNOWN")
        offset, size = await self._extent(repository, digest, answer)
        span = (0, size) if range is None else range.resolve(size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": size})
        if offset > span[0]:
            raise HTTPError(502, "the registry gives another range than was asked for")

        async def reopen(start: int, stop: int) -> tuple[Answer, int]:
            again = await self._transport.send(
                self._blob_request(repository, digest, {"Range": f"bytes={start}-{stop - 1}"})
            )
            try:
                if again.status not in (200, 206):
                    raise await error_of(again, "BLOB_UNKNOWN")
                begin, whole = await self._extent(repository, digest, again)
                if begin > start or whole != size:
                    raise HTTPError(502, "the registry gives another range than was asked for")
            except BaseException:
                await again.aclose()
                raise
            return again, begin

        descriptor = Descriptor(media_type(answer), digest, size)
        # Storage that the registry redirects to gives the bytes to whoever has the URL.
        elsewhere = Url(str(answer.url)) if answer.url.origin() != self._root.origin() else None
        return Reader(descriptor, span, answer, offset, reopen, self._transport.retries, elsewhere)

    async def _extent(self, repository: str, digest: str, answer: Answer) -> tuple[int, int]:
        """Where the answer's body begins in the blob, and how long the blob is."""
        if answer.status == 206:
            found = content_range(answer)
            if found is None:
                raise HTTPError(502, "the registry does not say which range it gives")
            start, _, size = found
        else:
            # A registry that knows no ranges sends the whole, out of which the range is taken.
            start, size = 0, answer.length
        if size is None:
            size = (await self.resolve_blob(repository, digest)).size
        return start, size

    async def _manifest(self, repository: str, reference: str, digest: str | None) -> Manifest:
        async def read(answer: Answer) -> Manifest:
            if answer.status != 200:
                raise await error_of(answer, "MANIFEST_UNKNOWN")
            content = await answer.read(MAX_MANIFEST_SIZE)
            if content is None:
                raise HTTPError(502, f"the manifest is larger than {MAX_MANIFEST_SIZE} bytes")
            # By digest it is what was asked for that counts, whatever the registry says.
            wanted = digest or digest_header(answer)
            found = digest_of(content, wanted.partition(":")[0] if wanted else "sha256")
            if wanted not in (None, found):
                raise wrong_content(wanted or "", found)
            # The type that the document names counts, whatever the registry says.
            kind = fetched_type(content, answer.headers.get("Content-Type") or MEDIA_TYPE)
            if kind is None:
                raise HTTPError(502, "the registry gives a manifest a media type that is not one")
            return Manifest(Descriptor(kind, found, len(content)), content)

        return await self._transport.fetch(self._manifest_request(repository, reference), read)

    async def _resolve(self, repository: str, reference: str, digest: str | None) -> Descriptor:
        request = self._manifest_request(repository, reference, "HEAD")
        async with await self._transport.send(request) as answer:
            if answer.status == 200:
                found, length = digest or digest_header(answer), manifest_length(answer)
                kind = answer.headers.get("Content-Type") or MEDIA_TYPE
                if found is not None and length is not None and is_media_type(kind):
                    return Descriptor(kind, found, length)
            elif answer.status not in HEAD_REFUSED:
                raise await error_of(answer, "MANIFEST_UNKNOWN")
        # What the answer does not say, or not in a way that can be used, the manifest itself may.
        return (await self._manifest(repository, reference, digest)).descriptor

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
            url = self._url(f"/v2/{repository}/blobs/uploads/?digest={quote(digest, safe='')}")
            answer = await self._transport.send(self._blob_upload("POST", url, repository, body))
            if answer.status == 202:
                # Spec: it may take no body here; then this is an upload that has begun.
                self._takes_single_post = False
                async with answer:
                    session = self._session_at(repository, answer)
            else:
                await self._session(repository, url).closed(answer, digest)
                return Descriptor(MEDIA_TYPE, digest, size)
        else:
            session = await self._start(repository)
        put = self._blob_upload("PUT", with_digest(session.location, digest), repository, body)
        await session.closed(await self._transport.send(put), digest)
        return Descriptor(MEDIA_TYPE, digest, size)

    def _blob_upload(self, method: str, url: URL, repository: str, body: BufferedBody) -> Request:
        headers = {"Content-Type": MEDIA_TYPE}
        return Request(method, url, _scope(repository, "pull,push"), headers, body, repeatable=method == "POST")

    async def _start(self, repository: str, algorithm: str = "sha256") -> Session:
        # Every registry knows sha256, and not every one the parameter.
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        url = self._url(f"/v2/{repository}/blobs/uploads/{query}")
        # One upload too many, where the answer was lost, is ended by the registry.
        request = Request("POST", url, _scope(repository, "pull,push"), body=BufferedBody(), repeatable=True)
        async with await self._transport.send(request) as answer:
            if answer.status != 202:
                raise await error_of(answer, "NAME_UNKNOWN")
            return self._session_at(repository, answer)

    def _session(self, repository: str, location: URL) -> Session:
        return Session(self._transport, self._ids, self._left, repository, _scope(repository, "pull,push"), location)

    def _session_at(self, repository: str, answer: Answer) -> Session:
        """The upload that a 202 tells of."""
        session = self._session(repository, answer.url)
        if "Location" not in answer.headers:
            raise HTTPError(502, "the registry does not say where the upload goes on")
        session.moved(answer)
        session.min_chunk = min_chunk(answer)
        return session

    async def _put_manifest(
        self, repository: str, content: bytes, media_type: str, digest: str, references: tuple[str, list[str]]
    ) -> tuple[str | None, list[str]]:
        """One PUT; the subject that was processed, and the tags that were set."""
        reference, tags = references
        query = "&".join(f"tag={tag}" for tag in tags)
        url = self._url(f"/v2/{repository}/manifests/{reference}{'?' if query else ''}{query}")
        request = Request(
            "PUT",
            url,
            _scope(repository, "pull,push"),
            {"Content-Type": media_type},
            BufferedBody([content]),
            # A digest always means the same; a tag that somebody else has moved meanwhile must not be moved back.
            repeatable=reference == digest and not tags,
        )
        async with await self._transport.send(request) as answer:
            if answer.status != 201:
                raise await error_of(answer, "NAME_UNKNOWN")
            subject = subject_header(answer)
            if reference != digest:
                return subject, [reference]
            listed = {tag.strip() for header in answer.headers.getall("OCI-Tag", []) for tag in header.split(",")}
        accepted = [tag for tag in tags if tag in listed]
        if accepted or not digest.startswith("sha256:"):
            return subject, accepted
        # It knows no `tag` parameter: one after the other, which a failure may leave undone in part.
        for tag in tags:
            await self._put_manifest(repository, content, media_type, digest, (tag, []))
        return subject, tags

    async def _delete(self, repository: str, path: str, unknown: str) -> None:
        url = self._url(f"/v2/{repository}/{path}")
        # Not repeated: the second one would find nothing, and say so.
        async with await self._transport.send(Request("DELETE", url, _scope(repository, "delete"))) as answer:
            if answer.status not in (200, 202, 204):
                raise await error_of(answer, unknown)

    def _page(self, limit: int | None) -> int:
        return self._page_size if limit is None else max(1, min(limit, self._page_size))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nobody waits for, and whose failure nobody could use."""

        async def quietly() -> None:
            with contextlib.suppress(RegistryError):
                await work

        task = asyncio.ensure_future(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _root(url: str) -> URL:
    """The URL that `/v2/` is joined to."""
    parse_registry_url(url)
    try:
        root = URL(url)
        if root.host in _HUB:
            root = root.with_host("registry-1.docker.io")
        return URL(str(root).rstrip("/"), encoded=True)
    except ValueError:
        # The library's message may repeat it.
        raise ValueError("the URL cannot be used: its host is not a name that there can be") from None


def _host(root: URL) -> str:
    """What credentials are kept under: a port that goes without saying is not said."""
    return str(root.origin()).partition("//")[2]


def _check(repository: str, *, digest: str | None = None, tag: str | None = None) -> None:
    """What becomes part of a URL has the form that the spec gives it."""
    if not is_repository(repository):
        raise OCIError("NAME_INVALID")
    if digest is not None and not is_digest(digest):
        raise OCIError("DIGEST_INVALID", "badly formed digest")
    if tag is not None and not is_tag(tag):
        raise OCIError("MANIFEST_UNKNOWN", f"{tag!r} is not a tag")


def _scope(repository: str, actions: str) -> str:
    return f"repository:{repository}:{actions}"


def _range_header(range: ByteRange | None) -> dict[str, str]:
    if range is None:
        return {}
    first, last = ("" if end is None else end for end in (range.first, range.last))
    return {"Range": f"bytes={first}-{last}"}


def _wrong_size(expected: int, received: int) -> OCIError:
    return OCIError("SIZE_INVALID", detail={"expected": expected, "received": received})


def _references(digest: str, tags: list[str]) -> list[tuple[str, list[str]]]:
    """What to PUT a manifest to, so that its tags are set in as few requests as every registry takes."""
    if len(tags) == 1 and digest.startswith("sha256:"):
        return [(tags[0], [])]
    batches = [(digest, tags[start : start + MAX_TAGS]) for start in range(0, len(tags), MAX_TAGS)]
    return batches or [(digest, [])]
