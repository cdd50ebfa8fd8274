"""Reads and pushes manifests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ociserver._core import digest_of
from ociserver.client.address import Address, scope_of
from ociserver.client.answers import error_of, wrong_content
from ociserver.client.headers import digest_header, manifest_length, subject_header
from ociserver.client.limits import MAX_MANIFEST_SIZE, MAX_TAGS
from ociserver.client.requests import BufferedBody, Request
from ociserver.client.session import HEAD_REFUSED, MEDIA_TYPE
from ociserver.client.transport import Answer, Transport
from ociserver.errors import HTTPError
from ociserver.interface import Descriptor, Manifest
from ociserver.media_types import fetched_type, is_media_type

__all__ = ["Manifests"]

_ACCEPT: Final = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.oci.artifact.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v1+prettyjws, "
    "application/vnd.docker.distribution.manifest.v1+json, */*"
)


class Manifests:
    """The manifests of a registry. A reference is a tag or a digest."""

    def __init__(self, transport: Transport, address: Address) -> None:
        self._transport = transport
        self._address = address

    async def get(self, repository: str, reference: str, digest: str | None) -> Manifest:
        """A manifest, verified.

        Args:
            repository: its name.
            reference: its tag or digest.
            digest: the digest that the manifest must have; None to verify it against Docker-Content-Digest.
        """

        async def read(answer: Answer) -> Manifest:
            if answer.status != 200:
                raise await error_of(answer, "MANIFEST_UNKNOWN")
            content = await answer.read(MAX_MANIFEST_SIZE)
            if content is None:
                raise HTTPError(502, f"the manifest is larger than {MAX_MANIFEST_SIZE} bytes")
            # The requested digest counts, whatever the registry's header says.
            wanted = digest or digest_header(answer)
            found = digest_of(content, wanted.partition(":")[0] if wanted else "sha256")
            if wanted not in (None, found):
                raise wrong_content(wanted or "", found)
            # The type in the document counts, whatever the registry's header says.
            kind = fetched_type(content, answer.headers.get("Content-Type") or MEDIA_TYPE)
            if kind is None:
                raise HTTPError(502, "the registry gives the manifest a media type that is not valid")
            return Manifest(Descriptor(kind, found, len(content)), content)

        return await self._transport.fetch(self._request(repository, reference), read)

    async def resolve(self, repository: str, reference: str, digest: str | None) -> Descriptor:
        """The descriptor of a manifest. The arguments are those of `get`."""
        async with await self._transport.send(self._request(repository, reference, "HEAD")) as answer:
            if answer.status == 200:
                found, length = digest or digest_header(answer), manifest_length(answer)
                kind = answer.headers.get("Content-Type") or MEDIA_TYPE
                if found is not None and length is not None and is_media_type(kind):
                    return Descriptor(kind, found, length)
            elif answer.status not in HEAD_REFUSED:
                raise await error_of(answer, "MANIFEST_UNKNOWN")
        # The headers are missing or not usable. The manifest itself contains the same facts.
        return (await self.get(repository, reference, digest)).descriptor

    async def push(
        self, repository: str, content: bytes, media_type: str, digest: str, tags: Sequence[str]
    ) -> tuple[str | None, tuple[str, ...]]:
        """Push a manifest and set its tags.

        Returns:
            The digest of the subject, if the registry has processed it, and the tags that were set.
        """
        subject: str | None = None
        set_tags: list[str] = []
        for reference, batch in _batches(digest, list(dict.fromkeys(tags))):
            subject, accepted = await self._put(repository, content, media_type, digest, reference, batch)
            set_tags += accepted
        return subject, tuple(set_tags)

    def _request(self, repository: str, reference: str, method: str = "GET") -> Request:
        url = self._address.url(f"/v2/{repository}/manifests/{reference}")
        return Request(method, url, scope_of(repository, "pull"), {"Accept": _ACCEPT}, repeatable=True)

    async def _put(
        self, repository: str, content: bytes, media_type: str, digest: str, reference: str, tags: list[str]
    ) -> tuple[str | None, list[str]]:
        """Send one PUT. Returns the subject that the registry processed, and the tags that it set."""
        query = "&".join(f"tag={tag}" for tag in tags)
        url = self._address.url(f"/v2/{repository}/manifests/{reference}{'?' if query else ''}{query}")
        request = Request(
            "PUT",
            url,
            scope_of(repository, "pull,push"),
            {"Content-Type": media_type},
            BufferedBody([content]),
            # A PUT to a digest always has the same effect. A second PUT to a tag could undo another client's change.
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
        # The registry does not support the `tag` parameter. Set one tag at a time; a failure may leave some unset.
        for tag in tags:
            await self._put(repository, content, media_type, digest, tag, [])
        return subject, tags


def _batches(digest: str, tags: list[str]) -> list[tuple[str, list[str]]]:
    """The reference and the `tag` parameters of each PUT: as few requests as every registry accepts."""
    if len(tags) == 1 and digest.startswith("sha256:"):
        return [(tags[0], [])]
    batches = [(digest, tags[start : start + MAX_TAGS]) for start in range(0, len(tags), MAX_TAGS)]
    return batches or [(digest, [])]
