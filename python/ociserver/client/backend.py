"""The client backend: checks names, and gives each part of the work to the class that does it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Self

from ociserver._core import ByteRange, manifest_media_type
from ociserver.client.address import Address, check_names, scope_of
from ociserver.client.answers import error_of
from ociserver.client.auth import Authorization, Credentials, Find, Negotiated
from ociserver.client.blobs import Blobs
from ociserver.client.limits import DEFAULT_LIMITS, PAGE_SIZE, Limits
from ociserver.client.lists import names
from ociserver.client.manifests import Manifests
from ociserver.client.pushes import BlobPushes
from ociserver.client.reader import Reader
from ociserver.client.referrers import Referrers
from ociserver.client.requests import Request, RetryPolicy
from ociserver.client.transport import Transport
from ociserver.digests import content_digest
from ociserver.errors import CONTENT_UNKNOWN, OCIError
from ociserver.interface import Backend, BlobWriter, Descriptor, Manifest, PushedManifest, Url
from ociserver.iterators import closing
from ociserver.manifests import check_tags, refused_move

__all__ = ["Client"]


class Client(Backend):
    """A remote registry, over the distribution API (Go: `ociclient`).

    The client verifies each content that it reads by digest against the requested digest, and each manifest that it
    reads by tag against the digest that the registry names. It streams bodies in both directions.

    Args:
        url: of the registry, with the scheme: `https://registry.example`, `http://localhost:5000`. If it has a path,
            the client puts it in front of `/v2/`.
        credentials: what the client sends when the registry asks for credentials, in the way that the registry asks
            for; or a function that finds them then, such as `docker_credentials`.
        authorization: authorises requests, instead of `credentials`.
        retries: how often, and after which pauses, the client repeats requests.
        page_size: names to request at a time.
        upload_key: signs the ids of uploads whose Location is not where the spec puts it. Processes that resume each
            other's uploads need the same key. The default is a random key.
        limits: of time and memory.
        token_hosts: hosts whose token servers may get the credentials, as `host` or `host:port`, besides the host of
            the registry and the token servers that are known for public registries.

    The environment names certificates and proxies: `SSL_CERT_FILE`, `SSL_CERT_DIR`, `HTTPS_PROXY`, `HTTP_PROXY`,
    `NO_PROXY`. Only one event loop at a time may use a client.

    Raises:
        ValueError: the URL is not that of a registry, or contains credentials; or one of `token_hosts` is not a host.
            The message does not repeat it.
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
        limits: Limits = DEFAULT_LIMITS,
        token_hosts: Collection[str] = (),
    ) -> None:
        if credentials is not None and authorization is not None:
            raise ValueError("give credentials or authorization, not both")
        if page_size < 1:
            raise ValueError(f"page_size is {page_size}; it must be 1 or more")
        self._address = Address(url)
        self._transport = Transport(
            self._address.origin,
            authorization or Negotiated(credentials, self._address.host, token_hosts=token_hosts),
            retries or RetryPolicy(),
            idle_timeout_s=limits.idle_timeout_s,
        )
        self._blobs = Blobs(self._transport, self._address)
        self._manifests = Manifests(self._transport, self._address)
        self._pushes = BlobPushes(self._transport, self._address, upload_key or secrets.token_bytes(32))
        self._referrers = Referrers(self, self._transport, self._address, limits)
        self._page_size = page_size

    @property
    def host(self) -> str:
        """The registry's `host` or `host:port`."""
        return self._address.host

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pushes.finish()
        await self._transport.close()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Reader:
        check_names(repository, digest=digest)
        return await self._blobs.get(repository, digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        check_names(repository, digest=digest)
        return await self._manifests.get(repository, digest, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        check_names(repository, tag=tag)
        return await self._manifests.get(repository, tag, None)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        check_names(repository, digest=digest)
        return await self._blobs.resolve(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        check_names(repository, digest=digest)
        return await self._manifests.resolve(repository, digest, digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        check_names(repository, tag=tag)
        return await self._manifests.resolve(repository, tag, None)

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """The URL that the registry redirects to, which may be signed; or the registry's own URL if it is public."""
        check_names(repository, digest=digest)
        return await self._blobs.locate(repository, digest)

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        check_names(repository, digest=descriptor.digest)
        return await self._pushes.push(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        check_names(repository)
        return await self._pushes.open(repository, chunk_size, algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        return await self._pushes.resume(repository, upload_id, offset, digest)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        """The registry's Location of the upload, if it is on another host or if the registry is public."""
        return await self._pushes.locate(repository, upload_id)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        check_names(to_repository, digest=digest)
        if from_repository is not None:
            check_names(from_repository)
        await self._pushes.mount(from_repository, to_repository, digest)
        return await self._blobs.resolve(to_repository, digest)

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
        check_names(repository, digest=digest)
        check_tags(tags)
        found = content_digest(content, digest)
        media_type = manifest_media_type(content, media_type)
        for tag in create_only:
            await self._check_new(repository, tag, found)
        subject, set_tags = await self._manifests.push(repository, content, media_type, found, tags)
        descriptor = Descriptor(media_type, found, len(content))
        if subject is None:
            subject = await self._referrers.pushed(repository, descriptor, content)
        return PushedManifest(descriptor, set_tags, subject)

    async def _check_new(self, repository: str, tag: str, digest: str) -> None:
        """Refuse to move a tag. The protocol cannot do this in one step: another client may set the tag meanwhile."""
        try:
            tagged = await self.resolve_tag(repository, tag)
        except OCIError as error:
            if error.code not in CONTENT_UNKNOWN:
                raise
        else:
            if tagged.digest != digest:
                raise refused_move(tag, is_immutable=False)

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        check_names(repository, digest=digest)
        await self._delete(repository, f"blobs/{digest}", "BLOB_UNKNOWN")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        check_names(repository, digest=digest)
        subject = await self._referrers.subject(repository, digest)
        await self._delete(repository, f"manifests/{digest}", "MANIFEST_UNKNOWN")
        if subject is not None:
            await self._referrers.deleted(repository, digest, subject)

    async def delete_tag(self, repository: str, tag: str) -> None:
        check_names(repository, tag=tag)
        await self._delete(repository, f"manifests/{tag}", "MANIFEST_UNKNOWN")

    async def _delete(self, repository: str, path: str, unknown: str) -> None:
        url = self._address.url(f"/v2/{repository}/{path}")
        # Not repeatable: if the first answer was lost, the second DELETE would report that the content is unknown.
        async with await self._transport.send(Request("DELETE", url, scope_of(repository, "delete"))) as answer:
            if answer.status not in (200, 202, 204):
                raise await error_of(answer, unknown)

    # Lister

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        url = self._address.url("/v2/_catalog")
        size = self._page(limit)
        async for name in names(self._transport, url, "registry:catalog:*", "repositories", start_after, size):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        check_names(repository)
        url, scope = self._address.url(f"/v2/{repository}/tags/list"), scope_of(repository, "pull")
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
        check_names(repository, digest=digest)
        found = self._referrers.find(repository, digest, artifact_type, start_after=start_after)
        async with closing(found) as entries:
            async for entry in entries:
                yield entry

    def _page(self, limit: int | None) -> int:
        return self._page_size if limit is None else max(1, min(limit, self._page_size))
